/* SPDX-License-Identifier: BSD-3-Clause */
/* What holds between two batches: everything counted again, the slow way. */
#include "world.h"

struct recount {
	__u32 flows[TALLIES], active[TALLIES], pins[TALLIES];
	__u32 *refs; /* of flows, by pin */
	__u32 out[SERVICES * BACKENDS]; /* of source endpoints, by pool */
	__u32 count, ways, ways_back;
};

/* A flow is found by each of its keys, and they differ. */
static void check_found(struct pk_flows *table, __u32 number)
{
	const struct pk_flow *flow = &table->flow[number];
	struct pk_key key = pk_flow_key(flow), reply = pk_flow_reply_key(table, flow);
	__u64 hash = pk_key_hash(&table->secret, &key);

	if (!(flow->mode & PK_FLOW_SINGLE))
		CHECK(pk_flow_find(table, &key, hash, flow->seen) == number);
	if (PK_MODE(flow) != PK_NAT)
		return;
	CHECK(memcmp(&key, &reply, sizeof(key)) && key.family == reply.family);
	key = reply;
	hash = pk_key_hash(&table->secret, &key);
	CHECK(pk_flow_find(table, &key, hash, flow->seen) == number);
}

/* The queue of each state: all of it, in the order of time. */
static void check_queues(struct world *world, struct recount *sum)
{
	struct pk_flows *table = &world->plane.flows;
	__u32 state, head, at, before, age, older;

	for (state = 0; state < PK_STATE_COUNT; state++) {
		before = head = table->capacity + state;
		older = PK_ABSENT;
		for (at = table->links[head].after; at != head; at = table->links[at].after) {
			const struct pk_flow *flow = &table->flow[at];

			CHECK(at < table->used && ++sum->count <= table->count);
			CHECK(table->links[at].before == before && flow->state == state);
			age = world->plane.now - flow->seen;
			CHECK(age <= older);
			older = age;
			CHECK(flow->tally < TALLIES && world->tallies[flow->tally]);
			sum->flows[flow->tally]++;
			sum->active[flow->tally] += state != PK_CLOSED;
			CHECK(flow->pin == PK_ABSENT || flow->pin < world->plane.pins.used);
			if (flow->pin != PK_ABSENT)
				sum->refs[flow->pin]++;
			CHECK(!(flow->mode & PK_FLOW_KILLED) || flow->proto == PK_TCP);
			sum->ways += !(flow->mode & PK_FLOW_SINGLE);
			sum->ways_back += PK_MODE(flow) == PK_NAT;
			if (flow->mode & PK_FLOW_ALLOTTED)
				sum->out[world->plane.standings.tallies[flow->tally].pool]++;
			check_found(table, at);
			before = at;
		}
		CHECK(table->links[head].before == before);
	}
}

static void check_records(const struct pk_flows *table, const struct recount *sum)
{
	__u32 at, free_ones = 0;

	CHECK(sum->count == table->count && table->count <= table->capacity);
	CHECK(table->used <= table->capacity);
	for (at = table->freed; at != PK_ABSENT; at = table->links[at].after) {
		CHECK(at < table->used && table->flow[at].state == PK_STATE_COUNT);
		CHECK(++free_ones <= table->used);
	}
	CHECK(free_ones + table->count == table->used);
}

/* The bucket where the search for an entry begins. */
static __u32 home_of(const struct pk_flows *table, __u32 item, __u16 tag)
{
	const struct pk_flow *flow = &table->flow[item >> 1];
	struct pk_key key = item & 1 ? pk_flow_reply_key(table, flow) : pk_flow_key(flow);
	__u64 hash = pk_key_hash(&table->secret, &key);

	CHECK((item >> 1) < table->used && flow->state != PK_STATE_COUNT);
	CHECK(pk_tag_of(hash) == tag);
	return pk_bucket_of(table, hash);
}

static void check_index(const struct pk_flows *table, const struct recount *sum)
{
	__u32 *passed = must(calloc(table->bucket_count, sizeof(*passed))), entries = 0, at, by, i;

	for (at = 0; at < table->bucket_count; at++) {
		const struct pk_bucket *bucket = &table->buckets[at];

		for (i = 0; i < 10; i++) {
			if (!bucket->tag[i])
				continue;
			entries++;
			by = home_of(table, bucket->item[i], bucket->tag[i]);
			for (; by != at; by = (by + 1) % table->bucket_count)
				passed[by]++;
		}
	}
	CHECK(entries == sum->ways + sum->ways_back);
	for (at = 0; at < table->bucket_count; at++)
		CHECK(table->buckets[at].passed == passed[at] ||
		      table->buckets[at].passed == 0xffff);
	free(passed);
}

/* Every endpoint is out with a flow, or waits, or was never given out. */
static void check_pools(const struct world *world, const struct recount *sum)
{
	const struct pk_snat *snat = &world->plane.snat;
	__u32 number, at, left;

	for (number = 0; number < world->pools; number++) {
		const struct pk_pool *pool = &snat->pools[number];
		__u32 size = snat->address_count[pool->is_ipv6] * snat->port_count;
		__u8 *seen = must(calloc(size + 1, 1));

		CHECK(pool->fresh <= size && pool->fresh == pool->waiting + sum->out[number]);
		at = pool->first;
		for (left = pool->waiting; left; left--) {
			CHECK(at < pool->fresh && !seen[at]);
			seen[at] = 1;
			CHECK(left > 1 || at == pool->last);
			at = pool->next[at];
		}
		free(seen);
	}
}

static int is_full(const struct pk_place *place, const struct pk_tally *tally)
{
	if (!place->upper || tally->active < place->lower)
		return place->upper && tally->active >= place->upper;
	return tally->was_full || tally->active >= place->upper;
}

/* Full ones last; idle ones first for PK_NQ; fewest flows a weight, with the new one in but for PK_LC; then the
 * longest not chosen, then the first. */
static int is_before(const struct pk_tally *tallies, const struct pk_service *service, __u32 a,
		     __u32 b)
{
	const struct pk_place *pa = &service->places[a], *pb = &service->places[b];
	const struct pk_tally *ta = &tallies[pa->tally], *tb = &tallies[pb->tally];
	__u64 one = service->scheduler != PK_LC;
	__u64 mine = (ta->active + one) * pb->weight, theirs = (tb->active + one) * pa->weight;

	if (is_full(pa, ta) != is_full(pb, tb))
		return is_full(pb, tb);
	if (service->scheduler == PK_NQ && (!ta->active || !tb->active)) {
		mine = ta->active;
		theirs = tb->active;
	}
	return mine != theirs ? mine < theirs : ta->turn != tb->turn ? ta->turn < tb->turn : a < b;
}

static void check_heap(const struct pk_standings *all, const struct pk_service *service)
{
	__u32 at, place, seen = 0;

	for (at = 0; at < service->place_count; at++) {
		const struct pk_tally *tally;

		place = service->heap[at];
		CHECK(place < service->place_count && !(seen >> place & 1));
		seen |= 1u << place;
		tally = &all->tallies[service->places[place].tally];
		CHECK(tally->heap_at == at && tally->heap_version == all->version);
		CHECK(!at || !is_before(all->tallies, service, place,
					service->heap[(at - 1) / 2]));
	}
}

/* Each frame of a flow has been counted, unless it was none for its way in the end. */
static void check_traffic(struct world *world, __u64 packets_in, __u64 packets_out)
{
	__u64 counts[PK_REASON_COUNT], sent, unfit;

	pk_plane_counts(&world->plane, counts);
	sent = counts[PK_OPENED] + counts[PK_PICKED_UP] + counts[PK_FORWARDED];
	unfit = counts[PK_TOO_BIG] + counts[PK_UNSEGMENTABLE] + counts[PK_UNANSWERED];
	CHECK(packets_in >= sent && packets_in <= sent + unfit);
	CHECK(packets_out >= counts[PK_RETURNED] && packets_out <= counts[PK_RETURNED] + unfit);
}

/* The queue of those without flows, all others with as many as they count, each of them found. */
static void check_pins(struct world *world, struct recount *sum)
{
	const struct pk_pins *pins = &world->plane.pins;
	__u32 at, before = pins->capacity, waiting = 0, found = 0, number, left = 0;

	CHECK(pins->count <= pins->capacity && pins->used <= pins->capacity);
	for (at = pins->pin[before].after; at != pins->capacity; at = pins->pin[at].after) {
		CHECK(at < pins->used && ++waiting <= pins->count);
		CHECK(pins->pin[at].before == before && !pins->pin[at].refs);
		before = at;
	}
	CHECK(pins->pin[pins->capacity].before == before);
	for (number = 0; number <= pins->mask; number++)
		for (at = pins->hashed[number]; at; at = pins->pin[at - 1].next) {
			const struct pk_pin *pin = &pins->pin[at - 1];

			CHECK(at <= pins->used && ++found <= pins->count);
			CHECK(pin->refs == sum->refs[at - 1] && pin->life);
			CHECK(pin->tally < TALLIES && world->tallies[pin->tally]);
			CHECK(world->plane.standings.tallies[pin->tally].standing == pin->standing);
			sum->pins[pin->tally]++;
			waiting += pin->refs > 0;
		}
	CHECK(found == pins->count && waiting == pins->count);
	for (at = pins->freed; at != PK_ABSENT; at = pins->pin[at].next)
		CHECK(at < pins->used && ++left <= pins->used);
	CHECK(left + pins->count == pins->used);
}

static void check_tallies(struct world *world, const struct recount *sum)
{
	const struct pk_standings *all = &world->plane.standings;
	__u64 packets_in = world->gone_in, packets_out = world->gone_out;
	__u32 i;

	for (i = 0; i < TALLIES; i++) {
		const struct pk_tally *tally = &all->tallies[i];

		if (!world->tallies[i])
			continue;
		CHECK(tally->flows == sum->flows[i] && tally->active == sum->active[i]);
		CHECK(tally->pins == sum->pins[i] && tally->connections >= tally->flows);
		packets_in += tally->packets_in;
		packets_out += tally->packets_out;
	}
	check_traffic(world, packets_in, packets_out);
	for (i = 0; i < world->loaded->service_count; i++) {
		const struct pk_service *service = &world->loaded->tables->services[i];

		if (service->place_count && !service->slots &&
		    all->standings[service->standing].heaped == service &&
		    all->tallies[service->places[0].tally].heap_version == all->version)
			check_heap(all, service);
	}
}

/* What has come by of a packet: in order, apart from each other, and none of it held for nothing. */
static void check_trail(const struct pk_trail *trail)
{
	__u32 i;

	CHECK(trail->part_count <= PK_MAX_PARTS || trail->refused);
	for (i = 0; i < trail->part_count; i++) {
		CHECK(trail->parts[i][0] < trail->parts[i][1]);
		CHECK(!i || trail->parts[i - 1][1] < trail->parts[i][0]);
	}
	CHECK(!trail->held || (!trail->has_first && !trail->refused));
	CHECK(!trail->has_first || trail->refused || !trail->parts[0][0]);
	CHECK(!pk_trail_complete(trail));
}

static void check_trails(struct world *world)
{
	const struct pk_trails *trails = &world->plane.trails;
	__u32 at, before = PK_ABSENT, older = PK_ABSENT, count = 0, held = 0, bytes = 0;
	__u32 of_shares = 0, bytes_of_shares = 0;
	__u64 counts[PK_REASON_COUNT];

	for (at = trails->oldest; at != PK_ABSENT; before = at, at = trails->trail[at].younger) {
		const struct pk_trail *trail = &trails->trail[at];
		const struct pk_held *one;

		CHECK(at < trails->used && ++count <= trails->count && trail->older == before);
		CHECK(world->plane.now - trail->born <= older);
		older = world->plane.now - trail->born;
		check_trail(trail);
		for (one = trail->held; one; one = one->next, held++)
			bytes += one->frame.length + PK_HELD_COST;
	}
	for (at = 0; at < PK_SHARES; at++) {
		CHECK(trails->shares[at].count <= PK_SHARE_OF_TRAILS);
		CHECK(trails->shares[at].held_bytes <= PK_SHARE_OF_BYTES);
		of_shares += trails->shares[at].count;
		bytes_of_shares += trails->shares[at].held_bytes;
	}
	CHECK(of_shares == trails->count && bytes_of_shares == trails->held_bytes);
	CHECK(trails->youngest == before && count == trails->count && count <= PK_MAX_TRAILS);
	CHECK(bytes == trails->held_bytes && bytes <= PK_MAX_HELD_BYTES);
	for (at = trails->freed; at != PK_ABSENT; at = trails->trail[at].next)
		CHECK(at < trails->used && ++count <= trails->used);
	CHECK(count == trails->used);
	pk_plane_counts(&world->plane, counts);
	CHECK(counts[PK_HELD] == held);
}

void check_world(struct world *world)
{
	struct recount *sum = must(calloc(1, sizeof(*sum)));

	sum->refs = must(calloc(world->plane.pins.capacity, sizeof(*sum->refs)));
	check_queues(world, sum);
	check_pins(world, sum);
	check_records(&world->plane.flows, sum);
	check_index(&world->plane.flows, sum);
	check_pools(world, sum);
	check_tallies(world, sum);
	check_trails(world);
	free(sum->refs);
	free(sum);
}
