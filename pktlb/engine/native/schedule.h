/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Choose the backend of a new flow: index what control has prepared, and keep count.
 *
 * Least connections takes the root of a heap over the places of a service, so a pick costs the
 * same for two backends and for thousands. The heap is built at the first pick after a swap and
 * kept in order by each change of a count; all of it happens under the plane's lock.
 */
#ifndef PK_SCHEDULE_H
#define PK_SCHEDULE_H

#include "tables.h"

#define PK_MAX_TALLIES (1u << 20)
#define PK_MAX_STANDINGS (1u << 18)

/* What is counted of a backend of a service. What each packet needs is on a cache line of its own. */
struct pk_tally {
	struct pk_end backend;
	__u32 standing;
	__u32 pool; /* of source ports towards the backend */
	__u64 packets_in, bytes_in, packets_out, bytes_out;
	__u32 flows; /* in the table, closed ones too */
	__u32 pins;  /* clients that stay with it; the number of a tally with flows or pins is taken */
	__u32 active;
	__u32 was_full;     /* when its active flows last changed: see is_full() */
	__u32 heap_at;      /* its place in the heap of its service, as of heap_version */
	__u64 heap_version; /* of the tables; if others are in use, heap_at means nothing */
	__u64 turn;
	__u64 connections; /* flows opened, and datagrams that are a flow each */
} __attribute__((aligned(64)));

/* What a scheduler remembers of one service from pick to pick. */
struct pk_standing {
	__u64 picks;
	const struct pk_service *heaped; /* the service whose heap is in order */
};

struct pk_standings {
	struct pk_tally *tallies;
	struct pk_standing *standings;
	__u64 version; /* of the tables in use */
	const struct pk_tables *limits; /* these tables, where a place in them may be full; or NULL */
};

int pk_standings_init(struct pk_standings *all);
void pk_standings_free(struct pk_standings *all);
/* What is picked from now on. */
void pk_standings_swap(struct pk_standings *all, const struct pk_tables *tables);

typedef const struct pk_place *pk_picker(struct pk_standings *all, const struct pk_tables *tables,
					 const struct pk_service *service, const struct pk_key *key,
					 const __u8 *frame);

/* The place of the backend for a new flow, or NULL where none takes flows, or no more of them. */
const struct pk_place *pk_pick(struct pk_standings *all, const struct pk_tables *tables,
			       const struct pk_service *service, const struct pk_key *key,
			       const __u8 *frame);
/* The same, but no pick is counted. */
const struct pk_place *pk_peek(struct pk_standings *all, const struct pk_tables *tables,
			       const struct pk_service *service, const struct pk_key *key,
			       const __u8 *frame);

/* Whether a backend takes no new flows because it has so many. */
int pk_tally_is_full(const struct pk_standings *all, __u32 tally);
/* The number of active flows of a backend goes up or down by one. */
void pk_tally_count(struct pk_standings *all, __u32 tally, int by);

#endif
