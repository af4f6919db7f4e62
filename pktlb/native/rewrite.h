/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each mode does to a frame. Which backend, and whether it fits the link, is decided before.
 *
 * All modes act as a router (RFC 1812, section 5.3): new MACs, one less TTL. NAT also replaces
 * addresses and ports, with every checksum corrected by difference; the tunnel adds an outer
 * header. Needs nothing but <linux/types.h>.
 */
#ifndef PK_REWRITE_H
#define PK_REWRITE_H

#include "packet.h"

#define PK_OUTER 20 /* bytes that the tunnel puts in front of a packet */
#define PK_OUTER_TTL 64 /* RFC 2003, section 3.1: enough for the tunnel, whatever the inner one is */

/* What replaces the ends of a packet, and what that does to a sum over addresses, and ports too. */
struct pk_translation {
	struct pk_addr source, destination;
	__be16 sport, dport;
	__u16 by, by_transport;
};

/* What every router does; `by` is what else changes in the sum over the IP header. */
static inline void pk_route(__u8 *data, const __u8 *macs, __u16 by)
{
	const __u8 one_less[2] = { 0x01, 0x00 }; /* TTL is the first byte of its word */
	__u8 *ip = data + PK_IP;

	__builtin_memcpy(data, macs, 12);
	ip[8]--;
	by = pk_delta_add(by, pk_delta_turned(pk_load16(one_less)));
	pk_store16(ip + 10, pk_update(pk_load16(ip + 10), by));
}

/* `partial`: the transport checksum is still to be completed, and covers no ports so far. */
static inline void pk_translate(__u8 *data, const struct pk_view *view,
				const struct pk_translation *to, int partial)
{
	__u8 *transport = data + view->transport;
	__u8 *at = transport + (view->key.proto == PK_TCP ? 16 : 6);
	__u16 check = pk_load16(at);

	__builtin_memcpy(data + PK_IP + 12, to->source.byte, 4);
	__builtin_memcpy(data + PK_IP + 16, to->destination.byte, 4);
	__builtin_memcpy(transport, &to->sport, 2);
	__builtin_memcpy(transport + 2, &to->dport, 2);
	if (partial)
		check = pk_update_partial(check, to->by);
	else if (view->key.proto == PK_UDP)
		check = pk_update_udp(check, to->by_transport);
	else
		check = pk_update(check, to->by_transport);
	pk_store16(at, check);
}

/*
 * The outer header of a tunnel (RFC 2003) at `outer`, for an inner packet of `length` bytes. ToS
 * and DF are the inner ones: the whole ToS, so congestion marks reach the backend (RFC 6040, 4.1).
 */
static inline void pk_wrap(__u8 *outer, const __u8 *inner, __u32 length, __u16 ident,
			   const struct pk_addr *source, const struct pk_addr *backend)
{
	outer[0] = 0x45;
	outer[1] = inner[1];
	pk_put16(outer + 2, PK_OUTER + length);
	pk_put16(outer + 4, ident);
	pk_put16(outer + 6, pk_be16(inner + 6) & 0x4000u);
	outer[8] = PK_OUTER_TTL;
	outer[9] = PK_IPIP;
	pk_put16(outer + 10, 0);
	__builtin_memcpy(outer + 12, source->byte, 4);
	__builtin_memcpy(outer + 16, backend->byte, 4);
	pk_store16(outer + 10, pk_checksum(outer, PK_OUTER, 0));
}

#endif
