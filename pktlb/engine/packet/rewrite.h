/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each mode does to a frame. Which backend, and whether it fits the link, is decided before.
 *
 * All modes act as a router (RFC 1812, section 5.3; RFC 8200, section 3): new MACs, one less TTL.
 * NAT also replaces addresses and ports, with every checksum corrected by difference; the tunnel
 * adds an outer header.
 */
#ifndef PK_REWRITE_H
#define PK_REWRITE_H

#include "packet.h"

#define PK_OUTER_TTL 64 /* RFC 2003, section 3.1: enough for the tunnel, whatever the inner one is */
#define PK_MIN_IPV6_MTU 1280u /* RFC 8200, section 5 */
#define PK_DONT_FRAGMENT 0x4000u

/* What replaces the ends of a packet, and what that does to a sum over addresses, and ports too. */
struct pk_translation {
	struct pk_addr source, destination;
	__be16 sport, dport;
	__u16 by, by_transport;
};

/* The ends of a tunnel's outer header; family 0: there is none. */
struct pk_tunnel {
	struct pk_addr source, backend;
	__u8 family;
};

/* What every router does; `by` is what else changes in the sum over an IPv4 header. */
static inline void pk_route(__u8 *data, __u8 family, const __u8 *macs, __u16 by)
{
	const __u8 one_less[2] = { 0x01, 0x00 }; /* TTL is the first byte of its word */
	__u8 *ip = data + PK_IP;

	__builtin_memcpy(data, macs, 12);
	if (family != 4) {
		ip[7]--;
		return;
	}
	ip[8]--;
	by = pk_delta_add(by, pk_delta_turned(pk_load16(one_less)));
	pk_store16(ip + 10, pk_update(pk_load16(ip + 10), by));
}

/* The checksum of a transport header, corrected by a difference. */
static inline __u16 pk_corrected(__u8 proto, __u16 check, __u16 by)
{
	return proto == PK_UDP ? pk_update_udp(check, by) : pk_update(check, by);
}

/* `partial`: the transport checksum is still to be completed, and covers no ports so far. */
static inline void pk_translate(__u8 *data, const struct pk_view *view,
				const struct pk_translation *to, int partial)
{
	__u32 size = pk_size(view->key.family);
	__u8 *ends = data + PK_IP + pk_ends_at(view->key.family), *at = data + view->check;
	__u16 by = to->by;

	pk_write_addr(ends, &to->source, size);
	pk_write_addr(ends + size, &to->destination, size);
	if (pk_has_ports(view)) {
		pk_store16(data + view->transport, to->sport);
		pk_store16(data + view->transport + 2, to->dport);
		by = to->by_transport;
	}
	if (!view->check)
		return;
	if (partial)
		pk_store16(at, pk_update_partial(pk_load16(at), to->by));
	else
		pk_store16(at, pk_corrected(view->key.proto, pk_load16(at), by));
}

/*
 * Put an outer header of the backend's family at `outer`, for an inner packet of `length` bytes
 * (RFC 2003, 2473 and 4213). The whole ToS or traffic class is copied, so congestion
 * marks reach the backend (RFC 6040, section 4.1). DF of an outer IPv4 header is the inner one's;
 * around IPv6 it is clear where the sender may not be asked for less (RFC 4213, section 3.2.2).
 */
static inline void pk_wrap(__u8 *outer, const __u8 *inner, __u32 length, __u32 ident,
			   const struct pk_tunnel *tunnel)
{
	__u32 word = pk_be32(inner), traffic = word >> 20 & 0xff, label = word & 0xfffff;
	__u32 fragment = length > PK_MIN_IPV6_MTU ? PK_DONT_FRAGMENT : 0;
	__u8 proto = PK_IPV6;

	if (inner[0] >> 4 == 4) {
		proto = PK_IPIP;
		traffic = inner[1];
		label = 0;
		fragment = pk_be16(inner + 6) & PK_DONT_FRAGMENT;
	}
	if (tunnel->family == 4) {
		outer[0] = 0x45;
		outer[1] = (__u8)traffic;
		pk_put16(outer + 2, 20 + length);
		pk_put16(outer + 4, ident);
		pk_put16(outer + 6, fragment);
		outer[8] = PK_OUTER_TTL;
		outer[9] = proto;
		pk_put16(outer + 10, 0);
		pk_write_addr(outer + 12, &tunnel->source, 4);
		pk_write_addr(outer + 16, &tunnel->backend, 4);
		pk_store16(outer + 10, pk_checksum(outer, 20, 0));
	} else {
		pk_put32(outer, 6u << 28 | traffic << 20 | label);
		pk_put16(outer + 4, length);
		outer[6] = proto;
		outer[7] = PK_OUTER_TTL;
		pk_write_addr(outer + 8, &tunnel->source, 16);
		pk_write_addr(outer + 24, &tunnel->backend, 16);
	}
}

static inline void pk_put_ethertype(__u8 *data, __u8 family)
{
	pk_put16(data + 12, family == 4 ? 0x0800 : 0x86dd);
}

#endif
