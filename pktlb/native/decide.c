/* SPDX-License-Identifier: BSD-3-Clause */
/* The middle pass: which flow a packet belongs to, and where that sends it. Under the lock. */
#include "engine.h"

#include <arpa/inet.h>
#include <string.h>

#define CLASH_TRIES 64
#define FIRST_PORT 1024 /* of those that a translated client may have (RFC 6056) */
#define PORTS 64512

/* One packet on its way through the decision. */
struct step {
	struct pk_engine *engine;
	const struct pk_tables *tables;
	const struct pk_frame *frame;
	const struct pk_view *view;
	__u64 hash;
	struct pk_decision *decision;
};

static enum pk_reason give_back(const struct step *s, enum pk_reason reason)
{
	s->decision->gives_back = 1;
	return reason;
}

/* The way to the backend is known: note what rewriting needs. */
static enum pk_reason to_backend(const struct step *s, struct pk_flow *flow, enum pk_reason reason)
{
	const struct pk_tally *tally = &s->engine->standings.tallies[flow->tally];
	const struct pk_hop *hop = s->tables->hop_of[flow->tally];
	struct pk_decision *d = s->decision;

	flow->port = s->frame->port;
	memcpy(flow->mac, s->frame->data + 6, 6);
	if (!hop)
		return PK_NO_NEXT_HOP;
	d->mode = flow->mode;
	d->port = hop->port;
	d->mtu = hop->mtu;
	memcpy(d->macs, hop->macs, 12);
	d->vip = flow->vip;
	if (flow->mode == PK_NAT)
		d->to = (struct pk_translation){ flow->seen_as, tally->backend.addr,
						 flow->seen_port, tally->backend.port, flow->by,
						 flow->by_transport };
	else if (flow->mode == PK_TUNNEL) {
		d->outer = hop->source;
		d->backend = tally->backend.addr;
	}
	return reason;
}

static enum pk_reason to_client(const struct step *s, const struct pk_flow *flow)
{
	const struct pk_port *port = pk_port_of(s->tables, flow->port);
	struct pk_decision *d = s->decision;

	if (!port)
		return PK_NO_NEXT_HOP;
	d->mode = flow->mode;
	d->port = flow->port;
	d->mtu = port->mtu;
	memcpy(d->macs, flow->mac, 6);
	memcpy(d->macs + 6, port->mac, 6);
	d->vip = flow->vip;
	d->to = (struct pk_translation){ flow->vip, flow->client, flow->vip_port,
					 flow->client_port, pk_delta_turned(flow->by),
					 pk_delta_turned(flow->by_transport) };
	return PK_RETURNED;
}

/* Whether replies with this key would be taken for nothing else than replies to this packet. */
static int is_free(const struct step *s, const struct pk_end *backend,
		   const struct pk_addr *seen_as, __be16 seen_port)
{
	struct pk_key reply = { backend->addr, *seen_as, backend->port, seen_port,
				s->view->key.proto, s->view->key.family, 0 };
	struct pk_flows *flows = &s->engine->flows;

	if (!memcmp(&reply, &s->view->key, sizeof(reply)))
		return 0;
	return pk_flow_find(flows, &reply, pk_key_hash(&flows->secret, &reply), s->engine->now) ==
	       PK_ABSENT;
}

/* A source endpoint from the pool, which knows only what it gave out: where a service is dialled
 * at an address of the pool, its backend may be its client, whose packets look like replies. */
static int allot(const struct step *s, const struct pk_tally *tally, struct pk_flow *flow)
{
	struct pk_snat *snat = &s->engine->snat;
	int tries;

	for (tries = 0; tries < CLASH_TRIES; tries++) {
		if (!pk_snat_take(snat, tally->pool, &flow->seen_as, &flow->seen_port))
			return 0;
		if (is_free(s, &tally->backend, &flow->seen_as, flow->seen_port))
			return 1;
		pk_snat_give_back(snat, tally->pool, &flow->seen_as, flow->seen_port);
	}
	return 0;
}

/* The client as the backend may see it: itself, but for a port that is in use there. */
static int find_unclaimed(const struct step *s, const struct pk_tally *tally, struct pk_flow *flow)
{
	__u32 own = ntohs(flow->client_port), port = own, step;

	flow->seen_as = flow->client;
	for (step = 0; step < CLASH_TRIES; step++) {
		if (step)
			port = FIRST_PORT + (own + step * 997) % PORTS;
		flow->seen_port = htons((__u16)port);
		if (is_free(s, &tally->backend, &flow->seen_as, flow->seen_port))
			return 1;
	}
	return 0;
}

/* What translation towards the backend adds to a sum over addresses, and over ports as well. */
static void note_deltas(const struct pk_tally *tally, struct pk_flow *flow)
{
	const struct pk_end *backend = &tally->backend;
	__u16 before = pk_fold(pk_sum(flow->client.byte, 16, pk_sum(flow->vip.byte, 16, 0)));
	__u16 after = pk_fold(pk_sum(flow->seen_as.byte, 16, pk_sum(backend->addr.byte, 16, 0)));
	__u16 ports_before = pk_fold((__u64)flow->client_port + flow->vip_port);
	__u16 ports_after = pk_fold((__u64)flow->seen_port + backend->port);

	flow->by = pk_delta(before, after);
	flow->by_transport = pk_delta_add(flow->by, pk_delta(ports_before, ports_after));
}

static enum pk_reason open_flow(const struct step *s, const struct pk_service *service)
{
	struct pk_engine *engine = s->engine;
	const struct pk_key *key = &s->view->key;
	struct pk_flow flow = { 0 };
	struct pk_tally *tally;
	enum pk_state state = key->proto == PK_TCP ? PK_SYN_SENT : PK_DATAGRAMS;
	__u32 number;

	if (!pk_flows_make_room(&engine->flows, engine->now))
		return PK_TABLE_FULL;
	s->decision->vip = service->vip.addr;
	flow.tally = pk_pick(&engine->standings, s->tables, service, key);
	if (flow.tally == PK_ABSENT)
		return PK_NO_BACKEND;
	tally = &engine->standings.tallies[flow.tally];
	flow.client = key->source;
	flow.vip = key->destination;
	flow.client_port = key->sport;
	flow.vip_port = key->dport;
	flow.proto = key->proto;
	flow.family = key->family;
	flow.mode = service->mode;
	if (flow.mode == PK_NAT) {
		if (!(engine->snat.address_count ? allot(s, tally, &flow) :
						   find_unclaimed(s, tally, &flow)))
			return PK_NO_PORT;
		note_deltas(tally, &flow);
	}
	number = pk_flow_add(&engine->flows, &flow, s->hash, state, engine->now);
	return to_backend(s, &engine->flows.flow[number], PK_OPENED);
}

/* What looks like a backend's reply was held back from the kernel: it gets it now. */
static enum pk_reason of_no_service(const struct step *s)
{
	const struct pk_tables *tables = s->tables;
	const struct pk_key *key = &s->view->key;
	struct pk_end from = pk_source_of(key), to = pk_end_of(&key->destination, key->family);
	__u32 port = ntohs(key->dport);

	if (pk_map_find(&tables->replies, &tables->secret, &from) == PK_ABSENT)
		return PK_NOT_OURS;
	if (tables->has_snat) {
		if (pk_map_find(&tables->snat, &tables->secret, &to) == PK_ABSENT ||
		    (port >= tables->own_low && port < tables->own_high))
			return PK_NOT_OURS;
	} else if (pk_map_find(&tables->own, &tables->secret, &to) != PK_ABSENT) {
		return PK_NOT_OURS;
	}
	return give_back(s, s->view->fragment ? PK_FRAGMENT : PK_NO_FLOW);
}

/* A packet that no live flow claims: a new flow instead of an old one, or not for us. */
static enum pk_reason without_flow(const struct step *s, __u32 old)
{
	struct pk_end to = pk_destination_of(&s->view->key);
	__u32 found = pk_map_find(&s->tables->service_at, &s->tables->secret, &to);

	if (found == PK_ABSENT)
		return of_no_service(s);
	if (s->view->fragment)
		return give_back(s, PK_FRAGMENT);
	if (s->view->key.proto == PK_TCP && !pk_opens(s->view->tcp_flags))
		return give_back(s, PK_NOT_OPEN);
	if (s->view->ttl <= 1)
		return PK_TTL_EXPIRED;
	if (old != PK_ABSENT)
		pk_flow_remove(&s->engine->flows, old);
	return open_flow(s, &s->tables->services[found]);
}

/* Note the packet in the flow's state and idle time. */
static void follow(const struct step *s, __u32 number, int from_client)
{
	struct pk_flows *flows = &s->engine->flows;
	struct pk_flow *flow = &flows->flow[number];
	__u8 next = 0;

	if (flow->state != PK_DATAGRAMS) {
		enum pk_event event = pk_event_of(s->view->tcp_flags, from_client);

		next = flow->mode == PK_NAT ? pk_two_way[flow->state][event] :
					      pk_one_way[flow->state][event];
	}
	if (next)
		pk_flow_move(flows, number, next - 1);
	pk_flow_touch(flows, number, s->engine->now);
}

static int is_from_client(const struct pk_flow *flow, const struct pk_key *key)
{
	return flow->client_port == key->sport && flow->vip_port == key->dport &&
	       pk_addr_equal(&flow->client, &key->source) &&
	       pk_addr_equal(&flow->vip, &key->destination);
}

static enum pk_reason decide(const struct step *s)
{
	struct pk_engine *engine = s->engine;
	const struct pk_view *view = s->view;
	__u32 number = pk_flow_find(&engine->flows, &view->key, s->hash, engine->now);
	struct pk_flow *flow;
	int from_client;

	if (number == PK_ABSENT)
		return without_flow(s, PK_ABSENT);
	flow = &engine->flows.flow[number];
	from_client = is_from_client(flow, &view->key);
	if (flow->state == PK_CLOSED && from_client && pk_opens(view->tcp_flags))
		return without_flow(s, number); /* the port of a closed connection, used anew */
	if (view->fragment)
		return give_back(s, PK_FRAGMENT);
	if (view->ttl <= 1)
		return PK_TTL_EXPIRED;
	follow(s, number, from_client);
	if (!from_client)
		return to_client(s, flow);
	/* Nothing is agreed yet: another backend can take over when this one cannot be reached. */
	if ((flow->state == PK_DATAGRAMS || flow->state == PK_SYN_SENT) &&
	    !s->tables->hop_of[flow->tally])
		return without_flow(s, number);
	return to_backend(s, flow, PK_FORWARDED);
}

void pk_decide(struct pk_engine *engine, const struct pk_tables *tables,
	       const struct pk_frame *frame, const struct pk_view *view, __u64 hash,
	       struct pk_decision *decision)
{
	struct step step = { engine, tables, frame, view, hash, decision };

	decision->gives_back = 0;
	decision->reason = decide(&step);
}
