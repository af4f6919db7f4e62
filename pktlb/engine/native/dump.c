/* SPDX-License-Identifier: BSD-3-Clause */
#include "dump.h"

#include <stdlib.h>
#include <string.h>

#include "step.h"
#include "track.h"

int pk_dump_save(struct pk_plane *plane, struct pk_flow *flows, struct pk_saved_pin *pins)
{
	const struct pk_flows *table = &plane->flows;
	__u32 *place = malloc((plane->pins.used + (size_t)1) * sizeof(*place));
	__u32 state, head, number, count = 0;

	if (!place)
		return -1;
	pk_pins_save(&plane->pins, pins, place);
	for (state = 0; state < PK_STATE_COUNT; state++) {
		head = table->capacity + state;
		for (number = table->links[head].after; number != head;
		     number = table->links[number].after) {
			struct pk_flow *flow = &flows[count++];

			*flow = table->flow[number];
			if (flow->pin != PK_ABSENT)
				flow->pin = place[flow->pin];
		}
	}
	free(place);
	return 0;
}

void pk_dump_save_tally(const struct pk_plane *plane, __u32 number,
			 struct pk_saved_tally *saved)
{
	const struct pk_tally *tally = &plane->standings.tallies[number];

	*saved = (struct pk_saved_tally){ tally->connections, tally->packets_in, tally->bytes_in,
					  tally->packets_out, tally->bytes_out, tally->turn,
					  tally->was_full, 0 };
}

static int compare_ages(const void *a, const void *b)
{
	const __u32 *one = a, *other = b;

	return *one < *other ? -1 : *one > *other;
}

/* The age, in ms, from which on flows are left out, since there is no room for so many. */
static int find_oldest(const struct pk_saved *saved, __u32 room, __u32 *oldest)
{
	__u32 *ages, i;

	*oldest = 0xffffffff;
	if (saved->flow_count <= room)
		return 0;
	ages = malloc(saved->flow_count * sizeof(*ages));
	if (!ages)
		return -1;
	for (i = 0; i < saved->flow_count; i++)
		ages[i] = saved->then - saved->flows[i].seen;
	qsort(ages, saved->flow_count, sizeof(*ages), compare_ages);
	*oldest = ages[room];
	free(ages);
	return 0;
}

static int is_clean(const struct pk_addr *addr, __u8 family)
{
	return family != 4 || (!addr->half[1] && !addr->word[1]);
}

/* Whether it is a flow that could be here. */
static int is_sound(const struct pk_flow *flow, const struct pk_tally *tally)
{
	__u8 flags = flow->mode & (__u8)~PK_MODE(flow);

	if ((flow->family != 4 && flow->family != 6) || flow->state >= PK_STATE_COUNT ||
	    PK_MODE(flow) > PK_TUNNEL)
		return 0;
	if (flags & (__u8)~(PK_FLOW_ANY | PK_FLOW_SINGLE | PK_FLOW_ALLOTTED | PK_FLOW_PARTS |
			    PK_FLOW_KILLED))
		return 0;
	if ((flow->state == PK_DATAGRAMS) == (flow->proto == PK_TCP) ||
	    (flow->state == PK_DATAGRAMS && flags & PK_FLOW_KILLED))
		return 0;
	if (!is_clean(&flow->client, flow->family) || !is_clean(&flow->vip, flow->family) ||
	    !is_clean(&flow->seen_as, flow->family))
		return 0;
	if (PK_MODE(flow) != PK_NAT)
		return !(flags & (PK_FLOW_SINGLE | PK_FLOW_ALLOTTED)) &&
		       (PK_MODE(flow) == PK_TUNNEL || flow->mode & PK_FLOW_ANY ||
			tally->backend.family == flow->family);
	return tally->backend.family == flow->family && !(flow->mode & PK_FLOW_ANY);
}

static int is_taken(struct pk_plane *plane, const struct pk_key *key)
{
	__u64 hash = pk_key_hash(&plane->flows.secret, key);

	return pk_flow_find(&plane->flows, key, hash, plane->now) != PK_ABSENT;
}

/* A flow of the process before becomes one of this plane; whether it was taken over. */
static int load_flow(struct pk_plane *plane, const struct pk_saved *saved,
		     const struct pk_flow *given, const __u32 *pin_of)
{
	struct pk_flows *table = &plane->flows;
	const struct pk_tally *tally;
	struct pk_flow flow = *given;
	struct pk_key key;

	if (flow.tally >= saved->tally_count || saved->tally_of[flow.tally] == PK_ABSENT)
		return 0;
	flow.tally = saved->tally_of[flow.tally];
	tally = &plane->standings.tallies[flow.tally];
	if (!is_sound(&flow, tally) || saved->then - flow.seen >= table->timeout[flow.state] ||
	    table->count >= table->capacity)
		return 0;
	if (pk_is_impossible(plane->tables, &flow.client, flow.family))
		return 0; /* its address became ours, or an earlier version took any */
	flow.seen = plane->now - (saved->then - flow.seen);
	flow.pin = flow.pin < saved->pin_count ? pin_of[flow.pin] : PK_ABSENT;
	key = pk_flow_key(&flow);
	if (!(flow.mode & PK_FLOW_SINGLE) && is_taken(plane, &key))
		return 0;
	if (PK_MODE(&flow) == PK_NAT) {
		struct pk_key reply = pk_flow_reply_key(table, &flow);

		if (is_taken(plane, &reply) || pk_key_equal(&reply, &key))
			return 0;
		pk_flow_note_deltas(tally, &flow);
	} else {
		flow.by = flow.by_transport = 0;
	}
	pk_track_restore(&flow);
	if (flow.mode & PK_FLOW_ALLOTTED &&
	    !pk_snat_claim(&plane->snat, tally->pool, &flow.seen_as, flow.seen_port))
		flow.mode &= (__u8)~PK_FLOW_ALLOTTED; /* from a pool that is no more */
	if (flow.pin != PK_ABSENT)
		pk_pin_refer(&plane->pins, flow.pin);
	pk_flow_add(table, &flow, pk_key_hash(&table->secret, &key), flow.state, flow.seen);
	return 1;
}

/* Whether it is a pin that could be here: its backend's service is its own. */
static int is_sound_pin(const struct pk_plane *plane, const struct pk_saved *saved,
			const struct pk_saved_pin *pin)
{
	struct pk_addr client;
	__u32 tally;

	if (pin->standing >= saved->standing_count || pin->tally >= saved->tally_count)
		return 0;
	tally = saved->tally_of[pin->tally];
	memcpy(client.byte, pin->client, sizeof(client.byte));
	return tally != PK_ABSENT && saved->standing_of[pin->standing] != PK_ABSENT &&
	       plane->standings.tallies[tally].standing == saved->standing_of[pin->standing] &&
	       (pin->family == 4 || pin->family == 6) && is_clean(&client, pin->family) &&
	       pin->life % 1000 == 0;
}

/* Where each pin that was handed on stands here. */
static void load_pins(struct pk_plane *plane, const struct pk_saved *saved, __u32 *pin_of)
{
	__u32 i;

	for (i = 0; i < saved->pin_count; i++) {
		const struct pk_saved_pin *pin = &saved->pins[i];
		__u32 age = saved->then - pin->seen;

		pin_of[i] = PK_ABSENT;
		if (!is_sound_pin(plane, saved, pin))
			continue;
		pin_of[i] = pk_pin_restore(&plane->pins, pin, saved->standing_of[pin->standing],
					   saved->tally_of[pin->tally], plane->now - age);
	}
}

static void load_counts(struct pk_plane *plane, const struct pk_saved *saved)
{
	__u32 i;

	for (i = 0; i < saved->tally_count; i++) {
		const struct pk_saved_tally *from = &saved->tallies[i];
		struct pk_tally *tally;

		if (saved->tally_of[i] == PK_ABSENT)
			continue;
		tally = &plane->standings.tallies[saved->tally_of[i]];
		tally->connections = from->connections;
		tally->packets_in = from->packets_in;
		tally->bytes_in = from->bytes_in;
		tally->packets_out = from->packets_out;
		tally->bytes_out = from->bytes_out;
		tally->turn = from->turn;
		tally->was_full = !!from->was_full;
	}
	for (i = 0; i < saved->standing_count; i++)
		if (saved->standing_of[i] != PK_ABSENT)
			plane->standings.standings[saved->standing_of[i]].picks = saved->picks[i];
	for (i = 0; i < PK_REASON_COUNT; i++)
		plane->past[i] += saved->counts[i];
}

int pk_dump_load(struct pk_plane *plane, const struct pk_saved *saved, __u32 now)
{
	__u32 *pin_of = malloc((saved->pin_count + (size_t)1) * sizeof(*pin_of));
	__u32 oldest, i;
	int loaded = 0;

	if (!pin_of || find_oldest(saved, plane->flows.capacity, &oldest)) {
		free(pin_of);
		return -1;
	}
	pthread_mutex_lock(&plane->lock);
	plane->now = now;
	load_pins(plane, saved, pin_of);
	for (i = 0; i < saved->flow_count; i++)
		if (saved->then - saved->flows[i].seen <= oldest)
			loaded += load_flow(plane, saved, &saved->flows[i], pin_of);
	pk_snat_settle(&plane->snat);
	load_counts(plane, saved);
	pthread_mutex_unlock(&plane->lock);
	free(pin_of);
	return loaded;
}
