/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames as the input wants them, each in memory that ends where the frame does. */
#ifndef FUZZ_FRAMES_H
#define FUZZ_FRAMES_H

#include "frame.h"
#include "input.h"

/* A frame on its way in, and what it was before. */
struct shot {
	__u8 *memory, *before;
	struct pk_frame frame, was;
};

/* A packet from one end to the other, or a piece of it, all else fuzzed. */
void shot_make(struct shot *shot, const struct pk_key *key, struct input *in);
/* An ICMP error about a packet of which the first `length` bytes are known, told to its sender by
 * somebody on its way. */
void shot_error(struct shot *shot, const __u8 *quoted, __u32 length, struct input *in);
/* Bytes as they come. */
void shot_raw(struct shot *shot, struct input *in);
void shot_free(struct shot *shot);

#endif
