/* SPDX-License-Identifier: BSD-3-Clause */
#include "snat.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"

static size_t pool_bytes(const struct pk_snat *snat)
{
	return (size_t)snat->address_count * snat->port_count * sizeof(__u32);
}

int pk_snat_init(struct pk_snat *snat, const struct pk_addr *addresses, __u32 address_count,
		 const __be16 *ports, __u32 port_count)
{
	__u32 i;

	snat->address_count = address_count;
	snat->port_count = port_count;
	snat->addresses = calloc(address_count + 1, sizeof(*addresses));
	snat->ports = calloc(port_count + 1, sizeof(*ports));
	snat->pools = pk_reserve(PK_MAX_POOLS * sizeof(*snat->pools));
	if (!snat->addresses || !snat->ports || !snat->pools)
		return -1;
	memcpy(snat->addresses, addresses, address_count * sizeof(*addresses));
	memcpy(snat->ports, ports, port_count * sizeof(*ports));
	for (i = 0; i < port_count; i++)
		snat->port_number[ports[i]] = i;
	return 0;
}

void pk_snat_free(struct pk_snat *snat)
{
	__u32 i;

	for (i = 0; snat->pools && i < PK_MAX_POOLS && snat->pools[i].next; i++)
		pk_release(snat->pools[i].next, pool_bytes(snat));
	pk_release(snat->pools, PK_MAX_POOLS * sizeof(*snat->pools));
	free(snat->addresses);
	free(snat->ports);
}

int pk_pool_open(struct pk_snat *snat, __u32 pool)
{
	if (!snat->address_count || !snat->port_count || snat->pools[pool].next)
		return 0;
	snat->pools[pool].next = pk_reserve(pool_bytes(snat));
	return snat->pools[pool].next ? 0 : -1;
}

int pk_snat_take(struct pk_snat *snat, __u32 number, struct pk_addr *address, __be16 *port)
{
	struct pk_pool *pool = &snat->pools[number];
	__u32 taken;

	if (pool->fresh < snat->address_count * snat->port_count && pool->waiting < PK_REST) {
		taken = pool->fresh++;
	} else if (pool->waiting) {
		taken = pool->first;
		pool->first = pool->next[taken];
		pool->waiting--;
	} else {
		return 0;
	}
	*address = snat->addresses[taken % snat->address_count];
	*port = snat->ports[taken / snat->address_count];
	return 1;
}

static int compare_addresses(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct pk_addr));
}

static __u32 number_of(const struct pk_snat *snat, const struct pk_addr *address, __be16 port)
{
	const struct pk_addr *found = bsearch(address, snat->addresses, snat->address_count,
					      sizeof(*address), compare_addresses);
	__u32 place = found ? (__u32)(found - snat->addresses) : 0;

	return snat->port_number[port] * snat->address_count + place;
}

void pk_snat_give_back(struct pk_snat *snat, __u32 pool_number, const struct pk_addr *address,
		       __be16 port)
{
	struct pk_pool *pool = &snat->pools[pool_number];
	__u32 given = number_of(snat, address, port);

	if (pool->waiting)
		pool->next[pool->last] = given;
	else
		pool->first = given;
	pool->last = given;
	pool->waiting++;
}
