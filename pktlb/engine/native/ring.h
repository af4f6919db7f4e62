/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames off one interface, out of memory that is shared with the kernel.
 *
 * A TPACKET_V2 ring hands over frame by frame, so a lone one is not held back, and takes no system
 * call a frame. A slot holds one frame of the link's MTU. A longer one (merged by GRO, or from a
 * sender on a veth) is announced in the ring and read whole from the socket's own queue; the kernel
 * fills ring and queue under one lock, so their order agrees. See packet(7) and Linux,
 * Documentation/networking/packet_mmap.rst.
 *
 * A frame whose offloads the header cannot express (UFO) stops such a ring for ever (seen with Linux
 * 6.18): tpacket_rcv() marks the slot as being filled, fails, and neither clears the mark nor goes
 * on. The slot stays the kernel's, as in an empty ring, but each frame is dropped. The kernel wakes
 * up the sleepers for each frame that it drops, but says that there is something to read only if the
 * last slot that it filled is still ours. So one slot is always kept: an edge-triggered epoll then
 * reports each dropped frame at once.
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
	__u32 held;     /* ...and how many before it are ours, the kept one included */
	__u32 run;      /* slots taken since the ring was last seen empty */
	__u32 strained; /* such a run was so long that the ring may have been full */
	__u32 lost;     /* frames that the kernel dropped, and it is not known yet why */
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

/* How the frames were lost that the kernel dropped since the last call. */
struct pk_ring_loss {
	__u32 slow;  /* there was no room for so many: the ring was full */
	__u32 stuck; /* the ring has stopped, and so many were dropped by then */
};
/* It is empty when it has stopped: no frame waits in it. */
struct pk_ring_loss pk_ring_look(struct pk_ring *ring);

/* Up to `most` frames, fewer where long ones are among them; errors are counted by number. They are
 * the caller's, with PK_HEADROOM bytes in front, until they are released. Returns how many slots were
 * taken: as many as frames, and those without one. */
__u32 pk_ring_receive(struct pk_ring *ring, struct pk_frame *frames, __u32 most, __u32 *count,
		      __u64 *errors);
void pk_ring_release(struct pk_ring *ring);

/* How many frames the kernel has dropped at a socket since the last call. */
__u32 pk_frames_dropped(int fd);

#endif
