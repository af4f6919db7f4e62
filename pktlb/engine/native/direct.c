/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets that tell their flow. Under the lock. */
#include <arpa/inet.h>

#include "step.h"
#include "track.h"

#define SINGLES 64 /* backends that are asked for the flow of a single datagram */

/* A datagram whose backend is chosen for it alone. With NAT it needs a flow all the same: that
 * tells to which client the reply goes. */
static enum pk_reason send_single(const struct pk_step *s, const struct pk_service *service,
				  const struct pk_place *place)
{
	struct pk_flows *flows = &s->plane->flows;
	struct pk_flow flow;
	__u32 number;

	if (place->mode != PK_NAT) {
		pk_flow_prepare(s, service, place, 0, &flow);
		if (pk_leaves_its_link(s, &flow))
			return PK_BAD_SOURCE;
		pk_note_way_back(s, &flow);
		s->plane->standings.tallies[place->tally].connections++;
		return pk_to_backend(s, &flow, PK_OPENED);
	}
	number = pk_flow_of_single(s, place->tally);
	if (number != PK_ABSENT) {
		pk_flow_touch(flows, number, s->plane->now);
		pk_note_way_back(s, pk_flow_at(s, number));
		return pk_to_backend(s, pk_flow_at(s, number), PK_FORWARDED);
	}
	if (!pk_flows_make_room(flows, s->plane->now))
		return PK_TABLE_FULL;
	if (!pk_flow_prepare(s, service, place, PK_FLOW_SINGLE, &flow))
		return PK_NO_PORT;
	if (pk_leaves_its_link(s, &flow))
		return PK_BAD_SOURCE;
	pk_note_way_back(s, &flow);
	number = pk_flow_add(flows, &flow, s->hash, PK_DATAGRAMS, s->plane->now);
	return pk_to_backend(s, pk_flow_at(s, number), PK_OPENED);
}

/* The reason where no backend was chosen: there is none, or all are full and the client shall try
 * again. */
static enum pk_reason unchosen(const struct pk_step *s, const struct pk_service *service)
{
	if (service->place_count)
		return PK_ALL_FULL;
	s->decision->problem = pk_has_ports(s->view) && !service->is_any ? PK_PORT_UNREACHABLE :
									   PK_HOST_UNREACHABLE;
	return PK_NO_BACKEND;
}

/* The place that the client's pin names, else the scheduler's choice. `*pin`: the client's pin, or
 * PK_ABSENT. */
static const struct pk_place *choose(const struct pk_step *s, const struct pk_service *service,
				     int persists, pk_picker *pick, __u32 *pin)
{
	const struct pk_pins *pins = &s->plane->pins;
	__u32 place;

	*pin = persists ? pk_pin_find(&s->plane->pins, service, s->key) : PK_ABSENT;
	if (*pin != PK_ABSENT) {
		place = s->tables->place_of[pins->pin[*pin].tally];
		if (place != PK_ABSENT)
			return &s->tables->places[place];
	}
	return pick(&s->plane->standings, s->tables, service, s->key, s->frame->data);
}

/* Open a flow, instead of the `old` one if there is one. */
static enum pk_reason open_flow(const struct pk_step *s, const struct pk_service *service,
				__u32 old)
{
	struct pk_flows *flows = &s->plane->flows;
	int alone = service->one_packet && s->key->proto == PK_UDP;
	int single = alone && s->view->kind == PK_WHOLE, persists = service->persist && !alone;
	enum pk_state state = PK_DATAGRAMS;
	enum pk_reason reason = PK_OPENED;
	const struct pk_place *place;
	struct pk_flow flow;
	__u32 number, pin;

	if (service->is_any)
		pk_speak_as_port(s);
	else
		pk_speak_as(s, &service->vip);
	if (s->view->ttl <= 1)
		return pk_out_of_time(s);
	if (old != PK_ABSENT && !(single && (flows->flow[old].mode & PK_FLOW_PARTS)))
		pk_flow_remove(flows, old);
	if (!single && !pk_flows_make_room(flows, s->plane->now))
		return PK_TABLE_FULL;
	place = choose(s, service, persists, pk_pick, &pin);
	if (!place)
		return unchosen(s, service);
	if (single)
		return send_single(s, service, place);
	if (!pk_flow_prepare(s, service, place, alone ? PK_FLOW_PARTS : 0, &flow))
		return PK_NO_PORT;
	if (pk_leaves_its_link(s, &flow))
		return PK_BAD_SOURCE;
	if (s->key->proto == PK_TCP) {
		state = PK_SYN_SENT;
		if (!pk_opens(s->view->tcp_flags)) {
			state = pk_taken_up(s->view->tcp_flags, place->mode == PK_NAT);
			reason = PK_PICKED_UP;
		}
		pk_track_open(s->frame, s->view, &flow);
	}
	pk_note_way_back(s, &flow);
	if (persists)
		flow.pin = pk_pin_hold(&s->plane->pins, pin, service, s->key, place->tally);
	number = pk_flow_add(flows, &flow, s->hash, state, s->plane->now);
	return pk_to_backend(s, pk_flow_at(s, number), reason);
}

/* NAT: of the single datagrams from one client port, the flow that was used last, or NULL. */
static struct pk_flow *latest_single(const struct pk_step *s, const struct pk_service *service)
{
	__u32 i, number, now = s->plane->now;
	struct pk_flow *found = NULL, *flow;

	for (i = 0; i < service->place_count && i < SINGLES; i++) {
		number = pk_flow_of_single(s, service->places[i].tally);
		flow = number == PK_ABSENT ? NULL : pk_flow_at(s, number);
		if (flow && (!found || now - flow->seen < now - found->seen))
			found = flow;
	}
	return found;
}

struct pk_flow *pk_flow_elsewhere(const struct pk_step *s, struct pk_flow *made)
{
	const struct pk_tables *tables = s->tables;
	struct pk_end end = pk_destination_of(s->key);
	__u32 at = pk_ends_find(&tables->service_at, &tables->secret, &end), pin;
	const struct pk_service *service;
	const struct pk_place *place;
	struct pk_flow *found;
	int alone;

	if (at == PK_ABSENT || pk_is_impossible(s->tables, &s->key->source, s->key->family))
		return NULL;
	service = &tables->services[at];
	alone = service->one_packet && s->key->proto == PK_UDP;
	found = alone ? latest_single(s, service) : NULL;
	if (found)
		return found;
	if (service->scheduler != PK_BY_HASH || service->fields == PK_BY_MAC)
		return NULL;
	place = choose(s, service, service->persist && !alone, pk_peek, &pin);
	if (!place || place->mode == PK_NAT)
		return NULL;
	pk_flow_prepare(s, service, place, 0, made);
	return made;
}

/* A packet that no service claims. One that looks like a backend's reply was held back from the
 * kernel: it is given back now. */
static enum pk_reason of_no_service(const struct pk_step *s, __u32 old)
{
	const struct pk_tables *tables = s->tables;
	struct pk_end from = pk_source_of(s->key);
	__u32 port = ntohs(s->key->dport);
	int own = tables->has_snat[s->key->family != 4] && port >= tables->own_low && port < tables->own_high;

	if (!own && pk_ends_find(&tables->replies, &tables->secret, &from) != PK_ABSENT &&
	    pk_may_be_client(s, &s->key->destination, s->key->family))
		return pk_give_back(s, PK_NO_FLOW);
	if (!tables->any || !pk_is_to_spread(s, s->key))
		return PK_NOT_OURS;
	if (pk_was_there(s))
		return pk_give_back(s, PK_NOT_OURS);
	if (pk_is_impossible(s->tables, &s->key->source, s->key->family))
		return PK_BAD_SOURCE;
	return open_flow(s, tables->any, old);
}

/* Note the packet in the flow's state, idle time and way back. */
static void follow(const struct pk_step *s, __u32 number, int from_client)
{
	struct pk_flows *flows = &s->plane->flows;
	struct pk_flow *flow = pk_flow_at(s, number);
	struct pk_effect effect = { .refreshes = 1, .proves = flow->state == PK_DATAGRAMS };

	if (flow->state != PK_DATAGRAMS && s->view->kind != PK_LATER)
		effect = pk_track_follow(s->frame, s->view, flow, from_client);
	if (effect.next)
		pk_flow_move(flows, number, effect.next - 1);
	if (effect.refreshes)
		pk_flow_touch(flows, number, s->plane->now);
	if (effect.proves && from_client)
		pk_note_way_back(s, flow);
}

static enum pk_reason without_flow(const struct pk_step *s, __u32 old);

enum pk_reason pk_of_flow(const struct pk_step *s, __u32 number)
{
	struct pk_flow *flow = pk_flow_at(s, number);
	int from_client = pk_is_directed(s, flow);

	if ((flow->mode & PK_FLOW_ANY) && pk_was_there(s)) {
		s->decision->gives_back = pk_is_to_spread(s, s->key);
		return PK_NOT_OURS;
	}
	if (s->view->ttl <= 1) {
		pk_choose_answerer(s, flow, from_client);
		return pk_out_of_time(s);
	}
	if (pk_fate_of(s, flow) != PK_NOT_REMOVED) {
		enum pk_reason course = pk_course_of(s, number, from_client);

		if (course == PK_OPENED) {
			pk_flow_remove(&s->plane->flows, number);
			return without_flow(s, PK_ABSENT);
		}
		if (course != PK_FORWARDED)
			return course;
	}
	follow(s, number, from_client);
	if (!from_client)
		return pk_to_client(s, flow, PK_RETURNED);
	/* Client and backend have agreed on nothing yet, or the backend is a mere next hop: another
	 * backend can take over when this one cannot be reached. */
	if ((flow->state == PK_DATAGRAMS || flow->state == PK_SYN_SENT ||
	     (flow->mode & PK_FLOW_ANY)) &&
	    s->view->kind != PK_LATER && !s->tables->hop_of[flow->tally])
		return without_flow(s, number);
	return pk_to_backend(s, flow, PK_FORWARDED);
}

/* A backend answers its client as the VIP, and we are its gateway: the kernel would drop the
 * answer, as its source is our own address. */
static enum pk_reason past_the_gateway(const struct pk_step *s)
{
	__u32 number = pk_find_answered(s, s->key);

	return number == PK_ABSENT ? pk_give_back(s, PK_NO_FLOW) : pk_of_flow(s, number);
}

/* A packet that no live flow claims: it opens a flow instead of the `old` one, or is not for us. */
static enum pk_reason without_flow(const struct pk_step *s, __u32 old)
{
	const struct pk_tables *tables = s->tables;
	struct pk_end end = pk_destination_of(s->key);
	__u32 found = pk_ends_find(&tables->service_at, &tables->secret, &end);
	const struct pk_service *service;
	__u8 flags = s->view->tcp_flags;

	if (found == PK_ABSENT) {
		if (pk_is_in(s, &tables->direct, &s->key->source, s->key->family)) {
			end = pk_source_of(s->key);
			found = pk_ends_find(&tables->service_at, &tables->secret, &end);
			if (found != PK_ABSENT && tables->services[found].direct)
				return past_the_gateway(s);
		}
		return of_no_service(s, old);
	}
	if (pk_is_impossible(s->tables, &s->key->source, s->key->family))
		return PK_BAD_SOURCE;
	service = &tables->services[found];
	if (s->key->proto == PK_TCP && !pk_opens(flags) &&
	    !(service->pick_up && pk_is_under_way(flags)))
		return pk_give_back(s, PK_NOT_OPEN);
	return open_flow(s, service, old);
}

/* Whether a client uses the port of a closed or lost connection for a new one. */
static int reopens(const struct pk_step *s, const struct pk_flow *flow)
{
	enum pk_on_remove fate;

	if (!pk_opens(s->view->tcp_flags) || !pk_is_directed(s, flow))
		return 0;
	fate = pk_fate_of(s, flow);
	if (flow->state != PK_CLOSED && s->tables->hop_of[flow->tally] &&
	    (fate == PK_NOT_REMOVED || fate == PK_ON_REMOVE_KEEP))
		return 0;
	return pk_is_intact(s->frame, s->view);
}

/* A packet that tells its flow. */
enum pk_reason pk_packet(const struct pk_step *s)
{
	__u32 number = pk_flow_find(&s->plane->flows, s->key, s->hash, s->plane->now);

	if (number == PK_ABSENT || reopens(s, pk_flow_at(s, number)) ||
	    ((pk_flow_at(s, number)->mode & PK_FLOW_PARTS) && s->view->kind == PK_WHOLE))
		return without_flow(s, number);
	return pk_of_flow(s, number);
}
