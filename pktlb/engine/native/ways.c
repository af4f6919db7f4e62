/* SPDX-License-Identifier: BSD-3-Clause */
/* Where packets go, and in whose name their senders are told what is wrong. Under the lock. */
#include <string.h>

#include "step.h"

/* Our own address on the port where the frame came in. */
void pk_speak_as_port(const struct pk_step *s)
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

/* The VIP tells the sender what is wrong. Our own address does so where backends send as the VIP
 * themselves, and where the flow's VIP is not ours. */
void pk_choose_answerer(const struct pk_step *s, const struct pk_flow *flow, int from_client)
{
	if ((flow->mode & PK_FLOW_ANY) || !(from_client || PK_MODE(flow) == PK_NAT))
		pk_speak_as_port(s);
	else
		pk_speak_as(s, &flow->vip);
}

enum pk_reason pk_out_of_time(const struct pk_step *s)
{
	s->decision->problem = PK_TIME_EXCEEDED;
	return PK_TTL_EXPIRED;
}

int pk_leaves_its_link(const struct pk_step *s, const struct pk_flow *flow)
{
	const struct pk_hop *hop = s->tables->hop_of[flow->tally];
	struct pk_key error;

	if (!hop || hop->port == s->frame->port)
		return 0;
	if (s->view->kind == PK_ERROR) {
		pk_address_key(s->frame->data, &error);
		return pk_is_link_local(&error.source, error.family);
	}
	return pk_is_link_local(PK_MODE(flow) == PK_NAT ? &flow->seen_as : &flow->client,
				flow->family);
}

void pk_note_way_back(const struct pk_step *s, struct pk_flow *flow)
{
	flow->port = s->frame->port;
	memcpy(flow->mac, s->frame->data + 6, 6);
}

enum pk_reason pk_to_backend(const struct pk_step *s, const struct pk_flow *flow,
			     enum pk_reason reason)
{
	struct pk_tally *tally = &s->plane->standings.tallies[flow->tally];
	const struct pk_hop *hop = s->tables->hop_of[flow->tally];
	struct pk_decision *d = s->decision;

	if (!hop)
		return PK_NO_NEXT_HOP;
	if (pk_leaves_its_link(s, flow))
		return PK_BAD_SOURCE;
	if (reason != PK_RELATED && reason != PK_RESET) { /* else it is no packet of the client */
		tally->packets_in++;
		tally->bytes_in += s->view->end - PK_IP;
	}
	d->port = hop->port;
	d->mtu = hop->mtu;
	memcpy(d->macs, hop->macs, 12);
	pk_choose_answerer(s, flow, 1);
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

int pk_find_client(const struct pk_step *s, const struct pk_flow *flow)
{
	const struct pk_port *port = pk_port_of(s->tables, flow->port);
	struct pk_decision *d = s->decision;

	if (!port)
		return 0;
	d->port = port->out;
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
	pk_choose_answerer(s, flow, 0);
	d->translates = PK_MODE(flow) == PK_NAT;
	d->keeps_source = 0;
	d->tunnel.family = 0;
	d->to = (struct pk_translation){ flow->vip, flow->client, flow->vip_port,
					 flow->client_port, pk_delta_turned(flow->by),
					 pk_delta_turned(flow->by_transport) };
	return reason;
}

int pk_may_be_client(const struct pk_step *s, const struct pk_addr *addr, __u8 family)
{
	if (s->tables->has_snat[family != 4])
		return pk_is_in(s, &s->tables->snat, addr, family);
	return !pk_is_in(s, &s->tables->own, addr, family);
}

int pk_is_to_spread(const struct pk_step *s, const struct pk_key *key)
{
	const struct pk_port *port = pk_port_of(s->tables, s->frame->port);

	return port && port->spreads && !memcmp(s->frame->data, port->mac, 6) &&
	       !pk_is_in(s, &s->tables->own, &key->destination, key->family) &&
	       pk_is_forwardable(&key->destination, key->family) &&
	       pk_is_forwardable(&key->source, key->family);
}

int pk_was_there(const struct pk_step *s)
{
	struct pk_addr mac = { .half = { 0, 0 } };

	memcpy(mac.byte, s->frame->data + 6, 6);
	return pk_is_in(s, &s->tables->appliances, &mac, 0);
}
