/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses of either family, the key of a flow, and words as they lie in a packet. */
#ifndef PK_ADDRESS_H
#define PK_ADDRESS_H

#include "bounds.h"

#include "record.h"

enum pk_proto {
	PK_ICMP = 1, PK_IPIP = 4, PK_TCP = 6, PK_UDP = 17, PK_DCCP = 33, PK_IPV6 = 41,
	PK_ICMPV6 = 58, PK_UDPLITE = 136
};

/* An address of either family; an IPv4 address has its 4 bytes in front and zeros behind. */
struct pk_addr {
	union {
		__u8 byte[16];
		__u32 word[4];
		__u64 half[2];
	};
};

/* The 5-tuple as on the wire, in one form for all families; without ports they are 0. */
#define PK_KEY(X) \
	X(struct pk_addr, source) X(struct pk_addr, destination) \
	X(__be16, sport) X(__be16, dport) \
	X(__u8, proto) X(__u8, family) /* family: 4 or 6 */ \
	X(__u16, zero)
struct pk_key { PK_KEY(PK_FIELD) };

static inline __u16 pk_be16(const __u8 *at)
{
	return (__u16)(at[0] << 8 | at[1]);
}

static inline __u32 pk_be32(const __u8 *at)
{
	return (__u32)pk_be16(at) << 16 | pk_be16(at + 2);
}

static inline void pk_put16(__u8 *at, __u32 value)
{
	at[0] = (__u8)(value >> 8);
	at[1] = (__u8)value;
}

static inline void pk_put32(__u8 *at, __u32 value)
{
	pk_put16(at, value >> 16);
	pk_put16(at + 2, value);
}

static inline __u16 pk_load16(const __u8 *at)
{
	__u16 value;

	pk_copy(&value, at, 2);
	return value;
}

static inline __u32 pk_load32(const __u8 *at)
{
	__u32 value;

	pk_copy(&value, at, 4);
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

static inline int pk_key_equal(const struct pk_key *a, const struct pk_key *b)
{
	return !__builtin_memcmp(a, b, sizeof(*a));
}

/* `size`: 4 or 16. */
static inline void pk_read_addr(struct pk_addr *to, const __u8 *at, __u32 size)
{
	if (size == 4) {
		to->half[0] = to->half[1] = 0;
		pk_copy(to->byte, at, 4);
	} else {
		pk_copy(to->byte, at, 16);
	}
}

static inline void pk_write_addr(__u8 *at, const struct pk_addr *from, __u32 size)
{
	if (size == 4)
		__builtin_memcpy(at, from->byte, 4);
	else
		__builtin_memcpy(at, from->byte, 16);
}

/* An address with only its first bits kept. */
static inline void pk_write_prefix(__u8 *at, const struct pk_addr *from, __u32 size, __u32 bits)
{
	__u32 i;

	for (i = 0; i < size; i++)
		at[i] = i < bits / 8 ? from->byte[i] :
			i == bits / 8 ? (__u8)(from->byte[i] & 0xff00 >> bits % 8) : 0;
}

/* One host: no this-network, loopback, multicast or reserved address, not :: nor ::1. */
static inline int pk_can_be_answered(const struct pk_addr *addr, __u8 family)
{
	if (family == 4)
		return addr->byte[0] != 0 && addr->byte[0] != 127 && addr->byte[0] < 224;
	return addr->byte[0] != 0xff &&
	       (addr->half[0] || addr->word[2] || addr->byte[12] || addr->byte[13] ||
		addr->byte[14]);
}

/* Of one link only: no router forwards a packet from it to another link (RFC 3927, section 2.7; RFC
 * 4291, section 2.5.6). */
static inline int pk_is_link_local(const struct pk_addr *addr, __u8 family)
{
	if (family == 4)
		return addr->byte[0] == 0xa9 && addr->byte[1] == 0xfe;
	return addr->byte[0] == 0xfe && (addr->byte[1] & 0xc0) == 0x80;
}

/* A host that is not on the link itself by definition. */
static inline int pk_is_forwardable(const struct pk_addr *addr, __u8 family)
{
	return pk_can_be_answered(addr, family) && !pk_is_link_local(addr, family);
}

#endif
