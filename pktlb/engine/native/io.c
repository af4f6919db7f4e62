/* SPDX-License-Identifier: BSD-3-Clause */
#include "io.h"

#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "batch.h"
#include "intake.h"
#include "queue.h"

#define SWEEP (2 * PK_BATCH) /* more than a batch can open, so the table shrinks faster */
#define IN_VAIN 64 /* wake-ups in a row without a frame */
#define REST_NS 1000000
#define LOOK_US 1000 /* from one look at what was lost to the next, while frames come in */

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

/* Edge-triggered, as a ring's kept slot needs it: see ring.h. */
static int watch(struct pk_io *io, int fd, __u32 place)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u32 = place };

	return epoll_ctl(io->poll_fd, EPOLL_CTL_ADD, fd, &event) ? errno : 0;
}

/* 0, or the number of an error. */
static int prepare(struct pk_io *io)
{
	int error;
	__u32 i;

	io->poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (io->poll_fd < 0)
		return errno;
	error = watch(io, io->wake_fd, PK_MAX_PORTS);
	io->sink = (struct pk_sink){ send_out, give_back, NULL };
	for (i = 0; i < io->port_count && !error; i++) {
		struct pk_io_port *port = &io->ports[i];

		port->shared = &io->shared->port[i];
		port->queue = pk_reserve(sizeof(struct pk_queue));
		error = port->queue ? pk_intake_open(port) : ENOMEM;
		if (!error)
			error = watch(io, port->fd, i);
	}
	return error;
}

static void clean_up(struct pk_io *io)
{
	__u32 i;

	for (i = 0; i < io->port_count; i++) {
		pk_intake_close(&io->ports[i]);
		pk_release(io->ports[i].queue, sizeof(struct pk_queue));
	}
	if (io->poll_fd >= 0)
		close(io->poll_fd);
}

/* One batch of one port, in and out. Returns 0 where nothing has arrived. */
static int serve(struct pk_io *io, struct pk_io_port *port)
{
	__u64 now_us = microseconds();
	__u32 count, now, i;
	int more;

	more = pk_intake_receive(port, io->frames, PK_BATCH, &count, now_us);
	if (count) {
		for (i = 0; i < count; i++)
			io->frames[i].port = port->index;
		now = (__u32)(now_us / 1000);
		pk_plane_handle(io->plane, io->worker, io->frames, count, now, &io->sink);
		for (i = 0; i < io->port_count; i++)
			if (io->ports[i].queue->count)
				pk_queue_flush(&io->ports[i]);
		pk_plane_expire(io->plane, now, SWEEP);
		pk_count(&port->shared->received, count);
	}
	pk_intake_release(port);
	return more;
}

/* At all ports. Returns when to look again at the latest, if frames come in. */
static __u64 look(struct pk_io *io)
{
	__u64 now_us = microseconds();
	int soon = 0;
	__u32 i;

	for (i = 0; i < io->port_count; i++)
		soon |= pk_intake_look(&io->ports[i], now_us);
	return soon ? now_us : now_us + LOOK_US;
}

static void sleep_until_traffic(struct pk_io *io)
{
	struct epoll_event found[PK_MAX_PORTS + 1];
	socklen_t size = sizeof(int);
	eventfd_t calls;
	int count, error, i;

	count = epoll_wait(io->poll_fd, found, (int)io->port_count + 1, -1);
	for (i = 0; i < count; i++) {
		__u32 place = found[i].data.u32;

		if (place == PK_MAX_PORTS)
			eventfd_read(io->wake_fd, &calls);
		/* An interface that goes down says so once; it may come back. */
		else if ((found[i].events & EPOLLERR) &&
			 !getsockopt(io->ports[place].fd, SOL_SOCKET, SO_ERROR, &error, &size) &&
			 error)
			pk_count_error(io->ports[place].shared->receive_errors, error);
	}
}

/* Woken up many times for nothing: whatever the reason, a thread in real time must not spin. */
static void rest(void)
{
	const struct timespec time = { .tv_nsec = REST_NS };

	nanosleep(&time, NULL);
}

static void run(struct pk_io *io)
{
	__u64 busy_until = 0, look_at = 0;
	__u32 i, in_vain = 0;
	int got;

	while (!__atomic_load_n(&io->shared->stop, __ATOMIC_RELAXED)) {
		pk_count(&io->shared->rounds, 1);
		for (got = 0, i = 0; i < io->port_count; i++)
			got |= serve(io, &io->ports[i]);
		/* It slept and was woken up for a frame that the kernel did not hand over. */
		if ((!got && in_vain) || microseconds() >= look_at)
			look_at = look(io);
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

	io->poll_fd = -1;
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
