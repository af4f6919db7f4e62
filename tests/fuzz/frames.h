/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames as the input wants them, each in memory that ends where the frame does. */
#ifndef FUZZ_FRAMES_H
#define FUZZ_FRAMES_H

#include "frame.h"
#include "input.h"

/* Addresses and ports as numbers. */
struct ends {
	__u32 source, destination;
	__u16 sport, dport;
	__u8 proto;
};

/* A frame on its way in, and what it was before. */
struct shot {
	__u8 *memory, *before;
	struct pk_frame frame, was;
};

struct ends ends_of(const __u8 *ip, const __u8 *transport);
struct ends turned(const struct ends *ends);

/* A packet from one end to the other, all else fuzzed. */
void shot_make(struct shot *shot, const struct ends *ends, struct input *in);
/* Bytes as they come. */
void shot_raw(struct shot *shot, struct input *in);
void shot_free(struct shot *shot);

#endif
