/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parse one Ethernet frame into one view; decide nothing about it.
 *
 * Everything read here comes from outside and may lie: each length is checked against the one
 * around it before a byte behind it is touched. Needs nothing but <linux/types.h>.
 */
#ifndef PK_PACKET_H
#define PK_PACKET_H

#include <linux/types.h>

#include "checksum.h"
#include "reason.h"

#define PK_IP 14 /* offset of the IP header: Ethernet without a tag */

enum pk_proto { PK_ICMP = 1, PK_IPIP = 4, PK_TCP = 6, PK_UDP = 17 };
enum pk_tcp_flags {
	PK_FIN = 0x01, PK_SYN = 0x02, PK_RST = 0x04, PK_PSH = 0x08, PK_ACK = 0x10, PK_CWR = 0x80
};

/* An address of either family; an IPv4 address has its 4 bytes in front and zeros behind. */
struct pk_addr {
	union {
		__u8 byte[16];
		__u32 word[4];
		__u64 half[2];
	};
};

/* The 5-tuple as on the wire, in one form for all families. */
struct pk_key {
	struct pk_addr source, destination;
	__be16 sport, dport;
	__u8 proto, family; /* family: 4 or 6 */
	__u16 zero;
};

/* Where things are in a frame, and the few values that every step needs; offsets in bytes. */
struct pk_view {
	struct pk_key key;
	__u32 end;       /* behind the IP packet: the rest of the frame is Ethernet padding */
	__u16 transport; /* of the TCP or UDP header */
	__u16 payload;   /* of what follows it */
	__u8 ttl;
	__u8 tcp_flags; /* 0 for UDP */
	__u8 dont_fragment;
	__u8 fragment; /* a first fragment: ports are here, but not all of the payload */
};

static inline __u16 pk_be16(const __u8 *at)
{
	return (__u16)(at[0] << 8 | at[1]);
}

static inline void pk_put16(__u8 *at, __u32 value)
{
	at[0] = (__u8)(value >> 8);
	at[1] = (__u8)value;
}

static inline __u16 pk_load16(const __u8 *at)
{
	__u16 value;

	__builtin_memcpy(&value, at, 2);
	return value;
}

static inline void pk_store16(__u8 *at, __u16 value)
{
	__builtin_memcpy(at, &value, 2);
}

static inline int pk_addr_equal(const struct pk_addr *a, const struct pk_addr *b)
{
	return a->half[0] == b->half[0] && a->half[1] == b->half[1];
}

static inline enum pk_reason pk_measure_tcp(const __u8 *data, struct pk_view *view)
{
	const __u8 *tcp = data + view->transport;
	__u32 header;

	if (view->end < view->transport + 20u)
		return PK_TRUNCATED;
	header = (tcp[12] >> 4) * 4u;
	if (header < 20)
		return PK_BAD_HEADER;
	if (view->transport + header > view->end)
		return PK_TRUNCATED;
	view->payload = (__u16)(view->transport + header);
	view->tcp_flags = tcp[13];
	return PK_FORWARDED;
}

/* A first fragment is shorter than its UDP length. */
static inline enum pk_reason pk_measure_udp(const __u8 *data, struct pk_view *view)
{
	__u32 length;

	if (view->end < view->transport + 8u)
		return PK_TRUNCATED;
	length = pk_be16(data + view->transport + 4);
	if (length < 8)
		return PK_BAD_HEADER;
	if (view->transport + length > view->end && !view->fragment)
		return PK_TRUNCATED;
	view->payload = (__u16)(view->transport + 8);
	view->tcp_flags = 0;
	return PK_FORWARDED;
}

static inline void pk_read_key(const __u8 *data, struct pk_view *view)
{
	const __u8 *ip = data + PK_IP;
	struct pk_key *key = &view->key;

	key->source.half[0] = key->source.half[1] = 0;
	key->destination.half[0] = key->destination.half[1] = 0;
	__builtin_memcpy(key->source.byte, ip + 12, 4);
	__builtin_memcpy(key->destination.byte, ip + 16, 4);
	__builtin_memcpy(&key->sport, data + view->transport, 2);
	__builtin_memcpy(&key->dport, data + view->transport + 2, 2);
	key->proto = ip[9];
	key->family = 4;
	key->zero = 0;
}

/* The view of a frame: PK_FORWARDED, or the reason why there is none. */
static inline enum pk_reason pk_parse(const __u8 *data, __u32 size, struct pk_view *view)
{
	const __u8 *ip = data + PK_IP;
	enum pk_reason reason;
	__u32 header, total, fragment;

	if (size < PK_IP)
		return PK_TRUNCATED;
	if (data[12] != 0x08 || data[13] != 0x00)
		return PK_NOT_OURS;
	if (size < PK_IP + 20)
		return PK_TRUNCATED;
	header = (ip[0] & 0x0f) * 4u;
	total = pk_be16(ip + 2);
	if (ip[0] >> 4 != 4 || header < 20 || total < header)
		return PK_BAD_HEADER;
	if (PK_IP + total > size)
		return PK_TRUNCATED;
	if (pk_fold(pk_sum(ip, header, 0)) != 0xffff)
		return PK_BAD_CHECKSUM;
	fragment = pk_be16(ip + 6);
	if (fragment & 0x1fff)
		return PK_FRAGMENT;
	view->transport = (__u16)(PK_IP + header);
	view->end = PK_IP + total;
	view->ttl = ip[8];
	view->dont_fragment = !!(fragment & 0x4000);
	view->fragment = !!(fragment & 0x2000);
	if (ip[9] == PK_TCP)
		reason = pk_measure_tcp(data, view);
	else if (ip[9] == PK_UDP)
		reason = pk_measure_udp(data, view);
	else
		return PK_NOT_OURS;
	if (reason == PK_FORWARDED)
		pk_read_key(data, view);
	return reason;
}

#endif
