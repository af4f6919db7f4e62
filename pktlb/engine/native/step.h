/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One packet on its way through the decision, under the lock.
 *
 * What the files of the decision offer each other, from top to bottom: a file calls only those
 * below it.
 */
#ifndef PK_STEP_H
#define PK_STEP_H

#include <string.h>

#include "plane.h"

struct pk_step {
	struct pk_plane *plane;
	const struct pk_tables *tables;
	const struct pk_frame *frame;
	struct pk_view *view;
	const struct pk_key *key; /* the packet's flow is looked up by this */
	__u64 hash;               /* of the key */
	struct pk_decision *decision;
};

/* indirect.c: packets that do not tell their flow by themselves. */

/* Whether the kernel is kept from later fragments of this packet, so that we decide. */
int pk_is_held(const struct pk_step *s);
enum pk_reason pk_fragment_of(struct pk_step *s);
enum pk_reason pk_error_of(struct pk_step *s);

/* direct.c: a packet that tells its flow; and one whose flow is known. */
enum pk_reason pk_packet(const struct pk_step *s);
enum pk_reason pk_of_flow(const struct pk_step *s, __u32 number);
/* The flow of an ICMP error that is not found by its key, where it can be told all the same, or
 * NULL. In DSR and tunnel another balancer may have it: the error comes to any of them, the choice of
 * a backend by hash is the same at each. Then it is `made`, and not in the table. In NAT a single
 * datagram is found by its reply; of several the latest counts. */
struct pk_flow *pk_flow_elsewhere(const struct pk_step *s, struct pk_flow *made);

/* course.c: a packet whose flow was killed, or whose backend was removed. PK_FORWARDED: it goes on
 * as before; PK_OPENED: another backend can take over; else the reason that it ends in. */
enum pk_reason pk_course_of(const struct pk_step *s, __u32 number, int from_client);

/* ways.c: the decision gets what rewriting needs. */
enum pk_reason pk_to_backend(const struct pk_step *s, const struct pk_flow *flow,
			     enum pk_reason reason);
enum pk_reason pk_to_client(const struct pk_step *s, const struct pk_flow *flow,
			    enum pk_reason reason);
/* What the client of the flow gets goes to where this frame came from, from now on. */
void pk_note_way_back(const struct pk_step *s, struct pk_flow *flow);
/* The way back to where the client's packets come from; 0 where its port is gone. */
int pk_find_client(const struct pk_step *s, const struct pk_flow *flow);
/* In whose name the packet's sender is told what is wrong: in that of the VIP, in our own on the
 * port where the frame came in, or in the one of both that suits the flow. */
void pk_speak_as(const struct pk_step *s, const struct pk_addr *vip);
void pk_speak_as_port(const struct pk_step *s);
void pk_choose_answerer(const struct pk_step *s, const struct pk_flow *flow, int from_client);
enum pk_reason pk_out_of_time(const struct pk_step *s);
/* Whether backends of NAT services send their replies to this address. */
int pk_may_be_client(const struct pk_step *s, const struct pk_addr *addr, __u8 family);
/* Whether a packet for the backend of a flow would go to another link with a link-local source. */
int pk_leaves_its_link(const struct pk_step *s, const struct pk_flow *flow);
/* Whether the kernel would forward the packet, and its port spreads what is forwarded. */
int pk_is_to_spread(const struct pk_step *s, const struct pk_key *key);
/* Whether the frame comes from one of the appliances that packets are spread over. */
int pk_was_there(const struct pk_step *s);

/* opening.c */

/* Note in the flow what translation towards the backend adds to a sum over addresses, and to one
 * over addresses and ports. */
void pk_flow_note_deltas(const struct pk_tally *tally, struct pk_flow *flow);
/* A flow to the backend with this place, not in the table yet; 0 where no source port is free
 * towards it. `flags`: PK_FLOW_SINGLE or PK_FLOW_PARTS, or 0. */
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

/* The flow whose backend answers the client past us with packets of this key; a NAT flow never. */
static inline __u32 pk_find_answered(const struct pk_step *s, const struct pk_key *key)
{
	struct pk_key reversed;
	__u32 number;

	pk_reverse(key, &reversed);
	number = pk_find_flow(s, &reversed);
	return number != PK_ABSENT && PK_MODE(pk_flow_at(s, number)) == PK_NAT ? PK_ABSENT : number;
}

static inline int pk_is_in(const struct pk_step *s, const struct pk_map *map,
			   const struct pk_addr *addr, __u8 family)
{
	struct pk_end end = pk_end_of(addr, family);

	return pk_map_find(map, &s->tables->secret, &end) != PK_ABSENT;
}

/* How a connection is to end that was killed, or whose backend was removed. */
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
