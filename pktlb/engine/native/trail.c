/* SPDX-License-Identifier: BSD-3-Clause */
#include "trail.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"

#define HASHES 8192u

int pk_trails_init(struct pk_trails *trails, const struct pk_secret *secret)
{
	__u32 i;

	*trails = (struct pk_trails){ .oldest = PK_ABSENT, .youngest = PK_ABSENT,
				      .freed = PK_ABSENT, .secret = *secret };
	trails->trail = pk_reserve(PK_MAX_TRAILS * sizeof(*trails->trail));
	trails->hashed = malloc(HASHES * sizeof(*trails->hashed));
	trails->shares = malloc(PK_SHARES * sizeof(*trails->shares));
	if (!trails->trail || !trails->hashed || !trails->shares)
		return -1;
	for (i = 0; i < PK_SHARES; i++)
		trails->shares[i] = (struct pk_share){ 0, 0, PK_ABSENT, PK_ABSENT };
	memset(trails->hashed, 0xff, HASHES * sizeof(*trails->hashed));
	return 0;
}

void pk_trails_free(struct pk_trails *trails)
{
	while (trails->trail && trails->hashed && trails->shares && trails->count)
		pk_trail_end(trails, &trails->trail[trails->oldest]);
	pk_release(trails->trail, PK_MAX_TRAILS * sizeof(*trails->trail));
	free(trails->hashed);
	free(trails->shares);
}

static __u32 *chain_of(struct pk_trails *trails, const struct pk_addr *source,
		       const struct pk_addr *destination, __u32 ident, __u8 proto)
{
	struct pk_sip s;

	pk_sip_begin(&s, &trails->secret);
	pk_sip_add(&s, source->half[0], 1);
	pk_sip_add(&s, source->half[1], 1);
	pk_sip_add(&s, destination->half[0], 1);
	pk_sip_add(&s, destination->half[1], 1);
	pk_sip_add(&s, (__u64)proto << 32 | ident, 1);
	return &trails->hashed[pk_sip_end(&s, 3) % HASHES];
}

static __u32 *chain(struct pk_trails *trails, const struct pk_trail *trail)
{
	return chain_of(trails, &trail->source, &trail->destination, trail->ident, trail->proto);
}

static int is_of(const struct pk_trail *trail, const struct pk_view *view)
{
	return trail->ident == view->fragment.ident && trail->proto == view->fragment.proto &&
	       trail->family == view->key.family &&
	       pk_addr_equal(&trail->source, &view->key.source) &&
	       pk_addr_equal(&trail->destination, &view->key.destination);
}

static __u32 share_of(const struct pk_trails *trails, const struct pk_key *key)
{
	return pk_siphash(&trails->secret, key->source.byte, pk_size(key->family)) % PK_SHARES;
}

/* The latest trail of its share. */
static void join(struct pk_trails *trails, __u32 number)
{
	struct pk_trail *trail = &trails->trail[number];
	struct pk_share *share = &trails->shares[trail->share];

	trail->elder = share->latest;
	trail->junior = PK_ABSENT;
	if (share->latest != PK_ABSENT)
		trails->trail[share->latest].junior = number;
	else
		share->eldest = number;
	share->latest = number;
	share->count++;
}

static void leave(struct pk_trails *trails, const struct pk_trail *trail)
{
	struct pk_share *share = &trails->shares[trail->share];

	if (trail->elder != PK_ABSENT)
		trails->trail[trail->elder].junior = trail->junior;
	else
		share->eldest = trail->junior;
	if (trail->junior != PK_ABSENT)
		trails->trail[trail->junior].elder = trail->elder;
	else
		share->latest = trail->elder;
	share->count--;
}

static struct pk_trail *begin(struct pk_trails *trails, const struct pk_view *view, __u32 share,
			      __u32 now)
{
	__u32 number = trails->freed, *at;
	struct pk_trail *trail;

	if (number != PK_ABSENT)
		trails->freed = trails->trail[number].next;
	else
		number = trails->used++;
	trail = &trails->trail[number];
	*trail = (struct pk_trail){ .source = view->key.source,
				    .destination = view->key.destination,
				    .ident = view->fragment.ident,
				    .proto = view->fragment.proto,
				    .family = view->key.family,
				    .born = now,
				    .share = share,
				    .older = trails->youngest,
				    .younger = PK_ABSENT };
	trail->held_last = &trail->held;
	at = chain(trails, trail);
	trail->next = *at;
	*at = number;
	if (trails->youngest != PK_ABSENT)
		trails->trail[trails->youngest].younger = number;
	else
		trails->oldest = number;
	trails->youngest = number;
	trails->count++;
	join(trails, number);
	return trail;
}

struct pk_trail *pk_trail_of(struct pk_trails *trails, const struct pk_view *view, __u32 now)
{
	__u32 number = *chain_of(trails, &view->key.source, &view->key.destination,
				 view->fragment.ident, view->fragment.proto);
	__u32 share;

	while (number != PK_ABSENT && !is_of(&trails->trail[number], view))
		number = trails->trail[number].next;
	if (number != PK_ABSENT) {
		if (now - trails->trail[number].born < PK_TRAIL_LIFETIME_MS)
			return &trails->trail[number];
		pk_trail_end(trails, &trails->trail[number]);
	}
	share = share_of(trails, &view->key);
	if (trails->shares[share].count >= PK_SHARE_OF_TRAILS)
		pk_trail_end(trails, &trails->trail[trails->shares[share].eldest]);
	if (trails->count >= PK_MAX_TRAILS)
		pk_trail_end(trails, &trails->trail[trails->oldest]);
	return begin(trails, view, share, now);
}

/* It overlaps another, or lies behind the end, or ends the packet in another place. */
static int contradicts(const struct pk_trail *trail, const struct pk_fragment *fragment)
{
	__u32 i;

	for (i = 0; i < trail->part_count; i++)
		if (trail->parts[i][0] < fragment->stop && fragment->start < trail->parts[i][1])
			return 1;
	if (trail->has_end)
		return fragment->stop > trail->end || !fragment->more;
	return !fragment->more && trail->part_count &&
	       trail->parts[trail->part_count - 1][1] > fragment->stop;
}

static int is_known(const struct pk_trail *trail, const struct pk_fragment *fragment)
{
	__u32 i;

	for (i = 0; i < trail->part_count; i++)
		if (trail->parts[i][0] <= fragment->start && fragment->stop <= trail->parts[i][1])
			return 1;
	return 0;
}

/* Put a part in its place, and join it to those that it touches. */
static void add_part(struct pk_trail *trail, __u32 start, __u32 stop)
{
	__u32 (*part)[2] = trail->parts, at = 0;

	while (at < trail->part_count && part[at][0] < start)
		at++;
	memmove(part + at + 1, part + at, (trail->part_count - at) * sizeof(*part));
	part[at][0] = start;
	part[at][1] = stop;
	trail->part_count++;
	if (at + 1 < trail->part_count && part[at + 1][0] == stop) {
		part[at][1] = part[at + 1][1];
		trail->part_count--;
		memmove(part + at + 1, part + at + 2, (trail->part_count - at - 1) * sizeof(*part));
	}
	if (at && part[at - 1][1] == start) {
		part[at - 1][1] = part[at][1];
		trail->part_count--;
		memmove(part + at, part + at + 1, (trail->part_count - at) * sizeof(*part));
	}
}

static __u32 drop(struct pk_trails *trails, struct pk_trail *trail)
{
	struct pk_held *held = pk_trail_release(trails, trail), *next;
	__u32 count = 0;

	for (; held; held = next, count++) {
		next = held->next;
		free(held);
	}
	return count;
}

int pk_trail_note(struct pk_trails *trails, struct pk_trail *trail,
		  const struct pk_fragment *fragment)
{
	if (trail->refused || is_known(trail, fragment))
		return 0; /* of a refused packet, or the same again */
	if (!contradicts(trail, fragment)) {
		if (!fragment->more) {
			trail->has_end = 1;
			trail->end = fragment->stop;
		}
		add_part(trail, fragment->start, fragment->stop);
		if (trail->part_count <= PK_MAX_PARTS)
			return 1;
	}
	trail->refused = 1;
	trails->bad += drop(trails, trail);
	return 0;
}

int pk_trail_hold(struct pk_trails *trails, struct pk_trail *trail, const struct pk_frame *frame,
		  const struct pk_view *view)
{
	struct pk_share *share = &trails->shares[trail->share];
	__u32 cost = frame->length + PK_HELD_COST;
	struct pk_held *held;

	_Static_assert(sizeof(*held) + PK_HEADROOM <= PK_HELD_COST, "it costs more");
	if (trails->held_bytes + cost > PK_MAX_HELD_BYTES ||
	    share->held_bytes + cost > PK_SHARE_OF_BYTES)
		return 0;
	held = malloc(sizeof(*held) + PK_HEADROOM + frame->length);
	if (!held)
		return 0;
	held->next = NULL;
	held->frame = *frame;
	held->frame.lent = 1;
	held->frame.data = held->memory + PK_HEADROOM;
	memcpy(held->frame.data, frame->data, frame->length);
	held->view = *view;
	trails->held_bytes += cost;
	share->held_bytes += cost;
	*trail->held_last = held;
	trail->held_last = &held->next;
	return 1;
}

struct pk_held *pk_trail_release(struct pk_trails *trails, struct pk_trail *trail)
{
	struct pk_held *all = trail->held, *held;

	for (held = all; held; held = held->next) {
		trails->held_bytes -= held->frame.length + PK_HELD_COST;
		trails->shares[trail->share].held_bytes -= held->frame.length + PK_HELD_COST;
	}
	trail->held = NULL;
	trail->held_last = &trail->held;
	return all;
}

int pk_trail_complete(const struct pk_trail *trail)
{
	return trail->has_end && trail->part_count == 1 && !trail->parts[0][0] &&
	       trail->parts[0][1] == trail->end;
}

void pk_trail_end(struct pk_trails *trails, struct pk_trail *trail)
{
	__u32 number = (__u32)(trail - trails->trail), *at = chain(trails, trail);

	trails->lost += drop(trails, trail);
	leave(trails, trail);
	while (*at != number)
		at = &trails->trail[*at].next;
	*at = trail->next;
	if (trail->older != PK_ABSENT)
		trails->trail[trail->older].younger = trail->younger;
	else
		trails->oldest = trail->younger;
	if (trail->younger != PK_ABSENT)
		trails->trail[trail->younger].older = trail->older;
	else
		trails->youngest = trail->older;
	trail->next = trails->freed;
	trails->freed = number;
	trails->count--;
}

void pk_trails_expire(struct pk_trails *trails, __u32 now, __u32 most)
{
	for (; trails->count && most; most--) {
		struct pk_trail *trail = &trails->trail[trails->oldest];

		if (now - trail->born < PK_TRAIL_LIFETIME_MS)
			break;
		pk_trail_end(trails, trail);
	}
}
