/* SPDX-License-Identifier: BSD-3-Clause */
#include "map.h"

#include <stdlib.h>
#include <string.h>

int pk_map_init(struct pk_map *map, __u32 count)
{
	__u32 places = 2;

	while (places < 2 * (__u64)count)
		places *= 2;
	map->entries = malloc(places * sizeof(*map->entries));
	if (!map->entries)
		return -1;
	memset(map->entries, 0xff, places * sizeof(*map->entries));
	map->mask = places - 1;
	return 0;
}

void pk_map_free(struct pk_map *map)
{
	free(map->entries);
	map->entries = NULL;
}

void pk_map_put(struct pk_map *map, const struct pk_secret *secret, const struct pk_end *end,
		__u32 value)
{
	__u32 at = pk_map_hash(secret, end);
	struct pk_map_entry *entry;

	for (;; at++) {
		entry = &map->entries[at & map->mask];
		if (entry->value == PK_ABSENT)
			break;
		if (pk_end_equal(&entry->end, end))
			return;
	}
	entry->end = *end;
	entry->value = value;
}
