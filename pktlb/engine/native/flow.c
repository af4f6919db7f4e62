/* SPDX-License-Identifier: BSD-3-Clause */
#include "flow.h"

#include "arena.h"

#define FILL 7.5 /* entries a bucket of ten when the table is full */
#define STICKY 0xffff

static __u32 buckets_for(__u32 capacity)
{
	return (__u32)((double)capacity * 2 / FILL) + 2;
}

static size_t link_bytes(const struct pk_flows *table)
{
	return (table->capacity + (size_t)PK_STATE_COUNT) * sizeof(struct pk_links);
}

int pk_flows_init(struct pk_flows *table, __u32 capacity, const __u32 *timeouts,
		  const struct pk_secret *secret, struct pk_standings *standings,
		  struct pk_snat *snat, struct pk_pins *pins)
{
	__u32 state, head;

	*table = (struct pk_flows){ .standings = standings, .snat = snat, .pins = pins,
				    .secret = *secret, .capacity = capacity, .freed = PK_ABSENT };
	table->bucket_count = buckets_for(capacity);
	table->flow = pk_reserve_huge(capacity * sizeof(struct pk_flow));
	table->links = pk_reserve_huge(link_bytes(table));
	table->buckets = pk_reserve_huge(table->bucket_count * sizeof(struct pk_bucket));
	if (!table->flow || !table->links || !table->buckets)
		return -1;
	for (state = 0; state < PK_STATE_COUNT; state++) {
		table->timeout[state] = timeouts[state];
		head = capacity + state;
		table->links[head] = (struct pk_links){ head, head };
	}
	return 0;
}

void pk_flows_expect(struct pk_flows *table, __u32 count)
{
	if (count > table->capacity)
		count = table->capacity;
	pk_take(table->flow, count * sizeof(struct pk_flow));
	pk_take(table->links, count * sizeof(struct pk_links));
	pk_take(table->buckets, table->bucket_count * sizeof(struct pk_bucket));
}

void pk_flows_free(struct pk_flows *table)
{
	pk_release(table->flow, table->capacity * sizeof(struct pk_flow));
	pk_release(table->links, link_bytes(table));
	pk_release(table->buckets, table->bucket_count * sizeof(struct pk_bucket));
}

struct pk_key pk_flow_key(const struct pk_flow *flow)
{
	return (struct pk_key){ flow->client, flow->vip, flow->client_port, flow->vip_port,
				flow->proto, flow->family, 0 };
}

struct pk_key pk_flow_reply_key(const struct pk_flows *table, const struct pk_flow *flow)
{
	const struct pk_tally *tally = &table->standings->tallies[flow->tally];

	return (struct pk_key){ tally->backend.addr, flow->seen_as, pk_flow_port(flow, tally),
				flow->seen_port,
				flow->proto, flow->family, 0 };
}

static int has_key(const struct pk_flows *table, __u32 item, const struct pk_key *key)
{
	const struct pk_flow *flow = &table->flow[item >> 1];
	const struct pk_tally *tally;

	if (flow->proto != key->proto || flow->family != key->family)
		return 0;
	if (!(item & 1))
		return flow->client_port == key->sport && flow->vip_port == key->dport &&
		       pk_addr_equal(&flow->client, &key->source) &&
		       pk_addr_equal(&flow->vip, &key->destination);
	tally = &table->standings->tallies[flow->tally];
	return flow->seen_port == key->dport && pk_flow_port(flow, tally) == key->sport &&
	       pk_addr_equal(&flow->seen_as, &key->destination) &&
	       pk_addr_equal(&tally->backend.addr, &key->source);
}

static __u32 next_bucket(const struct pk_flows *table, __u32 at)
{
	return at + 1 < table->bucket_count ? at + 1 : 0;
}

/* The item of a key, or PK_ABSENT. */
static __u32 look_up(const struct pk_flows *table, const struct pk_key *key, __u64 hash)
{
	__u32 home = pk_bucket_of(table, hash), at = home, found;
	const struct pk_bucket *bucket;

	do {
		bucket = &table->buckets[at];
		for (found = pk_bucket_match(bucket, pk_tag_of(hash)); found; found &= found - 1) {
			__u32 item = bucket->item[__builtin_ctz(found)];

			if (has_key(table, item, key))
				return item;
		}
		if (!bucket->passed)
			break;
		at = next_bucket(table, at);
	} while (at != home);
	return PK_ABSENT;
}

/* There is a free place somewhere: there are more places than entries. */
static void index_add(struct pk_flows *table, __u64 hash, __u32 item)
{
	__u32 at = pk_bucket_of(table, hash), vacant;

	while (!(vacant = pk_bucket_match(&table->buckets[at], 0))) {
		if (table->buckets[at].passed != STICKY)
			table->buckets[at].passed++;
		at = next_bucket(table, at);
	}
	table->buckets[at].tag[__builtin_ctz(vacant)] = pk_tag_of(hash);
	table->buckets[at].item[__builtin_ctz(vacant)] = item;
}

static void index_remove(struct pk_flows *table, __u64 hash, __u32 item)
{
	__u32 at = pk_bucket_of(table, hash), found;
	struct pk_bucket *bucket;

	for (;; at = next_bucket(table, at)) {
		bucket = &table->buckets[at];
		for (found = pk_bucket_match(bucket, pk_tag_of(hash)); found; found &= found - 1) {
			if (bucket->item[__builtin_ctz(found)] != item)
				continue;
			bucket->tag[__builtin_ctz(found)] = 0;
			return;
		}
		/* One that counted to its limit no longer knows: searches just go on from it. */
		if (bucket->passed != STICKY)
			bucket->passed--;
	}
}

static void unlink_flow(struct pk_flows *table, __u32 number)
{
	struct pk_links *links = table->links, mine = links[number];

	links[mine.before].after = mine.after;
	links[mine.after].before = mine.before;
}

static void link_last(struct pk_flows *table, __u32 number, __u32 state)
{
	struct pk_links *links = table->links;
	__u32 head = table->capacity + state, last = links[head].before;

	links[number] = (struct pk_links){ last, head };
	links[last].after = number;
	links[head].before = number;
}

static int is_over(const struct pk_flows *table, const struct pk_flow *flow, __u32 now)
{
	return now - flow->seen >= table->timeout[flow->state];
}

__u32 pk_flow_find(struct pk_flows *table, const struct pk_key *key, __u64 hash, __u32 now)
{
	__u32 item = look_up(table, key, hash), number = item >> 1;

	if (item == PK_ABSENT)
		return PK_ABSENT;
	if (is_over(table, &table->flow[number], now)) {
		pk_flow_remove(table, number);
		return PK_ABSENT;
	}
	return number;
}

__u32 pk_flow_of_client(const struct pk_flows *table, const struct pk_key *key)
{
	__u32 item = look_up(table, key, pk_key_hash(&table->secret, key));

	return item == PK_ABSENT || (item & 1) ? PK_ABSENT : item >> 1;
}

__u32 pk_flow_add(struct pk_flows *table, const struct pk_flow *flow, __u64 hash,
		  enum pk_state state, __u32 now)
{
	__u32 number = table->freed;
	struct pk_tally *tally = &table->standings->tallies[flow->tally];
	struct pk_flow *mine;

	if (number != PK_ABSENT)
		table->freed = table->links[number].after;
	else
		number = table->used++;
	mine = &table->flow[number];
	*mine = *flow;
	mine->state = (__u8)state;
	mine->seen = now;
	if (!(mine->mode & PK_FLOW_SINGLE))
		index_add(table, hash, number << 1);
	if (PK_MODE(mine) == PK_NAT) {
		struct pk_key reply = pk_flow_reply_key(table, mine);

		index_add(table, pk_key_hash(&table->secret, &reply), number << 1 | 1);
	}
	link_last(table, number, state);
	table->count++;
	tally->flows++;
	tally->connections++;
	if (state != PK_CLOSED)
		pk_tally_count(table->standings, mine->tally, 1);
	return number;
}

void pk_flow_touch(struct pk_flows *table, __u32 number, __u32 now)
{
	struct pk_flow *flow = &table->flow[number];

	if (flow->seen == now)
		return; /* its place among those of the same moment is as good as another */
	flow->seen = now;
	unlink_flow(table, number);
	link_last(table, number, flow->state);
}

void pk_flow_move(struct pk_flows *table, __u32 number, enum pk_state state)
{
	struct pk_flow *flow = &table->flow[number];

	if (state == PK_CLOSED)
		pk_tally_count(table->standings, flow->tally, -1);
	else if (flow->state == PK_CLOSED)
		pk_tally_count(table->standings, flow->tally, 1);
	flow->state = (__u8)state;
	unlink_flow(table, number);
	link_last(table, number, state);
}

void pk_flow_remove(struct pk_flows *table, __u32 number)
{
	struct pk_flow *flow = &table->flow[number];
	struct pk_tally *tally = &table->standings->tallies[flow->tally];
	struct pk_key key = pk_flow_key(flow);

	unlink_flow(table, number);
	if (!(flow->mode & PK_FLOW_SINGLE))
		index_remove(table, pk_key_hash(&table->secret, &key), number << 1);
	if (PK_MODE(flow) == PK_NAT) {
		key = pk_flow_reply_key(table, flow);
		index_remove(table, pk_key_hash(&table->secret, &key), number << 1 | 1);
		if (flow->mode & PK_FLOW_ALLOTTED)
			pk_snat_give_back(table->snat, tally->pool, &flow->seen_as,
					  flow->seen_port);
	}
	if (flow->state != PK_CLOSED)
		pk_tally_count(table->standings, flow->tally, -1);
	if (flow->pin != PK_ABSENT)
		pk_pin_release(table->pins, flow->pin, flow->seen);
	tally->flows--;
	table->count--;
	flow->state = PK_STATE_COUNT;
	table->links[number].after = table->freed;
	table->freed = number;
}

int pk_flows_make_room(struct pk_flows *table, __u32 now)
{
	if (table->count >= table->capacity)
		pk_flows_expire(table, now, 2);
	return table->count < table->capacity;
}

__u32 pk_flows_expire(struct pk_flows *table, __u32 now, __u32 most)
{
	__u32 state, head, number, left = most;

	for (state = 0; state < PK_STATE_COUNT; state++) {
		head = table->capacity + state;
		while (left && (number = table->links[head].after) != head) {
			if (!is_over(table, &table->flow[number], now))
				break;
			pk_flow_remove(table, number);
			left--;
		}
	}
	return most - left;
}
