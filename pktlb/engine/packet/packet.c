/* SPDX-License-Identifier: BSD-3-Clause */
/* What is behind an IP header, where it is no whole TCP or UDP packet. */
#include "packet.h"

#include <string.h>

#define LONGEST 0xffffu

static enum pk_reason read_header(__u8 family, const __u8 *data, __u32 at, __u32 end,
				  struct pk_header *to)
{
	return family == 4 ? pk_read_ipv4(data, at, end, 1, to) :
			     pk_read_ipv6(data, at, end, 1, to);
}

/* A quoted header that is not a later fragment's: that one does not tell its flow. */
static int read_quoted(__u8 family, const __u8 *data, __u32 at, __u32 end, struct pk_header *to)
{
	return read_header(family, data, at, end, to) == PK_FORWARDED &&
	       !(to->fragmented && to->fragment.start);
}

static int quoted_key(const __u8 *data, const struct pk_header *header, struct pk_key *key)
{
	int ported = pk_is_ported(header->proto);

	if (ported && header->end < header->transport + 8)
		return 0;
	pk_key_of(data, header, ported, key);
	return 1;
}

/* The key of the way back of the packet quoted at `at`, and where it is; of IP in IP the key of the
 * one inside. Whoever sent that packet is the receiver of an error (at `receiver`), or it is none. */
static int read_quote(const __u8 *data, __u32 at, __u32 end, __u8 family, const __u8 *receiver,
		      struct pk_view *view)
{
	struct pk_header header, inside;
	struct pk_quote *quote = &view->quote;
	struct pk_key key;

	if (!read_quoted(family, data, at, end, &header) ||
	    memcmp(data + at + pk_ends_at(family), receiver, pk_size(family)) ||
	    !quoted_key(data, &header, &key))
		return 0;
	if ((header.proto == PK_IPIP || header.proto == PK_IPV6) &&
	    read_quoted(header.proto == PK_IPIP ? 4 : 6, data, header.transport, header.end,
			&inside) &&
	    quoted_key(data, &inside, &view->key)) {
		*quote = (struct pk_quote){ key.source, key.destination, inside.end,
					    (__u16)header.transport, (__u16)inside.transport,
					    family };
		return 1;
	}
	view->key = pk_reversed(&key);
	*quote = (struct pk_quote){ .end = header.end, .ip = (__u16)at,
				    .transport = (__u16)header.transport };
	return 1;
}

static int is_error(const struct pk_header *header, __u8 type)
{
	if (header->family == 4)
		return header->proto == PK_ICMP && (type == 3 || type == 11 || type == 12);
	return header->proto == PK_ICMPV6 && type >= 1 && type <= 4;
}

/* PK_NOT_OURS: it is no ICMP error that quotes a packet. */
static enum pk_reason read_error(const __u8 *data, const struct pk_header *header,
				 struct pk_view *view)
{
	__u32 at = header->transport, length = header->end - at;
	const __u8 *ends = data + PK_IP + pk_ends_at(header->family);

	if (length < 8 || !is_error(header, data[at]) ||
	    !read_quote(data, at + 8, header->end, header->family,
			ends + pk_size(header->family), view))
		return PK_NOT_OURS;
	if (pk_checksum(data + at, length, pk_icmp_sum(header->family, ends, length)))
		return PK_BAD_CHECKSUM;
	view->kind = PK_ERROR;
	view->check = 0;
	return PK_FORWARDED;
}

/* Empty, beyond the end of any packet, or not of whole words though more are to follow. */
static int is_bad(const struct pk_fragment *fragment)
{
	__u32 length = fragment->stop - fragment->start;

	return !length || fragment->stop > LONGEST || (fragment->more && length % 8);
}

enum pk_reason pk_parse_rest(const __u8 *data, const struct pk_header *header,
			     struct pk_view *view)
{
	int ported = pk_is_ported(header->proto), later;
	enum pk_reason reason;
	__u32 check;

	if (header->fragmented && is_bad(&header->fragment))
		return PK_BAD_FRAGMENT;
	later = header->fragmented && header->fragment.start;
	view->check = 0;
	if (!later && ported) {
		reason = pk_measure(data, header, view);
		if (reason != PK_FORWARDED)
			return reason;
	} else if (!header->fragmented) {
		reason = read_error(data, header, view);
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
	pk_key_of(data, header, ported && !later, &view->key);
	return PK_FORWARDED;
}
