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

struct pk_raw_end {
	__u8 addr[16];
	__be16 port;
	__u8 proto, family;
} __attribute__((packed));

struct pk_raw_service {
	__u8 vip[16];
	__u8 scheduler, flags; /* enum pk_service_flag */
	__u8 fields, prefix4, prefix6, persist4, persist6, zero;
	__u32 standing, first_place, place_count;
	__u32 slots; /* place in the list of slot arrays, or PK_ABSENT */
	__u32 persist; /* ms */
} __attribute__((packed));

struct pk_raw_tally { /* one that was not there before */
	struct pk_raw_end backend;
	__u32 number, standing, pool;
} __attribute__((packed));

struct pk_raw_hop {
	struct pk_raw_end to; /* port and protocol 0 */
	__u8 source[16];
	__u32 port, mtu;
	__u8 macs[12];
} __attribute__((packed));

struct pk_raw_port {
	__u32 index, mtu;
	__u8 mac[6];
	__u8 spreads, has_address[2], zero[3];
	__u8 address[2][16];
} __attribute__((packed));

struct pk_raw_removed {
	__u32 tally, policy; /* enum pk_on_remove */
} __attribute__((packed));

struct pk_array {
	const void *data;
	size_t bytes;
};

struct pk_source {
	struct pk_array services, places, tallies, standings; /* standings: numbers that start anew */
	struct pk_array spans, replies; /* struct pk_raw_span: of services, and who sends replies */
	struct pk_array own, snat, direct, appliances, hops, ports, removed;
	struct pk_array hash_key;
	const struct pk_array *slots; /* arrays of __u32 that outlive the tables */
	__u32 slots_count;
	__u32 tally_count; /* all numbers of tallies are below it */
	__u32 own_low, own_high;
};

/* The tables, or NULL and what is wrong (NULL: there is no memory). New tallies, pools and standings are made on the way:
 * nobody knows their numbers before the tables are swapped in. */
struct pk_tables *pk_tables_load(struct pk_plane *plane, const struct pk_source *source,
				 const char **wrong);

#endif
