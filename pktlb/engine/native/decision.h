/* SPDX-License-Identifier: BSD-3-Clause */
/* What was decided about a frame: all that rewriting needs, so that it needs no lock. */
#ifndef PK_DECISION_H
#define PK_DECISION_H

#include "frame.h"
#include "icmp.h"
#include "rewrite.h"

struct pk_held;

struct pk_decision {
	enum pk_reason reason;
	enum pk_problem problem; /* PK_NO_BACKEND, PK_TTL_EXPIRED: what its sender is told */
	__u8 gives_back;         /* the kernel must be given the frame */
	__u8 translates;         /* NAT */
	__u8 keeps_source;       /* NAT of an ICMP error: it comes from a router */
	__u8 relays;             /* an error about a tunnel is told to the client inside */
	__u8 answers;            /* `answerer` is known */
	__u8 has_way;            /* PK_RESET: the other end can be told as well */
	__u8 macs[12];
	__u32 port, mtu;
	struct pk_addr answerer; /* its sender is told what is wrong in this name */
	struct pk_tunnel tunnel;
	struct pk_translation to;
	struct pk_held *released; /* fragments that waited for this one */
};

/* Bytes of the longest packet that an outer header takes, whatever the link. */
static inline __u32 pk_longest_inside(__u8 outer)
{
	return outer == 4 ? 0xffff - 20 : 0xffff;
}

/* Bytes of the longest packet that fits the way on, less what is put in front. */
static inline __u32 pk_room(const struct pk_decision *d)
{
	__u32 room = d->mtu, most;

	if (!d->tunnel.family)
		return room;
	most = pk_longest_inside(d->tunnel.family);
	room -= pk_header_size(d->tunnel.family);
	return room < most ? room : most;
}

/* As pk_room, but what an IPv6 sender need not go below. */
static inline __u32 pk_most(const struct pk_decision *d, const struct pk_view *view)
{
	__u32 room = pk_room(d);

	if (d->tunnel.family && view->key.family == 6 && room < PK_MIN_IPV6_MTU)
		return PK_MIN_IPV6_MTU;
	return room;
}

/* Bytes of the longest IP packet that a frame stands for. */
static inline __u32 pk_packet_size(const struct pk_frame *frame, const struct pk_view *view)
{
	__u32 segment = view->payload + (__u32)frame->offload.segment_size;

	return (frame->offload.gso_type && segment < view->end ? segment : view->end) - PK_IP;
}

/* Whether it can be sent on: PK_FORWARDED, or why not. */
enum pk_reason pk_sendable(const struct pk_frame *frame, const struct pk_view *view,
			   const struct pk_decision *decision);

#endif
