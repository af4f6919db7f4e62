/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of a flow: which packet, seen from which side, leads to which state.
 *
 * The tables of pktlb.engine.datapath.tcp: with NAT both directions pass here, with DSR and tunnel
 * only the client's packets do.
 */
#ifndef PK_TCP_H
#define PK_TCP_H

#include "packet.h"

#define PK_STATES(X) \
	X(SYN_SENT) X(SYN_RECEIVED) X(ESTABLISHED) X(CLIENT_FIN) X(BACKEND_FIN) X(CLOSED) \
	X(DATAGRAMS)
enum pk_state { PK_STATES(PK_MEMBER) PK_STATE_COUNT };

enum pk_event {
	PK_ON_CLIENT_SYN, PK_ON_CLIENT_ACK, PK_ON_CLIENT_FIN,
	PK_ON_BACKEND_SYN, PK_ON_BACKEND_ACK, PK_ON_BACKEND_FIN,
	PK_ON_RESET,
	PK_EVENT_COUNT
};

/* The next state, plus one; 0 where nothing changes. */
#define PK_TO(state) ((state) + 1)

static const __u8 pk_two_way[PK_STATE_COUNT][PK_EVENT_COUNT] = {
	[PK_SYN_SENT] = {
		[PK_ON_BACKEND_SYN] = PK_TO(PK_SYN_RECEIVED),
		[PK_ON_CLIENT_FIN] = PK_TO(PK_CLIENT_FIN),
		[PK_ON_BACKEND_FIN] = PK_TO(PK_BACKEND_FIN),
		[PK_ON_RESET] = PK_TO(PK_CLOSED),
	},
	[PK_SYN_RECEIVED] = {
		[PK_ON_CLIENT_ACK] = PK_TO(PK_ESTABLISHED),
		[PK_ON_CLIENT_FIN] = PK_TO(PK_CLIENT_FIN),
		[PK_ON_BACKEND_FIN] = PK_TO(PK_BACKEND_FIN),
		[PK_ON_RESET] = PK_TO(PK_CLOSED),
	},
	[PK_ESTABLISHED] = {
		[PK_ON_CLIENT_FIN] = PK_TO(PK_CLIENT_FIN),
		[PK_ON_BACKEND_FIN] = PK_TO(PK_BACKEND_FIN),
		[PK_ON_RESET] = PK_TO(PK_CLOSED),
	},
	[PK_CLIENT_FIN] = {
		[PK_ON_BACKEND_FIN] = PK_TO(PK_CLOSED),
		[PK_ON_RESET] = PK_TO(PK_CLOSED),
	},
	[PK_BACKEND_FIN] = {
		[PK_ON_CLIENT_FIN] = PK_TO(PK_CLOSED),
		[PK_ON_RESET] = PK_TO(PK_CLOSED),
	},
};

static const __u8 pk_one_way[PK_STATE_COUNT][PK_EVENT_COUNT] = {
	[PK_SYN_SENT] = {
		[PK_ON_CLIENT_ACK] = PK_TO(PK_ESTABLISHED),
		[PK_ON_CLIENT_FIN] = PK_TO(PK_CLOSED),
		[PK_ON_RESET] = PK_TO(PK_CLOSED),
	},
	[PK_SYN_RECEIVED] = {
		[PK_ON_CLIENT_FIN] = PK_TO(PK_CLOSED),
		[PK_ON_RESET] = PK_TO(PK_CLOSED),
	},
	[PK_ESTABLISHED] = {
		[PK_ON_CLIENT_FIN] = PK_TO(PK_CLOSED),
		[PK_ON_RESET] = PK_TO(PK_CLOSED),
	},
	[PK_CLIENT_FIN] = { [PK_ON_RESET] = PK_TO(PK_CLOSED) },
	[PK_BACKEND_FIN] = { [PK_ON_RESET] = PK_TO(PK_CLOSED) },
};

/* What a packet with these flags says. RST beats FIN beats SYN. */
static inline enum pk_event pk_event_of(__u8 flags, int from_client)
{
	if (flags & PK_RST)
		return PK_ON_RESET;
	if (flags & PK_FIN)
		return from_client ? PK_ON_CLIENT_FIN : PK_ON_BACKEND_FIN;
	if (flags & PK_SYN)
		return from_client ? PK_ON_CLIENT_SYN : PK_ON_BACKEND_SYN;
	return from_client ? PK_ON_CLIENT_ACK : PK_ON_BACKEND_ACK;
}

/* Where a connection stands that is first seen in the middle, by a packet of its client. */
static inline enum pk_state pk_taken_up(__u8 flags, int two_way)
{
	enum pk_event event = pk_event_of(flags, 1);
	__u8 next = two_way ? pk_two_way[PK_ESTABLISHED][event] : pk_one_way[PK_ESTABLISHED][event];

	return next ? (enum pk_state)(next - 1) : PK_ESTABLISHED;
}

/* True for what only belongs to a connection that is there (RFC 9293, section 3.10.7.4). */
static inline int pk_is_under_way(__u8 flags)
{
	return (flags & (PK_SYN | PK_ACK)) == PK_ACK;
}

/* True for the packet that asks for a new connection: SYN and none of ACK, RST, FIN. */
static inline int pk_opens(__u8 flags)
{
	return (flags & (PK_SYN | PK_ACK | PK_RST | PK_FIN)) == PK_SYN;
}

#endif
