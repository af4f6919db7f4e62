/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plane's memory, to be handed from one process to the next: flows, pins, counts.
 *
 * Called while no frames are handled. What comes from outside is checked: a record that is no flow
 * that this plane could have made is left out. Records are those of pktlb.engine.datapath.dump.
 */
#ifndef PK_DUMP_H
#define PK_DUMP_H

#include "plane.h"

#define PK_SAVED_TALLY(X) \
	X(__u64, connections) \
	X(__u64, packets_in) X(__u64, bytes_in) X(__u64, packets_out) X(__u64, bytes_out) \
	X(__u64, turn) \
	X(__u32, was_full) X(__u32, zero)
struct pk_saved_tally { PK_SAVED_TALLY(PK_FIELD) };

struct pk_saved {
	const struct pk_flow *flows; /* `tally` and `pin`: places in the lists */
	const struct pk_saved_pin *pins;
	const struct pk_saved_tally *tallies;
	const __u64 *picks;         /* of each standing */
	const __u32 *tally_of;      /* the number of each tally here, PK_ABSENT: there is none */
	const __u32 *standing_of;   /* the same of each standing */
	const __u64 *counts;        /* of frames by reason */
	__u32 flow_count, pin_count, tally_count, standing_count;
	__u32 then; /* ms: when it was saved, as flows and pins say when they were seen */
};

/* Copies of all flows, the idlest of each state first, and of all pins: room for as many as there
 * are. Tallies and standings are named by their numbers. 0, or -1 without memory. */
int pk_dump_save(struct pk_plane *plane, struct pk_flow *flows, struct pk_saved_pin *pins);
void pk_dump_save_tally(const struct pk_plane *plane, __u32 number,
			 struct pk_saved_tally *saved);

/* Take over what was saved; returns how many flows that were, or -1 without memory. */
int pk_dump_load(struct pk_plane *plane, const struct pk_saved *saved, __u32 now);

#endif
