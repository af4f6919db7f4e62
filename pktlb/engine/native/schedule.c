/* SPDX-License-Identifier: BSD-3-Clause */
#include "schedule.h"

#include <string.h>

#include "arena.h"

int pk_standings_init(struct pk_standings *all)
{
	all->tallies = pk_reserve(PK_MAX_TALLIES * sizeof(*all->tallies));
	all->standings = pk_reserve(PK_MAX_STANDINGS * sizeof(*all->standings));
	all->version = 0;
	return all->tallies && all->standings ? 0 : -1;
}

void pk_standings_free(struct pk_standings *all)
{
	pk_release(all->tallies, PK_MAX_TALLIES * sizeof(*all->tallies));
	pk_release(all->standings, PK_MAX_STANDINGS * sizeof(*all->standings));
}

void pk_standings_swap(struct pk_standings *all, const struct pk_tables *tables)
{
	all->version = tables->version;
	all->limits = tables->has_limits ? tables : NULL;
}

/* Whether a backend takes no new flows: it came to its upper threshold, and not back below the lower
 * one. */
static int is_full(const struct pk_place *place, const struct pk_tally *tally)
{
	return place->upper && (tally->active >= place->upper ||
				(tally->was_full && tally->active >= place->lower));
}

/* What is divided by the weight: flows, with the new one counted in but for PK_LC. */
static __u64 delay(const struct pk_service *service, const struct pk_tally *tally)
{
	if (service->scheduler == PK_LC || (service->scheduler == PK_NQ && !tally->active))
		return tally->active;
	return tally->active + 1ull;
}

/* Full ones last; the idle ones first, for PK_NQ; then the least delay for its weight, compared as exact
 * fractions; then the longest not chosen; then the first. */
static int comes_before(const struct pk_standings *all, const struct pk_service *service, __u32 a,
			__u32 b)
{
	const struct pk_place *pa = &service->places[a], *pb = &service->places[b];
	const struct pk_tally *ta = &all->tallies[pa->tally], *tb = &all->tallies[pb->tally];
	__u64 mine = delay(service, ta) * pb->weight, theirs = delay(service, tb) * pa->weight;

	if (is_full(pa, ta) != is_full(pb, tb))
		return !is_full(pa, ta);
	if (service->scheduler == PK_NQ && !ta->active != !tb->active)
		return !ta->active;
	if (mine != theirs)
		return mine < theirs;
	if (ta->turn != tb->turn)
		return ta->turn < tb->turn;
	return a < b;
}

static void put(struct pk_standings *all, const struct pk_service *service, __u32 at, __u32 place)
{
	service->heap[at] = place;
	all->tallies[service->places[place].tally].heap_at = at;
}

static void sift_up(struct pk_standings *all, const struct pk_service *service, __u32 at)
{
	__u32 place = service->heap[at];

	while (at && comes_before(all, service, place, service->heap[(at - 1) / 2])) {
		put(all, service, at, service->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	put(all, service, at, place);
}

static void sift_down(struct pk_standings *all, const struct pk_service *service, __u32 at)
{
	__u32 place = service->heap[at], child;

	while ((child = 2 * at + 1) < service->place_count) {
		if (child + 1 < service->place_count &&
		    comes_before(all, service, service->heap[child + 1], service->heap[child]))
			child++;
		if (!comes_before(all, service, service->heap[child], place))
			break;
		put(all, service, at, service->heap[child]);
		at = child;
	}
	put(all, service, at, place);
}

/* The service whose heap a tally stands in, or NULL. */
static const struct pk_service *heap_of(const struct pk_standings *all,
					const struct pk_tally *tally)
{
	if (!tally->heap_version || tally->heap_version != all->version)
		return NULL;
	return all->standings[tally->standing].heaped;
}

static void build_heap(struct pk_standings *all, const struct pk_service *service)
{
	__u32 at;

	for (at = 0; at < service->place_count; at++) {
		put(all, service, at, at);
		all->tallies[service->places[at].tally].heap_version = all->version;
	}
	for (at = service->place_count / 2; at--;)
		sift_down(all, service, at);
	all->standings[service->standing].heaped = service;
}

static __u32 least(struct pk_standings *all, const struct pk_service *service)
{
	if (heap_of(all, &all->tallies[service->places[0].tally]) != service)
		build_heap(all, service);
	return service->heap[0];
}

/* What of a packet is hashed, in 37 bytes at most; returns how many. */
static __u32 hashed(const struct pk_service *service, const struct pk_key *key, const __u8 *frame,
		    __u8 *to)
{
	__u32 size = pk_size(key->family), half = size;
	__u8 ends[2][18];
	int swap;

	if (service->fields == PK_BY_MAC) {
		memcpy(to, frame + 6, 6);
		return 6;
	}
	if (service->fields == PK_BY_SOURCE) {
		pk_write_prefix(to, &key->source, size,
				size == 4 ? service->prefix4 : service->prefix6);
		return size;
	}
	memcpy(ends[0], key->source.byte, size);
	memcpy(ends[1], key->destination.byte, size);
	if (service->fields == PK_BY_FIVE_TUPLE) {
		memcpy(ends[0] + size, &key->sport, 2);
		memcpy(ends[1] + size, &key->dport, 2);
		half += 2;
	}
	swap = service->symmetric && memcmp(ends[1], ends[0], half) < 0;
	memcpy(to, ends[swap], half);
	memcpy(to + half, ends[!swap], half);
	if (service->fields != PK_BY_FIVE_TUPLE)
		return 2 * half;
	to[2 * half] = key->proto;
	return 2 * half + 1;
}

static __u32 by_hash(const struct pk_tables *tables, const struct pk_service *service,
		     const struct pk_key *key, const __u8 *frame)
{
	__u8 data[40];
	__u32 length = hashed(service, key, frame, data);

	return service->slots[pk_siphash(&tables->hash_key, data, length) % service->slot_count];
}

/* By chance, but the same in both engines. */
static __u64 draw_by_picks(const struct pk_tables *tables, __u64 picks)
{
	__u8 number[8];
	__u32 i;

	for (i = 0; i < 8; i++)
		number[i] = (__u8)(picks >> 8 * i);
	return pk_siphash(&tables->hash_key, number, 8);
}

/* The better of two, drawn in proportion to their weights (Mitzenmacher, "The Power of Two Choices
 * in Randomized Load Balancing", 2001). */
static __u32 of_two(const struct pk_standings *all, const struct pk_tables *tables,
		    const struct pk_service *service)
{
	__u64 draw = draw_by_picks(tables, all->standings[service->standing].picks);
	const struct pk_tally *one, *other;
	const struct pk_place *a, *b;
	__u32 first, second, at;

	first = service->slots[(__u32)draw % service->slot_count];
	at = (__u32)(draw >> 32) % service->slot_count;
	second = service->slots[at];
	if (second == first)
		second = service->slots[(at + 1) % service->slot_count];
	a = &service->places[first];
	b = &service->places[second];
	one = &all->tallies[a->tally];
	other = &all->tallies[b->tally];
	if (is_full(a, one) != is_full(b, other))
		return is_full(a, one) ? second : first;
	return (__u64)other->active * a->weight < (__u64)one->active * b->weight ? second : first;
}

/* Instead of a full one: the next that is not, from one drawn by chance on; PK_ABSENT: all are. */
static __u32 not_full(const struct pk_standings *all, const struct pk_tables *tables,
		      const struct pk_service *service, const struct pk_key *key,
		      const __u8 *frame)
{
	__u32 count = service->place_count, step, place, length;
	__u8 data[40];
	__u64 draw;

	if (service->scheduler == PK_BY_HASH) {
		length = hashed(service, key, frame, data);
		data[length] = 0;
		draw = pk_siphash(&tables->hash_key, data, length + 1);
	} else {
		draw = draw_by_picks(tables, all->standings[service->standing].picks);
	}
	for (step = 0; step < count; step++) {
		place = (__u32)((draw % count + step) % count);
		if (!is_full(&service->places[place], &all->tallies[service->places[place].tally]))
			return place;
	}
	return PK_ABSENT;
}

static __u32 choose(struct pk_standings *all, const struct pk_tables *tables,
		    const struct pk_service *service, const struct pk_key *key, const __u8 *frame)
{
	switch (service->scheduler) {
	case PK_LC:
	case PK_SED:
	case PK_NQ:
		return least(all, service);
	case PK_RR:
		return service->slots[all->standings[service->standing].picks %
				      service->slot_count];
	case PK_P2C:
		return of_two(all, tables, service);
	default:
		return by_hash(tables, service, key, frame);
	}
}

const struct pk_place *pk_peek(struct pk_standings *all, const struct pk_tables *tables,
			       const struct pk_service *service, const struct pk_key *key,
			       const __u8 *frame)
{
	const struct pk_place *place;
	__u32 at;

	if (!service->place_count)
		return NULL;
	place = &service->places[choose(all, tables, service, key, frame)];
	if (!is_full(place, &all->tallies[place->tally]))
		return place;
	at = not_full(all, tables, service, key, frame);
	return at == PK_ABSENT ? NULL : &service->places[at];
}

const struct pk_place *pk_pick(struct pk_standings *all, const struct pk_tables *tables,
			       const struct pk_service *service, const struct pk_key *key,
			       const __u8 *frame)
{
	const struct pk_place *place = pk_peek(all, tables, service, key, frame);
	const struct pk_service *heaped;
	struct pk_tally *tally;

	if (!place)
		return NULL;
	tally = &all->tallies[place->tally];
	tally->turn = ++all->standings[service->standing].picks;
	heaped = heap_of(all, tally);
	if (heaped)
		sift_down(all, heaped, tally->heap_at);
	return place;
}

int pk_tally_is_full(const struct pk_standings *all, __u32 number)
{
	__u32 place = all->limits ? all->limits->place_of[number] : PK_ABSENT;

	return place != PK_ABSENT && is_full(&all->limits->places[place], &all->tallies[number]);
}

void pk_tally_count(struct pk_standings *all, __u32 number, int by)
{
	struct pk_tally *tally = &all->tallies[number];
	const struct pk_service *heaped = heap_of(all, tally);

	tally->was_full = (__u32)pk_tally_is_full(all, number);
	tally->active += (__u32)by;
	tally->was_full = (__u32)pk_tally_is_full(all, number);
	if (!heaped)
		return;
	if (by > 0)
		sift_down(all, heaped, tally->heap_at);
	else
		sift_up(all, heaped, tally->heap_at);
}
