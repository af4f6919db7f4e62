/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets of flows that were killed, or whose backend was removed. */
#include "step.h"

/* Whether packets of a flow can be sent on. */
static int has_way(const struct pk_step *s, const struct pk_flow *flow, int from_client)
{
	if (from_client)
		return s->tables->hop_of[flow->tally] != NULL;
	return pk_port_of(s->tables, flow->port) != NULL;
}

/* The other end gets a RST on the way that the packet would have gone. */
static void tell_other_end(const struct pk_step *s, struct pk_flow *flow, int from_client)
{
	enum pk_reason reason = from_client ? pk_to_backend(s, flow, PK_RESET) :
					      pk_to_client(s, flow, PK_RESET);

	s->decision->has_way = reason == PK_RESET;
	s->decision->answers = 0; /* no sender is told that the RST does not fit */
}

enum pk_reason pk_course_of(const struct pk_step *s, __u32 number, int from_client)
{
	struct pk_flows *flows = &s->plane->flows;
	struct pk_flow *flow = pk_flow_at(s, number);
	enum pk_on_remove fate = pk_fate_of(s, flow);
	int datagrams = flow->state == PK_DATAGRAMS, later = s->view->kind == PK_LATER;

	if (datagrams || ((flow->mode & PK_FLOW_ANY) && !(flow->mode & PK_FLOW_KILLED)))
		return from_client && !later && (datagrams || fate != PK_ON_REMOVE_KEEP) ?
			       PK_OPENED : PK_FORWARDED;
	if (fate == PK_ON_REMOVE_KEEP)
		return PK_FORWARDED;
	if (fate == PK_ON_REMOVE_DROP || later)
		return PK_REMOVED;
	if (s->view->tcp_flags & PK_RST) /* the other end shall hear of it */
		return has_way(s, flow, from_client) ? PK_FORWARDED : PK_REMOVED;
	if (!pk_may_answer(s->frame, s->view))
		return PK_REMOVED;
	if (flow->state != PK_CLOSED)
		pk_flow_move(flows, number, PK_CLOSED);
	pk_flow_touch(flows, number, s->plane->now);
	tell_other_end(s, flow, from_client);
	return PK_RESET;
}
