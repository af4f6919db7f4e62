/* SPDX-License-Identifier: BSD-3-Clause */
#include "io.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "batch.h"
#include "queue.h"

#define SWEEP (2 * PK_BATCH) /* more than a batch can open, so the table shrinks faster */
#define IN_VAIN 64 /* wake-ups in a row without a frame */
#define REST_NS 1000000

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
		pk_count_error(io->shared->tun_errors, errno);
}

static int start_ring(struct pk_io_port *port)
{
	__u64 left = port->shared->ring;

	if (left)
		return pk_ring_take_over(&port->ring, port->fd, port->mtu, (__u32)(left - 1));
	return pk_ring_open(&port->ring, port->fd, port->mtu);
}

/* 0, or the number of an error. */
static int prepare(struct pk_io *io)
{
	int error = 0;
	__u32 i;

	io->sink = (struct pk_sink){ send_out, give_back, NULL };
	for (i = 0; i < io->port_count && !error; i++) {
		struct pk_io_port *port = &io->ports[i];

		port->shared = &io->shared->port[i];
		port->queue = pk_reserve(sizeof(struct pk_queue));
		error = port->queue ? start_ring(port) : ENOMEM;
	}
	return error;
}

static void clean_up(struct pk_io *io)
{
	__u32 i;

	for (i = 0; i < io->port_count; i++) {
		if (io->ports[i].ring.map)
			io->ports[i].shared->ring = pk_ring_leave(&io->ports[i].ring) + 1ull;
		else
			pk_ring_close(&io->ports[i].ring);
		pk_release(io->ports[i].queue, sizeof(struct pk_queue));
	}
}

/* Control saw frames being lost and none being received: a frame whose offloads the header cannot
 * express leaves a slot that is never filled, and the kernel waits for it for ever. */
static void reopen(struct pk_io_port *port)
{
	int error;

	__atomic_store_n(&port->shared->reopen, 0, __ATOMIC_RELAXED); /* it asks again if need be */
	pk_ring_close(&port->ring);
	error = pk_ring_open(&port->ring, port->fd, port->mtu);
	pk_count_error(port->shared->receive_errors, error ? error : EINVAL);
}

/* One batch of one port, in and out. Returns how many frames it was. */
static __u32 serve(struct pk_io *io, struct pk_io_port *port)
{
	__u32 count, now, i;

	if (__atomic_load_n(&port->shared->reopen, __ATOMIC_RELAXED))
		reopen(port);
	count = pk_ring_receive(&port->ring, io->frames, PK_BATCH, port->shared->receive_errors);
	if (count) {
		for (i = 0; i < count; i++)
			io->frames[i].port = port->index;
		now = (__u32)(microseconds() / 1000);
		pk_plane_handle(io->plane, io->worker, io->frames, count, now, &io->sink);
		for (i = 0; i < io->port_count; i++)
			if (io->ports[i].queue->count)
				pk_queue_flush(&io->ports[i]);
		pk_plane_expire(io->plane, now, SWEEP);
		pk_count(&port->shared->received, count);
	}
	pk_ring_release(&port->ring);
	return count;
}

static void sleep_until_traffic(struct pk_io *io)
{
	struct pollfd until[PK_MAX_PORTS + 1];
	socklen_t size = sizeof(int);
	eventfd_t calls;
	__u32 i;
	int error;

	for (i = 0; i < io->port_count; i++) {
		struct pk_io_port *port = &io->ports[i];

		until[i] = (struct pollfd){ port->ring.map ? port->fd : -1, POLLIN, 0 };
	}
	until[i] = (struct pollfd){ io->wake_fd, POLLIN, 0 };
	poll(until, io->port_count + 1, -1);
	if (until[i].revents)
		eventfd_read(io->wake_fd, &calls);
	/* An interface that goes down says so once; it may come back. */
	while (i--)
		if ((until[i].revents & POLLERR) &&
		    !getsockopt(io->ports[i].fd, SOL_SOCKET, SO_ERROR, &error, &size) && error)
			pk_count_error(io->ports[i].shared->receive_errors, error);
}

/* Woken up many times for nothing: whatever the reason, a thread in real time must not spin. */
static void rest(void)
{
	const struct timespec time = { .tv_nsec = REST_NS };

	nanosleep(&time, NULL);
}

static void run(struct pk_io *io)
{
	__u64 busy_until = 0;
	__u32 i, got, in_vain = 0;

	while (!__atomic_load_n(&io->shared->stop, __ATOMIC_RELAXED)) {
		pk_count(&io->shared->rounds, 1);
		for (got = 0, i = 0; i < io->port_count; i++)
			got += serve(io, &io->ports[i]);
		if (got) {
			in_vain = 0;
			if (io->busy_us)
				busy_until = microseconds() + io->busy_us;
		} else if (io->busy_us && microseconds() < busy_until) {
			sched_yield(); /* the sender of the frames may need this core */
		} else {
			sleep_until_traffic(io);
			if (++in_vain > IN_VAIN)
				rest();
		}
	}
}

int pk_io_work(struct pk_io *io, __u32 number, __u32 of)
{
	int error = ENOMEM;

	io->worker = pk_worker_add(io->plane, number, of);
	if (io->worker)
		error = prepare(io);
	if (!error) {
		__atomic_store_n(&io->shared->started, 1, __ATOMIC_RELEASE);
		run(io);
	}
	clean_up(io);
	if (io->worker)
		pk_worker_remove(io->plane, io->worker);
	return error;
}
