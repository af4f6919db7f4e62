/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parse one Ethernet frame into one view; decide nothing about it.
 *
 * Everything read here comes from outside and may lie: each length is checked against the one
 * around it before a byte behind it is touched. IPv4 and IPv6 give the same header, from there on
 * there is one path. Needs nothing but <linux/types.h>.
 */
#ifndef PK_PACKET_H
#define PK_PACKET_H

#include <linux/types.h>

#include "address.h"
#include "checksum.h"
#include "reason.h"

#define PK_IP 14 /* offset of the IP header: Ethernet without a tag */
#define PK_MAX_EXTENSIONS 8

enum pk_tcp_flags {
	PK_FIN = 0x01, PK_SYN = 0x02, PK_RST = 0x04, PK_PSH = 0x08, PK_ACK = 0x10, PK_CWR = 0x80
};

enum pk_kind {
	PK_WHOLE, /* a packet that tells its flow */
	PK_FIRST, /* a first fragment: tells its flow, but not all of the payload is here */
	PK_LATER, /* another fragment */
	PK_ERROR, /* an ICMP error that quotes a packet */
};

/* A part of a packet: its bytes from `start` to `stop`; `more` are to come. */
struct pk_fragment {
	__u32 ident, start, stop;
	__u8 more, proto; /* proto: 0 in IPv6, where it does not tell packets apart */
};

/* The packet that an ICMP error is about; of IP in IP the one inside, and the ends of the one
 * around it, of the family of the error itself (0: there is none). */
struct pk_quote {
	struct pk_addr outer_source, outer;
	__u32 end; /* offset behind what is quoted */
	__u16 ip, transport;
	__u8 outer_family;
};

/* Where things are in a frame, and the few values that every step needs; offsets in bytes. */
struct pk_view {
	struct pk_key key; /* of an error that of the way back of what is quoted; see pk_quote */
	__u32 end;         /* behind the IP packet: the rest of the frame is Ethernet padding */
	__u16 transport;   /* of what follows the IP header and its extensions */
	__u16 payload;     /* of what follows the TCP or UDP header */
	__u16 check;       /* of the checksum that covers the addresses; 0: there is none */
	__u8 ttl;
	__u8 tcp_flags; /* 0 but for TCP */
	__u8 dont_fragment;
	__u8 kind;
	union {
		struct pk_fragment fragment; /* PK_FIRST, PK_LATER */
		struct pk_quote quote;       /* PK_ERROR */
	};
};

/* An IP header with its extensions. */
struct pk_header {
	__u32 at, transport, end; /* offsets: where it begins, what follows it, behind the packet */
	struct pk_fragment fragment;
	__u8 family, proto, ttl, dont_fragment, fragmented;
};

static inline int pk_is_ported(__u8 proto)
{
	return proto == PK_TCP || proto == PK_UDP;
}

/* Bytes of an address, of the IP header, and in front of the addresses in it. */
static inline __u32 pk_size(__u8 family)
{
	return family == 4 ? 4 : 16;
}

static inline __u32 pk_header_size(__u8 family)
{
	return family == 4 ? 20 : 40;
}

static inline __u32 pk_ends_at(__u8 family)
{
	return family == 4 ? 12 : 8;
}

/* Offset in the transport header of a checksum that covers the addresses; 0: there is none. */
static inline __u32 pk_check_at(__u8 proto)
{
	if (proto == PK_TCP)
		return 16;
	return proto == PK_UDP || proto == PK_DCCP || proto == PK_UDPLITE ? 6 : 0;
}

/* The header at `at` of a packet that may be `quoted`, that is: cut off at `size`. */
static inline enum pk_reason pk_read_ipv4(const __u8 *data, __u32 at, __u32 size, int quoted,
					  struct pk_header *to)
{
	const __u8 *ip = data + at;
	__u32 length, total, word;

	if (size < at + 20)
		return PK_TRUNCATED;
	length = (ip[0] & 0x0f) * 4u;
	total = pk_be16(ip + 2);
	if (ip[0] >> 4 != 4 || length < 20 || total < length)
		return PK_BAD_HEADER;
	to->at = at;
	to->transport = at + length;
	to->end = at + total;
	if (quoted && to->end > size)
		to->end = size;
	if (to->end > size || to->end < to->transport)
		return PK_TRUNCATED;
	to->family = 4;
	to->ttl = ip[8];
	to->proto = ip[9];
	word = pk_be16(ip + 6);
	to->dont_fragment = !!(word & 0x4000);
	to->fragmented = !!(word & 0x3fff);
	if (to->fragmented) {
		__u32 start = (word & 0x1fff) * 8;

		to->fragment = (struct pk_fragment){ pk_be16(ip + 4), start,
						     start + to->end - to->transport,
						     !!(word & 0x2000), ip[9] };
	}
	return PK_FORWARDED;
}

static inline int pk_is_extension(__u8 proto)
{
	return proto == 0 || proto == 43 || proto == 44 || proto == 60;
}

/* Past the extension headers, up to the first that is none, or a later fragment's data (RFC 8200,
 * section 4). */
static inline enum pk_reason pk_walk(const __u8 *data, struct pk_header *to)
{
	__u32 seen = 0;

	while (pk_is_extension(to->proto) && !(to->fragmented && to->fragment.start)) {
		const __u8 *at = data + to->transport;
		enum pk_reason cut_off = to->fragmented ? PK_BAD_FRAGMENT : PK_TRUNCATED;
		__u32 past = to->transport + 8;

		if (++seen > PK_MAX_EXTENSIONS || (to->proto == 44 && to->fragmented))
			return PK_BAD_HEADER;
		if (to->end < past)
			return cut_off;
		if (to->proto == 43 && at[3])
			return PK_BAD_HEADER; /* not yet where it shall go (section 4.4) */
		if (to->proto == 44) {
			__u32 start = pk_be16(at + 2) & 0xfff8;

			to->fragmented = 1;
			to->fragment = (struct pk_fragment){ pk_be32(at + 4), start,
							     start + to->end - past,
							     at[3] & 1, 0 };
		} else {
			past += at[1] * 8u;
		}
		if (past > to->end)
			return cut_off;
		to->proto = at[0];
		to->transport = past;
	}
	if (to->fragmented && !to->fragment.start && !to->fragment.more)
		to->fragmented = 0; /* all of it: RFC 6946 */
	return PK_FORWARDED;
}

static inline enum pk_reason pk_read_ipv6(const __u8 *data, __u32 at, __u32 size, int quoted,
					  struct pk_header *to)
{
	const __u8 *ip = data + at;

	if (size < at + 40)
		return PK_TRUNCATED;
	if (ip[0] >> 4 != 6)
		return PK_BAD_HEADER;
	to->end = at + 40 + pk_be16(ip + 4);
	if (quoted && to->end > size)
		to->end = size;
	if (to->end > size)
		return PK_TRUNCATED;
	to->at = at;
	to->family = 6;
	to->proto = ip[6];
	to->ttl = ip[7];
	to->dont_fragment = 1;
	to->fragmented = 0;
	to->fragment.start = 0;
	to->transport = at + 40;
	return pk_walk(data, to);
}

static inline void pk_key_of(const __u8 *data, const struct pk_header *header, int ported,
			     struct pk_key *key)
{
	const __u8 *ends = data + header->at + pk_ends_at(header->family);
	__u32 size = pk_size(header->family);

	pk_read_addr(&key->source, ends, size);
	pk_read_addr(&key->destination, ends + size, size);
	key->sport = key->dport = 0;
	if (ported) {
		key->sport = pk_load16(data + header->transport);
		key->dport = pk_load16(data + header->transport + 2);
	}
	key->proto = header->proto;
	key->family = header->family;
	key->zero = 0;
}

/* The sum that the checksum of an ICMP message of so many bytes begins with. */
static inline __u64 pk_icmp_sum(__u8 family, const __u8 *ends, __u32 length)
{
	__u8 rest[8] = { (__u8)(length >> 24), (__u8)(length >> 16), (__u8)(length >> 8),
			 (__u8)length, 0, 0, 0, PK_ICMPV6 };

	return family == 4 ? 0 : pk_sum(rest, 8, pk_sum(ends, 32, 0));
}

enum pk_reason pk_parse_rest(const __u8 *data, const struct pk_header *header,
			     struct pk_view *view);

/* Offset of the payload, and the flags of TCP. The first fragment has all of the header, or a
 * filter could be deceived (RFC 1858), and less than the length in a UDP header. */
static inline enum pk_reason pk_measure(const __u8 *data, const struct pk_header *header,
					struct pk_view *view)
{
	const __u8 *at = data + header->transport;
	enum pk_reason cut_off = header->fragmented ? PK_BAD_FRAGMENT : PK_TRUNCATED;
	__u32 length;

	if (header->proto == PK_UDP) {
		if (header->end < header->transport + 8)
			return cut_off;
		length = pk_be16(at + 4);
		if (length < 8)
			return PK_BAD_HEADER;
		if (header->transport + length > header->end && !header->fragmented)
			return PK_TRUNCATED;
		view->payload = (__u16)(header->transport + 8);
		return PK_FORWARDED;
	}
	if (header->end < header->transport + 20)
		return cut_off;
	length = (at[12] >> 4) * 4u;
	if (length < 20)
		return PK_BAD_HEADER;
	if (header->transport + length > header->end)
		return cut_off;
	view->payload = (__u16)(header->transport + length);
	view->tcp_flags = at[13];
	return PK_FORWARDED;
}

/* The view of a frame: PK_FORWARDED, or the reason why there is none. */
static inline enum pk_reason pk_parse(const __u8 *data, __u32 size, struct pk_view *view)
{
	struct pk_header header;
	enum pk_reason reason;

	if (size < PK_IP)
		return PK_TRUNCATED;
	if (data[12] == 0x08 && data[13] == 0x00) {
		reason = pk_read_ipv4(data, PK_IP, size, 0, &header);
		if (reason == PK_FORWARDED &&
		    pk_fold(pk_sum(data + PK_IP, header.transport - PK_IP, 0)) != 0xffff)
			reason = PK_BAD_CHECKSUM;
	} else if (data[12] == 0x86 && data[13] == 0xdd) {
		reason = pk_read_ipv6(data, PK_IP, size, 0, &header);
	} else {
		return PK_NOT_OURS;
	}
	if (reason != PK_FORWARDED)
		return reason;
	view->end = header.end;
	view->transport = view->payload = (__u16)header.transport;
	view->ttl = header.ttl;
	view->tcp_flags = 0;
	view->dont_fragment = header.dont_fragment;
	view->kind = PK_WHOLE;
	if (header.fragmented || !pk_is_ported(header.proto))
		return pk_parse_rest(data, &header, view);
	reason = pk_measure(data, &header, view);
	if (reason == PK_FORWARDED)
		pk_key_of(data, &header, 1, &view->key);
	view->check = (__u16)(header.transport + pk_check_at(header.proto));
	return reason;
}

/* Whether the ports in the key are those in the packet. */
static inline int pk_has_ports(const struct pk_view *view)
{
	return pk_is_ported(view->key.proto) && view->kind <= PK_FIRST;
}

/* The key of a packet by its addresses alone: of an ICMP error, not of what it quotes. */
static inline struct pk_key pk_address_key(const __u8 *data)
{
	/* Not the family in the view's key: an error about a tunnel has that of the one inside. */
	struct pk_key key = { .family = data[12] == 0x08 ? 4 : 6 };
	const __u8 *ends = data + PK_IP + pk_ends_at(key.family);
	__u32 size = pk_size(key.family);

	pk_read_addr(&key.source, ends, size);
	pk_read_addr(&key.destination, ends + size, size);
	key.proto = key.family == 4 ? PK_ICMP : PK_ICMPV6;
	return key;
}

static inline struct pk_key pk_reversed(const struct pk_key *key)
{
	return (struct pk_key){ key->destination, key->source, key->dport, key->sport,
				key->proto, key->family, 0 };
}

#endif
