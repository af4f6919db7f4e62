/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames into a port: out of a ring, and without it for some time after a frame has stopped it.
 *
 * A ring that has stopped would have to be made anew, and while the kernel does that it loses all
 * frames for as long as it takes, tens of milliseconds. So the ring is taken down only once, however
 * many of such frames follow, and comes back when none has come for a minute. Each time that it is
 * stopped again it stays down for twice as long, an hour at most.
 */
#ifndef PK_INTAKE_H
#define PK_INTAKE_H

#include "io_port.h"

/* 0, or the number of an error. */
int pk_intake_open(struct pk_io_port *port);
/* Leaves the ring with the socket and says in `shared` where it is. */
void pk_intake_close(struct pk_io_port *port);

/* Up to `most` frames, into `count`; errors are counted. Returns 0 where nothing has arrived. */
int pk_intake_receive(struct pk_io_port *port, struct pk_frame *frames, __u32 most, __u32 *count,
		      __u64 now_us);
/* The frames are the kernel's again. */
void pk_intake_release(struct pk_io_port *port);

/* Count what the kernel dropped, and go over to the other way of receiving where it is time for it.
 * Returns whether it has to look again soon. */
int pk_intake_look(struct pk_io_port *port, __u64 now_us);

#endif
