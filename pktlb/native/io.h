/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One worker at its ports: frames in, many at a time, through the engine, and out again.
 *
 * It sleeps while there is nothing to do and looks for more before it sleeps, so the batches grow
 * with the load by themselves. All frames carry the header with their offloads.
 */
#ifndef PK_IO_H
#define PK_IO_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "engine.h"

#define PK_ERRORS 134 /* one more than the highest errno */
#define PK_MAX_PORTS 64
#define PK_VNET 10 /* bytes of struct pk_offload on the wire */

/* What control reads while the worker runs, and the one thing that it writes. */
struct pk_errors {
	__u64 receive[PK_ERRORS], send[PK_ERRORS];
};

struct pk_shared {
	__u64 stop;
	__u64 tun[PK_ERRORS];
	struct pk_errors port[]; /* by place */
};

#define PK_SHARED_BYTES(ports) (sizeof(struct pk_shared) + (ports) * sizeof(struct pk_errors))

struct pk_queue;

struct pk_io_port {
	__u32 index;
	int fd;
	struct pk_queue *queue; /* of frames that go out here */
	struct pk_errors *errors;
};

struct pk_io {
	struct pk_sink sink; /* first: the engine sends to it */
	struct pk_engine *engine;
	struct pk_worker *worker;
	struct pk_io_port ports[PK_MAX_PORTS];
	__u32 port_count;
	int tun_fd;
	int wake_fd; /* readable when the worker shall look at `stop` */
	__u32 busy_us; /* how long to go on looking before it sleeps */
	struct pk_shared *shared;
	__u8 *memory; /* of the frames of a batch */
	struct pk_frame frames[PK_BATCH];
	struct mmsghdr messages[PK_BATCH];
	struct iovec vectors[PK_BATCH];
};

/* Be worker `number` of so many until `stop` is set; -1 without memory. Filled in: the fields from
 * `engine` to `shared`, of ports their index and fd. */
int pk_io_work(struct pk_io *io, __u32 number, __u32 of);

#endif
