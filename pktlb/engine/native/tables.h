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

#include "ends.h"
#include "map.h"

enum pk_mode { PK_NAT, PK_DSR, PK_TUNNEL };
enum pk_scheduler { PK_RR, PK_LC, PK_SED, PK_NQ, PK_P2C, PK_BY_HASH };
enum pk_fields { PK_BY_MAC, PK_BY_SOURCE, PK_BY_ADDRESSES, PK_BY_FLOW };
enum pk_service_flag {
	PK_ONE_PACKET = 1, PK_PICK_UP = 2, PK_IS_ANY = 4, PK_SYMMETRIC = 8,
	PK_DIRECT = 16 /* some of its backends answer in its name */
};

/* What becomes of the open TCP connections of a backend that was removed. */
enum pk_on_remove { PK_NOT_REMOVED, PK_ON_REMOVE_RESET, PK_ON_REMOVE_DROP, PK_ON_REMOVE_KEEP };

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
	__u32 weight;       /* positive */
	__u32 upper, lower; /* with so many open flows it is full, until there are fewer than so
			     * many; 0: never */
	__u32 mode;
};

struct pk_service {
	struct pk_addr vip;
	__u8 scheduler;
	__u8 fields, prefix4, prefix6, symmetric; /* PK_BY_HASH: of what */
	__u8 persist4, persist6; /* so many bits of an address are one client... */
	__u32 persist;           /* ms: ...that stays with its backend for so long; 0: it does not */
	__u8 one_packet, pick_up, is_any, direct;
	__u32 standing;
	__u32 place_count;
	const struct pk_place *places;
	const __u32 *slots; /* places in an order, for PK_RR, PK_P2C and PK_BY_HASH; control's memory */
	__u32 slot_count;
	__u32 *heap; /* PK_LC and its like: room for place_count places; see schedule.h */
};

/* What must be known of an interface of the balancer. */
struct pk_port {
	__u32 index;
	__u32 mtu;
	__u8 mac[6];
	__u8 spreads;            /* its frames are for the service `any` */
	__u8 has_address[2];     /* of IPv4, and of IPv6: */
	struct pk_addr address[2];
};

struct pk_tables {
	struct pk_secret secret;   /* of the maps */
	struct pk_secret hash_key; /* of the hash over client addresses */
	struct pk_ends service_at, replies;
	struct pk_map own, snat;
	struct pk_map direct;     /* VIPs whose backends answer in their name */
	struct pk_map appliances; /* MACs of the backends of `any` */
	struct pk_service *services;
	const struct pk_service *any; /* for whatever is forwarded at all, or NULL */
	struct pk_place *places;
	__u32 *heaps;
	struct pk_hop *hops;
	const struct pk_hop **hop_of; /* by tally; NULL where there is no way */
	__u32 *place_of;              /* by tally; PK_ABSENT where it takes no new flows */
	__u8 *removed;                /* by tally: enum pk_on_remove; NULL where nobody was */
	__u32 tally_count;
	struct pk_port *ports;
	__u32 port_count;
	__u32 own_low, own_high; /* ports of the machine's own connections, half open */
	__u8 has_snat[2]; /* of IPv4, and of IPv6 */
	__u8 has_limits;  /* some place may be full */
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
