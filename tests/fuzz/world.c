/* SPDX-License-Identifier: BSD-3-Clause */
#include "world.h"

#include <arpa/inet.h>

/* Raw tables while they are made. */
struct draft {
	struct pk_raw_service services[SERVICES];
	struct pk_place places[SERVICES * BACKENDS];
	struct pk_raw_tally tallies[SERVICES * BACKENDS];
	__u32 standings[SERVICES];
	struct pk_raw_end replies[SERVICES * BACKENDS], own[4], snat[2];
	struct pk_raw_hop hops[BACKENDS];
	struct pk_raw_port ports[4];
	struct pk_array slots[SERVICES];
	__u32 service_count, place_count, tally_count, standing_count, reply_count, own_count;
	__u32 snat_count, hop_count, port_count;
	int kept[SERVICES][BACKENDS], present[SERVICES];
};

static const __u32 addresses[16] = {
	0xc0000201, 0xc0000202, 0xc0000203, 0x7f000001, /* clients, and one that cannot be one */
	0x0a000001, 0x0a000002, /* VIPs */
	0x0a010000, 0x0a010001, 0x0a010002, 0x0a010003, /* backends */
	0x0a020001, 0x0a020002, /* the pool */
	0xc0000204, 0xe0000001, 0x00000001, 0x0a030001,
};
static const __u32 mtus[8] = { 1500, 1500, 1500, 68, 84, 576, 9000, 65535 };

__u32 world_address(__u32 number)
{
	return addresses[number % 16];
}

__u16 world_port(__u32 number)
{
	static const __u16 ports[8] = { 40000, 40001, 80, 8080, 1024, 40002, 65535, 0 };

	return ports[number % 8];
}

__u32 world_vip(__u32 service)
{
	return service < 3 ? 0x0a000001 + service / 2 : 0x0a020001;
}

/* The last service is dialled at an address and port of the pool, where replies arrive as well. */
__u16 world_dialled(__u32 service)
{
	return service < 3 ? 80 : 40001;
}

__u8 world_proto(__u32 service)
{
	return service % 2 ? PK_UDP : PK_TCP;
}

static struct pk_raw_end end(__u32 address, __u16 port, __u8 proto)
{
	struct pk_raw_end raw = { .port = htons(port), .proto = proto, .family = 4 };

	address = htonl(address);
	memcpy(raw.addr, &address, 4);
	return raw;
}

/* The last two are the VIP of other services: balancers in a row. */
struct pk_raw_end world_backend(__u32 backend, __u8 proto)
{
	return backend < BACKENDS - 2 ? end(0x0a010000 + backend, 8080, proto) :
					end(0x0a000001 + backend % 2, 80, proto);
}

void world_open(struct world *world, struct input *in)
{
	static const __u32 sizes[8] = { 1, 2, 3, 4, 8, 16, 64, 200 };
	struct pk_limits limits = { .max_flows = sizes[take(in) % 8] };
	struct pk_secret secret = { { take(in), 1 } };
	struct pk_addr pool[2] = { { .half = { 0 } }, { .half = { 0 } } };
	__be16 ports[4];
	__u32 i, choice = take(in);

	memset(world, 0, sizeof(*world));
	for (i = 0; i < PK_STATE_COUNT; i++)
		limits.timeouts[i] = (1 + take(in)) << 6;
	limits.snat = pool;
	limits.snat_count = choice % 3;
	limits.source_ports = ports;
	limits.source_port_count = 1 + (choice >> 2) % 4;
	for (i = 0; i < 2; i++)
		pool[i].word[0] = htonl(0x0a020001 + i);
	for (i = 0; i < 4; i++)
		ports[i] = htons((__u16)(40000 + i));
	memset(world->pool, 0xff, sizeof(world->pool));
	memset(world->tally, 0xff, sizeof(world->tally));
	memset(world->standing, 0xff, sizeof(world->standing));
	world->now = take16(in) << 16;
	CHECK(!pk_engine_init(&world->engine, &limits, &secret));
	for (i = 0; i < WORKERS; i++)
		world->workers[i] = must(pk_worker_add(&world->engine, i, WORKERS));
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
		pk_worker_remove(&world->engine, world->workers[i]);
	pk_engine_free(&world->engine);
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
static __u32 pool_of(struct world *world, __u32 backend, __u8 proto)
{
	__u32 *pool = &world->pool[proto == PK_UDP][backend];

	if (*pool == NONE)
		*pool = world->pools++;
	return *pool;
}

static __u32 tally_of(struct world *world, struct draft *draft, __u32 service, __u32 backend)
{
	__u8 proto = world_proto(service);
	__u32 number = 0;

	draft->kept[service][backend] = 1;
	if (world->tally[service][backend] == NONE) {
		while (world->tallies[number] != FREE)
			number++;
		CHECK(number < TALLIES);
		world->tallies[number] = BOUND;
		world->tally[service][backend] = number;
		draft->tallies[draft->tally_count++] = (struct pk_raw_tally){
			world_backend(backend, proto), number, world->standing[service],
			pool_of(world, backend, proto)
		};
	}
	return world->tally[service][backend];
}

static void draft_service(struct world *world, struct draft *draft, struct loaded *loaded,
			  struct input *in, __u32 s)
{
	__u32 what = take(in), backends = take(in), count = 0, i;
	struct pk_raw_service *raw = &draft->services[draft->service_count];
	__u32 *slots = loaded->slots[s];

	if (what % 8 == 7)
		return; /* this service is not there */
	draft->present[s] = 1;
	*raw = (struct pk_raw_service){ .vip = end(world_vip(s), world_dialled(s),
						  world_proto(s)),
					.mode = (__u8)(what % 3),
					.scheduler = (__u8)((what >> 3) % 3),
					.standing = standing_of(world, draft, s),
					.first_place = draft->place_count,
					.slots = draft->service_count };
	for (i = 0; i < BACKENDS; i++) {
		if (!(backends >> i & 1))
			continue;
		draft->places[draft->place_count++] = (struct pk_place){
			tally_of(world, draft, s, i), 1 + (i + (what >> 5)) % 5
		};
		if (raw->mode == PK_NAT)
			draft->replies[draft->reply_count++] = world_backend(i, world_proto(s));
		count++;
	}
	for (i = 0; count && i < MOST_SLOTS; i++)
		slots[i] = i * 7 % count;
	raw->place_count = count;
	draft->slots[draft->service_count++] =
		(struct pk_array){ slots, count ? sizeof(loaded->slots[s]) : 0 };
}

static void draft_ways(struct world *world, struct draft *draft, struct input *in)
{
	static const __u8 macs[12] = { 2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 2, 0 };
	__u32 there = take(in), i;

	for (i = 0; i < BACKENDS; i++) {
		struct pk_raw_hop *hop = &draft->hops[draft->hop_count];
		__u32 choice = take(in);
		struct pk_raw_end to = world_backend(i, 0), from = end(0x0a030001, 0, 0);

		world->ways[i] = (struct way){ !(there >> i & 1), 2 + choice % 2,
					       mtus[(choice >> 1) % 8] };
		if (!world->ways[i].there)
			continue;
		to.port = 0;
		*hop = (struct pk_raw_hop){ .to = to, .port = world->ways[i].port,
					    .mtu = world->ways[i].mtu };
		memcpy(hop->source, from.addr, 16);
		memcpy(hop->macs, macs, 12);
		hop->macs[5] = (__u8)i;
		draft->hop_count++;
	}
	memset(world->port_mtu, 0, sizeof(world->port_mtu));
	for (i = 1; i < 4; i++) {
		__u32 choice = take(in);

		if (choice % 8 == 7)
			continue;
		world->port_mtu[i] = mtus[(choice >> 3) % 8];
		draft->ports[draft->port_count++] =
			(struct pk_raw_port){ i, world->port_mtu[i], { 2, 0, 0, 0, 2, (__u8)i }, 0 };
	}
}

static struct pk_tables *load(struct world *world, struct draft *draft, struct input *in)
{
	static const __u8 key[16];
	struct pk_source source = { .hash_key = { key, sizeof(key) }, .slots = draft->slots,
				    .slots_count = draft->service_count, .tally_count = TALLIES };
	__u32 own = take(in);
	struct pk_tables *tables;
	const char *wrong;

	for (draft->snat_count = 0; draft->snat_count < own % 3; draft->snat_count++)
		draft->snat[draft->snat_count] = end(0x0a020001 + draft->snat_count, 0, 0);
	for (draft->own_count = 0; draft->own_count < (own >> 2) % 4; draft->own_count++)
		draft->own[draft->own_count] = end(world_address(draft->own_count), 0, 0);
	source.own_low = 40002;
	source.own_high = 40002 + (own >> 4);
#define PART(part, count) \
	source.part = (struct pk_array){ draft->part, draft->count * sizeof(draft->part[0]) }
	PART(services, service_count);
	PART(places, place_count);
	PART(tallies, tally_count);
	PART(standings, standing_count);
	PART(replies, reply_count);
	PART(own, own_count);
	PART(snat, snat_count);
	PART(hops, hop_count);
	PART(ports, port_count);
#undef PART
	tables = pk_tables_load(&world->engine, &source, &wrong);
	if (!tables)
		fprintf(stderr, "%s\n", wrong);
	return must(tables);
}

/* Numbers of those who are gone: of a backend when its last open flow is, for others later. */
static void forget(struct world *world, const struct draft *draft)
{
	const struct pk_tally *tallies = world->engine.standings.tallies;
	__u32 s, i, number, left;

	pthread_mutex_lock(&world->engine.lock);
	for (s = 0; s < SERVICES; s++) {
		left = draft->present[s];
		for (i = 0; i < BACKENDS; i++) {
			number = world->tally[s][i];
			if (number != NONE && !draft->kept[s][i] && !tallies[number].active) {
				world->tallies[number] = LEAVING;
				world->tally[s][i] = NONE;
			}
			left += draft->kept[s][i] || world->tally[s][i] != NONE;
		}
		if (!left && world->standing[s] != NONE) {
			world->standings[world->standing[s]] = 0;
			world->standing[s] = NONE;
		}
	}
	for (number = 0; number < TALLIES; number++)
		if (world->tallies[number] == LEAVING && !tallies[number].flows)
			world->tallies[number] = FREE;
	pthread_mutex_unlock(&world->engine.lock);
}

void world_swap(struct world *world, struct input *in, void (*wait)(void))
{
	struct draft *draft = must(calloc(1, sizeof(*draft)));
	struct loaded *next = must(calloc(1, sizeof(*next))), *old = world->loaded;
	__u32 s;

	for (s = 0; s < SERVICES; s++)
		draft_service(world, draft, next, in, s);
	draft_ways(world, draft, in);
	next->tables = load(world, draft, in);
	next->service_count = draft->service_count;
	pk_engine_swap(&world->engine, next->tables);
	world->loaded = next;
	forget(world, draft);
	free(draft);
	while (old && wait && pk_tables_in_use(&world->engine, old->tables))
		wait();
	CHECK(!old || !pk_tables_in_use(&world->engine, old->tables));
	unload(old);
}
