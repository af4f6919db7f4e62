/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What control has decided, laid out for the datapath: immutable, swapped whole.
 *
 * Who is counted for (a tally, a standing, a pool of source ports) is named by a number that
 * control keeps the same from one set of tables to the next.
 */
#ifndef PK_TABLES_H
#define PK_TABLES_H

#include <stddef.h>

#include "map.h"

enum pk_mode { PK_NAT, PK_DSR, PK_TUNNEL };
enum pk_scheduler { PK_RR, PK_LC, PK_BY_SOURCE };

/* How a frame reaches the next machine on its way. */
struct pk_hop {
	struct pk_addr source; /* of the outer header of a tunnel */
	__u32 port;            /* interface index */
	__u32 mtu;
	__u8 macs[12]; /* destination and source, as they stand in front of the frame */
};

/* One backend of a service that takes new flows. */
struct pk_place {
	__u32 tally;
	__u32 weight; /* positive */
};

struct pk_service {
	struct pk_end vip;
	__u8 mode, scheduler;
	__u32 standing;
	__u32 place_count;
	const struct pk_place *places;
	const __u32 *slots; /* places in an order, for PK_RR and PK_BY_SOURCE; control's memory */
	__u32 slot_count;
	__u32 *heap; /* PK_LC: room for place_count places; the one part that changes, see schedule.h */
};

/* What must be known of an interface of the balancer. */
struct pk_port {
	__u32 index;
	__u32 mtu;
	__u8 mac[6];
};

struct pk_tables {
	struct pk_secret secret;   /* of the maps */
	struct pk_secret hash_key; /* of the hash over client addresses */
	struct pk_map service_at, replies, own, snat;
	struct pk_service *services;
	struct pk_place *places;
	__u32 *heaps;
	struct pk_hop *hops;
	const struct pk_hop **hop_of; /* by tally; NULL where there is no way */
	__u32 tally_count;
	struct pk_port *ports;
	__u32 port_count;
	__u32 own_low, own_high; /* ports of the machine's own connections, half open */
	int has_snat;
	__u64 version; /* one more with each swap */
};

static inline const struct pk_port *pk_port_of(const struct pk_tables *tables, __u32 index)
{
	__u32 i;

	for (i = 0; i < tables->port_count; i++)
		if (tables->ports[i].index == index)
			return &tables->ports[i];
	return NULL;
}

void pk_tables_free(struct pk_tables *tables);

#endif
