/* SPDX-License-Identifier: BSD-3-Clause */
/* The middle pass: which flow a packet belongs to, and where that sends it. Under the lock. */
#include <arpa/inet.h>
#include <string.h>

#include "step.h"

/* Our own address on the port where the frame came in. */
static void speak_as_port(const struct pk_step *s)
{
	const struct pk_port *port = pk_port_of(s->tables, s->frame->port);
	int ipv6 = s->key->family != 4;

	s->decision->answers = port && port->has_address[ipv6];
	if (s->decision->answers)
		s->decision->answerer = port->address[ipv6];
}

void pk_speak_as(const struct pk_step *s, const struct pk_addr *vip)
{
	s->decision->answers = 1;
	s->decision->answerer = *vip;
}

/* The VIP tells the sender of a packet of a flow what is wrong, unless it is the sender's own as
 * well, or not ours. */
static void choose_answerer(const struct pk_step *s, const struct pk_flow *flow, int from_client)
{
	if ((flow->mode & PK_FLOW_ANY) || !(from_client || PK_MODE(flow) == PK_NAT))
		speak_as_port(s);
	else
		pk_speak_as(s, &flow->vip);
}

enum pk_reason pk_out_of_time(const struct pk_step *s)
{
	s->decision->problem = PK_TIME_EXCEEDED;
	return PK_TTL_EXPIRED;
}

/* What rewriting needs of a way to the backend. */
enum pk_reason pk_to_backend(const struct pk_step *s, struct pk_flow *flow,
				 enum pk_reason reason)
{
	struct pk_tally *tally = &s->plane->standings.tallies[flow->tally];
	const struct pk_hop *hop = s->tables->hop_of[flow->tally];
	struct pk_decision *d = s->decision;

	if (reason != PK_RELATED) { /* an error comes from a router */
		flow->port = s->frame->port;
		memcpy(flow->mac, s->frame->data + 6, 6);
	}
	if (!hop)
		return PK_NO_NEXT_HOP;
	if (reason != PK_RELATED && reason != PK_RESET) { /* no packets of the client's */
		tally->packets_in++;
		tally->bytes_in += s->view->end - PK_IP;
	}
	d->port = hop->port;
	d->mtu = hop->mtu;
	memcpy(d->macs, hop->macs, 12);
	choose_answerer(s, flow, 1);
	d->translates = PK_MODE(flow) == PK_NAT;
	d->keeps_source = 1;
	if (d->translates)
		d->to = (struct pk_translation){ flow->seen_as, tally->backend.addr,
						 flow->seen_port, pk_flow_port(flow, tally),
						 flow->by, flow->by_transport };
	d->tunnel.family = 0;
	if (PK_MODE(flow) == PK_TUNNEL)
		d->tunnel = (struct pk_tunnel){ hop->source, tally->backend.addr,
						tally->backend.family };
	return reason;
}

/* The way that the client's last packet came. */
int pk_find_client(const struct pk_step *s, const struct pk_flow *flow)
{
	const struct pk_port *port = pk_port_of(s->tables, flow->port);
	struct pk_decision *d = s->decision;

	if (!port)
		return 0;
	d->port = flow->port;
	d->mtu = port->mtu;
	memcpy(d->macs, flow->mac, 6);
	memcpy(d->macs + 6, port->mac, 6);
	return 1;
}

enum pk_reason pk_to_client(const struct pk_step *s, const struct pk_flow *flow,
				enum pk_reason reason)
{
	struct pk_tally *tally = &s->plane->standings.tallies[flow->tally];
	struct pk_decision *d = s->decision;

	if (!pk_find_client(s, flow))
		return PK_NO_NEXT_HOP;
	if (reason == PK_RETURNED) {
		tally->packets_out++;
		tally->bytes_out += s->view->end - PK_IP;
	}
	choose_answerer(s, flow, 0);
	d->translates = PK_MODE(flow) == PK_NAT;
	d->keeps_source = 0;
	d->tunnel.family = 0;
	d->to = (struct pk_translation){ flow->vip, flow->client, flow->vip_port,
					 flow->client_port, pk_delta_turned(flow->by),
					 pk_delta_turned(flow->by_transport) };
	return reason;
}

/* A datagram that says nothing about the next one; NAT must know its reply all the same. */
static enum pk_reason send_single(const struct pk_step *s, const struct pk_service *service,
				  const struct pk_place *place)
{
	struct pk_flows *flows = &s->plane->flows;
	struct pk_flow flow;
	__u32 number;

	if (place->mode != PK_NAT) {
		pk_flow_prepare(s, service, place, 0, &flow);
		s->plane->standings.tallies[place->tally].connections++;
		return pk_to_backend(s, &flow, PK_OPENED);
	}
	number = pk_flow_of_single(s, place->tally);
	if (number != PK_ABSENT) {
		pk_flow_touch(flows, number, s->plane->now);
		return pk_to_backend(s, pk_flow_at(s, number), PK_FORWARDED);
	}
	if (!pk_flows_make_room(flows, s->plane->now))
		return PK_TABLE_FULL;
	if (!pk_flow_prepare(s, service, place, PK_FLOW_SINGLE, &flow))
		return PK_NO_PORT;
	number = pk_flow_add(flows, &flow, s->hash, PK_DATAGRAMS, s->plane->now);
	return pk_to_backend(s, pk_flow_at(s, number), PK_OPENED);
}

/* No backend takes flows, or no more of them: then the client tries again. */
static enum pk_reason unchosen(const struct pk_step *s, const struct pk_service *service)
{
	if (service->place_count)
		return PK_ALL_FULL;
	s->decision->problem = pk_has_ports(s->view) && !service->is_any ? PK_PORT_UNREACHABLE :
									   PK_HOST_UNREACHABLE;
	return PK_NO_BACKEND;
}

/* Where its client stays (`pin`, if there is one), else where the scheduler says. */
static const struct pk_place *choose(const struct pk_step *s, const struct pk_service *service,
				     int persists, __u32 *pin)
{
	const struct pk_pins *pins = &s->plane->pins;
	__u32 place;

	*pin = persists ? pk_pin_find(&s->plane->pins, service, s->key) : PK_ABSENT;
	if (*pin != PK_ABSENT) {
		place = s->tables->place_of[pins->pin[*pin].tally];
		if (place != PK_ABSENT)
			return &s->tables->places[place];
	}
	return pk_pick(&s->plane->standings, s->tables, service, s->key, s->frame->data);
}

/* A new flow instead of an `old` one. */
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
		speak_as_port(s);
	else
		pk_speak_as(s, &service->vip);
	if (s->view->ttl <= 1)
		return pk_out_of_time(s);
	if (old != PK_ABSENT && !(single && (flows->flow[old].mode & PK_FLOW_PARTS)))
		pk_flow_remove(flows, old);
	if (!single && !pk_flows_make_room(flows, s->plane->now))
		return PK_TABLE_FULL;
	place = choose(s, service, persists, &pin);
	if (!place)
		return unchosen(s, service);
	if (single)
		return send_single(s, service, place);
	if (!pk_flow_prepare(s, service, place, alone ? PK_FLOW_PARTS : 0, &flow))
		return PK_NO_PORT;
	if (s->key->proto == PK_TCP) {
		state = PK_SYN_SENT;
		if (!pk_opens(s->view->tcp_flags)) {
			state = pk_taken_up(s->view->tcp_flags, place->mode == PK_NAT);
			reason = PK_PICKED_UP;
		}
	}
	if (persists)
		flow.pin = pk_pin_hold(&s->plane->pins, pin, service, s->key, place->tally);
	number = pk_flow_add(flows, &flow, s->hash, state, s->plane->now);
	return pk_to_backend(s, pk_flow_at(s, number), reason);
}

/* Whether backends of NAT services send their replies there. */
int pk_may_be_client(const struct pk_step *s, const struct pk_addr *addr, __u8 family)
{
	if (s->tables->has_snat[family != 4])
		return pk_is_in(s, &s->tables->snat, addr, family);
	return !pk_is_in(s, &s->tables->own, addr, family);
}

/* Whether the kernel would forward it, on a port where that is our business. */
int pk_is_to_spread(const struct pk_step *s, const struct pk_key *key)
{
	const struct pk_port *port = pk_port_of(s->tables, s->frame->port);

	return port && port->spreads && !memcmp(s->frame->data, port->mac, 6) &&
	       !pk_is_in(s, &s->tables->own, &key->destination, key->family) &&
	       pk_is_forwardable(&key->destination, key->family) &&
	       pk_is_forwardable(&key->source, key->family);
}

/* It comes from one of those whom it would be spread over. */
int pk_was_there(const struct pk_step *s)
{
	struct pk_addr mac = { .half = { 0, 0 } };

	memcpy(mac.byte, s->frame->data + 6, 6);
	return pk_is_in(s, &s->tables->appliances, &mac, 0);
}

/* What looks like a backend's reply was held back from the kernel: it gets it now. */
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
	return open_flow(s, tables->any, old);
}

/* Note the packet in the flow's state and idle time. */
static void follow(const struct pk_step *s, __u32 number, int from_client)
{
	struct pk_flows *flows = &s->plane->flows;
	struct pk_flow *flow = pk_flow_at(s, number);
	__u8 next = 0;

	if (flow->state != PK_DATAGRAMS && s->view->kind != PK_LATER) {
		enum pk_event event = pk_event_of(s->view->tcp_flags, from_client);

		next = PK_MODE(flow) == PK_NAT ? pk_two_way[flow->state][event] :
						 pk_one_way[flow->state][event];
	}
	if (next)
		pk_flow_move(flows, number, next - 1);
	pk_flow_touch(flows, number, s->plane->now);
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
		choose_answerer(s, flow, from_client);
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
	/* Nothing is agreed yet, with a mere next hop nothing ever: another backend can take over when
	 * this one cannot be reached. */
	if ((flow->state == PK_DATAGRAMS || flow->state == PK_SYN_SENT ||
	     (flow->mode & PK_FLOW_ANY)) &&
	    s->view->kind != PK_LATER && !s->tables->hop_of[flow->tally])
		return without_flow(s, number);
	return pk_to_backend(s, flow, PK_FORWARDED);
}

/* A backend's answer in the VIP's name, whose gateway we are: the kernel would take it for a
 * packet of our own that came back. */
static enum pk_reason past_the_gateway(const struct pk_step *s)
{
	__u32 number = pk_find_answered(s, s->key);

	return number == PK_ABSENT ? pk_give_back(s, PK_NO_FLOW) : pk_of_flow(s, number);
}

/* A packet that no live flow claims: a new flow instead of an old one, or not for us. */
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
	service = &tables->services[found];
	if (s->key->proto == PK_TCP && !pk_opens(flags) &&
	    !(service->pick_up && pk_is_under_way(flags)))
		return pk_give_back(s, PK_NOT_OPEN);
	return open_flow(s, service, old);
}

/* A client that uses the port of a closed or lost connection for a new one. */
static int reopens(const struct pk_step *s, const struct pk_flow *flow)
{
	enum pk_on_remove fate;

	if (!pk_opens(s->view->tcp_flags) || !pk_is_directed(s, flow))
		return 0;
	fate = pk_fate_of(s, flow);
	return flow->state == PK_CLOSED || !s->tables->hop_of[flow->tally] ||
	       (fate != PK_NOT_REMOVED && fate != PK_ON_REMOVE_KEEP);
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

void pk_decide(struct pk_plane *plane, const struct pk_tables *tables,
	       const struct pk_frame *frame, struct pk_view *view, __u64 hash,
	       struct pk_decision *decision)
{
	struct pk_step step = { plane, tables, frame, view, &view->key, hash, decision };

	decision->relays = decision->answers = 0;
	if (view->kind == PK_ERROR)
		decision->reason = pk_error_of(&step);
	else if (view->kind != PK_WHOLE && pk_is_held(&step))
		decision->reason = pk_fragment_of(&step);
	else
		decision->reason = pk_packet(&step);
}
