/* SPDX-License-Identifier: BSD-3-Clause */
#include "schedule.h"

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

/* Fewest active flows per weight, compared as exact fractions; then the longest not chosen; then
 * the first. */
static int comes_before(const struct pk_standings *all, const struct pk_service *service, __u32 a,
			__u32 b)
{
	const struct pk_place *pa = &service->places[a], *pb = &service->places[b];
	const struct pk_tally *ta = &all->tallies[pa->tally], *tb = &all->tallies[pb->tally];
	__u64 mine = (__u64)ta->active * pb->weight, theirs = (__u64)tb->active * pa->weight;

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

__u32 pk_pick(struct pk_standings *all, const struct pk_tables *tables,
	      const struct pk_service *service, const struct pk_key *key)
{
	struct pk_standing *standing = &all->standings[service->standing];
	const struct pk_service *heaped;
	__u32 place = 0, length = key->family == 4 ? 4 : 16, number;
	struct pk_tally *tally;

	if (!service->place_count)
		return PK_ABSENT;
	if (service->scheduler == PK_LC)
		place = least(all, service);
	else if (service->scheduler == PK_RR)
		place = service->slots[standing->picks % service->slot_count];
	else
		place = service->slots[pk_siphash(&tables->hash_key, key->source.byte, length) %
				       service->slot_count];
	number = service->places[place].tally;
	tally = &all->tallies[number];
	tally->turn = ++standing->picks;
	heaped = heap_of(all, tally);
	if (heaped)
		sift_down(all, heaped, tally->heap_at);
	return number;
}

void pk_tally_count(struct pk_standings *all, __u32 number, int by)
{
	struct pk_tally *tally = &all->tallies[number];
	const struct pk_service *heaped = heap_of(all, tally);

	tally->active += (__u32)by;
	if (!heaped)
		return;
	if (by > 0)
		sift_down(all, heaped, tally->heap_at);
	else
		sift_up(all, heaped, tally->heap_at);
}
