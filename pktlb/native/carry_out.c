/* SPDX-License-Identifier: BSD-3-Clause */
/* The last pass: rewrite a frame, cut it where it does not fit, wrap it, answer for it. */
#include "engine.h"

#include <arpa/inet.h>
#include <string.h>

#include "segment.h"

#define QUOTE (576u - 20 - 8) /* RFC 1812, section 4.3.2.3: as much as fits 576 bytes */
#define UNREACHABLE 3
#define PORT_UNREACHABLE 3
#define FRAGMENTATION_NEEDED 4

/* Pieces on their way through a tunnel, or past it, to the sink. */
struct journey {
	struct pk_pieces wrap; /* takes what is to be wrapped */
	struct pk_pieces fit;  /* takes what may be too long for the link */
	struct pk_pieces emit; /* takes what is as it shall be */
	struct pk_worker *worker;
	const struct pk_decision *decision;
	struct pk_sink *sink;
	int borrowed; /* bodies lie in a scratch buffer */
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
	pk_fragment(whole, head_length + body_length, mtu, to);
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

static void wrap_one(struct journey *j, const __u8 *head, __u32 head_length, const __u8 *body,
		     __u32 body_length)
{
	__u8 wrapped[PK_LONGEST_HEAD + PK_OUTER];

	j->worker->ident = (__u16)(j->worker->ident + j->worker->ident_step);
	memcpy(wrapped, head, PK_IP);
	pk_wrap(wrapped + PK_IP, head + PK_IP, head_length - PK_IP + body_length, j->worker->ident,
		&j->decision->outer, &j->decision->backend);
	memcpy(wrapped + PK_IP + PK_OUTER, head + PK_IP, head_length - PK_IP);
	fit(&j->fit, wrapped, head_length + PK_OUTER, body, body_length);
}

/* To the tunnel: a packet so long that its wrapping would not fit IPv4 is cut before. */
static void wrap(struct pk_pieces *pieces, __u8 *head, __u32 head_length, const __u8 *body,
		 __u32 body_length)
{
	struct journey *j = JOURNEY(pieces, wrap);

	if (head_length + body_length - PK_IP <= PK_LONGEST - PK_OUTER)
		wrap_one(j, head, head_length, body, body_length);
	else
		cut(j, 0, PK_LONGEST - PK_OUTER, pieces, head, head_length, body, body_length);
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
	struct journey j = { { wrap }, { fit }, { emit }, worker, decision, sink, 0 };
	int tunnel = decision->mode == PK_TUNNEL;
	__u32 head = view->payload;

	if (frame->offload.gso_type) {
		pk_segment(frame, view, tunnel ? &j.wrap : &j.fit);
		return;
	}
	complete_checksum(frame, view->transport);
	if (tunnel)
		wrap(&j.wrap, frame->data, head, frame->data + head, frame->length - head);
	else
		pk_fragment(frame->data, frame->length, decision->mtu, &j.emit);
}

/* Never to an address that is not one host's (this-network, loopback, multicast, reserved), nor
 * about a frame that was sent to many. */
static int may_answer(const struct pk_frame *frame)
{
	__u8 sender = frame->data[PK_IP + 12];

	return sender != 0 && sender != 127 && sender < 224 &&
	       !((frame->data[0] | frame->data[6]) & 1);
}

/* ICMP destination unreachable (RFC 792) from the VIP, back to where the frame came from; `mtu` is
 * the next hop's, for FRAGMENTATION_NEEDED (RFC 1191, section 4). */
static void answer(const struct pk_frame *frame, const struct pk_view *view,
		   const struct pk_addr *vip, __u8 code, __u32 mtu, struct pk_sink *sink)
{
	__u32 quoted = view->end - PK_IP < QUOTE ? view->end - PK_IP : QUOTE;
	__u8 head[PK_IP + 20 + 8] = { 0 }, *ip = head + PK_IP, *icmp = ip + 20;
	struct pk_out out = { head, frame->data + PK_IP, sizeof(head), quoted, frame->port, 0,
			      no_offload };

	if (!may_answer(frame))
		return;
	memcpy(head, frame->data + 6, 6);
	memcpy(head + 6, frame->data, 6);
	memcpy(head + 12, frame->data + 12, 2);
	ip[0] = 0x45;
	pk_put16(ip + 2, 20 + 8 + quoted);
	ip[8] = 64;
	ip[9] = PK_ICMP;
	memcpy(ip + 12, vip->byte, 4);
	memcpy(ip + 16, frame->data + PK_IP + 12, 4);
	pk_store16(ip + 10, pk_checksum(ip, 20, 0));
	icmp[0] = UNREACHABLE;
	icmp[1] = code;
	pk_put16(icmp + 6, mtu);
	pk_store16(icmp + 2, pk_checksum(frame->data + PK_IP, quoted, pk_sum(icmp, 8, 0)));
	sink->send(sink, &out);
}

/* Bytes of the longest IP packet that a frame stands for. */
static __u32 packet_size(const struct pk_frame *frame, const struct pk_view *view)
{
	__u32 segment = view->payload + (__u32)frame->offload.segment_size;

	if (frame->offload.gso_type && segment < view->end)
		return segment - PK_IP;
	return view->end - PK_IP;
}

static void send_whole(const struct pk_frame *frame, __u32 port, struct pk_sink *sink)
{
	struct pk_out out = { NULL, frame->data, 0, frame->length, port, 0, frame->offload };

	sink->send(sink, &out);
}

/* Rewrite and send on; cut what does not fit, or say so to its sender. */
static enum pk_reason forward(struct pk_worker *worker, struct pk_frame *frame,
			      const struct pk_view *view, const struct pk_decision *d,
			      struct pk_sink *sink)
{
	int tunnel = d->mode == PK_TUNNEL, whole, partial;
	__u32 size = packet_size(frame, view), room = d->mtu;

	if (tunnel)
		room = (room < PK_LONGEST ? room : PK_LONGEST) - PK_OUTER;
	if (size > room && view->dont_fragment) {
		answer(frame, view, &d->vip, FRAGMENTATION_NEEDED, room, sink);
		return PK_TOO_BIG;
	}
	/* Also where it goes on whole: a tunnel's packets may arrive labelled as the TCP inside. */
	if (frame->offload.gso_type && !pk_can_segment(&frame->offload, view))
		return PK_UNSEGMENTABLE;
	whole = !tunnel && size <= room;
	partial = (frame->offload.flags & PK_NEEDS_CHECKSUM) &&
		  frame->offload.checksum_start == view->transport;
	if (d->mode == PK_NAT)
		pk_translate(frame->data, view, &d->to, partial);
	pk_route(frame->data, d->macs, d->mode == PK_NAT ? d->to.by : 0);
	frame->length = view->end;
	if (whole)
		send_whole(frame, d->port, sink);
	else
		send_pieces(worker, frame, view, d, sink);
	return d->reason;
}

enum pk_reason pk_carry_out(struct pk_worker *worker, struct pk_frame *frame,
			    const struct pk_view *view, const struct pk_decision *decision,
			    struct pk_sink *sink)
{
	switch (decision->reason) {
	case PK_OPENED:
	case PK_FORWARDED:
	case PK_RETURNED:
		return forward(worker, frame, view, decision, sink);
	case PK_NO_BACKEND:
		answer(frame, view, &decision->vip, PORT_UNREACHABLE, 0, sink);
		break;
	default:
		if (decision->gives_back)
			sink->give_back(sink, frame);
	}
	return decision->reason;
}
