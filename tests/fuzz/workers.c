/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several threads at one engine, for ThreadSanitizer: each sends packets of clients, pieces of
 * them, errors about them and what backends may reply, so the two directions of a flow and the
 * fragments of a packet meet in different threads, while another thread swaps tables, forgets flows
 * and fragments and reads everything that control reads.
 *
 *	workers THREADS BATCHES
 */
#include <arpa/inet.h>
#include <sched.h>
#include <stdatomic.h>

#include "frames.h"
#include "world.h"

#define MOST_THREADS 16u

struct hand {
	struct pk_sink sink; /* first: the engine sends to it */
	pthread_t thread;
	struct pk_plane *plane;
	__u32 number, batches, seed;
	__u64 ended, sent, held;
};

static struct world world; /* but for its engine, control's alone */
static atomic_uint clock_ms, at_work;

static void on_send(struct pk_sink *sink, const struct pk_out *out)
{
	(void)out;
	((struct hand *)(void *)sink)->sent++;
}

static void on_give_back(struct pk_sink *sink, const struct pk_frame *frame)
{
	(void)sink;
	(void)frame;
}

static void on_end(struct pk_sink *sink, enum pk_reason reason)
{
	CHECK(reason < PK_REASON_COUNT);
	((struct hand *)(void *)sink)->held += reason == PK_HELD;
	((struct hand *)(void *)sink)->ended++;
}

static __u32 chance(__u32 *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 16;
}

/* An ICMP error about a packet that was sent, or a later fragment of one. */
static void draw_error(struct shot *shot, const struct pk_key *key, __u32 *seed)
{
	__u8 plain[4] = { 0 }, choices[8] = { (__u8)(chance(seed) % 5), 0, 1 };
	struct input of = { plain, plain + sizeof(plain) };
	struct input in = { choices, choices + sizeof(choices) };
	struct shot quoted;

	shot_make(&quoted, key, &of);
	shot_error(shot, quoted.before + PK_IP, quoted.was.length - PK_IP, &in);
	shot_free(&quoted);
}

/* A packet of one of some hundred clients, or what its backend may reply. */
static void draw(struct shot *shot, __u32 *seed)
{
	__u32 service = chance(seed) % SERVICES, backend = chance(seed) % BACKENDS, how;
	struct pk_raw_end from = world_backend(backend, service);
	__u8 shape[8] = { 0, (__u8)(chance(seed) & ~48u), PK_SYN, 0 };
	struct input in = { shape, shape + sizeof(shape) };
	struct pk_key key = world_packet(service, chance(seed) & 0x43f);

	key.sport = htons((__u16)(50000 + chance(seed) % 64));
	shape[2] = (__u8)(1u << chance(seed) % 5);
	how = chance(seed) % 8;
	if (how < 3 && from.family == key.family) {
		struct pk_key there = key;

		pk_reverse(&there, &key);
		memcpy(key.source.byte, from.addr, 16);
		key.sport = from.port ? from.port : key.sport;
	} else if (how == 3) {
		draw_error(shot, &key, seed);
		return;
	} else if (how < 6) { /* pieces of few packets, in any order */
		shape[0] = 64;
		shape[1] = 0;
		shape[4] = (__u8)(chance(seed) % 16);
		key.sport = htons(50000);
	}
	shot_make(shot, &key, &in);
}

static void *work(void *argument)
{
	struct hand *hand = argument;
	struct pk_worker *worker =
		must(pk_worker_add(hand->plane, hand->number, MOST_THREADS));
	struct shot shots[PK_BATCH];
	struct pk_frame frames[PK_BATCH];
	__u32 i, count;

	while (hand->batches--) {
		count = 1 + chance(&hand->seed) % PK_BATCH;
		for (i = 0; i < count; i++) {
			draw(&shots[i], &hand->seed);
			frames[i] = shots[i].frame;
		}
		pk_plane_handle(hand->plane, worker, frames, count,
				 atomic_load_explicit(&clock_ms, memory_order_relaxed),
				 &hand->sink);
		for (i = 0; i < count; i++)
			shot_free(&shots[i]);
	}
	pk_worker_remove(hand->plane, worker);
	atomic_fetch_sub(&at_work, 1);
	return NULL;
}

static void wait_a_little(void)
{
	sched_yield();
}

static void control(void)
{
	__u64 counts[PK_REASON_COUNT];
	__u32 seed = 1, i;
	int found;
	struct pk_told_tally told[TALLIES];
	struct pk_flow flows[16];
	__u8 choices[80];

	while (atomic_load(&at_work)) {
		struct input in = { choices, choices + sizeof(choices) };

		for (i = 0; i < sizeof(choices); i++)
			choices[i] = (__u8)chance(&seed);
		for (i = 0; i < SERVICES; i++)
			choices[4 * i] &= 0xfb; /* none is away for good */
		world_swap(&world, &in, wait_a_little);
		world.now += chance(&seed) % 500;
		atomic_store_explicit(&clock_ms, world.now, memory_order_relaxed);
		pk_plane_expire(&world.plane, world.now, 64);
		pk_plane_counts(&world.plane, counts);
		pk_plane_tallies(&world.plane, 0, TALLIES, told);
		found = pk_plane_flows(&world.plane, chance(&seed) % 64, 16, flows);
		for (i = 0; (int)i < found && i < 2; i++) {
			struct pk_key key = pk_flow_key(&flows[i]);

			pk_plane_kill(&world.plane, &key, 1);
		}
		sched_yield();
	}
}

int main(int argc, char **argv)
{
	static struct hand hands[MOST_THREADS];
	/* Room for all flows but a few, no pool of ports, times of seconds. */
	__u8 choices[80] = { 7, 7, 0, 90, 90, 90, 90, 90, 90, 90, 0, 0 };
	struct input in = { choices, choices + sizeof(choices) };
	__u64 counts[PK_REASON_COUNT], ended = 0, sent = 0, held = 0, counted = 0;
	__u32 threads, i;

	CHECK(argc == 3);
	threads = (__u32)atoi(argv[1]);
	CHECK(threads && threads <= MOST_THREADS);
	world_open(&world, &in);
	atomic_store(&at_work, threads);
	for (i = 0; i < threads; i++) {
		hands[i] = (struct hand){ .sink = { on_send, on_give_back, on_end },
					  .plane = &world.plane, .number = i, .seed = i + 1,
					  .batches = (__u32)atoi(argv[2]) };
		CHECK(!pthread_create(&hands[i].thread, NULL, work, &hands[i]));
	}
	control();
	for (i = 0; i < threads; i++) {
		CHECK(!pthread_join(hands[i].thread, NULL));
		ended += hands[i].ended;
		sent += hands[i].sent;
		held += hands[i].held;
	}
	check_world(&world);
	pk_plane_counts(&world.plane, counts);
	for (i = 0; i < PK_REASON_COUNT; i++) {
		printf("%u ", (unsigned int)counts[i]);
		counted += counts[i];
	}
	printf("sent %u, held %u, flows %u\n", (unsigned int)sent, (unsigned int)held,
	       world.plane.flows.count);
	CHECK(counted == ended && sent && counts[PK_OPENED] && counts[PK_RETURNED]);
	CHECK(held > counts[PK_HELD] && counts[PK_RELATED]);
	world_close(&world);
	return 0;
}
