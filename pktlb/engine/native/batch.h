/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The way of a packet, many at a time: parse, find or open their flows, rewrite, send.
 *
 * Three passes over a batch: parse each frame and fetch what the next pass will read; decide, under
 * the one lock over the flow table; rewrite and send. The lock is held for tens of nanoseconds a
 * frame, and the system calls around it take a thousand: so a dozen workers can share it, and what
 * they see is always one consistent table.
 */
#ifndef PK_BATCH_H
#define PK_BATCH_H

#include "plane.h"

/* Handle up to PK_BATCH frames; they are rewritten in place. */
void pk_plane_handle(struct pk_plane *plane, struct pk_worker *worker, struct pk_frame *frames,
		     __u32 count, __u32 now, struct pk_sink *sink);

/* The middle pass, for one frame that could be parsed; under the lock. */
void pk_decide(struct pk_plane *plane, const struct pk_tables *tables,
	       const struct pk_frame *frame, struct pk_view *view, __u64 hash,
	       struct pk_decision *decision);
/* The last pass: rewrite and send one frame. Returns the reason that the frame ended in. */
enum pk_reason pk_carry_out(struct pk_worker *worker, struct pk_frame *frame,
			    const struct pk_view *view, const struct pk_decision *decision,
			    struct pk_sink *sink);

#endif
