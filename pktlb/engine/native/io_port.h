/* SPDX-License-Identifier: BSD-3-Clause */
/* A port as one worker has it: its socket, the frames that come in and those that go out. */
#ifndef PK_IO_PORT_H
#define PK_IO_PORT_H

#include "count.h"
#include "plain.h"
#include "ring.h"

/* What control reads of a port while a worker runs, and what it asks for. */
#define PK_SHARED_PORT(X) \
	X(__u64, received) /* frames */ \
	X(__u64, slow)     /* frames that the kernel dropped as they were not fetched in time */ \
	X(__u64, stuck)    /* how often one frame stopped the ring */ \
	X(__u64, blocked)  /* frames that the kernel dropped meanwhile */ \
	X(__u64, ring)     /* one more than the head of a ring left with the socket, or 0 */ \
	X(__u64, receive_errors, [PK_ERRORS]) /* by errno */ \
	X(__u64, send_errors, [PK_ERRORS])
struct pk_shared_port { PK_SHARED_PORT(PK_FIELD) };

struct pk_queue;

struct pk_io_port {
	__u32 index;
	int fd;
	__u32 mtu;
	struct pk_ring ring;    /* of frames that come in */
	struct pk_plain *plain; /* how they come in while there is no ring, or NULL */
	__u64 plain_until_us, plain_for_us;
	struct pk_queue *queue; /* of frames that go out */
	struct pk_shared_port *shared;
};

#endif
