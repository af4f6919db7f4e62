/* SPDX-License-Identifier: BSD-3-Clause */
#include "world.h"

#include <arpa/inet.h>

#include "places.h"

/* Raw tables while they are made. */
struct draft {
	struct pk_raw_service services[SERVICES];
	struct pk_place places[SERVICES * BACKENDS];
	struct pk_raw_tally tallies[SERVICES * BACKENDS];
	__u32 standings[SERVICES];
	struct pk_raw_span spans[2 * SERVICES], replies[3 * SERVICES * BACKENDS];
	struct pk_raw_end own[4], snat[4], direct[SERVICES], appliances[BACKENDS];
	struct pk_raw_hop hops[BACKENDS];
	struct pk_raw_port ports[4];
	struct pk_raw_removed removed[SERVICES * BACKENDS];
	struct pk_array slots[SERVICES];
	__u32 service_count, place_count, tally_count, standing_count, span_count, reply_count;
	__u32 own_count, snat_count, direct_count, appliance_count, hop_count, port_count;
	__u32 removed_count;
	__u32 meaning[SERVICES]; /* place in `services`, or NONE */
	int kept[SERVICES][BACKENDS];
	__u32 modes[SERVICES][BACKENDS];
};

/* What the upper bits of a service's backends say about it. */
enum more { PERSISTS = 0x1000, LIMITED = 0x2000, MIXED = 0x4000, HALF_IDLE = 0x8000 };

static const __u32 mtus[8] = { 1500, 1500, 1280, 68, 84, 576, 9000, 65535 };

void world_open(struct world *world, struct input *in)
{
	static const __u32 sizes[8] = { 1, 2, 3, 4, 8, 16, 64, 200 };
	struct pk_limits limits = { .max_flows = sizes[take(in) % 8] };
	struct pk_secret secret = { { take(in), 1 } };
	struct pk_addr pool[4];
	__be16 ports[4];
	__u32 i, choice = take(in);

	memset(world, 0, sizeof(*world));
	for (i = 0; i < PK_STATE_COUNT; i++)
		limits.timeouts[i] = (1 + take(in)) << 6;
	limits.snat = pool;
	limits.snat_count[0] = choice % 3;
	limits.snat_count[1] = (choice >> 4) % 3;
	limits.source_ports = ports;
	limits.source_port_count = 1 + (choice >> 2) % 4;
	for (i = 0; i < limits.snat_count[0] + limits.snat_count[1]; i++)
		pool[i] = i < limits.snat_count[0] ?
				  place_address(FIRST_OF_POOL + i, 4) :
				  place_address(FIRST_OF_POOL + i - limits.snat_count[0], 6);
	for (i = 0; i < 4; i++)
		ports[i] = htons((__u16)(40000 + i));
	memset(world->pool, 0xff, sizeof(world->pool));
	memset(world->tally, 0xff, sizeof(world->tally));
	memset(world->standing, 0xff, sizeof(world->standing));
	world->now = take16(in) << 16;
	CHECK(!pk_plane_init(&world->plane, &limits, &secret));
	for (i = 0; i < WORKERS; i++)
		world->workers[i] = must(pk_worker_add(&world->plane, i, WORKERS));
	world_swap(world, in, NULL);
}

static void unload(struct loaded *loaded)
{
	if (loaded)
		pk_tables_free(loaded->tables);
	free(loaded);
}

void world_close(struct world *world)
{
	__u32 i;

	for (i = 0; i < WORKERS; i++)
		pk_worker_remove(&world->plane, world->workers[i]);
	pk_plane_free(&world->plane);
	unload(world->loaded);
}

static __u32 standing_of(struct world *world, struct draft *draft, __u32 service)
{
	__u32 number = 0;

	if (world->standing[service] == NONE) {
		while (world->standings[number])
			number++;
		world->standings[number] = 1;
		world->standing[service] = number;
		draft->standings[draft->standing_count++] = number;
	}
	return world->standing[service];
}

/* The source ports towards a backend are of all its services: numbers in the order of need. */
static __u32 pool_of(struct world *world, __u32 service, __u32 backend)
{
	struct pk_raw_end mine = world_backend(backend, service), other;
	__u32 s;

	for (s = 0; s < SERVICES && world->pool[service][backend] == NONE; s++) {
		other = world_backend(backend, s);
		if (!memcmp(&mine, &other, sizeof(mine)))
			world->pool[service][backend] = world->pool[s][backend];
	}
	if (world->pool[service][backend] == NONE)
		world->pool[service][backend] = world->pools++;
	return world->pool[service][backend];
}

static __u32 tally_of(struct world *world, struct draft *draft, __u32 service, __u32 backend)
{
	__u32 number = 0;

	draft->kept[service][backend] = 1;
	if (world->tally[service][backend] == NONE) {
		while (world->tallies[number])
			number++;
		CHECK(number < TALLIES);
		world->tallies[number] = 1;
		world->tally[service][backend] = number;
		draft->tallies[draft->tally_count++] = (struct pk_raw_tally){
			world_backend(backend, service), number, world->standing[service],
			pool_of(world, service, backend)
		};
	}
	return world->tally[service][backend];
}

/* Only a tunnel and a mere next hop may be of the other family. */
static int may_serve(enum pk_mode mode, __u32 service, __u32 backend)
{
	return mode == PK_TUNNEL || service == ANY ||
	       world_backend(backend, service).family == world_dialled(service)->family;
}

/* Its backends; those that are members only take no new flows. Returns how many do. */
static __u32 draft_places(struct world *world, struct draft *draft, __u32 s, __u32 what,
			  __u32 backends)
{
	__u32 i, mode, tally, count = 0, upper, lower;

	for (i = 0; i < BACKENDS; i++) {
		mode = s == ANY ? PK_DSR : (what + (backends & MIXED ? i : 0)) % 3;
		if (!(backends >> i & 1) || !may_serve(mode, s, i))
			continue;
		tally = tally_of(world, draft, s, i);
		draft->modes[s][i] = mode;
		if (backends & HALF_IDLE && i % 2)
			continue;
		upper = backends & LIMITED ? (what + i) % 4 : 0;
		lower = upper - (upper && i % 3);
		draft->places[draft->place_count++] = (struct pk_place){
			tally, 1 + (i + (what >> 5)) % 5, upper, lower, mode
		};
		count++;
	}
	return count;
}

static int is_direct(__u32 service, __u32 what, __u32 backends)
{
	return service == ANY || what % 3 != PK_NAT || backends & MIXED;
}

static void draft_service(struct world *world, struct draft *draft, struct loaded *loaded,
			  struct input *in, __u32 s)
{
	__u32 what = take(in), how = take(in), backends = take16(in), count, i;
	struct pk_raw_service *raw = &draft->services[draft->service_count];
	const struct dialled *dialled = world_dialled(s);
	__u32 *slots = loaded->slots[s];
	struct pk_addr vip = place_address(dialled->number, dialled->family);

	draft->meaning[s] = NONE;
	if (what % 8 == 7)
		return; /* this service is not there */
	draft->meaning[s] = draft->service_count;
	*raw = (struct pk_raw_service){ .scheduler = (__u8)((what >> 3) % 6),
					.flags = (__u8)((how & 0x0b) | (s == ANY ? PK_IS_ANY : 0) |
							(is_direct(s, what, backends) ? PK_DIRECT : 0)),
					.fields = how >> 4 & 3,
					.prefix4 = (__u8)(how >> 6) * 10u,
					.prefix6 = (__u8)(how >> 6) * 42u,
					.persist4 = 31 + (how >> 4 & 1),
					.persist6 = 127 + (how >> 4 & 1),
					.persist = backends & PERSISTS ? (1 + how) << 7 : 0,
					.standing = standing_of(world, draft, s),
					.first_place = draft->place_count,
					.slots = draft->service_count };
	memcpy(raw->vip, vip.byte, s == ANY ? 0 : 16);
	count = draft_places(world, draft, s, what, backends);
	for (i = 0; count && i < MOST_SLOTS; i++)
		slots[i] = i * 7 % count;
	raw->place_count = count;
	draft->slots[draft->service_count++] =
		(struct pk_array){ slots, count ? sizeof(loaded->slots[s]) : 0 };
}

static void put_spans(struct pk_raw_span *spans, __u32 *count, const struct pk_raw_end *end,
		      const struct dialled *dialled, __u32 meaning)
{
	__u32 low = end->port ? ntohs(end->port) : dialled->low, i;
	__u32 high = end->port ? ntohs(end->port) : dialled->high;

	for (i = 0; i < 2 && (!i || dialled->protos[i]); i++) {
		struct pk_raw_span *span = &spans[(*count)++];

		*span = (struct pk_raw_span){ .low = (__u16)low, .high = (__u16)high,
					      .proto = dialled->protos[i], .family = end->family,
					      .meaning = meaning };
		memcpy(span->addr, end->addr, 16);
	}
}

static int is_range(const struct dialled *dialled)
{
	return dialled->low != dialled->high;
}

/* What a service is dialled at, and who may send replies for it. */
static void draft_ends_of(struct draft *draft, __u32 s, __u32 backend)
{
	const struct dialled *dialled = world_dialled(s);
	struct pk_raw_end vip = place_end(dialled->number, dialled->family, 0, 0);
	struct pk_raw_end end = world_backend(backend, s);
	int direct = draft->services[draft->meaning[s]].flags & PK_DIRECT;

	if (!backend)
		put_spans(draft->spans, &draft->span_count, &vip, dialled, draft->meaning[s]);
	if (!backend && direct)
		draft->direct[draft->direct_count++] = vip;
	if (draft->kept[s][backend] && draft->modes[s][backend] == PK_NAT)
		put_spans(draft->replies, &draft->reply_count, &end, dialled, 0);
}

/* First single ports, then ranges, those of one address side by side and the narrowest first. */
static void draft_ends(struct draft *draft)
{
	__u32 s, i;
	int range;

	for (range = 0; range < 2; range++)
		for (i = 0; i < BACKENDS; i++)
			for (s = 0; s < ANY; s++)
				if (draft->meaning[s] != NONE && is_range(world_dialled(s)) == range)
					draft_ends_of(draft, s, i);
	for (i = 0; i < BACKENDS; i++)
		if (draft->kept[ANY][i])
			draft->appliances[draft->appliance_count++] =
				(struct pk_raw_end){ .addr = { 2, 0, 0, 0, 1, (__u8)i } };
}

static void draft_ways(struct world *world, struct draft *draft, struct input *in)
{
	static const __u8 macs[12] = { 2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 2, 0 };
	__u32 there = take16(in), i;

	for (i = 0; i < BACKENDS; i++) {
		struct pk_raw_hop *hop = &draft->hops[draft->hop_count];
		__u32 choice = take(in);
		struct pk_raw_end to = world_backend(i, ANY);
		struct pk_addr from = place_address(BALANCER, to.family);

		world->ways[i] = (struct way){ !(there >> i & 1), 2 + choice % 2,
					       mtus[(choice >> 1) % 8] };
		if (!world->ways[i].there)
			continue;
		*hop = (struct pk_raw_hop){ .to = to, .port = world->ways[i].port,
					    .mtu = world->ways[i].mtu };
		memcpy(hop->source, from.byte, 16);
		memcpy(hop->macs, macs, 12);
		hop->macs[5] = (__u8)i;
		draft->hop_count++;
	}
	memset(world->port_mtu, 0, sizeof(world->port_mtu));
	for (i = 1; i < 4; i++) {
		__u32 choice = take(in);
		struct pk_raw_port *port = &draft->ports[draft->port_count];
		struct pk_addr mine[2] = { place_address(BALANCER + i, 4),
					   place_address(BALANCER + i, 6) };

		if (choice % 8 == 7)
			continue;
		world->port_mtu[i] = mtus[(choice >> 3) % 8];
		*port = (struct pk_raw_port){ i, world->port_mtu[i], 0, { 2, 0, 0, 0, 2, (__u8)i },
					      choice % 2, { choice % 8 < 5, choice % 8 < 3 },
					      { 0 }, { { 0 } } };
		memcpy(port->address, mine, sizeof(port->address));
		draft->port_count++;
	}
}

/* What becomes of those who have a number, but are no longer of their service. */
static void draft_removed(const struct world *world, struct draft *draft, __u32 choice)
{
	__u32 s, i;

	for (s = 0; s < SERVICES; s++)
		for (i = 0; i < BACKENDS; i++)
			if (world->tally[s][i] != NONE && !draft->kept[s][i])
				draft->removed[draft->removed_count++] = (struct pk_raw_removed){
					world->tally[s][i], (choice + s + i) % (PK_ON_REMOVE_KEEP + 1)
				};
}

static struct pk_tables *load(struct world *world, struct draft *draft, struct input *in)
{
	static const __u8 key[16];
	struct pk_source source = { .hash_key = { key, sizeof(key) }, .slots = draft->slots,
				    .slots_count = draft->service_count, .tally_count = TALLIES };
	__u32 own = take(in), i;
	struct pk_tables *tables;
	const char *wrong;

	for (i = 0; i < own % 3; i++) {
		draft->snat[draft->snat_count++] = place_end(FIRST_OF_POOL + i, 4, 0, 0);
		draft->snat[draft->snat_count++] = place_end(FIRST_OF_POOL + i, 6, 0, 0);
	}
	for (i = 0; i < (own >> 2) % 4; i++)
		draft->own[draft->own_count++] = place_end(FIRST_VIP + i, 4 + i % 2 * 2, 0, 0);
	draft_removed(world, draft, own);
	source.own_low = 40002;
	source.own_high = 40002 + (own >> 4);
#define PART(part, count) \
	source.part = (struct pk_array){ draft->part, draft->count * sizeof(draft->part[0]) }
	PART(services, service_count);
	PART(places, place_count);
	PART(tallies, tally_count);
	PART(standings, standing_count);
	PART(spans, span_count);
	PART(replies, reply_count);
	PART(own, own_count);
	PART(snat, snat_count);
	PART(direct, direct_count);
	PART(appliances, appliance_count);
	PART(hops, hop_count);
	PART(ports, port_count);
	PART(removed, removed_count);
#undef PART
	tables = pk_tables_load(&world->plane, &source, &wrong);
	if (!tables)
		fprintf(stderr, "%s\n", wrong);
	return must(tables);
}

/* Numbers of those who are gone: of a backend when its last flow and its last pin are. */
static void forget(struct world *world, const struct draft *draft)
{
	const struct pk_tally *tallies = world->plane.standings.tallies;
	__u32 s, i, number, left;

	pthread_mutex_lock(&world->plane.lock);
	for (s = 0; s < SERVICES; s++) {
		left = draft->meaning[s] != NONE;
		for (i = 0; i < BACKENDS; i++) {
			number = world->tally[s][i];
			if (number != NONE && !draft->kept[s][i] && !tallies[number].flows &&
			    !tallies[number].pins) {
				world->gone_in += tallies[number].packets_in;
				world->gone_out += tallies[number].packets_out;
				world->tallies[number] = 0;
				world->tally[s][i] = NONE;
			}
			left += draft->kept[s][i] || world->tally[s][i] != NONE;
		}
		if (!left && world->standing[s] != NONE) {
			world->standings[world->standing[s]] = 0;
			world->standing[s] = NONE;
		}
	}
	pthread_mutex_unlock(&world->plane.lock);
}

void world_swap(struct world *world, struct input *in, void (*wait)(void))
{
	struct draft *draft = must(calloc(1, sizeof(*draft)));
	struct loaded *next = must(calloc(1, sizeof(*next))), *old = world->loaded;
	__u32 s;

	for (s = 0; s < SERVICES; s++)
		draft_service(world, draft, next, in, s);
	draft_ends(draft);
	draft_ways(world, draft, in);
	next->tables = load(world, draft, in);
	next->service_count = draft->service_count;
	pk_plane_swap(&world->plane, next->tables);
	world->loaded = next;
	forget(world, draft);
	free(draft);
	while (old && wait && pk_tables_in_use(&world->plane, old->tables))
		wait();
	CHECK(!old || !pk_tables_in_use(&world->plane, old->tables));
	unload(old);
}
