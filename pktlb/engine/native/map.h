/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An immutable map from the end of a flow (address, port, protocol) to a number.
 *
 * Built once and never changed: readers need no lock. At most half full, so that a search ends
 * after a probe or two; keyed, for half of what is searched comes from outside.
 */
#ifndef PK_MAP_H
#define PK_MAP_H

#include "packet.h"
#include "siphash.h"

#define PK_ABSENT 0xffffffffu

/* Address, port and protocol of one end; for a mere address port and protocol are 0. */
struct pk_end {
	struct pk_addr addr;
	__be16 port;
	__u8 proto, family;
};

struct pk_map_entry {
	struct pk_end end;
	__u32 value; /* PK_ABSENT: the place is free */
};

struct pk_map {
	struct pk_map_entry *entries;
	__u32 mask; /* number of places, a power of two, less one */
};

/* Room for `count` ends; 0, or -1 without memory. */
int pk_map_init(struct pk_map *map, __u32 count);
void pk_map_free(struct pk_map *map);
/* The first value given for an end stays. */
void pk_map_put(struct pk_map *map, const struct pk_secret *secret, const struct pk_end *end,
		__u32 value);

static inline int pk_end_equal(const struct pk_end *a, const struct pk_end *b)
{
	return pk_addr_equal(&a->addr, &b->addr) && a->port == b->port && a->proto == b->proto &&
	       a->family == b->family;
}

static inline __u32 pk_map_hash(const struct pk_secret *secret, const struct pk_end *end)
{
	struct pk_sip s;
	__u64 rest = (__u64)end->port << 16 | (__u64)end->proto << 8 | end->family;

	pk_sip_begin(&s, secret);
	if (end->family == 4) {
		rest |= (__u64)end->addr.word[0] << 32;
	} else {
		pk_sip_add(&s, end->addr.half[0], 1);
		pk_sip_add(&s, end->addr.half[1], 1);
	}
	pk_sip_add(&s, rest, 1);
	return (__u32)pk_sip_end(&s, 3);
}

/* The value of an end, or PK_ABSENT. */
static inline __u32 pk_map_find(const struct pk_map *map, const struct pk_secret *secret,
				const struct pk_end *end)
{
	__u32 at = pk_map_hash(secret, end);
	const struct pk_map_entry *entry;

	for (;; at++) {
		entry = &map->entries[at & map->mask];
		if (entry->value == PK_ABSENT || pk_end_equal(&entry->end, end))
			return entry->value;
	}
}

static inline struct pk_end pk_source_of(const struct pk_key *key)
{
	return (struct pk_end){ key->source, key->sport, key->proto, key->family };
}

static inline struct pk_end pk_destination_of(const struct pk_key *key)
{
	return (struct pk_end){ key->destination, key->dport, key->proto, key->family };
}

static inline struct pk_end pk_end_of(const struct pk_addr *addr, __u8 family)
{
	return (struct pk_end){ *addr, 0, 0, family };
}

#endif
