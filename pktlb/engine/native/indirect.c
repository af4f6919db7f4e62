/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets that do not tell their flow by themselves: fragments, and ICMP errors. */
#include "step.h"

/* Whether the kernel is kept from later fragments of this packet, so that we decide. */
int pk_is_held(const struct pk_step *s)
{
	const struct pk_tables *tables = s->tables;
	const struct pk_key *key = &s->view->key;
	__u8 family = key->family;

	return pk_ends_have(&tables->service_at, &tables->secret, &key->destination, family) ||
	       pk_is_in(s, &tables->direct, &key->source, family) ||
	       (pk_ends_have(&tables->replies, &tables->secret, &key->source, family) &&
		pk_may_be_client(s, &key->destination, family)) ||
	       (tables->any && pk_is_to_spread(s, key));
}

/* A later fragment whose first one is known. */
static enum pk_reason follow_first(struct pk_step *s, const struct pk_trail *trail)
{
	__u32 number;

	if (!trail->sent)
		return pk_is_passed(trail->reason) ? pk_give_back(s, trail->reason) : trail->reason;
	s->key = &trail->first;
	number = pk_find_flow(s, s->key);
	if (number == PK_ABSENT && pk_is_in(s, &s->tables->direct, &s->key->source, s->key->family))
		number = pk_find_answered(s, s->key);
	return number == PK_ABSENT ? PK_FRAGMENT_LOST : pk_of_flow(s, number);
}

static enum pk_reason first_fragment(struct pk_step *s, struct pk_trail *trail)
{
	enum pk_reason reason = pk_packet(s);
	struct pk_held *held;

	trail->has_first = 1;
	trail->sent = pk_is_sent(reason) &&
		      pk_sendable(s->frame, s->view, s->decision) == PK_FORWARDED;
	trail->first = *s->key;
	trail->reason = pk_is_passed(reason) ? reason : PK_FRAGMENT_LOST;
	s->decision->released = pk_trail_release(&s->plane->trails, trail);
	for (held = s->decision->released; held; held = held->next) {
		struct pk_step later = { s->plane, s->tables, &held->frame, &held->view,
					 &held->view.key, 0, &held->decision };

		held->decision = (struct pk_decision){ .gives_back = 0 };
		held->decision.reason = follow_first(&later, trail);
		if (trail->sent && pk_is_passed(held->decision.reason)) { /* came another way */
			held->decision.reason = PK_FRAGMENT_LOST;
			held->decision.gives_back = 0;
		}
	}
	return reason;
}

/* A part of a packet: the first one tells where all of them go. */
enum pk_reason pk_fragment_of(struct pk_step *s)
{
	struct pk_trails *trails = &s->plane->trails;
	struct pk_trail *trail = pk_trail_of(trails, s->view, s->plane->now);
	enum pk_reason reason;

	if (!pk_trail_note(trails, trail, &s->view->fragment))
		return PK_BAD_FRAGMENT;
	if (s->view->kind == PK_FIRST)
		reason = first_fragment(s, trail);
	else if (trail->has_first)
		reason = follow_first(s, trail);
	else
		reason = pk_trail_hold(trails, trail, s->frame, s->view) ? PK_HELD :
									   PK_FRAGMENT_LOST;
	if (pk_trail_complete(trail))
		pk_trail_end(trails, trail);
	return reason;
}

/* Whether the outer header that is quoted is the one around packets of this flow. */
static int is_tunnel(const struct pk_step *s, const struct pk_flow *flow)
{
	const struct pk_end *backend = &s->plane->standings.tallies[flow->tally].backend;
	const struct pk_quote *quote = &s->view->quote;

	return PK_MODE(flow) == PK_TUNNEL && backend->family == quote->outer_family &&
	       pk_addr_equal(&backend->addr, &quote->outer);
}

/* An error about a packet that we wrapped: its sender is the client of the one inside. That a backend
 * takes no packets of a tunnel says nothing about the client's packet: a raw socket may have taken it
 * all the same. */
static enum pk_reason about_tunnel(const struct pk_step *s, const struct pk_flow *flow)
{
	const struct pk_view *view = s->view;

	if (pk_refuses_tunnel(s->frame->data + view->transport, view->quote.outer_family))
		return PK_TUNNEL_REFUSED;
	if (!pk_find_client(s, flow))
		return PK_NO_NEXT_HOP;
	pk_speak_as(s, &flow->vip);
	s->decision->to.destination = flow->client;
	s->decision->relays = 1;
	return PK_RELATED;
}

/* An error that quotes IP in IP is taken to be about the outer packet. */
static void look_around(struct pk_step *s)
{
	struct pk_view *view = s->view;
	struct pk_quote *quote = &view->quote;

	view->key = (struct pk_key){ .source = quote->outer,
				     .destination = quote->outer_source,
				     .proto = view->key.family == 4 ? PK_IPIP : PK_IPV6,
				     .family = quote->outer_family };
	quote->transport = quote->ip;
	quote->ip = (__u16)(view->transport + 8);
	quote->outer_family = 0;
	s->key = &view->key;
}

/* An error about nothing that we know: a packet like others, where all are spread. */
static enum pk_reason unrelated(struct pk_step *s, const struct pk_key *addresses)
{
	if (!s->tables->any || !pk_is_to_spread(s, addresses))
		return PK_NOT_OURS;
	s->key = addresses;
	s->hash = pk_key_hash(&s->plane->flows.secret, s->key);
	return pk_packet(s);
}

/* An ICMP error: it goes to the sender of the packet that it quotes. */
enum pk_reason pk_error_of(struct pk_step *s)
{
	__u32 number = pk_find_flow(s, s->key);
	struct pk_key addresses;
	struct pk_flow *flow, made;

	pk_address_key(s->frame->data, &addresses);
	if (s->view->quote.outer_family) {
		if (number != PK_ABSENT && is_tunnel(s, pk_flow_at(s, number)))
			return !pk_can_be_answered(&addresses.source, addresses.family) ?
				       PK_BAD_SOURCE :
				       about_tunnel(s, pk_flow_at(s, number));
		look_around(s);
		number = pk_find_flow(s, s->key);
	}
	if (number == PK_ABSENT &&
	    pk_is_in(s, &s->tables->direct, &addresses.source, addresses.family))
		number = pk_find_answered(s, s->key);
	flow = number == PK_ABSENT ? pk_flow_elsewhere(s, &made) : pk_flow_at(s, number);
	if (!flow || ((flow->mode & PK_FLOW_ANY) && pk_was_there(s)))
		return unrelated(s, &addresses);
	if (!pk_can_be_answered(&addresses.source, addresses.family))
		return PK_BAD_SOURCE;
	if (s->view->ttl <= 1)
		return pk_out_of_time(s);
	if (pk_is_directed(s, flow))
		return pk_to_backend(s, flow, PK_RELATED);
	return pk_to_client(s, flow, PK_RELATED);
}
