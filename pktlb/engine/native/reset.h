/* SPDX-License-Identifier: BSD-3-Clause */
/* The RSTs that end a TCP connection, as short as they can be. */
#ifndef PK_RESET_H
#define PK_RESET_H

#include "frame.h"

#define PK_RESET_TCP 20
#define PK_LONGEST_RESET (PK_IP + 40 + PK_RESET_TCP)

/* Bytes of the IP packet. */
static inline __u32 pk_reset_size(__u8 family)
{
	return pk_header_size(family) + PK_RESET_TCP;
}

/* The answer to a TCP packet as it arrived (RFC 9293, section 3.10.7.1): it is sent in
 * the name of the packet's destination, to the MAC that the packet came from. */
void pk_reset(const struct pk_frame *frame, const struct pk_view *view, struct pk_sink *sink);
/* What the sender of a TCP packet might have sent instead of it: if the packet is the next one that
 * its receiver expects, so is this (RFC 5961, section 3.2). Writes up to PK_LONGEST_RESET bytes;
 * returns how many. */
__u32 pk_reset_instead(const struct pk_frame *frame, const struct pk_view *view, __u8 *to);

#endif
