/* SPDX-License-Identifier: BSD-3-Clause */
/* ICMP errors, and the packet that each of them quotes (RFC 792, RFC 4443). */
#ifndef PK_QUOTE_H
#define PK_QUOTE_H

#include "view.h"

/* The sum that the checksum of an ICMP message of so many bytes begins with. `ends`: the two
 * addresses of an IPv6 packet, which the checksum covers (RFC 4443, section 2.3). */
static inline __u64 pk_icmp_sum(__u8 family, const __u8 *ends, __u32 length)
{
	__u8 rest[8] = { (__u8)(length >> 24), (__u8)(length >> 16), (__u8)(length >> 8),
			 (__u8)length, 0, 0, 0, PK_ICMPV6 };

	return family == 4 ? 0 : pk_sum(rest, 8, pk_sum(ends, 32, 0));
}

/* A quoted header that is not a later fragment's: that one does not tell its flow. */
static inline int pk_read_quoted(const struct pk_bytes *in, __u32 at, __u32 size,
				 __u8 family, struct pk_header *to)
{
	enum pk_reason reason = family == 4 ? pk_read_ipv4(in, at, size, 1, to) :
					      pk_read_ipv6(in, at, size, 1, to);

	return reason == PK_FORWARDED && !(to->fragmented && to->fragment.start);
}

/* Whether enough of the packet is quoted to tell its key. */
static inline int pk_quoted_key(const struct pk_bytes *in, const struct pk_header *header)
{
	const __u8 *at = pk_at(in->data, header->transport);
	int ported = pk_is_ported(header->proto);

	if (ported && (header->end < header->transport + 8 || !PK_WITHIN(at, 8, in->end)))
		return 0;
	pk_complete_key(header, ported, at);
	return 1;
}

/* Whether the checksum of a quoted header is right: else what it says may not be what was sent (RFC
 * 5508, REQ-3 a). */
static inline int pk_header_is_intact(const struct pk_bytes *in, __u32 at, __u8 family)
{
	const __u8 *ip = pk_at(in->data, at);

	return family != 4 || (PK_WITHIN(ip, 20, in->end) && pk_ipv4_sum(ip, in->end) == 0xffff);
}

/* Puts the key of the way back of the packet quoted at `at`, and where it is, into the view; of IP
 * in IP the key of the packet inside. PK_NOT_OURS: the packet does not tell its flow, or was not
 * sent by the receiver of the error, which is in the view's key so far. */
static inline enum pk_reason pk_read_quote(const struct pk_bytes *in, __u32 at,
				const struct pk_header *error, struct pk_view *view)
{
	struct pk_header header, inside;
	struct pk_quote *quote = &view->quote;
	struct pk_key key;

	header.key = &key;
	inside.key = &view->key;
	if (!pk_read_quoted(in, at, error->end, error->family, &header) ||
	    !pk_quoted_key(in, &header) || !pk_addr_equal(&key.source, &view->key.destination))
		return PK_NOT_OURS;
	if (!pk_header_is_intact(in, at, header.family))
		return PK_BAD_CHECKSUM;
	if ((header.proto == PK_IPIP || header.proto == PK_IPV6) &&
	    pk_read_quoted(in, header.transport, header.end,
			   header.proto == PK_IPIP ? 4 : 6, &inside) &&
	    pk_quoted_key(in, &inside)) {
		*quote = (struct pk_quote){ key.source, key.destination, inside.end,
					    (__u16)header.transport, (__u16)inside.transport,
					    error->family };
		return pk_header_is_intact(in, header.transport, inside.family) ? PK_FORWARDED :
									   PK_BAD_CHECKSUM;
	}
	pk_reverse(&key, &view->key);
	*quote = (struct pk_quote){ .end = header.end, .ip = (__u16)at,
				    .transport = (__u16)header.transport };
	return PK_FORWARDED;
}

static inline int pk_is_error(const struct pk_header *header, __u8 type)
{
	if (header->family == 4)
		return header->proto == PK_ICMP && (type == 3 || type == 11 || type == 12);
	return header->proto == PK_ICMPV6 && type >= 1 && type <= 4;
}

/* PK_NOT_OURS: it is no ICMP error that quotes a packet. */
static inline enum pk_reason pk_read_error(const struct pk_bytes *in,
					   const struct pk_header *header, struct pk_view *view)
{
	__u32 length = header->end - header->transport;
	const __u8 *at = pk_at(in->data, header->transport);
	enum pk_reason reason;
	__u64 sum;

	if (length < 8 || !PK_WITHIN(at, 8, in->end) || !pk_is_error(header, at[0]))
		return PK_NOT_OURS;
	sum = pk_icmp_sum(header->family, (const __u8 *)&view->key, length);
	reason = pk_read_quote(in, header->transport + 8, header, view);
	if (reason != PK_FORWARDED)
		return reason;
	if (pk_fold(pk_sum_within(in, header->transport, length, sum)) != 0xffff)
		return PK_BAD_CHECKSUM;
	view->kind = PK_ERROR;
	view->check = 0;
	return PK_FORWARDED;
}

#endif
