/* SPDX-License-Identifier: BSD-3-Clause */
/* One packet on its way through the decision, under the lock; and new flows for it. */
#ifndef PK_STEP_H
#define PK_STEP_H

#include <string.h>

#include "plane.h"

struct pk_step {
	struct pk_plane *plane;
	const struct pk_tables *tables;
	const struct pk_frame *frame;
	struct pk_view *view;
	const struct pk_key *key; /* what its flow is looked up by */
	__u64 hash;        /* of it */
	struct pk_decision *decision;
};

/* Of a packet that tells its flow; and of one whose flow is known. */
enum pk_reason pk_packet(const struct pk_step *s);
enum pk_reason pk_of_flow(const struct pk_step *s, __u32 number);
/* Of one whose flow was killed, or whose backend was removed: PK_FORWARDED where it goes on as
 * ever, PK_OPENED where another backend can take over, else what it ends in. */
enum pk_reason pk_course_of(const struct pk_step *s, __u32 number, int from_client);
/* Where a packet goes: what rewriting needs. */
enum pk_reason pk_to_backend(const struct pk_step *s, struct pk_flow *flow, enum pk_reason reason);
enum pk_reason pk_to_client(const struct pk_step *s, const struct pk_flow *flow,
			    enum pk_reason reason);
/* The way that the client's last packet came; 0 where that is gone. */
int pk_find_client(const struct pk_step *s, const struct pk_flow *flow);
/* Who tells the sender what is wrong. */
void pk_speak_as(const struct pk_step *s, const struct pk_addr *vip);
enum pk_reason pk_out_of_time(const struct pk_step *s);
/* Whether backends of NAT services send their replies there. */
int pk_may_be_client(const struct pk_step *s, const struct pk_addr *addr, __u8 family);
/* Whether the kernel would forward it, on a port where that is our business. */
int pk_is_to_spread(const struct pk_step *s, const struct pk_key *key);
/* Whether it comes from one of those whom it would be spread over. */
int pk_was_there(const struct pk_step *s);

/* Packets that do not tell their flow by themselves. */
int pk_is_held(const struct pk_step *s);
enum pk_reason pk_fragment_of(struct pk_step *s);
enum pk_reason pk_error_of(struct pk_step *s);

/* A flow to the backend with this place, not in the table yet; 0 where no source port is free
 * towards it. `flags`: PK_FLOW_SINGLE or PK_FLOW_PARTS, or 0. */
/* What translation towards the backend adds to a sum over addresses, and over ports as well. */
void pk_flow_note_deltas(const struct pk_tally *tally, struct pk_flow *flow);
int pk_flow_prepare(const struct pk_step *s, const struct pk_service *service,
		    const struct pk_place *place, __u8 flags, struct pk_flow *flow);
/* The flow of an earlier datagram from the same client to the same backend, or PK_ABSENT. */
__u32 pk_flow_of_single(const struct pk_step *s, __u32 tally);

static inline enum pk_reason pk_give_back(const struct pk_step *s, enum pk_reason reason)
{
	s->decision->gives_back = 1;
	return reason;
}

static inline struct pk_flow *pk_flow_at(const struct pk_step *s, __u32 number)
{
	return &s->plane->flows.flow[number];
}

static inline __u32 pk_find_flow(const struct pk_step *s, const struct pk_key *key)
{
	struct pk_flows *flows = &s->plane->flows;

	return pk_flow_find(flows, key, pk_key_hash(&flows->secret, key), s->plane->now);
}

/* The flow whose backend answers the client itself with packets of this key: never one of NAT. */
static inline __u32 pk_find_answered(const struct pk_step *s, const struct pk_key *key)
{
	struct pk_key reversed = pk_reversed(key);
	__u32 number = pk_find_flow(s, &reversed);

	return number != PK_ABSENT && PK_MODE(pk_flow_at(s, number)) == PK_NAT ? PK_ABSENT : number;
}

static inline int pk_is_in(const struct pk_step *s, const struct pk_map *map, const struct pk_addr *addr,
		 __u8 family)
{
	struct pk_end end = pk_end_of(addr, family);

	return pk_map_find(map, &s->tables->secret, &end) != PK_ABSENT;
}

/* How a connection is to end, if it is: it was killed, or its backend removed. */
static inline enum pk_on_remove pk_fate_of(const struct pk_step *s, const struct pk_flow *flow)
{
	if (flow->mode & PK_FLOW_KILLED)
		return PK_ON_REMOVE_RESET;
	return s->tables->removed ? s->tables->removed[flow->tally] : PK_NOT_REMOVED;
}

static inline int pk_is_directed(const struct pk_step *s, const struct pk_flow *flow)
{
	return flow->client_port == s->key->sport && flow->vip_port == s->key->dport &&
	       pk_addr_equal(&flow->client, &s->key->source) &&
	       pk_addr_equal(&flow->vip, &s->key->destination);
}

#endif
