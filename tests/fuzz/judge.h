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
/* How many of the frames that went out are this one: the others must be fragments that it set
 * free. */
__u32 judge(struct trial *t, const struct shot *shot, enum pk_reason reason, int given_back,
	    const struct sent *sent, __u32 count);
/* Of a fragment that was held and now went out: how many of these frames are it. */
__u32 judge_held(struct trial *t, const struct shot *shot, const struct sent *sent, __u32 count);
/* Whether frames that went out begin with this fragment, whose packet it is known to be of. */
int judge_is_of(const struct shot *held, const struct sent *sent, __u32 count);

#endif
