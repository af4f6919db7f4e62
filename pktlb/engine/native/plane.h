/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What decides about packets: tables, flows and all else that it remembers, and its workers.
 *
 * It is given bytes, tables and the time. It opens no socket and reads no clock, like the plane of
 * the reference, whose behaviour it has to the byte.
 */
#ifndef PK_PLANE_H
#define PK_PLANE_H

#include <pthread.h>

#include "decision.h"
#include "flow.h"
#include "pin.h"
#include "schedule.h"
#include "snat.h"
#include "tables.h"
#include "trail.h"

#define PK_BATCH 64
#define PK_MAX_WORKERS 64

/* What one thread needs for itself. */
struct pk_worker {
	__u64 counts[PK_REASON_COUNT];
	const struct pk_tables *tables; /* of the batch under way; NULL between batches */
	__u32 ident;                    /* identification of the last outer header */
	__u32 ident_low, ident_high;    /* its low half is in this range, which no other worker has */
	__u32 now;                      /* ms: of the batch under way */
	struct pk_limiter limiter;      /* each worker has one: a client's frames come to one worker */
	__u8 *scratch[2];               /* room for a packet each: one that lies in pieces is joined */
	struct pk_view views[PK_BATCH];
	__u64 hashes[PK_BATCH];
	struct pk_decision decisions[PK_BATCH];
};

struct pk_plane {
	pthread_mutex_t lock; /* over all fields from here to `now` */
	struct pk_flows flows;
	struct pk_standings standings;
	struct pk_snat snat;
	struct pk_pins pins;
	struct pk_trails trails;
	const struct pk_tables *tables;
	__u64 past[PK_REASON_COUNT]; /* counts of workers that were removed */
	__u32 now; /* ms: never goes back, though threads may read their clock and then wait */
	struct pk_worker *workers[PK_MAX_WORKERS];
};

struct pk_limits {
	__u32 max_flows;
	__u32 timeouts[PK_STATE_COUNT]; /* ms */
	const struct pk_addr *snat; /* source addresses: those of IPv4, then those of IPv6 */
	__u32 snat_count[2];        /* how many of each family */
	const __be16 *source_ports;
	__u32 source_port_count;
};

/* Returns 0, or -1 without memory; the caller frees the plane in either case. */
int pk_plane_init(struct pk_plane *plane, const struct pk_limits *limits,
		  const struct pk_secret *secret);
void pk_plane_free(struct pk_plane *plane);

/* Worker `number` of `of` workers; NULL without memory. */
struct pk_worker *pk_worker_add(struct pk_plane *plane, __u32 number, __u32 of);
void pk_worker_remove(struct pk_plane *plane, struct pk_worker *worker);

/* How many frames ended in each reason, over all workers. */
void pk_plane_counts(struct pk_plane *plane, __u64 counts[PK_REASON_COUNT]);

/* The plane uses these tables from the next batch on. The caller owns the new and the old ones. */
void pk_plane_swap(struct pk_plane *plane, const struct pk_tables *tables);
/* Whether a batch under way still reads these tables, which the plane has given up. */
int pk_tables_in_use(struct pk_plane *plane, const struct pk_tables *tables);

/* Sets the plane's time to `now` unless that is earlier; under the lock. */
void pk_note_time(struct pk_plane *plane, __u32 now);
/* Forget up to `most` flows and pins whose time is over; returns how many. */
__u32 pk_plane_expire(struct pk_plane *plane, __u32 now, __u32 most);

/* End the flows of these keys, as their clients send; returns how many there were. */
__u32 pk_plane_kill(struct pk_plane *plane, const struct pk_key *keys, __u32 count);

/* Copies the flows with numbers from `first` to `first + count`. Returns how many there are, or -1
 * where no flow has a number so high. */
int pk_plane_flows(struct pk_plane *plane, __u32 first, __u32 count, struct pk_flow *copies);
/* A tally as control is told of it. */
#define PK_TOLD_TALLY(X) \
	X(__u32, active) X(__u32, flows) /* open ones, all of them */ \
	X(__u32, pins) X(__u32, full) \
	X(__u64, connections) \
	X(__u64, packets_in) X(__u64, bytes_in) X(__u64, packets_out) X(__u64, bytes_out)
struct pk_told_tally { PK_TOLD_TALLY(PK_FIELD) };

void pk_plane_tallies(struct pk_plane *plane, __u32 first, __u32 count,
		      struct pk_told_tally *told);

#endif
