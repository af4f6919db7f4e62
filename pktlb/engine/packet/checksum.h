/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The Internet checksum (RFC 1071), and its update by difference (RFC 1624).
 *
 * All sums are taken over words as they lie in memory: the one's complement sum does not care for
 * byte order as long as all words have the same (RFC 1071, section 2 (B)). A difference of sums, a
 * delta, is a number modulo 0xffff in 0..0xfffe; 0 and 0xffff are the same to it, but not on the
 * wire, so what is written is always computed in the same way as the reference engine does.
 */
#ifndef PK_CHECKSUM_H
#define PK_CHECKSUM_H

#include "address.h"

#define PK_LONGEST 0xffffu /* bytes of an IP packet */
#define PK_PIECE 64u

static inline __u16 pk_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)((sum & 0xffff) + (sum >> 16));
}

/* A byte as the first one of its word. */
static inline __u16 pk_first(__u8 byte)
{
	__u8 word[2] = { byte, 0 };

	return pk_load16(word);
}

/* Adds `length` bytes to an unfolded sum; an odd last byte is the first of its word. */
static inline __u64 pk_sum(const __u8 *data, __u32 length, __u64 sum)
{
	__u64 a = 0, b = 0;

	for (; length >= 16; data += 16, length -= 16) {
		__u32 w[4];

		pk_copy(w, data, 16);
		a += (__u64)w[0] + w[1];
		b += (__u64)w[2] + w[3];
	}
	for (; length >= 2; data += 2, length -= 2)
		a += pk_load16(data);
	if (length)
		a += pk_first(*data);
	return sum + pk_fold(a) + pk_fold(b);
}

/* As pk_sum, of `length` bytes from offset `at` on. The bytes that fill no whole piece are summed
 * first: then only the sum is alive behind the loop over pieces, and the kernel's verifier follows
 * one way out of it instead of hundreds. */
static inline __u64 pk_sum_within(const struct pk_bytes *in, __u32 at, __u32 length, __u64 sum)
{
	__u32 odd = length % 2, front = length % PK_PIECE - odd, i, k;
	const __u8 *last = pk_at(in->data, at + length - odd), *words = pk_at(in->data, at);
	const __u8 *pieces = pk_at(in->data, at + front);

	if (odd && PK_WITHIN(last, 1, in->end))
		sum += pk_first(*last);
	for (i = 0; i < PK_PIECE && i < front && PK_WITHIN(words, i + 2, in->end); i += 2)
		sum += pk_load16(words + i);
	for (i = 0; i < PK_LONGEST_FRAME / PK_PIECE && i < length / PK_PIECE; i++) {
		if (!PK_WITHIN(pieces, PK_PIECE, in->end))
			break;
		for (k = 0; k < PK_PIECE; k += 4)
			sum += pk_load32(pieces + k);
		pieces += PK_PIECE;
	}
	return sum;
}

/* The checksum of `data`, its own field zeroed, on top of a sum begun elsewhere. */
static inline __u16 pk_checksum(const __u8 *data, __u32 length, __u64 start)
{
	return (__u16)~pk_fold(pk_sum(data, length, start));
}

/* The difference between two folded sums. */
static inline __u16 pk_delta(__u16 old, __u16 new)
{
	return (__u16)(((__u32)new + 0xffff - old) % 0xffff);
}

/* The sum of two deltas, and the same difference the other way round. */
static inline __u16 pk_delta_add(__u16 a, __u16 b)
{
	return (__u16)(((__u32)a + b) % 0xffff);
}

static inline __u16 pk_delta_turned(__u16 by)
{
	return by ? (__u16)(0xffff - by) : 0;
}

/* A full checksum after a change: HC' = ~(~HC + delta) (RFC 1624, equation 3). */
static inline __u16 pk_update(__u16 check, __u16 by)
{
	__u32 sum = (__u32)(__u16)~check + by;

	return (__u16)~((sum & 0xffff) + (sum >> 16));
}

/* A partial checksum, which is a sum not inverted, after a change of the pseudo-header. */
static inline __u16 pk_update_partial(__u16 check, __u16 by)
{
	__u32 sum = (__u32)check + by;

	return (__u16)((sum & 0xffff) + (sum >> 16));
}

/* As pk_update, where 0 means "not summed" and a sum of 0 is sent as 0xffff (RFC 768). */
static inline __u16 pk_update_udp(__u16 check, __u16 by)
{
	__u16 updated;

	if (!check)
		return 0;
	updated = pk_update(check, by);
	return updated ? updated : 0xffff;
}

#endif
