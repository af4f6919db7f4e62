/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One worker at its ports: frames in, many at a time, through the plane, and out again.
 *
 * It sleeps while there is nothing to do and looks for more before it sleeps, so the batches grow
 * with the load by themselves. All frames carry the header with their offloads.
 */
#ifndef PK_IO_H
#define PK_IO_H

#include "io_port.h"
#include "plane.h"

#define PK_MAX_PORTS 64

/* A port as a worker is given it. */
#define PK_WORKER_PORT(X) X(__u32, ifindex) X(__s32, fd) X(__u32, mtu)
struct pk_worker_port { PK_WORKER_PORT(PK_FIELD) };

#define PK_SHARED(X) \
	X(__u64, stop) /* set by control */ \
	X(__u64, started) \
	X(__u64, rounds) /* it goes on as long as the worker lives, if it is woken */ \
	X(__u64, tun_errors, [PK_ERRORS])
struct pk_shared {
	PK_SHARED(PK_FIELD)
	struct pk_shared_port port[]; /* by place */
};

#define PK_SHARED_BYTES(ports) (sizeof(struct pk_shared) + (ports) * sizeof(struct pk_shared_port))

struct pk_io {
	struct pk_sink sink; /* first: the plane sends to it */
	struct pk_plane *plane;
	struct pk_worker *worker;
	struct pk_io_port ports[PK_MAX_PORTS];
	__u32 port_count;
	int tun_fd;
	int wake_fd;   /* an eventfd: `stop` was set, or control wants fresh counts */
	int poll_fd;   /* an epoll of all ports and of wake_fd */
	__u32 busy_us; /* how long to go on looking before it sleeps */
	struct pk_shared *shared;
	struct pk_frame frames[PK_BATCH];
};

/* Work as number `number` of `of` workers until `stop` is set. Returns 0, or the number of an
 * error. The caller fills in `plane`, `port_count`, `tun_fd`, `wake_fd`,
 * `busy_us` and `shared`, and of each port
 * its index, fd and MTU. */
int pk_io_work(struct pk_io *io, __u32 number, __u32 of);

#endif
