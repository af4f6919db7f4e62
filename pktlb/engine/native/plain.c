/* SPDX-License-Identifier: BSD-3-Clause */
#include "plain.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "arena.h"

#define FRAMES 32
#define LONG_FRAMES 4 /* of more than LONG bytes each: few, so that they stay in the cache */
#define LONG 4096

struct pk_plain {
	int fd;
	__u32 frames; /* at a time */
	struct mmsghdr messages[FRAMES];
	struct iovec vectors[FRAMES];
	__u8 memory[FRAMES][PK_RECEIVED_MAX];
};

struct pk_plain *pk_plain_open(int fd)
{
	struct pk_plain *plain = pk_reserve(sizeof(*plain));
	__u32 i;

	if (!plain)
		return NULL;
	plain->fd = fd;
	plain->frames = FRAMES;
	for (i = 0; i < FRAMES; i++) {
		plain->vectors[i] = (struct iovec){ plain->memory[i], PK_RECEIVED_MAX };
		plain->messages[i].msg_hdr =
			(struct msghdr){ .msg_iov = &plain->vectors[i], .msg_iovlen = 1 };
	}
	return plain;
}

void pk_plain_close(struct pk_plain *plain)
{
	pk_release(plain, sizeof(*plain));
}

int pk_plain_receive(struct pk_plain *plain, struct pk_frame *frames, __u32 most, __u32 *count)
{
	size_t bytes = 0;
	int got, error = 0, i;

	*count = 0;
	got = recvmmsg(plain->fd, plain->messages, most < plain->frames ? most : plain->frames,
		       MSG_DONTWAIT | MSG_TRUNC, NULL);
	if (got < 0)
		return errno;
	for (i = 0; i < got; i++) {
		struct pk_frame *frame = &frames[*count];
		__u32 length = plain->messages[i].msg_len;

		if (length < PK_VNET || length > PK_RECEIVED_MAX) {
			error = EMSGSIZE;
			continue;
		}
		frame->data = plain->memory[i] + PK_VNET;
		frame->length = length - PK_VNET;
		memcpy(&frame->offload, plain->memory[i], PK_VNET);
		bytes += length;
		++*count;
	}
	plain->frames = bytes > *count * (size_t)LONG ? LONG_FRAMES : FRAMES;
	return error;
}
