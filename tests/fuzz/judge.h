/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether what became of a frame is sound, whatever was decided about it. */
#ifndef FUZZ_JUDGE_H
#define FUZZ_JUDGE_H

#include "frames.h"
#include "world.h"

/* A frame that went out, in one piece, of exactly its length. */
struct sent {
	__u8 *data;
	__u32 length, port;
	struct pk_offload offload;
};

struct trial;

/* A judge for this world, to be freed. */
struct trial *judge_open(const struct world *world);
void judge(struct trial *t, const struct shot *shot, enum pk_reason reason, int given_back,
	   const struct sent *sent, __u32 count);

#endif
