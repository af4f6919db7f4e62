/* SPDX-License-Identifier: BSD-3-Clause */
#include "io.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "queue.h"

/* From one frame's memory to the next: the longest frame, and more than a multiple of a page, so
 * that the first bytes of all frames do not compete for the same places of the cache. */
#define STRIDE 65728u
#define ROOM (STRIDE - PK_HEADROOM)
#define SWEEP (2 * PK_BATCH) /* more than a batch can open, so the table shrinks faster */

static __u64 microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000 + (__u64)now.tv_nsec / 1000;
}

static struct pk_io_port *port_of(struct pk_io *io, __u32 index)
{
	__u32 i;

	for (i = 0; i < io->port_count; i++)
		if (io->ports[i].index == index)
			return &io->ports[i];
	return NULL;
}

static void send_out(struct pk_sink *sink, const struct pk_out *out)
{
	struct pk_io_port *port = port_of((struct pk_io *)sink, out->port);

	if (port)
		pk_queue_put(port, out);
}

/* Hand a frame's packet to the kernel through the TUN device, which knows no Ethernet. */
static void give_back(struct pk_sink *sink, const struct pk_frame *frame)
{
	struct pk_io *io = (struct pk_io *)sink;
	struct pk_offload offload = frame->offload;
	struct iovec parts[2] = { { &offload, PK_VNET },
				  { frame->data + PK_IP, frame->length - PK_IP } };

	if (offload.flags & PK_NEEDS_CHECKSUM)
		offload.checksum_start = (__u16)(offload.checksum_start - PK_IP);
	if (offload.header_length)
		offload.header_length = (__u16)(offload.header_length > PK_IP ?
						offload.header_length - PK_IP : 0);
	if (writev(io->tun_fd, parts, 2) < 0)
		pk_count_error(io->shared->tun, errno);
}

static void ended(struct pk_sink *sink, enum pk_reason reason)
{
	(void)sink;
	(void)reason;
}

static int prepare(struct pk_io *io)
{
	__u32 i;

	io->sink = (struct pk_sink){ send_out, give_back, ended };
	io->memory = pk_reserve((size_t)PK_BATCH * STRIDE);
	if (!io->memory)
		return -1;
	for (i = 0; i < PK_BATCH; i++) {
		io->vectors[i] = (struct iovec){ io->memory + i * STRIDE + PK_HEADROOM, ROOM };
		io->messages[i].msg_hdr =
			(struct msghdr){ .msg_iov = &io->vectors[i], .msg_iovlen = 1 };
	}
	for (i = 0; i < io->port_count; i++) {
		io->ports[i].errors = &io->shared->port[i];
		io->ports[i].queue = pk_reserve(sizeof(struct pk_queue));
		if (!io->ports[i].queue)
			return -1;
	}
	return 0;
}

static void clean_up(struct pk_io *io)
{
	__u32 i;

	pk_release(io->memory, (size_t)PK_BATCH * STRIDE);
	for (i = 0; i < io->port_count; i++)
		pk_release(io->ports[i].queue, sizeof(struct pk_queue));
}

/* The frames that have arrived, up to a batch; errors are counted. */
static __u32 receive(struct pk_io *io, struct pk_io_port *port)
{
	int got = recvmmsg(port->fd, io->messages, PK_BATCH, MSG_DONTWAIT, NULL), i;
	__u32 count = 0;

	if (got < 0) {
		/* EINVAL: a frame whose offloads the header cannot express; it is gone, others
		 * follow. ENETDOWN: the interface went down; it may come back. */
		if (errno != EAGAIN && errno != EINTR)
			pk_count_error(port->errors->receive, errno);
		return 0;
	}
	for (i = 0; i < got; i++) {
		struct pk_frame *frame = &io->frames[count];
		__u8 *data = io->vectors[i].iov_base;

		if (io->messages[i].msg_len < PK_VNET) {
			pk_count_error(port->errors->receive, 0);
			continue;
		}
		memcpy(&frame->offload, data, PK_VNET);
		frame->data = data + PK_VNET;
		frame->length = io->messages[i].msg_len - PK_VNET;
		frame->port = port->index;
		count++;
	}
	return count;
}

/* One batch of one port, in and out. Returns how many frames it was. */
static __u32 serve(struct pk_io *io, struct pk_io_port *port)
{
	__u32 count = receive(io, port), now, i;

	if (!count)
		return 0;
	now = (__u32)(microseconds() / 1000);
	pk_engine_handle(io->engine, io->worker, io->frames, count, now, &io->sink);
	for (i = 0; i < io->port_count; i++)
		if (io->ports[i].queue->count)
			pk_queue_flush(&io->ports[i]);
	pk_engine_expire(io->engine, now, SWEEP);
	return count;
}

static void sleep_until_traffic(struct pk_io *io)
{
	struct pollfd until[PK_MAX_PORTS + 1];
	__u32 i;

	for (i = 0; i < io->port_count; i++)
		until[i] = (struct pollfd){ io->ports[i].fd, POLLIN, 0 };
	until[i] = (struct pollfd){ io->wake_fd, POLLIN, 0 };
	poll(until, io->port_count + 1, -1);
}

static void run(struct pk_io *io)
{
	__u64 busy_until = 0;
	__u32 i, got;

	while (!__atomic_load_n(&io->shared->stop, __ATOMIC_RELAXED)) {
		for (got = 0, i = 0; i < io->port_count; i++)
			got += serve(io, &io->ports[i]);
		if (got && io->busy_us)
			busy_until = microseconds() + io->busy_us;
		if (!got && (!io->busy_us || microseconds() >= busy_until))
			sleep_until_traffic(io);
	}
}

int pk_io_work(struct pk_io *io, __u32 number, __u32 of)
{
	int failed;

	io->worker = pk_worker_add(io->engine, number, of);
	failed = !io->worker || prepare(io);
	if (!failed)
		run(io);
	clean_up(io);
	if (io->worker)
		pk_worker_remove(io->engine, io->worker);
	return failed ? -1 : 0;
}
