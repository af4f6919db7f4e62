/* SPDX-License-Identifier: BSD-3-Clause */
/* New flows: NAT must find ends for them that no other flow has. */
#include <arpa/inet.h>

#include "step.h"
#include "track.h"

#define CLASH_TRIES 64
#define FIRST_PORT 1024 /* of those that a translated client may have (RFC 6056) */
#define PORTS 64512

/* Whether replies of this flow would be taken for nothing else. */
static int is_free(const struct pk_step *s, const struct pk_flow *flow)
{
	struct pk_flows *flows = &s->plane->flows;
	struct pk_key reply = pk_flow_reply_key(flows, flow);

	if (pk_key_equal(&reply, s->key))
		return 0;
	return pk_flow_find(flows, &reply, pk_key_hash(&flows->secret, &reply), s->plane->now) ==
	       PK_ABSENT;
}

/* A source endpoint from the pool, which knows only what it gave out: where a service is dialled
 * at an address of the pool, its backend may be its client, whose packets look like replies. */
static int allot(const struct pk_step *s, __u32 pool, struct pk_flow *flow)
{
	struct pk_snat *snat = &s->plane->snat;
	int tries;

	for (tries = 0; tries < CLASH_TRIES; tries++) {
		if (!pk_snat_take(snat, pool, &flow->seen_as, &flow->seen_port))
			return 0;
		if (is_free(s, flow)) {
			flow->mode |= PK_FLOW_ALLOTTED;
			return 1;
		}
		pk_snat_give_back(snat, pool, &flow->seen_as, flow->seen_port);
	}
	return 0;
}

/* Without ports: an address that no other flow has towards this backend. */
static int allot_address(const struct pk_step *s, __u8 family, struct pk_flow *flow)
{
	const struct pk_addr *addresses = pk_snat_addresses(&s->plane->snat, family);
	__u32 count = pk_snat_count(&s->plane->snat, family), i;

	for (i = 0; i < count && i < CLASH_TRIES; i++) {
		flow->seen_as = addresses[i];
		if (is_free(s, flow))
			return 1;
	}
	return 0;
}

/* The client as the backend may see it: itself, but for a port that is in use there. */
static int find_unclaimed(const struct pk_step *s, struct pk_flow *flow)
{
	__u32 own = ntohs(flow->client_port), port = own, step;
	__u32 tries = pk_is_ported(flow->proto) ? CLASH_TRIES : 1;

	flow->seen_as = flow->client;
	for (step = 0; step < tries; step++) {
		if (step)
			port = FIRST_PORT + (own + step * 997) % PORTS;
		flow->seen_port = htons((__u16)port);
		if (is_free(s, flow))
			return 1;
	}
	return 0;
}

void pk_flow_note_deltas(const struct pk_tally *tally, struct pk_flow *flow)
{
	const struct pk_addr *backend = &tally->backend.addr;
	__u16 before = pk_fold(pk_sum(flow->client.byte, 16, pk_sum(flow->vip.byte, 16, 0)));
	__u16 after = pk_fold(pk_sum(flow->seen_as.byte, 16, pk_sum(backend->byte, 16, 0)));
	__u16 ports_before = pk_fold((__u64)flow->client_port + flow->vip_port);
	__u16 ports_after = pk_fold((__u64)flow->seen_port + pk_flow_port(flow, tally));

	flow->by = pk_delta(before, after);
	flow->by_transport = pk_delta_add(flow->by, pk_delta(ports_before, ports_after));
}

int pk_flow_prepare(const struct pk_step *s, const struct pk_service *service,
		    const struct pk_place *place, __u8 flags, struct pk_flow *flow)
{
	const struct pk_tally *tally = &s->plane->standings.tallies[place->tally];
	__u8 family = tally->backend.family;
	int found;

	*flow = (struct pk_flow){ .client = s->key->source,
				  .vip = s->key->destination,
				  .client_port = s->key->sport,
				  .vip_port = s->key->dport,
				  .proto = s->key->proto,
				  .family = s->key->family,
				  .mode = (__u8)place->mode,
				  .tally = place->tally,
				  .pin = PK_ABSENT,
				  .client_reach = PK_UNSEEN_REACH,
				  .backend_reach = PK_UNSEEN_REACH };
	if (service->is_any)
		flow->mode |= PK_FLOW_ANY;
	flow->mode |= flags;
	if (place->mode != PK_NAT)
		return 1;
	if (!pk_snat_count(&s->plane->snat, family))
		found = find_unclaimed(s, flow);
	else if (pk_is_ported(flow->proto))
		found = allot(s, tally->pool, flow);
	else
		found = allot_address(s, family, flow);
	if (found)
		pk_flow_note_deltas(tally, flow);
	return found;
}

__u32 pk_flow_of_single(const struct pk_step *s, __u32 number)
{
	struct pk_flow wanted = { .client = s->key->source,
				  .vip = s->key->destination,
				  .seen_as = s->key->source,
				  .client_port = s->key->sport,
				  .vip_port = s->key->dport,
				  .seen_port = s->key->sport,
				  .proto = s->key->proto,
				  .family = s->key->family,
				  .tally = number };
	struct pk_flows *flows = &s->plane->flows;
	struct pk_key reply = pk_flow_reply_key(flows, &wanted), key;
	__u32 found = pk_flow_find(flows, &reply, pk_key_hash(&flows->secret, &reply),
				   s->plane->now);

	if (found == PK_ABSENT)
		return PK_ABSENT;
	key = pk_flow_key(&flows->flow[found]);
	return pk_key_equal(&key, s->key) ? found : PK_ABSENT;
}
