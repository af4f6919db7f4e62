/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables from control, all numbers of which may be wrong: taken over whole, or refused. */
#include <arpa/inet.h>
#include <sys/prctl.h>

#include "input.h"
#include "raw_tables.h"

#define MOST_RECORDS 8u
#define SLOTS 3u
#define PARTS 14u /* of a source, from `services` on, with the hash key behind them */

/* So many records as the input wants, in memory of exactly their size. */
static void draw(struct pk_array *array, size_t record, struct input *in)
{
	__u32 count = take(in) % MOST_RECORDS;
	__u8 *bytes;
	size_t i;

	array->bytes = count * record;
	bytes = must(malloc(array->bytes + !count));
	for (i = 0; i < array->bytes; i++)
		bytes[i] = (__u8)take(in);
	array->data = bytes;
}

static void check_service(const struct pk_tables *tables, const struct pk_service *service)
{
	__u32 i;

	CHECK(service->scheduler <= PK_BY_HASH);
	CHECK(service->persist4 <= 32 && service->persist6 <= 128);
	CHECK(service->fields <= PK_BY_FIVE_TUPLE && service->prefix4 <= 32 && service->prefix6 <= 128);
	CHECK(service->standing < PK_MAX_STANDINGS);
	for (i = 0; i < service->place_count; i++) {
		CHECK(service->places[i].tally < tables->tally_count && service->places[i].weight);
		CHECK(service->places[i].mode <= PK_TUNNEL);
		service->heap[i] = i;
	}
	if (!service->place_count || service->scheduler == PK_LC ||
	    service->scheduler == PK_SED || service->scheduler == PK_NQ)
		return;
	CHECK(service->slot_count);
	for (i = 0; i < service->slot_count; i++)
		CHECK(service->slots[i] < service->place_count);
}

/* An end that is given means something, of the narrowest range or a wider one. */
static void check_spans(const struct pk_tables *tables, const struct pk_ends *ends,
			const struct pk_array *given, __u32 meanings)
{
	const struct pk_raw_span *raw = given->data;
	__u32 i, found;

	for (i = 0; i < given->bytes / sizeof(*raw); i++) {
		struct pk_end end = { .port = htons(raw[i].low), .proto = raw[i].proto,
				      .family = raw[i].family };

		memcpy(end.addr.byte, raw[i].addr, 16);
		found = pk_ends_find(ends, &tables->secret, &end);
		CHECK(found == PK_ABSENT || found < meanings);
		CHECK(pk_ends_have(ends, &tables->secret, &end.addr, end.family));
		if (raw[i].low == raw[i].high && pk_is_ported(raw[i].proto))
			CHECK(found < meanings);
	}
}

static void check_tables(const struct pk_tables *tables, const struct pk_source *source)
{
	size_t services = source->services.bytes / sizeof(struct pk_raw_service);
	size_t hops = source->hops.bytes / sizeof(struct pk_raw_hop), i;

	CHECK(tables->tally_count <= PK_MAX_TALLIES);
	for (i = 0; i < services; i++) {
		const struct pk_service *service = &tables->services[i];

		CHECK(!service->is_any || tables->any >= service);
		check_service(tables, service);
	}
	check_spans(tables, &tables->service_at, &source->spans, (__u32)services);
	check_spans(tables, &tables->replies, &source->replies, 1);
	for (i = 0; i < tables->tally_count && i < 256; i++) {
		CHECK(!tables->removed || tables->removed[i] <= PK_ON_REMOVE_KEEP);
		const struct pk_hop *hop = tables->hop_of[i];

		CHECK(!hop || (hop >= tables->hops && hop < tables->hops + hops));
		CHECK(!hop || hop->mtu >= 68);
		CHECK(tables->place_of[i] == PK_ABSENT ||
		      tables->places[tables->place_of[i]].tally == i);
	}
	for (i = 0; i < tables->port_count; i++)
		CHECK(tables->ports[i].mtu >= 68 && pk_port_of(tables, tables->ports[i].index));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	struct input in = { data, data + size };
	struct pk_plane *plane = must(malloc(sizeof(*plane)));
	struct pk_addr pool = { .half = { take(&in) } };
	const __be16 port = 40000;
	struct pk_limits limits = { .max_flows = 1, .snat = &pool,
				    .snat_count = { take(&in) % 2 },
				    .source_ports = &port, .source_port_count = 1 };
	struct pk_secret secret = { { 1, 2 } };
	struct pk_array slots[SLOTS];
	struct pk_source source = { .slots = slots, .slots_count = SLOTS };
	struct pk_array *part = &source.services;
	static const size_t records[PARTS] = {
		sizeof(struct pk_raw_service), sizeof(struct pk_place), sizeof(struct pk_raw_tally),
		sizeof(__u32), sizeof(struct pk_raw_span), sizeof(struct pk_raw_span),
		sizeof(struct pk_raw_end), sizeof(struct pk_raw_end), sizeof(struct pk_raw_end),
		sizeof(struct pk_raw_end), sizeof(struct pk_raw_hop), sizeof(struct pk_raw_port),
		sizeof(struct pk_raw_removed), sizeof(struct pk_raw_end),
	};
	struct pk_tables *tables;
	const char *wrong;
	__u32 i;

	CHECK(!pk_plane_init(plane, &limits, &secret));
	source.tally_count = take(&in) << (take(&in) % 16 ? 0 : 13);
	source.own_high = take16(&in);
	for (i = 0; i < PARTS; i++)
		draw(&part[i], records[i], &in);
	for (i = 0; i < SLOTS; i++)
		draw(&slots[i], sizeof(__u32), &in);
	source.hash_key = (struct pk_array){ must(calloc(1, 16)), take(&in) == 255 ? 15 : 16 };
	tables = pk_tables_load(plane, &source, &wrong);
	CHECK(tables || wrong);
	if (tables)
		check_tables(tables, &source);
	pk_tables_free(tables);
	for (i = 0; i <= PARTS; i++)
		free((void *)part[i].data);
	for (i = 0; i < SLOTS; i++)
		free((void *)slots[i].data);
	pk_plane_free(plane);
	free(plane);
	return 0;
}
