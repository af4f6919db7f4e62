/* SPDX-License-Identifier: BSD-3-Clause */
#include "plane.h"

#include <stdlib.h>
#include <string.h>

#define SCRATCH (PK_LONGEST_HEAD + 65536)

int pk_plane_init(struct pk_plane *plane, const struct pk_limits *limits,
		  const struct pk_secret *secret)
{
	pthread_mutexattr_t attributes;

	memset(plane, 0, sizeof(*plane));
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&plane->lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	if (pk_standings_init(&plane->standings) ||
	    pk_snat_init(&plane->snat, limits->snat, limits->snat_count, limits->source_ports,
			 limits->source_port_count))
		return -1;
	return pk_pins_init(&plane->pins, limits->max_flows, secret, &plane->standings,
			    &plane->now) ||
	       pk_flows_init(&plane->flows, limits->max_flows, limits->timeouts, secret,
			     &plane->standings, &plane->snat, &plane->pins) ||
	       pk_trails_init(&plane->trails, secret);
}

void pk_plane_free(struct pk_plane *plane)
{
	pk_flows_free(&plane->flows);
	pk_pins_free(&plane->pins);
	pk_trails_free(&plane->trails);
	pk_snat_free(&plane->snat);
	pk_standings_free(&plane->standings);
	pthread_mutex_destroy(&plane->lock);
}

struct pk_worker *pk_worker_add(struct pk_plane *plane, __u32 number, __u32 of)
{
	struct pk_worker *worker = aligned_alloc(64, (sizeof(*worker) + 63) / 64 * 64);
	__u32 at = 0;

	if (!worker)
		return NULL;
	memset(worker, 0, sizeof(*worker));
	worker->ident_low = number * (0x10000 / of);
	worker->ident_high = worker->ident_low + 0x10000 / of;
	worker->ident = worker->ident_low;
	worker->limiter.secret = plane->flows.secret;
	worker->scratch[0] = malloc(SCRATCH);
	worker->scratch[1] = malloc(SCRATCH);
	pthread_mutex_lock(&plane->lock);
	while (at < PK_MAX_WORKERS && plane->workers[at])
		at++;
	if (at < PK_MAX_WORKERS)
		plane->workers[at] = worker;
	pthread_mutex_unlock(&plane->lock);
	if (at < PK_MAX_WORKERS && worker->scratch[0] && worker->scratch[1])
		return worker;
	pk_worker_remove(plane, worker);
	return NULL;
}

void pk_worker_remove(struct pk_plane *plane, struct pk_worker *worker)
{
	__u32 at, reason;

	pthread_mutex_lock(&plane->lock);
	for (at = 0; at < PK_MAX_WORKERS; at++)
		if (plane->workers[at] == worker)
			plane->workers[at] = NULL;
	for (reason = 0; reason < PK_REASON_COUNT; reason++)
		plane->past[reason] += worker->counts[reason];
	pthread_mutex_unlock(&plane->lock);
	free(worker->scratch[0]);
	free(worker->scratch[1]);
	free(worker);
}

void pk_plane_counts(struct pk_plane *plane, __u64 counts[PK_REASON_COUNT])
{
	__u32 at, reason;

	pthread_mutex_lock(&plane->lock);
	memcpy(counts, plane->past, sizeof(plane->past));
	for (at = 0; at < PK_MAX_WORKERS; at++)
		for (reason = 0; plane->workers[at] && reason < PK_REASON_COUNT; reason++)
			counts[reason] += __atomic_load_n(&plane->workers[at]->counts[reason],
							  __ATOMIC_RELAXED);
	counts[PK_HELD] -= plane->trails.bad + plane->trails.lost;
	counts[PK_BAD_FRAGMENT] += plane->trails.bad;
	counts[PK_FRAGMENT_LOST] += plane->trails.lost;
	pthread_mutex_unlock(&plane->lock);
}

void pk_plane_swap(struct pk_plane *plane, const struct pk_tables *tables)
{
	pthread_mutex_lock(&plane->lock);
	plane->tables = tables;
	pk_standings_swap(&plane->standings, tables);
	pthread_mutex_unlock(&plane->lock);
}

int pk_tables_in_use(struct pk_plane *plane, const struct pk_tables *tables)
{
	int used = 0;
	__u32 at;

	pthread_mutex_lock(&plane->lock);
	for (at = 0; at < PK_MAX_WORKERS; at++)
		used |= plane->workers[at] &&
			__atomic_load_n(&plane->workers[at]->tables, __ATOMIC_ACQUIRE) == tables;
	pthread_mutex_unlock(&plane->lock);
	return used;
}

/* Threads read the clock and then wait for the lock, so it may seem to go back; it wraps around,
 * so without flows, pins and fragments, whose times it is compared with, any time is later. Under
 * the lock. */
void pk_note_time(struct pk_plane *plane, __u32 now)
{
	int timed = plane->flows.count || plane->pins.count || plane->trails.count;

	if (!timed || (__s32)(now - plane->now) > 0)
		plane->now = now;
}

__u32 pk_plane_expire(struct pk_plane *plane, __u32 now, __u32 most)
{
	__u32 gone;

	pthread_mutex_lock(&plane->lock);
	pk_note_time(plane, now);
	pk_trails_expire(&plane->trails, plane->now, most);
	gone = pk_flows_expire(&plane->flows, plane->now, most);
	gone += pk_pins_expire(&plane->pins, most - gone);
	pthread_mutex_unlock(&plane->lock);
	return gone;
}

static __u32 kill_flow(struct pk_flows *flows, const struct pk_key *key)
{
	__u32 number = pk_flow_of_client(flows, key);

	if (number == PK_ABSENT)
		return 0;
	if (flows->flow[number].state == PK_DATAGRAMS)
		pk_flow_remove(flows, number);
	else
		flows->flow[number].mode |= PK_FLOW_KILLED;
	return 1;
}

__u32 pk_plane_kill(struct pk_plane *plane, const struct pk_key *keys, __u32 count)
{
	__u32 i, end, found = 0;

	/* A few at a time: workers want the lock, too. */
	for (i = 0; i < count;) {
		end = count - i < 64 ? count : i + 64;
		pthread_mutex_lock(&plane->lock);
		for (; i < end; i++)
			found += kill_flow(&plane->flows, &keys[i]);
		pthread_mutex_unlock(&plane->lock);
	}
	return found;
}

int pk_plane_flows(struct pk_plane *plane, __u32 first, __u32 count, struct pk_flow *copies)
{
	const struct pk_flows *flows = &plane->flows;
	__u32 i;
	int found = -1;

	pthread_mutex_lock(&plane->lock);
	if (first < flows->used)
		found = 0;
	for (i = first; i < flows->used && i - first < count; i++)
		if (flows->flow[i].state != PK_STATE_COUNT)
			copies[found++] = flows->flow[i];
	pthread_mutex_unlock(&plane->lock);
	return found;
}

void pk_plane_tallies(struct pk_plane *plane, __u32 first, __u32 count,
		      struct pk_told_tally *told)
{
	const struct pk_tally *tally = plane->standings.tallies + first;
	__u32 i, end;

	/* A few at a time: workers want the lock, too. */
	for (i = 0; i < count;) {
		end = count - i < 256 ? count : i + 256;
		pthread_mutex_lock(&plane->lock);
		for (; i < end; i++)
			told[i] = (struct pk_told_tally){
				tally[i].active, tally[i].flows, tally[i].pins,
				(__u32)pk_tally_is_full(&plane->standings, first + i),
				tally[i].connections, tally[i].packets_in, tally[i].bytes_in,
				tally[i].packets_out, tally[i].bytes_out
			};
		pthread_mutex_unlock(&plane->lock);
	}
}
