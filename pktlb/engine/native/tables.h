/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What control has decided, laid out for the datapath: immutable, swapped whole.
 *
 * What is counted for (a tally, a standing, a pool of source ports) is named by a number that
 * control keeps the same from one set of tables to the next.
 */
#ifndef PK_TABLES_H
#define PK_TABLES_H

#include <stddef.h>

#include "ends.h"
#include "map.h"

#define PK_MODES(X) X(NAT) X(DSR) X(TUNNEL)
enum pk_mode { PK_MODES(PK_MEMBER) };

#define PK_SCHEDULERS(X) X(RR) X(LC) X(SED) X(NQ) X(P2C) X(BY_HASH)
enum pk_scheduler { PK_SCHEDULERS(PK_MEMBER) };

#define PK_HASH_FIELDS(X) X(BY_MAC) X(BY_SOURCE) X(BY_ADDRESSES) X(BY_FIVE_TUPLE)
enum pk_hash_fields { PK_HASH_FIELDS(PK_MEMBER) };

#define PK_SERVICE_FLAGS(X) \
	X(ONE_PACKET, = 1) X(PICK_UP, = 2) X(IS_ANY, = 4) X(SYMMETRIC, = 8) \
	X(DIRECT, = 16) /* some of its backends answer in its name */
enum pk_service_flag { PK_SERVICE_FLAGS(PK_MEMBER) };

/* What becomes of the open TCP connections of a backend that was removed. */
#define PK_ON_REMOVES(X) X(NOT_REMOVED) X(ON_REMOVE_RESET) X(ON_REMOVE_DROP) X(ON_REMOVE_KEEP)
enum pk_on_remove { PK_ON_REMOVES(PK_MEMBER) };

/* How a frame reaches the next machine on its way. */
struct pk_hop {
	struct pk_addr source; /* of the outer header of a tunnel */
	__u32 port;            /* interface index */
	__u32 mtu;
	__u8 macs[12]; /* destination and source, as they stand in front of the frame */
};

/* One backend of a service that takes new flows. */
#define PK_PLACE(X) \
	X(__u32, tally) \
	X(__u32, weight) /* positive */ \
	X(__u32, upper)  /* open flows with which it becomes full; 0: it never does */ \
	X(__u32, lower)  /* with fewer open flows it is full no longer */ \
	X(__u32, mode)
struct pk_place { PK_PLACE(PK_FIELD) };

struct pk_service {
	struct pk_addr vip;
	__u8 scheduler;
	__u8 fields, prefix4, prefix6, symmetric; /* PK_BY_HASH: enum pk_hash_fields */
	__u8 persist4, persist6; /* bits of an address that make one client */
	__u32 persist;           /* ms that a client stays with its backend; 0: it does not */
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
	__u32 out; /* where its frames go out: the index of the port that has taken its place */
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
	struct pk_map own, snat, broadcasts;
	struct pk_map direct;     /* VIPs whose backends answer in their name */
	struct pk_map appliances; /* MACs of the backends of `any` */
	struct pk_service *services;
	const struct pk_service *any; /* for whatever is forwarded at all, or NULL */
	struct pk_place *places;
	__u32 *heaps;
	struct pk_hop *hops;
	const struct pk_hop **hop_of; /* by tally; NULL where there is no way */
	__u32 *place_of;              /* by tally; PK_ABSENT where it takes no new flows */
	__u8 *removed;                /* by tally: enum pk_on_remove; NULL where none was */
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

/* Whether no client can send from this address: it is ours, or not that of one host (RFC 1812,
 * section 5.3.7). A reply to an address of ours would come back to us as a request. */
int pk_is_impossible(const struct pk_tables *tables, const struct pk_addr *source, __u8 family);

void pk_tables_free(struct pk_tables *tables);

#endif
