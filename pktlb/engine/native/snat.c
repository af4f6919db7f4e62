/* SPDX-License-Identifier: BSD-3-Clause */
#include "snat.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"

#define CLAIMED 0xffffffff

static __u32 no_memory; /* of a pool that has nothing to give */

static size_t pool_bytes(const struct pk_snat *snat, __u8 is_ipv6)
{
	return (size_t)snat->address_count[is_ipv6] * snat->port_count * sizeof(__u32);
}

int pk_snat_init(struct pk_snat *snat, const struct pk_addr *addresses,
		 const __u32 address_count[2], const __be16 *ports, __u32 port_count)
{
	__u32 all = address_count[0] + address_count[1], i;

	memcpy(snat->address_count, address_count, sizeof(snat->address_count));
	snat->port_count = port_count;
	snat->addresses[0] = calloc(all + 1, sizeof(*addresses));
	snat->ports = calloc(port_count + 1, sizeof(*ports));
	snat->pools = pk_reserve(PK_MAX_POOLS * sizeof(*snat->pools));
	if (!snat->addresses[0] || !snat->ports || !snat->pools)
		return -1;
	snat->addresses[1] = snat->addresses[0] + address_count[0];
	memcpy(snat->addresses[0], addresses, all * sizeof(*addresses));
	memcpy(snat->ports, ports, port_count * sizeof(*ports));
	for (i = 0; i < port_count; i++)
		snat->port_number[ports[i]] = i;
	return 0;
}

void pk_snat_free(struct pk_snat *snat)
{
	__u32 i;

	for (i = 0; snat->pools && i < PK_MAX_POOLS && snat->pools[i].next; i++)
		if (snat->pools[i].next != &no_memory)
			pk_release(snat->pools[i].next, pool_bytes(snat, snat->pools[i].is_ipv6));
	pk_release(snat->pools, PK_MAX_POOLS * sizeof(*snat->pools));
	free(snat->addresses[0]);
	free(snat->ports);
}

int pk_pool_open(struct pk_snat *snat, __u32 number, __u8 family)
{
	struct pk_pool *pool = &snat->pools[number];

	if (pool->next)
		return 0;
	pool->is_ipv6 = family != 4;
	pool->next = pool_bytes(snat, pool->is_ipv6) ?
			     pk_reserve(pool_bytes(snat, pool->is_ipv6)) : &no_memory;
	return pool->next ? 0 : -1;
}

int pk_snat_take(struct pk_snat *snat, __u32 number, struct pk_addr *address, __be16 *port)
{
	struct pk_pool *pool = &snat->pools[number];
	__u32 count = snat->address_count[pool->is_ipv6], taken;

	if (pool->fresh < count * snat->port_count && pool->waiting < PK_REST) {
		taken = pool->fresh++;
	} else if (pool->waiting) {
		taken = pool->first;
		pool->first = pool->next[taken];
		pool->waiting--;
	} else {
		return 0;
	}
	*address = snat->addresses[pool->is_ipv6][taken % count];
	*port = snat->ports[taken / count];
	return 1;
}

static int compare_addresses(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct pk_addr));
}

/* Of an endpoint that was given out. */
static __u32 number_of(const struct pk_snat *snat, __u8 is_ipv6, const struct pk_addr *address,
		       __be16 port)
{
	const struct pk_addr *all = snat->addresses[is_ipv6];
	__u32 count = snat->address_count[is_ipv6];
	const struct pk_addr *found = bsearch(address, all, count, sizeof(*address),
					      compare_addresses);

	return snat->port_number[port] * count + (found ? (__u32)(found - all) : 0);
}

void pk_snat_give_back(struct pk_snat *snat, __u32 pool_number, const struct pk_addr *address,
		       __be16 port)
{
	struct pk_pool *pool = &snat->pools[pool_number];
	__u32 given = number_of(snat, pool->is_ipv6, address, port);

	if (pool->waiting)
		pool->next[pool->last] = given;
	else
		pool->first = given;
	pool->last = given;
	pool->waiting++;
}

int pk_snat_claim(struct pk_snat *snat, __u32 pool_number, const struct pk_addr *address,
		  __be16 port)
{
	struct pk_pool *pool = &snat->pools[pool_number];
	__u32 count = snat->address_count[pool->is_ipv6], number;

	if (!pool->next || pool->next == &no_memory ||
	    !bsearch(address, snat->addresses[pool->is_ipv6], count, sizeof(*address),
		     compare_addresses) ||
	    snat->port_number[port] >= snat->port_count ||
	    snat->ports[snat->port_number[port]] != port)
		return 0;
	number = number_of(snat, pool->is_ipv6, address, port);
	if (pool->next[number] == CLAIMED)
		return 0;
	pool->next[number] = CLAIMED;
	if (pool->fresh <= number)
		pool->fresh = number + 1;
	return 1;
}

void pk_snat_settle(struct pk_snat *snat)
{
	struct pk_pool *pool;
	__u32 i, number;

	for (i = 0; i < PK_MAX_POOLS && snat->pools[i].next; i++) {
		pool = &snat->pools[i];
		for (number = 0; number < pool->fresh; number++) {
			if (pool->next[number] == CLAIMED)
				continue;
			if (pool->waiting++)
				pool->next[pool->last] = number;
			else
				pool->first = number;
			pool->last = number;
		}
	}
}
