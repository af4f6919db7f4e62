/* SPDX-License-Identifier: BSD-3-Clause */
#include "track.h"

#include <stddef.h>

#define MOST_SCALE 14  /* RFC 7323, section 2.3 */
#define WINDOW_SCALE 3 /* the number of the option */

enum fit { NOT, UNKNOWN, FITS };

struct segment {
	__u32 start, end, acknowledged;
	__u16 window;
	__u8 flags;
	__u8 scale; /* of a SYN, plus one; 0: it has none */
};

struct numbers {
	__u32 next, acked;
	__s32 shift;
};

/* One end of a flow. */
struct side {
	struct numbers *numbers;
	__u8 *reach;
	__u8 known, acked; /* its bits in `known` of the flow */
	__u8 scale_at;     /* the place of its bits in `scales` of the flow */
};

static struct side side_of(struct pk_flow *flow, int client)
{
	__u8 *bytes = (__u8 *)flow;

	if (client)
		return (struct side){ (void *)(bytes + offsetof(struct pk_flow, client_next)),
				      &flow->client_reach, PK_CLIENT_KNOWN, PK_CLIENT_ACKED, 0 };
	return (struct side){ (void *)(bytes + offsetof(struct pk_flow, backend_next)),
			      &flow->backend_reach, PK_BACKEND_KNOWN, PK_BACKEND_ACKED, 4 };
}

static int is_later(__u32 number, __u32 than)
{
	return (__s32)(number - than) > 0;
}

static int is_within(__u32 number, __u32 low, __u32 high)
{
	return number - low <= high - low;
}

static __u8 scale_in(const __u8 *options, __u32 length)
{
	__u32 at = 0, size;

	while (at < length && options[at]) {
		if (options[at] == 1) {
			at++;
			continue;
		}
		size = at + 1 < length ? options[at + 1] : 0;
		if (size < 2 || at + size > length)
			return 0;
		if (options[at] == WINDOW_SCALE && size == 3)
			return (options[at + 2] < MOST_SCALE ? options[at + 2] : MOST_SCALE) + 1;
		at += size;
	}
	return 0;
}

static struct segment read_segment(const struct pk_frame *frame, const struct pk_view *view)
{
	const __u8 *tcp = frame->data + view->transport;
	struct segment segment = { .start = pk_be32(tcp + 4), .acknowledged = pk_be32(tcp + 8),
				   .window = pk_be16(tcp + 14), .flags = view->tcp_flags };
	__u32 length = view->end - view->payload;

	if (view->kind != PK_WHOLE)
		length = 0xffff; /* the other fragments are not here */
	else if (segment.flags & (PK_SYN | PK_FIN))
		length += !!(segment.flags & PK_SYN) + !!(segment.flags & PK_FIN);
	segment.end = segment.start + length;
	if (segment.flags & PK_SYN)
		segment.scale = scale_in(tcp + 20, (__u32)view->payload - view->transport - 20);
	return segment;
}

int pk_is_intact(const struct pk_frame *frame, const struct pk_view *view)
{
	__u8 family = view->key.family;
	__u32 length = view->end - view->transport;
	const __u8 *ends = frame->data + PK_IP + pk_ends_at(family);
	__u8 rest[4] = { 0, PK_TCP, (__u8)(length >> 8), (__u8)length };

	if (view->kind != PK_WHOLE)
		return 0;
	if (frame->offload.gso_type || frame->offload.flags & (PK_NEEDS_CHECKSUM | PK_CHECKED))
		return 1;
	return !pk_checksum(frame->data + view->transport, length,
			    pk_sum(rest, 4, pk_sum(ends, 2 * pk_size(family), 0)));
}

static __u8 scale_of(const struct pk_flow *flow, const struct side *side)
{
	return flow->scales >> side->scale_at & 0x0f;
}

static void set_scale(struct pk_flow *flow, const struct side *side, __u8 scale)
{
	flow->scales = (__u8)((flow->scales & ~(0x0f << side->scale_at)) |
			      scale << side->scale_at);
}

static void offer(struct pk_flow *flow, const struct side *side, const struct segment *segment)
{
	__u8 scale = scale_of(flow, side);
	__u32 window;

	if (segment->flags & PK_SYN) {
		set_scale(flow, side, segment->scale ? segment->scale : 1);
		*side->reach = PK_LEAST_REACH;
		return;
	}
	if (!scale)
		return;
	window = (__u32)segment->window << (scale - 1);
	if (window >> *side->reach)
		*side->reach = (__u8)(32 - __builtin_clz(window));
}

/* Believe the numbers of a segment, whatever was known before. */
static void set(struct pk_flow *flow, const struct side *side, const struct segment *segment)
{
	side->numbers->next = segment->end;
	flow->known |= side->known;
	if (segment->flags & PK_ACK) {
		side->numbers->acked = segment->acknowledged;
		flow->known |= side->acked;
	}
}

/* Note a segment that fits; whether it is further than all before it. */
static int advance(struct pk_flow *flow, const struct side *side, const struct segment *segment)
{
	int further = is_later(segment->end, side->numbers->next);

	if (further)
		side->numbers->next = segment->end;
	if (!(flow->known & side->acked) ||
	    is_later(segment->acknowledged, side->numbers->acked)) {
		side->numbers->acked = segment->acknowledged;
		flow->known |= side->acked;
		further = 1;
	}
	return further;
}

static void open_with(struct pk_flow *flow, const struct segment *segment)
{
	struct side client = side_of(flow, 1);

	set(flow, &client, segment);
	offer(flow, &client, segment);
	if (segment->flags & PK_SYN)
		flow->backend_reach = PK_LEAST_REACH;
}

void pk_track_open(const struct pk_frame *frame, const struct pk_view *view, struct pk_flow *flow)
{
	struct segment segment = read_segment(frame, view);

	open_with(flow, &segment);
}

static enum fit fit_alone(const struct pk_flow *flow, const struct segment *segment)
{
	__u32 room = 1u << flow->backend_reach, window = 1u << flow->client_reach;

	if (!(flow->known & PK_CLIENT_KNOWN))
		return UNKNOWN;
	if (!is_within(segment->start, flow->client_next - room, flow->client_next + room))
		return NOT;
	if (flow->known & PK_CLIENT_ACKED &&
	    !is_within(segment->acknowledged, flow->client_acked - window,
		       flow->client_acked + window))
		return NOT;
	return FITS;
}

static enum fit fit_both(const struct pk_flow *flow, const struct side *here,
			 const struct side *there, const struct segment *segment)
{
	__u32 room = 1u << *there->reach, least, low, high;
	int proven = flow->known & PK_PROVEN;

	if (flow->known & there->known) {
		least = proven ? here->numbers->acked : there->numbers->next;
		if (!is_within(segment->acknowledged, least - (1u << *here->reach),
			       there->numbers->next))
			return NOT;
	}
	if (!(flow->known & (there->acked | here->known)))
		return UNKNOWN;
	low = flow->known & there->acked ? there->numbers->acked : here->numbers->next;
	high = proven ? here->numbers->next : low;
	return is_within(segment->start, low - room, high + room) ? FITS : NOT;
}

static void prove(struct pk_flow *flow, int two_way)
{
	struct side side, other;
	int client;

	flow->known |= PK_PROVEN;
	for (client = 0; client < 2; client++) {
		side = side_of(flow, client);
		other = side_of(flow, !client);
		if (!scale_of(flow, &side))
			*side.reach = PK_UNSEEN_REACH;
		if (two_way && is_later(other.numbers->acked, side.numbers->next))
			side.numbers->next = other.numbers->acked;
	}
}

/* Note a segment as far as it fits; `*further`: whether it is further than all before it. */
static enum fit take(struct pk_flow *flow, const struct segment *segment, int from_client,
		     int two_way, int *further)
{
	struct side here = side_of(flow, from_client), there = side_of(flow, !from_client);
	enum fit fit = NOT;
	int confirmed;

	if (segment->flags & PK_ACK)
		fit = two_way ? fit_both(flow, &here, &there, segment) : fit_alone(flow, segment);
	if (flow->known & PK_PROVEN || (fit == FITS && !(flow->known & there.acked))) {
		*further = fit == FITS && advance(flow, &here, segment);
	} else {
		*further = 1;
		if (segment->flags & PK_ACK)
			set(flow, &here, segment);
	}
	if (fit == NOT)
		return NOT;
	offer(flow, &here, segment);
	if (segment->flags & PK_SYN && !segment->scale)
		set_scale(flow, &there, 1);
	confirmed = !two_way || (flow->known & there.known && flow->known & there.acked);
	if (fit == FITS && confirmed && !(flow->known & PK_PROVEN) && !(segment->flags & PK_SYN))
		prove(flow, two_way);
	return fit;
}

static int is_reset_by(struct pk_flow *flow, const struct segment *segment, int from_client,
		       int two_way)
{
	struct side here = side_of(flow, from_client), there = side_of(flow, !from_client);
	__u32 start = segment->start;

	if (!from_client && flow->state == PK_SYN_SENT)
		return flow->known & there.known && segment->flags & PK_ACK &&
		       segment->acknowledged == there.numbers->next;
	if (!from_client && !two_way)
		return flow->known & there.acked && start == there.numbers->acked;
	if (!(flow->known & here.known))
		return 0;
	if (!two_way)
		return here.numbers->next - start <= 1;
	if (flow->known & PK_PROVEN)
		return is_within(start, there.numbers->acked, here.numbers->next);
	return start == here.numbers->next ||
	       (flow->known & there.acked && start == there.numbers->acked);
}

/* A SYN without ACK moves nothing: the ends tell whether the connection begins anew (RFC 5961,
 * section 4). */
static struct pk_effect follow_syn(struct pk_flow *flow, const struct segment *segment,
				   int from_client)
{
	struct side backend = side_of(flow, 0);

	if (segment->flags & PK_FIN ||
	    (flow->state != PK_SYN_SENT && flow->state != PK_SYN_RECEIVED))
		return (struct pk_effect){ 0, 0, 0 };
	if (from_client && flow->known & PK_CLIENT_KNOWN && segment->end == flow->client_next)
		return (struct pk_effect){ .proves = 1 };
	if (flow->state == PK_SYN_SENT && from_client) {
		open_with(flow, segment);
	} else if (flow->state == PK_SYN_SENT) { /* simultaneous open */
		set(flow, &backend, segment);
		offer(flow, &backend, segment);
	}
	return (struct pk_effect){ 0, 0, 0 };
}

/* The state that an RST leads to, plus one, if its receiver would believe it. */
static struct pk_effect follow_reset(const struct pk_frame *frame, const struct pk_view *view,
				     struct pk_flow *flow, const struct segment *segment,
				     int from_client, int two_way, __u8 next)
{
	if (!next || !is_reset_by(flow, segment, from_client, two_way) ||
	    !pk_is_intact(frame, view))
		return (struct pk_effect){ 0, 0, 0 };
	flow->known = (__u8)((flow->known & ~PK_BEFORE) | (flow->state + 1));
	return (struct pk_effect){ .next = next, .refreshes = 1 };
}

struct pk_effect pk_track_follow(const struct pk_frame *frame, const struct pk_view *view,
				 struct pk_flow *flow, int from_client)
{
	struct segment segment = read_segment(frame, view);
	enum pk_event event = pk_event_of(segment.flags, from_client);
	int two_way = PK_MODE(flow) == PK_NAT, further;
	const __u8 (*moves)[PK_EVENT_COUNT] = two_way ? pk_two_way : pk_one_way;
	__u8 state = flow->state, back = 0, next;
	enum fit fit;

	if (event == PK_ON_RESET)
		return follow_reset(frame, view, flow, &segment, from_client, two_way,
				    moves[state][event]);
	if (!from_client && !two_way)
		return (struct pk_effect){ .refreshes = 1 };
	if ((segment.flags & (PK_SYN | PK_ACK)) == PK_SYN)
		return follow_syn(flow, &segment, from_client);
	fit = take(flow, &segment, from_client, two_way, &further);
	if (fit == NOT)
		return (struct pk_effect){ .refreshes = 1 };
	if (fit == FITS && further && flow->known & PK_BEFORE && !(segment.flags & PK_SYN)) {
		back = flow->known & PK_BEFORE;
		state = back - 1;
		flow->known &= (__u8)~PK_BEFORE;
	}
	next = moves[state][event];
	if (next && segment.flags & (PK_SYN | PK_FIN) && !pk_is_intact(frame, view))
		next = 0;
	if (!next && (state == PK_SYN_SENT || state == PK_SYN_RECEIVED) &&
	    flow->known & PK_PROVEN)
		next = PK_TO(PK_ESTABLISHED);
	next = next ? next : back;
	return (struct pk_effect){ next == PK_TO(flow->state) ? 0 : next, 1, fit == FITS };
}

static void restore_side(struct pk_flow *flow, int client)
{
	struct side side = side_of(flow, client);

	side.numbers->shift = 0;
	if (*side.reach < PK_LEAST_REACH || *side.reach > PK_MOST_REACH)
		*side.reach = PK_UNSEEN_REACH;
}

void pk_track_restore(struct pk_flow *flow)
{
	__u8 whole = PK_CLIENT_KNOWN;

	if (flow->proto != PK_TCP) {
		flow->client_next = flow->client_acked = flow->backend_next = flow->backend_acked = 0;
		flow->scales = flow->known = flow->client_reach = flow->backend_reach = 0;
	}
	restore_side(flow, 1);
	restore_side(flow, 0);
	if (PK_MODE(flow) == PK_NAT)
		whole |= PK_BACKEND_KNOWN | PK_CLIENT_ACKED | PK_BACKEND_ACKED;
	if ((flow->known & whole) != whole)
		flow->known &= (__u8)~PK_PROVEN;
	if (flow->state != PK_CLOSED || (flow->known & PK_BEFORE) > PK_CLOSED)
		flow->known &= (__u8)~PK_BEFORE;
}
