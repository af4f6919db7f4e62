/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ends of packets that mean something (an index): single ones, and ranges of ports; the narrowest
 * range of an address comes first and counts. Built once and never changed.
 */
#ifndef PK_ENDS_H
#define PK_ENDS_H

#include <stddef.h>

#include "map.h"

/* As control hands it over, those of one address side by side. */
#define PK_RAW_SPAN(X) \
	X(__u8, addr, [16]) \
	X(__u16, low) X(__u16, high) /* ports, both included */ \
	X(__u8, proto) /* 0: all but ICMP */ \
	X(__u8, family) \
	X(__u16, zero) \
	X(__u32, meaning)
struct pk_raw_span { PK_RAW_SPAN(PK_FIELD) } __attribute__((packed));

struct pk_span {
	__u16 low, high;
	__u8 proto, last; /* last: of its address */
	__u32 meaning;
};

struct pk_ends {
	struct pk_map exact;
	struct pk_map addresses; /* to the first span, or PK_NO_SPAN */
	struct pk_span *spans;
};

#define PK_NO_SPAN 0xfffffffeu

/* 0, or -1 without memory. */
int pk_ends_init(struct pk_ends *ends, const struct pk_secret *secret,
		 const struct pk_raw_span *raw, __u32 count);
void pk_ends_free(struct pk_ends *ends);
/* What an end means, or PK_ABSENT. */
__u32 pk_ends_find(const struct pk_ends *ends, const struct pk_secret *secret,
		   const struct pk_end *end);

/* Whether any port of an address means something. */
static inline int pk_ends_have(const struct pk_ends *ends, const struct pk_secret *secret,
			       const struct pk_addr *addr, __u8 family)
{
	struct pk_end end = pk_end_of(addr, family);

	return pk_map_find(&ends->addresses, secret, &end) != PK_ABSENT;
}

#endif
