/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An engine in a small world: nine services, twelve backends of two families, few enough addresses
 * and ports that everything clashes with everything soon. The input chooses limits and tables;
 * numbers of tallies and standings are given out as control does it.
 */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include "batch.h"
#include "input.h"
#include "raw_tables.h"

#define SERVICES 9u
#define BACKENDS 12u /* half of them IPv4, half IPv6 */
#define ANY (SERVICES - 1)
#define TALLIES 256u
#define STANDINGS 64u
#define MOST_SLOTS 16u
#define WORKERS 2u
#define NONE 0xffffffffu

/* Tables, and what has to live as long. */
struct loaded {
	struct pk_tables *tables;
	__u32 service_count;
	__u32 slots[SERVICES][MOST_SLOTS];
};

/* Where frames to a backend go, as long as these tables are in use. */
struct way {
	int there;
	__u32 port, mtu;
};

struct world {
	struct pk_plane plane;
	struct pk_worker *workers[WORKERS];
	struct loaded *loaded;
	struct way ways[BACKENDS];
	__u32 port_mtu[4]; /* by index; 0 where the port is not there */
	__u32 tally[SERVICES][BACKENDS], standing[SERVICES]; /* numbers, or NONE */
	__u32 pool[SERVICES][BACKENDS], pools;
	int tallies[TALLIES];     /* whether the number is taken */
	__u64 gone_in, gone_out;  /* packets of those that were given back */
	int standings[STANDINGS]; /* whether the number is taken */
	__u32 now;
};

/* What clients dial: ports from `low` to `high` of `protos`, of all where the first one is 0. */
struct dialled {
	__u8 family, protos[2];
	__u32 number; /* of the address */
	__u16 low, high;
};

/* Addresses of all kinds, with those that services, backends and the pool have among them. */
struct pk_addr world_address(__u32 number, __u8 family);
__u16 world_port(__u32 number);
const struct dialled *world_dialled(__u32 service);
struct pk_raw_end world_backend(__u32 backend, __u32 service);
/* A client's packet to a service, chosen by the bits of `who`. */
struct pk_key world_packet(__u32 service, __u32 who);

void world_open(struct world *world, struct input *in);
void world_close(struct world *world);
/* Other tables from now on; `wait` for those who may still look at the old ones. */
void world_swap(struct world *world, struct input *in, void (*wait)(void));

/* Everything that must hold between two batches. */
void check_world(struct world *world);

#endif
