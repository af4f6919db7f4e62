/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tables from the form in which control hands them over: arrays of packed records.
 *
 * Control is trusted to mean well, not to be free of mistakes: every number is checked against the
 * array that it points into before anything is taken over.
 */
#ifndef PK_RAW_TABLES_H
#define PK_RAW_TABLES_H

#include "plane.h"

#define PK_RAW_END(X) \
	X(__u8, addr, [16]) \
	X(__be16, port) \
	X(__u8, proto) X(__u8, family)
struct pk_raw_end { PK_RAW_END(PK_FIELD) } __attribute__((packed));

#define PK_RAW_SERVICE(X) \
	X(__u8, vip, [16]) \
	X(__u8, scheduler) /* enum pk_scheduler */ \
	X(__u8, flags)     /* enum pk_service_flag */ \
	X(__u8, fields)    /* enum pk_hash_fields */ \
	X(__u8, prefix4) X(__u8, prefix6) X(__u8, persist4) X(__u8, persist6) \
	X(__u8, zero) \
	X(__u32, standing) X(__u32, first_place) X(__u32, place_count) \
	X(__u32, slots)   /* place in the list of slot arrays, or PK_ABSENT */ \
	X(__u32, persist) /* ms */
struct pk_raw_service { PK_RAW_SERVICE(PK_FIELD) } __attribute__((packed));

/* One that was not there before. */
#define PK_RAW_TALLY(X) \
	X(struct pk_raw_end, backend) \
	X(__u32, number) X(__u32, standing) X(__u32, pool)
struct pk_raw_tally { PK_RAW_TALLY(PK_FIELD) } __attribute__((packed));

#define PK_RAW_HOP(X) \
	X(struct pk_raw_end, to) /* port and protocol 0 */ \
	X(__u8, source, [16]) \
	X(__u32, port) X(__u32, mtu) \
	X(__u8, macs, [12])
struct pk_raw_hop { PK_RAW_HOP(PK_FIELD) } __attribute__((packed));

#define PK_RAW_PORT(X) \
	X(__u32, ifindex) X(__u32, mtu) \
	X(__u32, successor) /* the port that has taken its place, or 0 */ \
	X(__u8, mac, [6]) \
	X(__u8, spreads) \
	X(__u8, has_address, [2]) /* of IPv4, and of IPv6 */ \
	X(__u8, zero, [3]) \
	X(__u8, address, [2][16])
struct pk_raw_port { PK_RAW_PORT(PK_FIELD) } __attribute__((packed));

#define PK_RAW_REMOVED(X) \
	X(__u32, tally) \
	X(__u32, on_remove) /* enum pk_on_remove */
struct pk_raw_removed { PK_RAW_REMOVED(PK_FIELD) } __attribute__((packed));

struct pk_array {
	const void *data;
	size_t bytes;
};

/* The arrays of a set of tables, and what each holds. */
#define PK_PARTS(X) \
	X(struct pk_raw_service, services) \
	X(struct pk_place, places) \
	X(struct pk_raw_tally, tallies) \
	X(__u32, standings) /* numbers that start anew */ \
	X(struct pk_raw_span, spans)   /* of services */ \
	X(struct pk_raw_span, replies) /* the ends that send replies */ \
	X(struct pk_raw_end, own) X(struct pk_raw_end, snat) X(struct pk_raw_end, direct) \
	X(struct pk_raw_end, appliances) \
	X(struct pk_raw_hop, hops) \
	X(struct pk_raw_port, ports) \
	X(struct pk_raw_removed, removed) \
	X(struct pk_raw_end, broadcasts) /* of networks that the machine is in */ \
	X(struct pk_secret, hash_key)

#define PK_ONE_MORE(type, name) +1
enum { PK_PART_COUNT = PK_PARTS(PK_ONE_MORE) };

#define PK_PART(type, name) struct pk_array name;
struct pk_source {
	PK_PARTS(PK_PART)
	const struct pk_array *slots; /* arrays of __u32 that outlive the tables */
	__u32 slots_count;
	__u32 tally_count; /* all numbers of tallies are below it */
	__u32 own_low, own_high;
};

/* The tables, or NULL and what is wrong (NULL: there is no memory). New tallies, pools and standings
 * are made on the way: no packet reads their numbers before the tables are swapped in. */
struct pk_tables *pk_tables_load(struct pk_plane *plane, const struct pk_source *source,
				 const char **wrong);

#endif
