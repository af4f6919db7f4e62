/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SipHash: a keyed 64-bit hash whose collisions cannot be aimed at without the key.
 *
 * Jean-Philippe Aumasson and Daniel J. Bernstein, "SipHash: a fast short-input PRF", 2012.
 * SipHash-2-4 chooses among backends, as in the reference engine; SipHash-1-3, which is faster and
 * good enough where hashes are never shown, finds places in tables.
 */
#ifndef PK_SIPHASH_H
#define PK_SIPHASH_H

#include <linux/types.h>

struct pk_secret {
	__u64 half[2];
};

struct pk_sip {
	__u64 v0, v1, v2, v3;
};

static inline __u64 pk_rotate(__u64 word, int by)
{
	return word << by | word >> (64 - by);
}

static inline void pk_sip_round(struct pk_sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = pk_rotate(s->v1, 13) ^ s->v0;
	s->v3 = pk_rotate(s->v3, 16) ^ s->v2;
	s->v0 = pk_rotate(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = pk_rotate(s->v1, 17) ^ s->v2;
	s->v3 = pk_rotate(s->v3, 21) ^ s->v0;
	s->v2 = pk_rotate(s->v2, 32);
}

static inline void pk_sip_begin(struct pk_sip *s, const struct pk_secret *secret)
{
	s->v0 = secret->half[0] ^ 0x736f6d6570736575ULL;
	s->v1 = secret->half[1] ^ 0x646f72616e646f6dULL;
	s->v2 = secret->half[0] ^ 0x6c7967656e657261ULL;
	s->v3 = secret->half[1] ^ 0x7465646279746573ULL;
}

static inline void pk_sip_add(struct pk_sip *s, __u64 word, int rounds)
{
	s->v3 ^= word;
	while (rounds--)
		pk_sip_round(s);
	s->v0 ^= word;
}

static inline __u64 pk_sip_end(struct pk_sip *s, int rounds)
{
	s->v2 ^= 0xff;
	while (rounds--)
		pk_sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* Eight bytes or fewer, the first one lowest. */
static inline __u64 pk_little_endian(const __u8 *data, __u32 length)
{
	__u64 word = 0;

	while (length--)
		word = word << 8 | data[length];
	return word;
}

/* SipHash-2-4 of `length` bytes, as published. */
static inline __u64 pk_siphash(const struct pk_secret *secret, const __u8 *data, __u32 length)
{
	struct pk_sip s;
	__u32 left;

	pk_sip_begin(&s, secret);
	for (left = length; left >= 8; left -= 8, data += 8)
		pk_sip_add(&s, pk_little_endian(data, 8), 2);
	pk_sip_add(&s, pk_little_endian(data, left) | (__u64)(length & 0xff) << 56, 2);
	return pk_sip_end(&s, 4);
}

#endif
