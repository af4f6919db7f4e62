/* SPDX-License-Identifier: BSD-3-Clause */
/* IP headers with their extensions: IPv4 and IPv6 give the same struct. */
#ifndef PK_HEADER_H
#define PK_HEADER_H

#include "address.h"
#include "bounds.h"
#include "checksum.h"
#include "reason.h"

#define PK_MAX_EXTENSIONS 8

enum pk_option { /* of IPv4 */
	PK_END_OF_OPTIONS = 0, PK_NO_OPERATION = 1, PK_LOOSE_ROUTE = 131, PK_STRICT_ROUTE = 137
};

/* A part of a packet: its bytes from `start` to `stop`; `more` are to come. */
struct pk_fragment {
	__u32 ident, start, stop;
	__u8 more, proto; /* proto: 0 in IPv6, where it does not tell packets apart */
};

/* An IP header with its extensions. */
struct pk_header {
	struct pk_key *key;          /* the caller's; its addresses are read with the header */
	__u32 transport, end;        /* offsets: of what follows the header, and behind the packet */
	struct pk_fragment fragment; /* zeros: it is none */
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

/* The header at offset `at` of a packet that may be `quoted`, that is: cut off at `size`. */
static inline enum pk_reason pk_read_ipv4(const struct pk_bytes *in, __u32 at, __u32 size,
					  int quoted, struct pk_header *to)
{
	const __u8 *ip = pk_at(in->data, at);
	__u32 length, total, word;

	if (size < at + 20 || !PK_WITHIN(ip, 20, in->end))
		return PK_TRUNCATED;
	length = (ip[0] & 0x0f) * 4u;
	total = pk_be16(ip + 2);
	if (ip[0] >> 4 != 4 || length < 20 || total < length)
		return PK_BAD_HEADER;
	to->transport = pk_forget(at + length);
	to->end = at + total;
	if (quoted && to->end > size)
		to->end = size;
	if (to->end > size || to->end < to->transport)
		return PK_TRUNCATED;
	pk_read_addr(&to->key->source, ip + 12, 4);
	pk_read_addr(&to->key->destination, ip + 16, 4);
	to->family = 4;
	to->ttl = ip[8];
	to->proto = ip[9];
	word = pk_be16(ip + 6);
	to->dont_fragment = !!(word & 0x4000);
	to->fragmented = !!(word & 0x3fff);
	to->fragment = (struct pk_fragment){ 0 };
	if (to->fragmented) {
		__u32 start = (word & 0x1fff) * 8;

		to->fragment = (struct pk_fragment){ pk_be16(ip + 4), start,
						     start + to->end - to->transport,
						     !!(word & 0x2000), ip[9] };
	}
	return PK_FORWARDED;
}

/* The sum over an IPv4 header: 0xffff where its checksum is right. */
static inline __u16 pk_ipv4_sum(const __u8 *ip, const __u8 *end)
{
	__u32 words = ip[0] & 0x0f, i;
	__u64 sum = pk_sum(ip, 20, 0);

	for (i = 5; i < words; i++) {
		if (!PK_WITHIN(ip, i * 4 + 4, end))
			break;
		sum += pk_load32(ip + i * 4);
	}
	return pk_fold(sum);
}

/* Whether the options of an IPv4 header of `length` bytes demand a route, loose or strict (RFC 791,
 * section 3.1; RFC 7126, section 4.3). A malformed option ends the list. The offset counts up by
 * one, so the kernel's verifier knows it at each step. */
static __attribute__((noinline, unused)) int pk_is_source_routed(const __u8 *ip, __u32 length,
								 const __u8 *end)
{
	__u32 next = 20, i;

	for (i = 20; i < 60; i++) {
		if (i != next)
			continue;
		if (i >= length || !PK_WITHIN(ip, i + 1, end) || ip[i] == PK_END_OF_OPTIONS)
			break;
		if (ip[i] == PK_LOOSE_ROUTE || ip[i] == PK_STRICT_ROUTE)
			return 1;
		next = i + 1;
		if (ip[i] == PK_NO_OPERATION)
			continue;
		if (next >= length || !PK_WITHIN(ip, i + 2, end) || ip[i + 1] < 2)
			break;
		next = pk_forget(i + ip[i + 1]);
	}
	return 0;
}

/* An IPv4 header that is all there: PK_FORWARDED, or what is wrong with it. */
static inline enum pk_reason pk_judge_ipv4(const __u8 *ip, const __u8 *end)
{
	__u32 length;

	if (!PK_WITHIN(ip, 20, end))
		return PK_TRUNCATED;
	if (pk_ipv4_sum(ip, end) != 0xffff)
		return PK_BAD_CHECKSUM;
	length = (ip[0] & 0x0f) * 4u;
	return length > 20 && pk_is_source_routed(ip, length, end) ? PK_BAD_HEADER : PK_FORWARDED;
}

static inline int pk_is_extension(__u8 proto)
{
	return proto == 0 || proto == 43 || proto == 44 || proto == 60;
}

/* Past the extension headers, up to the first that is none, or a later fragment's data (RFC 8200,
 * section 4). */
static inline enum pk_reason pk_walk(const struct pk_bytes *in, struct pk_header *to)
{
	__u32 seen = 0;

	while (pk_is_extension(to->proto) && !(to->fragmented && to->fragment.start)) {
		const __u8 *at = pk_at(in->data, to->transport);
		enum pk_reason cut_off = to->fragmented ? PK_BAD_FRAGMENT : PK_TRUNCATED;
		__u32 past = to->transport + 8;

		if (++seen > PK_MAX_EXTENSIONS || (to->proto == 44 && to->fragmented))
			return PK_BAD_HEADER;
		if (to->end < past || !PK_WITHIN(at, 8, in->end))
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
		to->transport = pk_forget(past);
	}
	if (to->fragmented && !to->fragment.start && !to->fragment.more)
		to->fragmented = 0; /* all of it: RFC 6946 */
	return PK_FORWARDED;
}

/* As pk_read_ipv4. */
static inline enum pk_reason pk_read_ipv6(const struct pk_bytes *in, __u32 at, __u32 size,
					  int quoted, struct pk_header *to)
{
	const __u8 *ip = pk_at(in->data, at);

	if (size < at + 40 || !PK_WITHIN(ip, 40, in->end))
		return PK_TRUNCATED;
	if (ip[0] >> 4 != 6)
		return PK_BAD_HEADER;
	to->end = at + 40 + pk_be16(ip + 4);
	if (quoted && to->end > size)
		to->end = size;
	if (to->end > size)
		return PK_TRUNCATED;
	pk_read_addr(&to->key->source, ip + 8, 16);
	pk_read_addr(&to->key->destination, ip + 24, 16);
	to->family = 6;
	to->proto = ip[6];
	to->ttl = ip[7];
	to->dont_fragment = 1;
	to->fragmented = 0;
	to->fragment = (struct pk_fragment){ 0 };
	to->transport = pk_forget(at + 40);
	return pk_walk(in, to);
}

/* The key of a packet but for its addresses. `at`: its ports, if it is `ported`. */
static inline void pk_complete_key(const struct pk_header *header, int ported, const __u8 *at)
{
	struct pk_key *key = header->key;

	key->sport = key->dport = 0;
	if (ported) {
		key->sport = pk_load16(at);
		key->dport = pk_load16(at + 2);
	}
	key->proto = header->proto;
	key->family = header->family;
	key->zero = 0;
}

#endif
