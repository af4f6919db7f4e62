/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cut a frame that stands for many (GSO) into those many, as a network card would; and cut a
 * packet into fragments (RFC 791, section 3.2; RFC 8200, section 4.5). Pieces are a header of their own and a part of the
 * frame they come from, which is not copied.
 */
#ifndef PK_SEGMENT_H
#define PK_SEGMENT_H

#include "frame.h"

/* Where pieces go. Their headers are lent for the call. */
struct pk_pieces {
	void (*take)(struct pk_pieces *pieces, __u8 *head, __u32 head_length, const __u8 *body,
		     __u32 body_length);
};

/* Whether pk_segment knows this kind of frame. */
int pk_can_segment(const struct pk_offload *offload, const struct pk_view *view);

/* The frames that a frame stands for, in order; none of them has anything left to offload. */
void pk_segment(const struct pk_frame *frame, const struct pk_view *view, struct pk_pieces *to);

/* The packet in a frame of `length` bytes as fragments for an `mtu` that it does not fit. IPv4: DF
 * is clear. IPv6: it is our own, without extension headers, and its fragments get `ident`. */
void pk_fragment(const __u8 *data, __u32 length, __u32 mtu, __u32 ident, struct pk_pieces *to);

#endif
