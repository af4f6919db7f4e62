/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parse one Ethernet frame into one view; decide nothing about it.
 *
 * Everything read here comes from outside and may lie: each length is checked against the one
 * around it before a byte behind it is touched. IPv4 and IPv6 give the same header, from there on
 * there is one path. Like all headers beside it, this one needs nothing but <linux/types.h>.
 */
#ifndef PK_PACKET_H
#define PK_PACKET_H

#include "quote.h"

/* Offset in the transport header of a checksum that covers the addresses; 0: there is none. */
static inline __u32 pk_check_at(__u8 proto)
{
	if (proto == PK_TCP)
		return 16;
	return proto == PK_UDP || proto == PK_DCCP || proto == PK_UDPLITE ? 6 : 0;
}

/* Offset of the payload, and the flags of TCP, from the header at `at`. The first fragment has all
 * of the header, or a filter could be deceived (RFC 1858), and less than the length in a UDP
 * header. */
static inline enum pk_reason pk_measure(const __u8 *at, const __u8 *end,
					const struct pk_header *header, struct pk_view *view)
{
	enum pk_reason cut_off = header->fragmented ? PK_BAD_FRAGMENT : PK_TRUNCATED;
	__u32 length;

	if (header->proto == PK_UDP) {
		if (header->end < header->transport + 8 || !PK_WITHIN(at, 8, end))
			return cut_off;
		length = pk_be16(at + 4);
		if (length < 8)
			return PK_BAD_HEADER;
		if (header->transport + length > header->end && !header->fragmented)
			return PK_TRUNCATED;
		view->payload = (__u16)(header->transport + 8);
		return PK_FORWARDED;
	}
	if (header->end < header->transport + 20 || !PK_WITHIN(at, 20, end))
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

/* Whether a fragment is empty, reaches beyond the end of any packet, or is not of whole words
 * though more are to follow. */
static inline int pk_is_bad(const struct pk_fragment *fragment)
{
	__u32 length = fragment->stop - fragment->start;

	return !length || fragment->stop > PK_LONGEST || (fragment->more && length % 8);
}

/* The view of what is no whole TCP or UDP packet. Rare, so it is kept out of its caller's way. */
static __attribute__((noinline, unused)) enum pk_reason
pk_parse_rest(const struct pk_bytes *in, const struct pk_header *header,
	      struct pk_view *view)
{
	const __u8 *at = pk_at(in->data, header->transport);
	int ported = pk_is_ported(header->proto), later;
	enum pk_reason reason;
	__u32 check;

	if (header->fragmented && pk_is_bad(&header->fragment))
		return PK_BAD_FRAGMENT;
	later = header->fragmented && header->fragment.start;
	view->check = 0;
	if (!later && ported) {
		reason = pk_measure(at, in->end, header, view);
		if (reason != PK_FORWARDED)
			return reason;
	} else if (!header->fragmented) {
		reason = pk_read_error(in, header, view);
		if (reason != PK_NOT_OURS)
			return reason;
	}
	check = pk_check_at(header->proto);
	if (!later && check && header->transport + check + 2 <= header->end)
		view->check = (__u16)(header->transport + check);
	if (header->fragmented) {
		view->kind = later ? PK_LATER : PK_FIRST;
		view->fragment = header->fragment;
	}
	pk_complete_key(header, ported && !later, at);
	return PK_FORWARDED;
}

/* The view of the frame from `data` to `end`: PK_FORWARDED, or the reason why there is none. A
 * frame is no longer than PK_LONGEST_FRAME. */
static inline enum pk_reason pk_parse(const __u8 *data, const __u8 *end, struct pk_view *view)
{
	const struct pk_bytes in = { data, end };
	__u32 size = (__u32)(end - data);
	struct pk_header header;
	enum pk_reason reason;
	const __u8 *at;

	header.key = &view->key;
	if (!PK_WITHIN(data, PK_IP, end))
		return PK_TRUNCATED;
	if (data[12] == 0x08 && data[13] == 0x00) {
		reason = pk_read_ipv4(&in, PK_IP, size, 0, &header);
		if (reason == PK_FORWARDED)
			reason = pk_judge_ipv4(pk_at(data, PK_IP), end);
	} else if (data[12] == 0x86 && data[13] == 0xdd) {
		reason = pk_read_ipv6(&in, PK_IP, size, 0, &header);
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
		return pk_parse_rest(&in, &header, view);
	at = pk_at(data, header.transport);
	reason = pk_measure(at, end, &header, view);
	if (reason == PK_FORWARDED)
		pk_complete_key(&header, 1, at);
	view->check = (__u16)(header.transport + pk_check_at(header.proto));
	return reason;
}

#endif
