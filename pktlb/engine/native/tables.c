/* SPDX-License-Identifier: BSD-3-Clause */
#include "tables.h"

#include <stdlib.h>

void pk_tables_free(struct pk_tables *tables)
{
	if (!tables)
		return;
	pk_ends_free(&tables->service_at);
	pk_ends_free(&tables->replies);
	pk_map_free(&tables->own);
	pk_map_free(&tables->snat);
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
