/* SPDX-License-Identifier: BSD-3-Clause */
#include "tables.h"

#include <stdlib.h>

int pk_is_impossible(const struct pk_tables *tables, const struct pk_addr *source, __u8 family)
{
	const struct pk_map *sets[] = { &tables->own, &tables->service_at.addresses, &tables->snat,
					&tables->broadcasts };
	struct pk_end end = pk_end_of(source, family);
	__u32 i;

	for (i = 0; i < sizeof(sets) / sizeof(*sets); i++)
		if (pk_map_find(sets[i], &tables->secret, &end) != PK_ABSENT)
			return 1;
	return !pk_can_be_answered(source, family);
}

void pk_tables_free(struct pk_tables *tables)
{
	if (!tables)
		return;
	pk_ends_free(&tables->service_at);
	pk_ends_free(&tables->replies);
	pk_map_free(&tables->own);
	pk_map_free(&tables->snat);
	pk_map_free(&tables->broadcasts);
	pk_map_free(&tables->direct);
	pk_map_free(&tables->appliances);
	free(tables->services);
	free(tables->places);
	free(tables->heaps);
	free(tables->hops);
	free(tables->hop_of);
	free(tables->place_of);
	free(tables->removed);
	free(tables->ports);
	free(tables);
}
