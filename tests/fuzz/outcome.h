/* SPDX-License-Identifier: BSD-3-Clause */
/* One frame on trial, and what came of it so far. */
#ifndef FUZZ_OUTCOME_H
#define FUZZ_OUTCOME_H

#include "judge.h"

/* A packet as its fragments arrive. */
struct joined {
	__u8 data[65536 + 64];
	__u32 length, header, start; /* length 0: nothing has arrived */
	struct pk_fragment first;
};

struct trial {
	const struct world *world;
	const struct shot *shot;
	const __u8 *before; /* the IP packet that went in */
	struct pk_view view;
	enum pk_reason reason;
	int cut, completed, tunnel, to_client;
	__u32 packets, payload; /* that came out so far */
	struct joined outer, inner;
};

/* Whether there is an IP packet in a frame, and nothing else; what its header says. */
struct pk_header outcome_header(const __u8 *data, __u32 length);
/* Frames put together again: out of fragments, out of the tunnel, and out of fragments once more.
 * What then comes out must be the packet that went in, one hop further. How many it takes. */
__u32 outcome_check(struct trial *t, const struct sent *sent, __u32 count);
/* What came out for what went in: addresses, ports and checksums may differ in one way only. */
void outcome_packet(struct trial *t, const __u8 *ip, __u32 length);

#endif
