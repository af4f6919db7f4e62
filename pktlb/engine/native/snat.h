/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Source addresses and ports that stand in for the clients' (source NAT).
 *
 * A pool for each backend: first what was never given out, then what was given back, the longest
 * ago first, after `PK_REST` others at least. An endpoint is a number, so a pool is a queue of
 * numbers linked through an array that costs memory only as far as it was used.
 */
#ifndef PK_SNAT_H
#define PK_SNAT_H

#include "map.h"

#define PK_MAX_POOLS (1u << 20)
#define PK_REST 4096

struct pk_pool {
	__u32 *next; /* by number, behind each one that was given back; NULL until first used */
	__u32 fresh, waiting, first, last;
	__u8 is_ipv6;
};

struct pk_snat {
	struct pk_addr *addresses[2]; /* of IPv4, and of IPv6 */
	__u32 address_count[2];
	__be16 *ports;
	__u32 port_count;
	__u32 port_number[65536]; /* place in `ports` by port, as it lies in memory */
	struct pk_pool *pools;
};

/* `addresses`: those of IPv4, then those of IPv6, each sorted by their bytes; `ports` in network
 * order. 0, or -1 without memory. */
int pk_snat_init(struct pk_snat *snat, const struct pk_addr *addresses,
		 const __u32 address_count[2], const __be16 *ports, __u32 port_count);
void pk_snat_free(struct pk_snat *snat);
/* Called for each pool before its number is used: takes the memory that it may need. */
int pk_pool_open(struct pk_snat *snat, __u32 pool, __u8 family);
/* How many addresses of a family there are, and these: without any clients keep their own. */
static inline __u32 pk_snat_count(const struct pk_snat *snat, __u8 family)
{
	return snat->address_count[family != 4];
}

static inline const struct pk_addr *pk_snat_addresses(const struct pk_snat *snat, __u8 family)
{
	return snat->addresses[family != 4];
}

/* An address and port that no other flow of this pool has; false where all are taken. */
int pk_snat_take(struct pk_snat *snat, __u32 pool, struct pk_addr *address, __be16 *port);
void pk_snat_give_back(struct pk_snat *snat, __u32 pool, const struct pk_addr *address,
		       __be16 port);

/* Of flows that come from an earlier process: this endpoint is taken. False where it is not one of
 * the pool's. When all are known, `settle` makes the rest of each pool ready to be given out. */
int pk_snat_claim(struct pk_snat *snat, __u32 pool, const struct pk_addr *address, __be16 port);
void pk_snat_settle(struct pk_snat *snat);

#endif
