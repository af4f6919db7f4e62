/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames off one interface, out of memory that is shared with the kernel.
 *
 * A TPACKET_V2 ring hands over frame by frame, so a lone one is not held back, and takes no system
 * call a frame. A slot holds one frame of the link's MTU. A longer one (merged by GRO, or from a
 * sender on a veth) is announced in the ring and read whole from the socket's own queue; the kernel
 * fills ring and queue under one lock, so their order agrees. See packet(7) and Linux,
 * Documentation/networking/packet_mmap.rst.
 */
#ifndef PK_RING_H
#define PK_RING_H

#include <stddef.h>

#include "frame.h"

#define PK_LONG 4 /* long frames a batch: few, so that they are still in the cache when sent */

struct pk_ring {
	int fd;
	__u8 *map;
	size_t bytes;
	__u32 slots, slot_size, slots_a_block, block_size;
	__u32 head;     /* the slot that the kernel fills next... */
	__u32 held;     /* ...and how many before it are ours until pk_ring_release */
	__u8 *long_frames;
};

/* Over a raw socket with offload headers that has no ring yet; 0, or a number of an error. What the
 * socket has received before is gone. */
int pk_ring_open(struct pk_ring *ring, int fd, __u32 mtu);
/* The socket is as it was before. */
void pk_ring_close(struct pk_ring *ring);
/* Leave the ring with the socket, so that frames wait in it. Returns its head: from there the next
 * owner goes on, with the same MTU. */
__u32 pk_ring_leave(struct pk_ring *ring);
int pk_ring_take_over(struct pk_ring *ring, int fd, __u32 mtu, __u32 head);

/* Up to `most` frames, fewer where long ones are among them; errors are counted by number. They are
 * the caller's, with PK_HEADROOM bytes in front, until they are released. */
__u32 pk_ring_receive(struct pk_ring *ring, struct pk_frame *frames, __u32 most, __u64 *errors);
void pk_ring_release(struct pk_ring *ring);

#endif
