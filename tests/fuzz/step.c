/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole step: the input is a world and what happens in it, one byte an event and more for its
 * details. Every frame is judged when it has ended, the engine as a whole after every batch.
 */
#include <stddef.h>
#include <sys/prctl.h>

#include "judge.h"

#define RING 8
#define MOST_EVENTS 256u

enum event { NEW, NEWER, AGAIN, AGAIN_TOO, REPLY, REPLY_TOO, RAW, WAIT, WAIT_LONG, EXPIRE, SWAP,
	     CLOCK_BACK, CROWD, EVENTS };

struct lent {
	const __u8 *body;
	__u32 sent, length; /* which one it is the end of */
};

struct flight {
	struct pk_sink sink; /* first: the engine sends to it */
	struct world world;
	struct trial *trial;
	struct shot shots[PK_BATCH];
	struct pk_frame frames[PK_BATCH]; /* of the shots, as the engine gets and leaves them */
	__u32 count, ended, batches, back;
	__u64 all, counts[PK_REASON_COUNT];
	int given_back;
	struct sent *sent; /* of this batch */
	struct lent *lent;
	__u32 sent_count, judged, sent_room;
	struct ends in[RING], out[RING];
	__u32 in_count, out_count;
};

static void on_send(struct pk_sink *sink, const struct pk_out *out)
{
	struct flight *f = (struct flight *)(void *)sink;
	struct sent *sent;

	if (f->sent_count == f->sent_room) {
		f->sent_room *= 2;
		f->sent = must(realloc(f->sent, f->sent_room * sizeof(*f->sent)));
		f->lent = must(realloc(f->lent, f->sent_room * sizeof(*f->lent)));
	}
	CHECK(out->head_length <= PK_LONGEST_HEAD + PK_OUTER);
	sent = &f->sent[f->sent_count];
	*sent = (struct sent){ must(malloc(out->head_length + out->body_length + 1)),
			       out->head_length + out->body_length, out->port, out->offload };
	if (out->head_length)
		memcpy(sent->data, out->head, out->head_length);
	memcpy(sent->data + out->head_length, out->body, out->body_length);
	f->lent[f->sent_count] = (struct lent){ out->borrowed ? NULL : out->body, f->sent_count,
						out->body_length };
	f->sent_count++;
}

static void on_give_back(struct pk_sink *sink, const struct pk_frame *frame)
{
	struct flight *f = (struct flight *)(void *)sink;

	CHECK(frame == &f->frames[f->ended]);
	f->given_back++;
}

/* Where the frame came from and went to, so that others can follow and reply. */
static void note_ends(struct flight *f, const struct shot *shot, const struct sent *sent)
{
	struct pk_view view;

	if (pk_parse(shot->before, shot->was.length, &view) == PK_FORWARDED)
		f->in[f->in_count++ % RING] =
			ends_of(shot->before + PK_IP, shot->before + view.transport);
	if (pk_parse(sent->data, sent->length, &view) == PK_FORWARDED)
		f->out[f->out_count++ % RING] =
			ends_of(sent->data + PK_IP, sent->data + view.transport);
}

static void on_end(struct pk_sink *sink, enum pk_reason reason)
{
	struct flight *f = (struct flight *)(void *)sink;
	struct shot *shot = &f->shots[f->ended];

	CHECK(f->ended < f->count && reason < PK_REASON_COUNT && f->given_back <= 1);
	f->counts[reason]++;
	shot->frame = f->frames[f->ended];
	judge(f->trial, shot, reason, f->given_back, f->sent + f->judged,
	      f->sent_count - f->judged);
	if (reason <= PK_RETURNED && f->sent_count > f->judged)
		note_ends(f, shot, f->sent + f->judged);
	f->ended++;
	f->given_back = 0;
	f->judged = f->sent_count;
}

/* What was lent for longer than the call is the same still. */
static void check_lent(const struct flight *f)
{
	__u32 i;

	for (i = 0; i < f->sent_count; i++)
		if (f->lent[i].body)
			CHECK(!memcmp(f->sent[i].data + f->sent[i].length - f->lent[i].length,
				      f->lent[i].body, f->lent[i].length));
}

static void check_counts(struct flight *f)
{
	__u64 counts[PK_REASON_COUNT], sum = 0;
	__u32 i;

	pk_engine_counts(&f->world.engine, counts);
	CHECK(!memcmp(counts, f->counts, sizeof(counts)));
	for (i = 0; i < PK_REASON_COUNT; i++)
		sum += counts[i];
	CHECK(sum == f->all);
}

static void fly(struct flight *f)
{
	__u32 i;

	for (i = 0; i < f->count; i++)
		f->frames[i] = f->shots[i].frame;
	pk_engine_handle(&f->world.engine, f->world.workers[f->batches++ % WORKERS], f->frames,
			 f->count, f->world.now - f->back, &f->sink);
	CHECK(f->ended == f->count);
	CHECK(f->world.now - f->world.engine.now <= f->back);
	f->all += f->count;
	check_counts(f);
	check_lent(f);
	check_world(&f->world);
	for (i = 0; i < f->count; i++)
		shot_free(&f->shots[i]);
	for (i = 0; i < f->sent_count; i++)
		free(f->sent[i].data);
	f->count = f->ended = f->sent_count = f->judged = f->back = 0;
}

static struct ends new_ends(__u32 way, struct input *in)
{
	__u32 who = take(in), service = way % SERVICES;

	return (struct ends){ world_address(who), world_vip(service), world_port(who >> 4),
			      world_dialled(service), world_proto(service) };
}

/* One frame more; the batch flies unless the next frame shall be in it. */
static void add(struct flight *f, enum event event, __u32 detail, struct input *in)
{
	struct shot *shot = &f->shots[f->count];
	struct ends ends = { 0 };

	if (event == RAW)
		shot_raw(shot, in);
	else if (event >= REPLY && f->out_count)
		ends = turned(&f->out[(f->out_count - 1 - detail % RING) % RING]);
	else if (event >= AGAIN && f->in_count)
		ends = f->in[(f->in_count - 1 - detail % RING) % RING];
	else
		ends = new_ends(detail, in);
	if (event != RAW)
		shot_make(shot, &ends, in);
	f->count++;
	if (f->count == PK_BATCH || !(detail & 8))
		fly(f);
}

/* Many clients of a service at once, each of whom opens a flow. */
static void crowd(struct flight *f, __u32 detail, struct input *in)
{
	static const __u8 plain[3] = { 0, 0, PK_SYN };
	__u32 count = take(in), i;

	for (i = 0; i < count; i++) {
		struct input opening = { plain, plain + sizeof(plain) };
		struct ends ends = { world_address(detail), world_vip(detail % SERVICES),
				     (__u16)(50000 + i), world_dialled(detail % SERVICES),
				     world_proto(detail) };

		shot_make(&f->shots[f->count++], &ends, &opening);
		if (f->count == PK_BATCH)
			fly(f);
	}
}

static void expire(struct world *world, __u32 most)
{
	const struct pk_flows *table = &world->engine.flows;
	__u32 gone = pk_engine_expire(&world->engine, world->now, most), i;

	CHECK(gone <= most && world->engine.now == world->now);
	for (i = 0; gone < most && i < table->used; i++)
		CHECK(table->flow[i].state == PK_STATE_COUNT ||
		      world->now - table->flow[i].seen < table->timeout[table->flow[i].state]);
}

static void happen(struct flight *f, struct input *in)
{
	struct world *world = &f->world;
	__u32 byte = take(in), detail = byte / EVENTS, event = byte % EVENTS;

	if (event <= RAW) {
		add(f, event, detail, in);
		return;
	}
	if (event == CROWD)
		crowd(f, detail, in);
	if (f->count)
		fly(f);
	if (event == WAIT || event == WAIT_LONG) {
		world->now += take(in) << (event == WAIT ? 4 : 20);
		/* Nobody forgets to expire for so long that the clock comes round. */
		while (pk_engine_expire(&world->engine, world->now, event == WAIT ? 0 : 8))
			;
	} else if (event == EXPIRE) {
		expire(world, detail);
	} else if (event == SWAP) {
		world_swap(world, in, NULL);
	} else if (event == CLOCK_BACK) {
		f->back = take(in);
	}
	check_world(world);
}

/* Huge pages would have to be cleared for each input, to hold a few bytes. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	struct input in = { data, data + size };
	struct flight *f = must(calloc(1, sizeof(*f)));
	__u32 events = 0;

	f->sent_room = 16;
	f->sent = must(malloc(f->sent_room * sizeof(*f->sent)));
	f->lent = must(malloc(f->sent_room * sizeof(*f->lent)));
	f->trial = judge_open(&f->world);
	f->sink = (struct pk_sink){ on_send, on_give_back, on_end };
	world_open(&f->world, &in);
	while (in.at < in.end && events++ < MOST_EVENTS)
		happen(f, &in);
	if (f->count)
		fly(f);
	world_close(&f->world);
	free(f->trial);
	free(f->sent);
	free(f->lent);
	free(f);
	return 0;
}
