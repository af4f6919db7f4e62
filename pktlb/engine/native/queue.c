/* SPDX-License-Identifier: BSD-3-Clause */
#include "queue.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#define WAITS 3 /* a flush, not a frame: else a slow device would keep all others waiting */
#define WAIT_NS 50000

static const void *lent(struct pk_queue *queue, const struct pk_out *out)
{
	__u8 *copy = queue->spill + queue->spilled;

	if (!out->borrowed)
		return out->body;
	memcpy(copy, out->body, out->body_length);
	queue->spilled += out->body_length;
	return copy;
}

void pk_queue_put(struct pk_io_port *port, const struct pk_out *out)
{
	struct pk_queue *queue = port->queue;
	struct iovec *vector;
	__u8 *head;
	__u32 parts = 1;

	if (queue->count == PK_QUEUE || queue->spilled + out->body_length > PK_SPILL)
		pk_queue_flush(port);
	vector = queue->vectors[queue->count];
	if (out->head_length) {
		head = queue->heads[queue->count];
		memcpy(head + PK_VNET, out->head, out->head_length);
		vector[0] = (struct iovec){ head, PK_VNET + out->head_length };
		vector[1] = (struct iovec){ (void *)lent(queue, out), out->body_length };
		parts = 2;
	} else {
		/* A frame as it came in has room in front of it. */
		head = (__u8 *)out->body - PK_VNET;
		vector[0] = (struct iovec){ head, PK_VNET + out->body_length };
	}
	memcpy(head, &out->offload, PK_VNET);
	queue->messages[queue->count++].msg_hdr =
		(struct msghdr){ .msg_iov = vector, .msg_iovlen = parts };
}

/* The thread that empties the device's queue may need this core: spinning or yielding would not
 * help. */
static void wait_a_little(void)
{
	const struct timespec time = { .tv_nsec = WAIT_NS };

	ppoll(NULL, 0, &time, NULL);
}

void pk_queue_flush(struct pk_io_port *port)
{
	struct pk_queue *queue = port->queue;
	__u32 sent = 0, waits = 0;
	int result;

	while (sent < queue->count) {
		result = sendmmsg(port->fd, queue->messages + sent, queue->count - sent,
				  MSG_DONTWAIT);
		if (result > 0) {
			sent += (__u32)result;
		} else if ((errno == ENOBUFS || errno == EAGAIN) && waits < WAITS) {
			waits++;
			wait_a_little();
		} else if (errno != EINTR) {
			pk_count_error(port->shared->send_errors, errno);
			sent++;
		}
	}
	queue->count = queue->spilled = 0;
}
