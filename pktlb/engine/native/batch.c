/* SPDX-License-Identifier: BSD-3-Clause */
#include "batch.h"

#include <stdlib.h>

static void parse_all(const struct pk_plane *plane, struct pk_worker *worker,
		      const struct pk_frame *frames, __u32 count)
{
	__u32 i;

	for (i = 0; i < count; i++) {
		struct pk_decision *decision = &worker->decisions[i];

		decision->gives_back = 0;
		decision->released = NULL;
		decision->reason = pk_parse(frames[i].data, frames[i].data + frames[i].length,
					    &worker->views[i]);
		if (decision->reason != PK_FORWARDED)
			continue;
		worker->hashes[i] = pk_key_hash(&plane->flows.secret, &worker->views[i].key);
		pk_flow_fetch_bucket(&plane->flows, worker->hashes[i]);
	}
}

static void decide_all(struct pk_plane *plane, struct pk_worker *worker,
		       const struct pk_frame *frames, __u32 count, __u32 now)
{
	const struct pk_tables *tables;
	__u32 i;

	pthread_mutex_lock(&plane->lock);
	pk_note_time(plane, now);
	worker->now = plane->now;
	tables = plane->tables;
	__atomic_store_n(&worker->tables, tables, __ATOMIC_RELAXED);
	for (i = 0; i < count; i++)
		if (worker->decisions[i].reason == PK_FORWARDED)
			pk_flow_fetch_record(&plane->flows, worker->hashes[i]);
	for (i = 0; i < count; i++)
		if (worker->decisions[i].reason == PK_FORWARDED)
			pk_decide(plane, tables, &frames[i], &worker->views[i],
				  worker->hashes[i], &worker->decisions[i]);
	pthread_mutex_unlock(&plane->lock);
}

/* Control reads the counts at any time; the worker alone writes them. */
static void count(struct pk_worker *worker, enum pk_reason reason, __u64 more)
{
	__atomic_store_n(&worker->counts[reason], worker->counts[reason] + more, __ATOMIC_RELAXED);
}

/* Fragments that waited for a frame go after it. */
static void carry_out_released(struct pk_worker *worker, struct pk_held *held,
			       struct pk_sink *sink)
{
	struct pk_held *next;

	for (; held; held = next) {
		next = held->next;
		count(worker, PK_HELD, (__u64)-1);
		count(worker, pk_carry_out(worker, &held->frame, &held->view, &held->decision, sink),
		      1);
		free(held);
	}
}

void pk_plane_handle(struct pk_plane *plane, struct pk_worker *worker, struct pk_frame *frames,
		     __u32 frame_count, __u32 now, struct pk_sink *sink)
{
	enum pk_reason reason;
	__u32 i;

	parse_all(plane, worker, frames, frame_count);
	decide_all(plane, worker, frames, frame_count, now);
	for (i = 0; i < frame_count; i++) {
		reason = pk_carry_out(worker, &frames[i], &worker->views[i],
				      &worker->decisions[i], sink);
		count(worker, reason, 1);
		if (worker->decisions[i].released)
			carry_out_released(worker, worker->decisions[i].released, sink);
		if (sink->ended)
			sink->ended(sink, reason);
	}
	__atomic_store_n(&worker->tables, NULL, __ATOMIC_RELEASE);
}
