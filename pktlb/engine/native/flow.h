/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The flow table: what was decided for each 5-tuple, for as long as it is in use.
 *
 * Both directions of a NAT flow are found in the same index. It has buckets of one cache line, ten
 * entries each, of which a lookup nearly always reads one; an entry that finds its bucket full
 * goes to the next one with room, and the buckets that it passed count it, so a search knows where
 * to end. Flows queue by state, the idlest first, so whatever has expired stands at the head of a
 * queue: expiry takes off as many as it is allowed to and never scans.
 *
 * Sized for `capacity` at the start: 112 bytes of record, 8 of links and 17 of index a flow, in
 * memory that is taken only when it is touched. Not thread-safe: its user holds a lock.
 */
#ifndef PK_FLOW_H
#define PK_FLOW_H

#include "map.h"
#include "pin.h"
#include "schedule.h"
#include "snat.h"
#include "tcp.h"

#define PK_FLOW_FLAGS(X) \
	X(FLOW_MODE, = 0x07)     /* the bits that are no flag: enum pk_mode */ \
	X(FLOW_KILLED, = 0x08)   /* TCP: an operator has ended it */ \
	X(FLOW_ANY, = 0x10)      /* its destination is not ours: nothing can be said in its name */ \
	X(FLOW_SINGLE, = 0x20)   /* a single datagram: found by the reply only */ \
	X(FLOW_ALLOTTED, = 0x40) /* NAT: the client's stand-in is from the backend's pool */ \
	X(FLOW_PARTS, = 0x80)    /* for fragments only: each whole datagram is a flow of its own */
enum pk_flow_flag { PK_FLOW_FLAGS(PK_MEMBER) };

#define PK_KNOWN(X) \
	X(CLIENT_KNOWN, = 0x08) X(BACKEND_KNOWN, = 0x10) /* what it sends */ \
	X(CLIENT_ACKED, = 0x20) X(BACKEND_ACKED, = 0x40) /* what it acknowledges */ \
	X(PROVEN, = 0x80) /* the numbers were confirmed; until then each segment is believed */
enum pk_known { PK_KNOWN(PK_MEMBER) };
#define PK_BEFORE 0x07

#define PK_MODE(flow) ((flow)->mode & PK_FLOW_MODE)

#define PK_FLOW(X) \
	X(struct pk_addr, client) X(struct pk_addr, vip) \
	X(struct pk_addr, seen_as) /* NAT: the client's address as the backend sees it */ \
	X(__be16, client_port) X(__be16, vip_port) X(__be16, seen_port) \
	X(__u8, proto) X(__u8, family) \
	X(__u8, state)   /* PK_STATE_COUNT where this record is free */ \
	X(__u8, mode)    /* and enum pk_flow_flag: see PK_MODE */ \
	X(__u8, mac, [6]) /* where the client's packets come from: the way back to it */ \
	X(__u32, port) \
	X(__u32, seen) /* ms: when its last packet came by */ \
	X(__u32, tally) \
	X(__u16, by) X(__u16, by_transport) /* what translation to the backend adds to sums */ \
	X(__u32, pin) /* what keeps its client at a backend, or PK_ABSENT */ \
	/* TCP, see track.h: of each side what it has sent and acknowledged, and what will be added to \
	 * its numbers; the bits of its largest window, and its window scale. */ \
	X(__u32, client_next) X(__u32, client_acked) X(__s32, client_shift) \
	X(__u32, backend_next) X(__u32, backend_acked) X(__s32, backend_shift) \
	X(__u8, client_reach) X(__u8, backend_reach) \
	X(__u8, scales) /* of the client, and of the backend times 16: plus one, 0: not known */ \
	X(__u8, known)  /* enum pk_known, and the state before a reset, plus one */
struct pk_flow { PK_FLOW(PK_FIELD) };

struct pk_links {
	__u32 before, after;
};

struct pk_bucket {
	__u16 tag[10];  /* 0: free */
	__u32 item[10]; /* number of the flow times two, plus one for its way back */
	__u16 passed;   /* entries that went further because this one was full */
	__u16 zero;
};

struct pk_flows {
	struct pk_flow *flow;
	struct pk_links *links; /* of each flow, and of the head of each state's queue behind them */
	struct pk_bucket *buckets;
	struct pk_standings *standings;
	struct pk_snat *snat;
	struct pk_pins *pins;
	struct pk_secret secret;
	__u32 capacity, bucket_count;
	__u32 used;  /* flows below this number have been used */
	__u32 freed; /* first of the used ones that are free, linked by `after` */
	__u32 count;
	__u32 timeout[PK_STATE_COUNT]; /* ms */
};

/* `capacity` flows, 0 < capacity < 2^30. 0, or -1 without memory. */
int pk_flows_init(struct pk_flows *table, __u32 capacity, const __u32 *timeouts,
		  const struct pk_secret *secret, struct pk_standings *standings,
		  struct pk_snat *snat, struct pk_pins *pins);
void pk_flows_free(struct pk_flows *table);
/* So many are about to come at once: the memory for them is taken now. */
void pk_flows_expect(struct pk_flows *table, __u32 count);

/* The number of the flow that has this key in either direction, or PK_ABSENT; one whose time is
 * over is forgotten. */
__u32 pk_flow_find(struct pk_flows *table, const struct pk_key *key, __u64 hash, __u32 now);

/* The number of the flow whose client sends packets of this key, also of one whose time is over. */
__u32 pk_flow_of_client(const struct pk_flows *table, const struct pk_key *key);

/* Take in a new flow, all fields but `seen` and `state` filled in. Its keys must be free, and the
 * table must have room. Returns its number. */
__u32 pk_flow_add(struct pk_flows *table, const struct pk_flow *flow, __u64 hash,
		  enum pk_state state, __u32 now);

/* A packet of the flow came by. */
void pk_flow_touch(struct pk_flows *table, __u32 number, __u32 now);
/* The flow is in another state from now on. */
void pk_flow_move(struct pk_flows *table, __u32 number, enum pk_state state);
void pk_flow_remove(struct pk_flows *table, __u32 number);
/* Whether there is room for one more, after forgetting the idlest if they have expired. */
int pk_flows_make_room(struct pk_flows *table, __u32 now);
/* Forget up to `most` flows that were idle for too long; returns how many it forgot. */
__u32 pk_flows_expire(struct pk_flows *table, __u32 now, __u32 most);

struct pk_key pk_flow_key(const struct pk_flow *flow);
/* The backend's port: its own, or the one that was dialled. */
static inline __be16 pk_flow_port(const struct pk_flow *flow, const struct pk_tally *tally)
{
	return tally->backend.port ? tally->backend.port : flow->vip_port;
}

/* The key of the backend's replies, where the flow has one (mode NAT). */
struct pk_key pk_flow_reply_key(const struct pk_flows *table, const struct pk_flow *flow);

static inline __u64 pk_key_hash(const struct pk_secret *secret, const struct pk_key *key)
{
	struct pk_sip s;
	__u64 ends = (__u64)key->sport << 48 | (__u64)key->dport << 32 | (__u64)key->proto << 8 |
		     key->family;

	pk_sip_begin(&s, secret);
	if (key->family == 4) {
		pk_sip_add(&s, (__u64)key->source.word[0] << 32 | key->destination.word[0], 1);
	} else {
		pk_sip_add(&s, key->source.half[0], 1);
		pk_sip_add(&s, key->source.half[1], 1);
		pk_sip_add(&s, key->destination.half[0], 1);
		pk_sip_add(&s, key->destination.half[1], 1);
	}
	pk_sip_add(&s, ends, 1);
	return pk_sip_end(&s, 3);
}

static inline __u32 pk_bucket_of(const struct pk_flows *table, __u64 hash)
{
	return (__u32)(((hash >> 32) * table->bucket_count) >> 32);
}

static inline __u16 pk_tag_of(__u64 hash)
{
	return (__u16)hash ? (__u16)hash : 1;
}

/* Fetch into the cache what a lookup will read: first the bucket, later the record. */
static inline void pk_flow_fetch_bucket(const struct pk_flows *table, __u64 hash)
{
	__builtin_prefetch(&table->buckets[pk_bucket_of(table, hash)]);
}

static inline __u32 pk_bucket_match(const struct pk_bucket *bucket, __u16 tag)
{
	__u32 found = 0, i;

	for (i = 0; i < 10; i++)
		found |= (__u32)(bucket->tag[i] == tag) << i;
	return found;
}

static inline void pk_flow_fetch_record(const struct pk_flows *table, __u64 hash)
{
	const struct pk_bucket *bucket = &table->buckets[pk_bucket_of(table, hash)];
	__u32 found = pk_bucket_match(bucket, pk_tag_of(hash)), number;

	if (!found)
		return;
	number = bucket->item[__builtin_ctz(found)] >> 1;
	__builtin_prefetch(&table->flow[number]);
	__builtin_prefetch((const __u8 *)&table->flow[number] + 64);
	__builtin_prefetch((const __u8 *)&table->flow[number] + sizeof(struct pk_flow) - 1);
	__builtin_prefetch(&table->links[number]);
}

#endif
