/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fragments on their way: which flow they belong to, told by the first one of their packet.
 *
 * Nothing is put together here: a fragment is sent on as soon as it is known where to. One that
 * comes before the first is held. All of it is bounded, in time as well; a packet whose fragments
 * overlap is refused as a whole (RFC 5722). See pktlb.engine.datapath.trail. Its user holds a lock.
 */
#ifndef PK_TRAIL_H
#define PK_TRAIL_H

#include "decision.h"
#include "map.h"

#define PK_TRAIL_LIFETIME_MS 15000u
#define PK_MAX_TRAILS 4096u
#define PK_MAX_HELD_BYTES (4u << 20)
#define PK_HELD_COST 512u /* of a fragment beside its bytes: the smallest ones fill the room, too */
#define PK_SHARES 1024u /* sources are told apart by a hash: none holds more than its share */
#define PK_SHARE_OF_TRAILS 64u
#define PK_SHARE_OF_BYTES (PK_MAX_HELD_BYTES / 8)
#define PK_MAX_PARTS 16u

/* A fragment that waits for the first one; freed by the caller of pk_trail_release. */
struct pk_held {
	struct pk_held *next;
	struct pk_frame frame;
	struct pk_view view;
	struct pk_decision decision;
	__u8 memory[];
};

struct pk_trail {
	struct pk_addr source, destination;
	__u32 ident;
	__u8 proto, family;
	__u8 refused, has_end, has_first;
	__u8 sent;             /* the first fragment, by this key: */
	struct pk_key first;
	enum pk_reason reason; /* else it ended in this */
	__u32 born, end;
	__u32 parts[PK_MAX_PARTS + 1][2]; /* seen, in order and apart from each other */
	__u32 part_count;
	struct pk_held *held, **held_last;
	__u32 older, younger; /* by when they began; PK_ABSENT at the ends */
	__u32 share;          /* of its source */
	__u32 elder, junior;  /* the same order in this share */
	__u32 next;           /* of the same hash, or free */
};

/* What the packets of one source take. */
struct pk_share {
	__u32 count, held_bytes;
	__u32 eldest, latest; /* trails; PK_ABSENT: there is none */
};

struct pk_trails {
	struct pk_share *shares;
	struct pk_trail *trail;
	__u32 *hashed; /* first of each hash */
	__u32 oldest, youngest, freed, used, count;
	__u32 held_bytes;
	__u64 bad, lost; /* of those held, how many ended so */
	struct pk_secret secret;
};

/* 0, or -1 without memory. */
int pk_trails_init(struct pk_trails *trails, const struct pk_secret *secret);
void pk_trails_free(struct pk_trails *trails);

/* The trail of a fragment's packet. The oldest one makes way where there are too many, and the
 * oldest of its source where that has too many. */
struct pk_trail *pk_trail_of(struct pk_trails *trails, const struct pk_view *view, __u32 now);
/* Whether a fragment is new and fits those before it; where it overlaps, none will ever. */
int pk_trail_note(struct pk_trails *trails, struct pk_trail *trail,
		  const struct pk_fragment *fragment);
/* Keep a copy of a fragment until the first one comes; 0 where there is no room. */
int pk_trail_hold(struct pk_trails *trails, struct pk_trail *trail, const struct pk_frame *frame,
		  const struct pk_view *view);
/* What was held, in the order in which it came; it is the caller's. */
struct pk_held *pk_trail_release(struct pk_trails *trails, struct pk_trail *trail);
/* Whether all of the packet has come by. */
int pk_trail_complete(const struct pk_trail *trail);
void pk_trail_end(struct pk_trails *trails, struct pk_trail *trail);
void pk_trails_expire(struct pk_trails *trails, __u32 now, __u32 most);

#endif
