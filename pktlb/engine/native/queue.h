/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames on their way out of one port, sent with as few system calls as there can be. */
#ifndef PK_QUEUE_H
#define PK_QUEUE_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "io_port.h"

#define PK_QUEUE 128
#define PK_SPILL (256u << 10) /* bytes of bodies that are only lent */

struct pk_queue {
	__u32 count, spilled;
	struct mmsghdr messages[PK_QUEUE];
	struct iovec vectors[PK_QUEUE][2];
	__u8 heads[PK_QUEUE][PK_VNET + PK_LONGEST_HEAD + 40];
	__u8 spill[PK_SPILL];
};

/* Takes a frame; sends first what there is where there is no room for it. */
void pk_queue_put(struct pk_io_port *port, const struct pk_out *out);
/* Sends everything. A full device is waited for, but not long; what then fails is counted. */
void pk_queue_flush(struct pk_io_port *port);

#endif
