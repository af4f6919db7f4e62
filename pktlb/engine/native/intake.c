/* SPDX-License-Identifier: BSD-3-Clause */
#include "intake.h"

#include <errno.h>

#define PLAIN_US 60000000ull        /* without a ring, after the last frame that would stop it */
#define MOST_PLAIN_US 3600000000ull /* the same, when it was stopped often */

/* What the kernel dropped before is no sign of a ring that has stopped. */
static int open_ring(struct pk_io_port *port)
{
	int error = pk_ring_open(&port->ring, port->fd, port->mtu);

	pk_count(&port->shared->slow, pk_frames_dropped(port->fd));
	return error;
}

int pk_intake_open(struct pk_io_port *port)
{
	__u64 left = port->shared->ring;

	port->plain = NULL;
	port->plain_for_us = PLAIN_US;
	if (left)
		return pk_ring_take_over(&port->ring, port->fd, port->mtu, (__u32)(left - 1));
	return open_ring(port);
}

void pk_intake_close(struct pk_io_port *port)
{
	if (port->ring.map)
		port->shared->ring = pk_ring_leave(&port->ring) + 1ull;
	else
		pk_ring_close(&port->ring);
	pk_plain_close(port->plain);
	port->plain = NULL;
}

/* A frame cannot be described, and others like it may follow. */
static void note(struct pk_io_port *port, __u64 now_us)
{
	pk_count_error(port->shared->receive_errors, EINVAL);
	port->plain_until_us = now_us + port->plain_for_us;
}

static void take_down(struct pk_io_port *port, __u32 lost, __u64 now_us)
{
	pk_count(&port->shared->blocked, lost - 1);
	port->plain = pk_plain_open(port->fd);
	pk_ring_close(&port->ring);
	port->shared->ring = 0;
	pk_count(&port->shared->blocked, pk_frames_dropped(port->fd));
	note(port, now_us);
	if (!port->plain)
		port->plain_until_us = now_us; /* there is no other way than a new ring, at once */
	pk_count(&port->shared->stuck, 1);
}

/* The ring comes back; where the kernel refuses it, that is tried again later. */
static void put_up(struct pk_io_port *port, __u64 now_us)
{
	int error = open_ring(port);

	port->plain_for_us *= 2;
	if (port->plain_for_us > MOST_PLAIN_US)
		port->plain_for_us = MOST_PLAIN_US;
	if (error) {
		pk_count_error(port->shared->receive_errors, error);
		pk_ring_close(&port->ring);
		port->plain_until_us = now_us + port->plain_for_us;
		return;
	}
	pk_plain_close(port->plain);
	port->plain = NULL;
}

int pk_intake_receive(struct pk_io_port *port, struct pk_frame *frames, __u32 most, __u32 *count,
		      __u64 now_us)
{
	int error;

	*count = 0;
	if (port->ring.map)
		return pk_ring_receive(&port->ring, frames, most, count,
				       port->shared->receive_errors) > 0;
	error = port->plain ? pk_plain_receive(port->plain, frames, most, count) : EAGAIN;
	if (error == EINVAL)
		note(port, now_us);
	else if (error && error != EAGAIN)
		pk_count_error(port->shared->receive_errors, error);
	return error != EAGAIN;
}

void pk_intake_release(struct pk_io_port *port)
{
	if (port->ring.map)
		pk_ring_release(&port->ring);
}

int pk_intake_look(struct pk_io_port *port, __u64 now_us)
{
	struct pk_ring_loss loss = { 0, 0 };

	if (port->ring.map) {
		loss = pk_ring_look(&port->ring);
		if (loss.stuck)
			take_down(port, loss.stuck, now_us);
	} else {
		loss.slow = pk_frames_dropped(port->fd);
		if (now_us >= port->plain_until_us)
			put_up(port, now_us);
	}
	pk_count(&port->shared->slow, loss.slow);
	return port->ring.lost > 0;
}
