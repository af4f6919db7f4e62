/* SPDX-License-Identifier: BSD-3-Clause */
#include "raw_tables.h"

#include <stdlib.h>
#include <string.h>

#define MIN_MTU 68 /* RFC 791, section 3.2: every link takes this much */
#define COUNT(array, type) ((__u32)((array)->bytes / sizeof(type)))

static const char no_memory[] = "no memory";

static struct pk_end end_of(const struct pk_raw_end *raw)
{
	struct pk_end end = { .port = raw->port, .proto = raw->proto, .family = raw->family };

	memcpy(end.addr.byte, raw->addr, 16);
	return end;
}

static const char *load_set(struct pk_map *map, const struct pk_secret *secret,
			    const struct pk_array *array)
{
	const struct pk_raw_end *raw = array->data;
	__u32 count = COUNT(array, *raw), i;

	if (pk_map_init(map, count))
		return no_memory;
	for (i = 0; i < count; i++) {
		struct pk_end end = end_of(&raw[i]);

		pk_map_put(map, secret, &end, i);
	}
	return NULL;
}

static const char *load_slots(struct pk_service *service, const struct pk_source *from, __u32 slots)
{
	__u32 i;

	if (service->scheduler == PK_LC || service->scheduler == PK_SED ||
	    service->scheduler == PK_NQ || !service->place_count)
		return NULL;
	if (slots >= from->slots_count || from->slots[slots].bytes < sizeof(*service->slots))
		return "a service has no slots";
	service->slots = from->slots[slots].data;
	service->slot_count = COUNT(&from->slots[slots], *service->slots);
	for (i = 0; i < service->slot_count; i++)
		if (service->slots[i] >= service->place_count)
			return "a slot names no place";
	return NULL;
}

static const char *load_service(struct pk_tables *tables, const struct pk_source *from, __u32 i)
{
	const struct pk_raw_service *raw = (const struct pk_raw_service *)from->services.data + i;
	__u32 places = COUNT(&from->places, struct pk_place);
	struct pk_service *service = &tables->services[i];

	if (raw->scheduler > PK_BY_HASH || raw->fields > PK_BY_FIVE_TUPLE)
		return "a service has an unknown scheduler";
	if (raw->prefix4 > 32 || raw->persist4 > 32 || raw->prefix6 > 128 || raw->persist6 > 128)
		return "a service has a prefix longer than an address";
	if (raw->standing >= PK_MAX_STANDINGS)
		return "too many services";
	if (raw->first_place > places || raw->place_count > places - raw->first_place)
		return "a service has places that are not there";
	*service = (struct pk_service){ .scheduler = raw->scheduler,
					.fields = raw->fields,
					.prefix4 = raw->prefix4,
					.prefix6 = raw->prefix6,
					.symmetric = !!(raw->flags & PK_SYMMETRIC),
					.persist4 = raw->persist4,
					.persist6 = raw->persist6,
					.persist = raw->persist,
					.one_packet = !!(raw->flags & PK_ONE_PACKET),
					.pick_up = !!(raw->flags & PK_PICK_UP),
					.is_any = !!(raw->flags & PK_IS_ANY),
					.direct = !!(raw->flags & PK_DIRECT),
					.standing = raw->standing,
					.place_count = raw->place_count,
					.places = tables->places + raw->first_place,
					.heap = tables->heaps + raw->first_place };
	memcpy(service->vip.byte, raw->vip, 16);
	if (service->is_any)
		tables->any = service;
	return load_slots(service, from, raw->slots);
}

static const char *load_places(struct pk_tables *tables, const struct pk_source *from)
{
	__u32 count = COUNT(&from->places, struct pk_place), i;

	tables->places = calloc(count + 1, sizeof(*tables->places));
	tables->heaps = calloc(count + 1, sizeof(*tables->heaps));
	tables->place_of = malloc((from->tally_count + (size_t)1) * sizeof(*tables->place_of));
	if (!tables->places || !tables->heaps || !tables->place_of)
		return no_memory;
	memcpy(tables->places, from->places.data, count * sizeof(*tables->places));
	memset(tables->place_of, 0xff, from->tally_count * sizeof(*tables->place_of));
	for (i = 0; i < count; i++) {
		const struct pk_place *place = &tables->places[i];

		if (place->tally >= from->tally_count || !place->weight || place->mode > PK_TUNNEL)
			return "a place has no tally, no weight or an unknown mode";
		tables->place_of[place->tally] = i;
		tables->has_limits |= place->upper > 0;
	}
	return NULL;
}

static const char *load_services(struct pk_tables *tables, const struct pk_source *from)
{
	__u32 count = COUNT(&from->services, struct pk_raw_service), i;
	const char *wrong = load_places(tables, from);

	tables->services = calloc(count + 1, sizeof(*tables->services));
	if (!tables->services)
		return no_memory;
	for (i = 0; i < count && !wrong; i++)
		wrong = load_service(tables, from, i);
	return wrong;
}

/* Ends of packets; what they mean is below `meanings`. */
static const char *load_ends(struct pk_ends *ends, const struct pk_secret *secret,
			     const struct pk_array *array, __u32 meanings)
{
	const struct pk_raw_span *raw = array->data;
	__u32 count = COUNT(array, *raw), i;

	for (i = 0; i < count; i++)
		if (raw[i].meaning >= meanings)
			return "a span means what is not there";
	return pk_ends_init(ends, secret, raw, count) ? no_memory : NULL;
}

static const char *load_tallies(struct pk_plane *plane, const struct pk_source *from)
{
	const struct pk_raw_tally *raw = from->tallies.data;
	const __u32 *standing = from->standings.data;
	__u32 i;

	if (from->tally_count > PK_MAX_TALLIES)
		return "too many backends";
	for (i = 0; i < COUNT(&from->tallies, *raw); i++) {
		if (raw[i].number >= from->tally_count || raw[i].pool >= PK_MAX_POOLS ||
		    raw[i].standing >= PK_MAX_STANDINGS)
			return "a tally has a number that is not there";
		if (pk_pool_open(&plane->snat, raw[i].pool, raw[i].backend.family))
			return no_memory;
		plane->standings.tallies[raw[i].number] = (struct pk_tally){
			.backend = end_of(&raw[i].backend),
			.standing = raw[i].standing,
			.pool = raw[i].pool,
		};
	}
	for (i = 0; i < COUNT(&from->standings, __u32); i++) {
		if (standing[i] >= PK_MAX_STANDINGS)
			return "too many services";
		plane->standings.standings[standing[i]] = (struct pk_standing){ 0 };
	}
	return NULL;
}

/* The hop of each tally, by its backend's address. */
static const char *find_ways(struct pk_plane *plane, struct pk_tables *tables,
			     const struct pk_source *from, const struct pk_map *by_address)
{
	__u32 i, found;

	tables->tally_count = from->tally_count;
	tables->hop_of = calloc(from->tally_count + 1, sizeof(const struct pk_hop *));
	if (!tables->hop_of)
		return no_memory;
	for (i = 0; i < from->tally_count; i++) {
		const struct pk_end *backend = &plane->standings.tallies[i].backend;
		struct pk_end to = pk_end_of(&backend->addr, backend->family);

		found = pk_map_find(by_address, &tables->secret, &to);
		tables->hop_of[i] = found == PK_ABSENT ? NULL : &tables->hops[found];
	}
	return NULL;
}

static const char *load_hops(struct pk_plane *plane, struct pk_tables *tables,
			     const struct pk_source *from)
{
	const struct pk_raw_hop *raw = from->hops.data;
	__u32 count = COUNT(&from->hops, *raw), i;
	struct pk_map by_address;
	const char *wrong = NULL;

	tables->hops = calloc(count + 1, sizeof(*tables->hops));
	if (!tables->hops || pk_map_init(&by_address, count))
		return no_memory;
	for (i = 0; i < count; i++) {
		struct pk_end to = end_of(&raw[i].to);
		struct pk_hop *hop = &tables->hops[i];

		hop->port = raw[i].port;
		hop->mtu = raw[i].mtu;
		memcpy(hop->macs, raw[i].macs, 12);
		memcpy(hop->source.byte, raw[i].source, 16);
		pk_map_put(&by_address, &tables->secret, &to, i);
		if (hop->mtu < MIN_MTU)
			wrong = "a hop has an MTU below 68";
	}
	if (!wrong)
		wrong = find_ways(plane, tables, from, &by_address);
	pk_map_free(&by_address);
	return wrong;
}

static const char *load_removed(struct pk_tables *tables, const struct pk_source *from)
{
	const struct pk_raw_removed *raw = from->removed.data;
	__u32 count = COUNT(&from->removed, *raw), i;

	if (!count)
		return NULL;
	tables->removed = calloc(from->tally_count + 1, 1);
	if (!tables->removed)
		return no_memory;
	for (i = 0; i < count; i++) {
		if (raw[i].tally >= from->tally_count || raw[i].on_remove > PK_ON_REMOVE_KEEP)
			return "a removed backend has no tally or an unknown rule";
		tables->removed[raw[i].tally] = (__u8)raw[i].on_remove;
	}
	return NULL;
}

static const char *load_ports(struct pk_tables *tables, const struct pk_source *from)
{
	const struct pk_raw_port *raw = from->ports.data;
	__u32 i;

	tables->port_count = COUNT(&from->ports, *raw);
	tables->ports = calloc(tables->port_count + 1, sizeof(*tables->ports));
	if (!tables->ports)
		return no_memory;
	for (i = 0; i < tables->port_count; i++) {
		tables->ports[i].index = raw[i].ifindex;
		tables->ports[i].out = raw[i].successor ? raw[i].successor : raw[i].ifindex;
		tables->ports[i].mtu = raw[i].mtu;
		tables->ports[i].spreads = raw[i].spreads;
		memcpy(tables->ports[i].mac, raw[i].mac, 6);
		memcpy(tables->ports[i].has_address, raw[i].has_address, 2);
		memcpy(tables->ports[i].address, raw[i].address, 32);
		if (raw[i].mtu < MIN_MTU)
			return "a port has an MTU below 68";
	}
	return NULL;
}

static const char *load(struct pk_plane *plane, struct pk_tables *tables,
			const struct pk_source *from)
{
	const struct pk_secret *secret = &tables->secret;
	const char *wrong;

	if (from->hash_key.bytes != sizeof(tables->hash_key))
		return "the hash key has not 16 bytes";
	for (__u32 i = 0; i < 2; i++)
		tables->hash_key.half[i] =
			pk_little_endian((const __u8 *)from->hash_key.data + 8 * i, 8);
	for (__u32 i = 0; i < COUNT(&from->snat, struct pk_raw_end); i++)
		tables->has_snat[((const struct pk_raw_end *)from->snat.data)[i].family != 4] = 1;
	tables->own_low = from->own_low;
	tables->own_high = from->own_high;
	(void)((wrong = load_tallies(plane, from)) || (wrong = load_services(tables, from)) ||
	       (wrong = load_ends(&tables->service_at, secret, &from->spans,
				  COUNT(&from->services, struct pk_raw_service))) ||
	       (wrong = load_ends(&tables->replies, secret, &from->replies, 1)) ||
	       (wrong = load_set(&tables->direct, secret, &from->direct)) ||
	       (wrong = load_set(&tables->appliances, secret, &from->appliances)) ||
	       (wrong = load_set(&tables->own, secret, &from->own)) ||
	       (wrong = load_set(&tables->snat, secret, &from->snat)) ||
	       (wrong = load_set(&tables->broadcasts, secret, &from->broadcasts)) ||
	       (wrong = load_hops(plane, tables, from)) || (wrong = load_ports(tables, from)) ||
	       (wrong = load_removed(tables, from)));
	return wrong;
}

struct pk_tables *pk_tables_load(struct pk_plane *plane, const struct pk_source *source,
				 const char **wrong)
{
	struct pk_tables *tables = calloc(1, sizeof(*tables));

	*wrong = NULL;
	if (!tables)
		return NULL;
	tables->secret = plane->flows.secret;
	tables->version = plane->standings.version + 1;
	*wrong = load(plane, tables, source);
	if (!*wrong)
		return tables;
	pk_tables_free(tables);
	if (*wrong == no_memory)
		*wrong = NULL;
	return NULL;
}
