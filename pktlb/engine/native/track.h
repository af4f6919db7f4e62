/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where both ends of a TCP connection are, and which segments can belong to it.
 *
 * The same as pktlb.engine.datapath.track, which says why. The numbers stand in struct pk_flow.
 */
#ifndef PK_TRACK_H
#define PK_TRACK_H

#include "flow.h"
#include "frame.h"

#define PK_LEAST_REACH 16
#define PK_UNSEEN_REACH 23
#define PK_MOST_REACH 30

/* What a segment does to its flow. */
struct pk_effect {
	__u8 next;      /* the state that it leads to, plus one; 0: no other */
	__u8 refreshes; /* the idle time begins anew */
	__u8 proves;    /* its sender is an end of the connection */
};

/* A flow begins with this segment of its client. */
void pk_track_open(const struct pk_frame *frame, const struct pk_view *view, struct pk_flow *flow);
/* What a segment of a flow that is there does; the flow's numbers are those behind it then. */
struct pk_effect pk_track_follow(const struct pk_frame *frame, const struct pk_view *view,
				 struct pk_flow *flow, int from_client);
/* Keep of the numbers of an earlier process what can be true. */
void pk_track_restore(struct pk_flow *flow);
/* Whether a checksum of TCP is right, or is the sender's or the device's to vouch for. */
int pk_is_intact(const struct pk_frame *frame, const struct pk_view *view);

#endif
