/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames one at a time, for tests and tools: what becomes of one, in one piece of memory.
 *
 * Each frame that goes out, or back to the kernel, is a struct pk_single_head and its bytes, one
 * behind the other.
 */
#ifndef PK_SINGLE_H
#define PK_SINGLE_H

#include "plane.h"

#define PK_SINGLE_HEAD(X) \
	X(__u32, port) X(__u32, length) \
	X(struct pk_offload, offload)
struct pk_single_head { PK_SINGLE_HEAD(PK_FIELD) } __attribute__((packed));

struct pk_single {
	struct pk_sink sink; /* first: the plane sends to it */
	enum pk_reason reason;
	int failed; /* no memory */
	__u8 *sent; /* to be freed */
	size_t sent_length, room;
};

/* 0, or -1 without memory. `data` stays as it is. */
int pk_single_handle(struct pk_single *single, struct pk_plane *plane, struct pk_worker *worker,
		     const struct pk_frame *frame, __u32 now);

#endif
