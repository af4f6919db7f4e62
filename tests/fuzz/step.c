/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole step: the input is a world and what happens in it, one byte an event and more for its
 * details. Every frame is judged when it has ended, the engine as a whole after every batch.
 */
#include <arpa/inet.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "judge.h"

#define RING 8
#define QUOTED 160u
#define MOST_EVENTS 256u
#define MOST_HELD (MOST_EVENTS + PK_BATCH)

enum event { NEW, NEWER, AGAIN, AGAIN_TOO, REPLY, REPLY_TOO, RAW, ERROR, ERROR_TOO, WAIT, WAIT_LONG,
	     EXPIRE, SWAP, CLOCK_BACK, CROWD, EVENTS };

struct lent {
	const __u8 *body;
	__u32 sent, length; /* which one it is the end of */
};

/* The first bytes of an IP packet. */
struct quote {
	__u8 data[QUOTED];
	__u32 length;
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
	struct pk_key in[RING], out[RING];
	struct quote came[RING], went[RING];
	__u32 in_count, out_count;
	struct shot held[MOST_HELD]; /* or were held, and dropped when nobody could see it */
	__u32 held_count;
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
	CHECK(out->head_length <= PK_LONGEST_HEAD + 40);
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

static void forget_held(struct flight *f, __u32 at)
{
	shot_free(&f->held[at]);
	memmove(f->held + at, f->held + at + 1, (--f->held_count - at) * sizeof(*f->held));
}

/* The frame under way, or a fragment that waited for it, all of it as it came. */
static void on_give_back(struct pk_sink *sink, const struct pk_frame *frame)
{
	struct flight *f = (struct flight *)(void *)sink;
	__u32 at;

	if (frame == &f->frames[f->ended]) {
		f->given_back++;
		return;
	}
	for (at = f->held_count; at--;)
		if (f->held[at].was.length == frame->length &&
		    !memcmp(f->held[at].before, frame->data, frame->length))
			break;
	CHECK(at < f->held_count);
	forget_held(f, at);
}

static void quote(struct quote *to, const __u8 *data, __u32 length)
{
	to->length = length - PK_IP < QUOTED ? length - PK_IP : QUOTED;
	memcpy(to->data, data + PK_IP, to->length);
}

/* As the other end would have sent it: ports too, as far as it has any. */
static void turn(struct quote *packet, const struct pk_view *view)
{
	__u32 size = pk_size(view->key.family), at = view->transport - (__u32)PK_IP;
	__u8 *ends = packet->data + pk_ends_at(view->key.family), first[16];

	memcpy(first, ends, size);
	memcpy(ends, ends + size, size);
	memcpy(ends + size, first, size);
	if (!pk_has_ports(view) || at + 4 > packet->length)
		return;
	memcpy(first, packet->data + at, 2);
	memcpy(packet->data + at, packet->data + at + 2, 2);
	memcpy(packet->data + at + 2, first, 2);
}

/* Where the frame came from and went to, so that others can follow, reply and complain. What is in
 * a tunnel is answered as it came. */
static void note_ends(struct flight *f, const struct shot *shot, const struct sent *sent)
{
	struct pk_view view;
	struct pk_key key;

	if (pk_parse(shot->before, shot->before + shot->was.length, &view) != PK_FORWARDED ||
	    view.kind == PK_ERROR)
		return;
	key = view.key;
	quote(&f->came[f->in_count % RING], shot->before, view.end);
	turn(&f->came[f->in_count % RING], &view);
	f->in[f->in_count++ % RING] = key;
	if (pk_parse(sent->data, sent->data + sent->length, &view) == PK_FORWARDED && pk_has_ports(&view))
		key = view.key;
	quote(&f->went[f->out_count % RING], sent->data, sent->length);
	f->out[f->out_count++ % RING] = key;
}

/* A fragment that waited for this one, the latest that fits what went out. */
static __u32 find_held(const struct flight *f, const struct shot *first, const struct sent *sent,
		       __u32 count)
{
	__u32 at = f->held_count, size = 2 * sizeof(struct pk_addr);
	const struct shot *held;
	struct pk_view mine, its;

	CHECK(pk_parse(first->before, first->before + first->was.length, &mine) == PK_FORWARDED);
	while (at--) {
		held = &f->held[at];
		CHECK(pk_parse(held->before, held->before + held->was.length, &its) ==
		      PK_FORWARDED);
		if (!memcmp(&mine.key, &its.key, size) && mine.key.family == its.key.family &&
		    mine.fragment.ident == its.fragment.ident &&
		    mine.fragment.proto == its.fragment.proto && judge_is_of(held, sent, count))
			return at;
	}
	CHECK(!"a frame that nobody asked for");
	return 0;
}

static void on_end(struct pk_sink *sink, enum pk_reason reason)
{
	struct flight *f = (struct flight *)(void *)sink;
	struct shot *shot = &f->shots[f->ended];
	__u32 left, at;

	CHECK(f->ended < f->count && reason < PK_REASON_COUNT && f->given_back <= 1);
	f->counts[reason]++;
	shot->frame = f->frames[f->ended];
	if (pk_is_sent(reason) && f->sent_count > f->judged)
		note_ends(f, shot, f->sent + f->judged);
	f->judged += judge(f->trial, shot, reason, f->given_back, f->sent + f->judged,
			   f->sent_count - f->judged);
	while ((left = f->sent_count - f->judged)) {
		at = find_held(f, shot, f->sent + f->judged, left);
		f->judged += judge_held(f->trial, &f->held[at], f->sent + f->judged, left);
		forget_held(f, at);
	}
	if (reason == PK_HELD) {
		f->held[f->held_count++] = *shot;
		*shot = (struct shot){ .memory = NULL };
	}
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

/* Fragments that were held end later, in whatever they end in. */
static void check_counts(struct flight *f)
{
	__u64 counts[PK_REASON_COUNT], sum = 0;
	__u32 i;

	pk_plane_counts(&f->world.plane, counts);
	CHECK(counts[PK_HELD] <= f->counts[PK_HELD]);
	for (i = 0; i < PK_REASON_COUNT; i++) {
		sum += counts[i];
		CHECK(i == PK_HELD || counts[i] >= f->counts[i]);
	}
	CHECK(sum == f->all);
}

static void fly(struct flight *f)
{
	__u32 i;

	for (i = 0; i < f->count; i++)
		f->frames[i] = f->shots[i].frame;
	pk_plane_handle(&f->world.plane, f->world.workers[f->batches++ % WORKERS], f->frames,
			 f->count, f->world.now - f->back, &f->sink);
	CHECK(f->ended == f->count);
	CHECK(f->world.now - f->world.plane.now <= f->back);
	f->all += f->count;
	check_counts(f);
	check_lent(f);
	check_world(&f->world);
	for (i = 0; i < f->count; i++)
		shot_free(&f->shots[i]);
	for (i = 0; i < f->sent_count; i++)
		free(f->sent[i].data);
	while (f->held_count > MOST_EVENTS)
		forget_held(f, 0);
	f->count = f->ended = f->sent_count = f->judged = f->back = 0;
}

static struct pk_key new_key(__u32 detail, struct input *in)
{
	__u32 who = take(in);

	return world_packet(detail % 8 == 7 && who & 128 ? ANY : detail % 8, who);
}

/* An error about something that went out, or that the backend may have sent. */
static void add_error(struct flight *f, struct shot *shot, __u32 detail, struct input *in)
{
	__u32 at = (f->out_count - 1 - detail % RING) % RING;
	const struct quote *about = take(in) % 4 ? &f->went[at] : &f->came[at];

	if (f->out_count && about->length)
		shot_error(shot, about->data, about->length, in);
	else
		shot_raw(shot, in);
}

/* One frame more; the batch flies unless the next frame shall be in it. */
static void add(struct flight *f, enum event event, __u32 detail, struct input *in)
{
	struct shot *shot = &f->shots[f->count];
	struct pk_key key;

	if (event == RAW) {
		shot_raw(shot, in);
	} else if (event > RAW) {
		add_error(f, shot, detail, in);
	} else {
		if (event >= REPLY && f->out_count)
			pk_reverse(&f->out[(f->out_count - 1 - detail % RING) % RING], &key);
		else if (event >= AGAIN && event < REPLY && f->in_count)
			key = f->in[(f->in_count - 1 - detail % RING) % RING];
		else
			key = new_key(detail, in);
		shot_make(shot, &key, in);
	}
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
		struct pk_key key = world_packet(detail % SERVICES, detail << 4);

		key.sport = htons((__u16)(50000 + i));
		shot_make(&f->shots[f->count++], &key, &opening);
		if (f->count == PK_BATCH)
			fly(f);
	}
}

static void expire(struct world *world, __u32 most)
{
	const struct pk_flows *table = &world->plane.flows;
	__u32 gone = pk_plane_expire(&world->plane, world->now, most), i;

	CHECK(gone <= most && world->plane.now == world->now);
	for (i = 0; gone < most && i < table->used; i++)
		CHECK(table->flow[i].state == PK_STATE_COUNT ||
		      world->now - table->flow[i].seen < table->timeout[table->flow[i].state]);
}

static void happen(struct flight *f, struct input *in)
{
	struct world *world = &f->world;
	__u32 byte = take(in), detail = byte / EVENTS, event = byte % EVENTS;

	if (event <= ERROR_TOO) {
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
		while (pk_plane_expire(&world->plane, world->now, event == WAIT ? 0 : 8))
			;
	} else if (event == EXPIRE) {
		expire(world, detail);
	} else if (event == SWAP) {
		world_swap(world, in, NULL);
	} else if (event == CLOCK_BACK && detail & 8) { /* one event, so that inputs mean what they meant */
		if (f->in_count)
			pk_plane_kill(&world->plane, &f->in[detail % RING % f->in_count], 1);
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
	while (f->held_count)
		forget_held(f, f->held_count - 1);
	free(f->trial);
	free(f->sent);
	free(f->lent);
	free(f);
	return 0;
}
