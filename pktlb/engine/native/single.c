/* SPDX-License-Identifier: BSD-3-Clause */
#include "single.h"

#include <stdlib.h>
#include <string.h>

#include "batch.h"

static __u8 *append(struct pk_single *single, size_t bytes)
{
	size_t needed = single->sent_length + bytes;
	__u8 *grown;

	if (needed > single->room) {
		grown = realloc(single->sent, needed * 2);
		if (!grown) {
			single->failed = 1;
			return NULL;
		}
		single->sent = grown;
		single->room = needed * 2;
	}
	single->sent_length = needed;
	return single->sent + needed - bytes;
}

static void note_sent(struct pk_sink *sink, const struct pk_out *out)
{
	__u32 length = out->head_length + out->body_length;
	struct pk_single_head head = { out->port, length, out->offload };
	__u8 *to = append((struct pk_single *)sink, sizeof(head) + length);

	if (!to)
		return;
	memcpy(to, &head, sizeof(head));
	if (out->head_length)
		memcpy(to + sizeof(head), out->head, out->head_length);
	memcpy(to + sizeof(head) + out->head_length, out->body, out->body_length);
}

static void note_given_back(struct pk_sink *sink, const struct pk_frame *frame)
{
	struct pk_out out = { NULL, frame->data, 0, frame->length, frame->port, 0,
			      frame->offload };

	note_sent(sink, &out);
}

static void note_reason(struct pk_sink *sink, enum pk_reason reason)
{
	((struct pk_single *)sink)->reason = reason;
}

int pk_single_handle(struct pk_single *single, struct pk_plane *plane, struct pk_worker *worker,
		     const struct pk_frame *frame, __u32 now)
{
	__u8 *memory = malloc(PK_HEADROOM + (size_t)frame->length);
	struct pk_frame copy = *frame;

	*single = (struct pk_single){ .sink = { note_sent, note_given_back, note_reason } };
	if (!memory)
		return -1;
	copy.data = memory + PK_HEADROOM;
	memcpy(copy.data, frame->data, frame->length);
	pk_plane_handle(plane, worker, &copy, 1, now, &single->sink);
	free(memory);
	return single->failed ? -1 : 0;
}
