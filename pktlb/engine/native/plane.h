/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way of a packet, many at a time: parse, find or open their flows, rewrite, send.
 *
 * It is given bytes, tables and the time, and opens no socket and reads no clock, like the
 * reference engine, whose behaviour it has to the byte. Three passes over a batch: parse and
 * fetch what the next one will read; decide, under the one lock over the flow table; rewrite.
 * The lock is held for tens of nanoseconds a frame, the system calls around it take a thousand:
 * so a dozen workers can share it, and what they see is always one consistent table.
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
	const struct pk_tables *tables; /* those that it looks at, while it does */
	__u32 ident;                    /* of outer headers, the last one */
	__u32 ident_low, ident_high;    /* its low half stays in here, apart from other workers' */
	__u32 now;                      /* ms: of the batch under way */
	struct pk_limiter limiter;      /* each has its own: a client's frames come to one of them */
	__u8 *scratch[2];               /* a packet each, to cut up what lies in pieces */
	struct pk_view views[PK_BATCH];
	__u64 hashes[PK_BATCH];
	struct pk_decision decisions[PK_BATCH];
};

struct pk_plane {
	pthread_mutex_t lock; /* over everything that changes, down to `now` */
	struct pk_flows flows;
	struct pk_standings standings;
	struct pk_snat snat;
	struct pk_pins pins;
	struct pk_trails trails;
	const struct pk_tables *tables;
	__u64 past[PK_REASON_COUNT]; /* what workers that are gone have counted */
	__u32 now; /* ms: never goes back, though threads may read their clock and then wait */
	struct pk_worker *workers[PK_MAX_WORKERS];
};

struct pk_limits {
	__u32 max_flows;
	__u32 timeouts[PK_STATE_COUNT]; /* ms */
	const struct pk_addr *snat; /* those of IPv4, then those of IPv6 */
	__u32 snat_count[2];
	const __be16 *source_ports;
	__u32 source_port_count;
};

/* 0, or -1 without memory; to be freed in either case. */
int pk_plane_init(struct pk_plane *plane, const struct pk_limits *limits,
		   const struct pk_secret *secret);
void pk_plane_free(struct pk_plane *plane);

/* A worker of `of` in number, or NULL. */
struct pk_worker *pk_worker_add(struct pk_plane *plane, __u32 number, __u32 of);
void pk_worker_remove(struct pk_plane *plane, struct pk_worker *worker);

/* How many frames ended in each reason, over all workers. */
void pk_plane_counts(struct pk_plane *plane, __u64 counts[PK_REASON_COUNT]);

/* From the next batch on, these tables; takes over nothing, the old ones are still the caller's. */
void pk_plane_swap(struct pk_plane *plane, const struct pk_tables *tables);
/* Whether some batch under way still looks at these tables, which are no longer the engine's. */
int pk_tables_in_use(struct pk_plane *plane, const struct pk_tables *tables);

/* Handle up to PK_BATCH frames; they are rewritten in place. */
void pk_plane_handle(struct pk_plane *plane, struct pk_worker *worker, struct pk_frame *frames,
		      __u32 count, __u32 now, struct pk_sink *sink);
/* Forget up to `most` flows and pins whose time is over; returns how many. */
__u32 pk_plane_expire(struct pk_plane *plane, __u32 now, __u32 most);

/* End the flows of these keys, as their clients send; returns how many there were. */
__u32 pk_plane_kill(struct pk_plane *plane, const struct pk_key *keys, __u32 count);

/* Copies those flows whose numbers are in this range; how many they are, or -1 where there are no
 * numbers so high. */
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

/* The middle pass, for one frame that could be parsed; under the lock. */
void pk_decide(struct pk_plane *plane, const struct pk_tables *tables,
	       const struct pk_frame *frame, struct pk_view *view, __u64 hash,
	       struct pk_decision *decision);
/* The last pass: rewrite and send one frame. Returns the reason it ended in. */
enum pk_reason pk_carry_out(struct pk_worker *worker, struct pk_frame *frame,
			    const struct pk_view *view, const struct pk_decision *decision,
			    struct pk_sink *sink);

#endif
