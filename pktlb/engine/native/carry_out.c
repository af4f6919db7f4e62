/* SPDX-License-Identifier: BSD-3-Clause */
/* The last pass: rewrite a frame, cut it where it does not fit, wrap it, answer for it. */
#include "batch.h"

#include <arpa/inet.h>
#include <string.h>

#include "reset.h"
#include "segment.h"

/* Pieces on their way through a tunnel, or past it, to the sink. */
struct journey {
	struct pk_pieces wrap; /* takes what is to be wrapped */
	struct pk_pieces fit;  /* takes what may be too long for the link */
	struct pk_pieces emit; /* takes what is as it shall be */
	struct pk_worker *worker;
	const struct pk_decision *decision;
	struct pk_sink *sink;
	__u8 family;   /* of the packets that come */
	int borrowed;  /* bodies lie in memory that is used anew */
};

#define JOURNEY(pieces, member) \
	((struct journey *)(void *)((__u8 *)(pieces) - offsetof(struct journey, member)))

static const struct pk_offload no_offload;

static void emit(struct pk_pieces *pieces, __u8 *head, __u32 head_length, const __u8 *body,
		 __u32 body_length)
{
	struct journey *j = JOURNEY(pieces, emit);
	struct pk_out out = { head, body, head_length, body_length, j->decision->port,
			      j->borrowed, no_offload };

	j->sink->send(j->sink, &out);
}

/* The two parts of a packet in one buffer, to be cut anew. */
static void cut(struct journey *j, int scratch, __u32 mtu, struct pk_pieces *to, const __u8 *head,
		__u32 head_length, const __u8 *body, __u32 body_length)
{
	__u8 *whole = j->worker->scratch[scratch];
	int before = j->borrowed;

	memcpy(whole, head, head_length);
	memcpy(whole + head_length, body, body_length);
	j->borrowed = 1;
	pk_fragment(whole, head_length + body_length, mtu, j->worker->ident, to);
	j->borrowed = before;
}

static void fit(struct pk_pieces *pieces, __u8 *head, __u32 head_length, const __u8 *body,
		__u32 body_length)
{
	struct journey *j = JOURNEY(pieces, fit);

	if (head_length + body_length - PK_IP <= j->decision->mtu)
		emit(&j->emit, head, head_length, body, body_length);
	else
		cut(j, 1, j->decision->mtu, &j->emit, head, head_length, body, body_length);
}

/* One by one: receivers glue together only packets that were numbered in a row. */
static void count_ident(struct pk_worker *worker)
{
	worker->ident++;
	if ((worker->ident - 1) % 0x10000 == worker->ident_high - 1)
		worker->ident += worker->ident_low + 0x10000 - worker->ident_high;
}

static void wrap_one(struct journey *j, const __u8 *head, __u32 head_length, const __u8 *body,
		     __u32 body_length)
{
	const struct pk_tunnel *tunnel = &j->decision->tunnel;
	__u32 outer = pk_header_size(tunnel->family);
	__u8 wrapped[PK_LONGEST_HEAD + 40];

	count_ident(j->worker);
	memcpy(wrapped, head, 12);
	pk_put_ethertype(wrapped, tunnel->family);
	pk_wrap(wrapped + PK_IP, head + PK_IP, head_length - PK_IP + body_length,
		j->worker->ident, tunnel);
	memcpy(wrapped + PK_IP + outer, head + PK_IP, head_length - PK_IP);
	fit(&j->fit, wrapped, head_length + outer, body, body_length);
}

/* To the tunnel: a packet so long that no outer header can hold it is cut before. */
static void wrap(struct pk_pieces *pieces, __u8 *head, __u32 head_length, const __u8 *body,
		 __u32 body_length)
{
	struct journey *j = JOURNEY(pieces, wrap);
	__u32 longest = pk_longest_inside(j->decision->tunnel.family);

	if (head_length + body_length - PK_IP <= longest)
		wrap_one(j, head, head_length, body, body_length);
	else
		cut(j, 0, longest, pieces, head, head_length, body, body_length);
}

/* Finish a partial checksum here, since the device may not be able to. It may be that of a packet
 * inside, but lies behind the IP header, which ends at `transport`: what claims to lie in front of
 * that would be written over what was read already. */
static void complete_checksum(struct pk_frame *frame, __u32 transport)
{
	const struct pk_offload *offload = &frame->offload;
	__u32 start = offload->checksum_start, at = start + offload->checksum_offset;
	__u16 check;

	if ((offload->flags & PK_NEEDS_CHECKSUM) && start >= transport && at + 2 <= frame->length) {
		/* The field holds the sum of the pseudo-header, so it goes into the sum as it
		 * stands; a sum of 0 is sent as 0xffff, which UDP demands and TCP takes as the
		 * same. */
		check = pk_checksum(frame->data + start, frame->length - start, 0);
		pk_store16(frame->data + at, check ? check : 0xffff);
	}
	frame->offload = no_offload;
}

/* A frame as packets that fit the link, wrapped where its flow goes through a tunnel. */
static void send_pieces(struct pk_worker *worker, struct pk_frame *frame,
			const struct pk_view *view, const struct pk_decision *decision,
			struct pk_sink *sink)
{
	__u8 family = view->key.family;
	struct journey j = { { wrap }, { fit }, { emit }, worker, decision, sink, family,
			     frame->lent };
	__u32 head = family == 4 ? view->transport : PK_IP + 40u;

	if (frame->offload.gso_type) {
		pk_segment(frame, view, decision->tunnel.family ? &j.wrap : &j.fit);
		return;
	}
	complete_checksum(frame, view->transport);
	if (decision->tunnel.family)
		wrap(&j.wrap, frame->data, head, frame->data + head, frame->length - head);
	else
		pk_fragment(frame->data, frame->length, decision->mtu, 0, &j.emit);
}

static void send_whole(const struct pk_frame *frame, __u32 port, struct pk_sink *sink)
{
	__u32 head = frame->lent ? PK_IP : 0; /* with a head of its own the rest is copied */
	struct pk_out out = { head ? frame->data : NULL, frame->data + head, head,
			      frame->length - head, port, frame->lent, frame->offload };

	sink->send(sink, &out);
}

enum pk_reason pk_sendable(const struct pk_frame *frame, const struct pk_view *view,
			   const struct pk_decision *d)
{
	if (pk_packet_size(frame, view) > pk_most(d, view) && view->dont_fragment)
		return PK_TOO_BIG;
	/* Also where it goes on whole: a tunnel's packets may arrive labelled as the TCP inside. */
	if (frame->offload.gso_type && !pk_can_segment(&frame->offload, view))
		return PK_UNSEGMENTABLE;
	if (view->kind != PK_WHOLE && (frame->offload.flags & PK_NEEDS_CHECKSUM))
		return PK_UNSEGMENTABLE;
	return PK_FORWARDED;
}

static void rewrite(struct pk_frame *frame, const struct pk_view *view, const struct pk_decision *d)
{
	int partial = (frame->offload.flags & PK_NEEDS_CHECKSUM) &&
		      frame->offload.checksum_start == view->transport;
	int error = view->kind == PK_ERROR;

	if (d->translates && error)
		pk_translate_error(frame->data, view, &d->to, d->keeps_source);
	else if (d->translates)
		pk_translate(frame->data, view, &d->to, partial);
	pk_route(frame->data, view->key.family, d->macs, d->translates && !error ? d->to.by : 0);
	frame->length = view->end;
}

/* Rewrite and send on; cut what does not fit, or say so to its sender. */
static enum pk_reason forward(struct pk_worker *worker, struct pk_frame *frame,
			      const struct pk_view *view, const struct pk_decision *d,
			      struct pk_sink *sink)
{
	enum pk_reason reason = pk_sendable(frame, view, d);
	int whole = !d->tunnel.family && pk_packet_size(frame, view) <= d->mtu;

	if (reason == PK_TOO_BIG)
		return pk_answer(&worker->limiter, frame, view, PK_NO_ROOM,
				 d->answers ? &d->answerer : NULL, pk_most(d, view), worker->now,
				 sink);
	if (reason != PK_FORWARDED)
		return reason;
	rewrite(frame, view, d);
	if (whole)
		send_whole(frame, d->port, sink);
	else
		send_pieces(worker, frame, view, d, sink);
	return d->reason;
}

/* Two RSTs: one to the sender of the packet, and one on the packet's own way, in its place. */
static void reset(struct pk_worker *worker, const struct pk_frame *frame,
		  const struct pk_view *view, const struct pk_decision *d, struct pk_sink *sink)
{
	__u8 memory[PK_HEADROOM + PK_LONGEST_RESET];
	struct pk_frame made = { .data = memory + PK_HEADROOM, .port = frame->port, .lent = 1 };
	struct pk_view seen;

	pk_reset(frame, view, sink);
	if (!d->has_way)
		return;
	made.length = pk_reset_instead(frame, view, made.data);
	if (pk_parse(made.data, made.data + made.length, &seen) == PK_FORWARDED)
		forward(worker, &made, &seen, d, sink);
}

enum pk_reason pk_carry_out(struct pk_worker *worker, struct pk_frame *frame,
			    const struct pk_view *view, const struct pk_decision *d,
			    struct pk_sink *sink)
{
	switch (d->reason) {
	case PK_RELATED:
		if (d->relays)
			return pk_relay(&worker->limiter, frame, view, d->macs, d->port,
					&d->answerer, &d->to.destination, worker->now, sink);
		/* fall through */
	case PK_OPENED:
	case PK_FORWARDED:
	case PK_RETURNED:
	case PK_PICKED_UP:
		return forward(worker, frame, view, d, sink);
	case PK_NO_BACKEND:
	case PK_TTL_EXPIRED:
		return pk_answer(&worker->limiter, frame, view, d->problem,
				 d->answers ? &d->answerer : NULL, 0, worker->now, sink);
	case PK_RESET:
		reset(worker, frame, view, d, sink);
		break;
	default:
		if (d->gives_back)
			sink->give_back(sink, frame);
	}
	return d->reason;
}
