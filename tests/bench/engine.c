/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The native engine alone, no sockets: what a frame costs, by flows, services and backends.
 *
 * Prints a line of JSON for each figure. Only the engine is timed, batch by batch; the frames are
 * made before, so they lie in the cache as those do that the kernel has just handed over. Flows
 * take turns in an order that no prefetcher can guess. Each case has a process of its own.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "batch.h"
#include "raw_tables.h"

#define CLIENT_PORTS 16384u
#define SHORTEST 60 /* bytes of a frame, without its check sequence */
#define CYCLE 64u /* slots a service */

struct bench {
	struct pk_plane plane;
	struct pk_worker *worker;
	struct pk_sink sink;
	__u32 flows, services, backends, mode, scheduler;
	__u8 family;
	__u32 ended[PK_REASON_COUNT];
	__u8 memory[PK_BATCH][PK_HEADROOM + 2048];
	struct pk_frame frames[PK_BATCH];
};

static void take(struct pk_sink *sink, const struct pk_out *out)
{
	(void)sink;
	(void)out;
}

static void take_back(struct pk_sink *sink, const struct pk_frame *frame)
{
	(void)sink;
	(void)frame;
}

static void count(struct pk_sink *sink, enum pk_reason reason)
{
	((struct bench *)(void *)((char *)sink - offsetof(struct bench, sink)))->ended[reason]++;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *need(void *memory)
{
	if (!memory)
		exit(1);
	return memory;
}

/* The same number in both families. */
static void put_address(__u8 *at, __u8 family, __u32 address)
{
	if (family == 4) {
		pk_put32(at, address);
	} else {
		memset(at, 0, 12);
		at[0] = 0xfd;
		pk_put32(at + 12, address);
	}
}

static struct pk_raw_end end(__u8 family, __u32 address, __u16 port, __u8 proto)
{
	struct pk_raw_end raw = { .port = htons(port), .proto = proto, .family = family };

	put_address(raw.addr, family, address);
	return raw;
}

static struct pk_raw_span span(__u8 family, __u32 address, __u16 port, __u32 meaning)
{
	struct pk_raw_span raw = { .low = port, .high = port, .proto = PK_UDP, .family = family,
				   .meaning = meaning };

	put_address(raw.addr, family, address);
	return raw;
}

static __u32 vip(__u32 service)
{
	return 0x0a640000 + service;
}

static __u32 backend(__u32 number)
{
	return 0x0a020000 + number;
}

/* All services have the same backends: a tally for each pair of them. */
static void load_tables(struct bench *b)
{
	__u32 pairs = b->services * b->backends, i, s;
	struct pk_raw_service *services = need(calloc(b->services, sizeof(*services)));
	struct pk_place *places = need(calloc(pairs, sizeof(*places)));
	struct pk_raw_tally *tallies = need(calloc(pairs, sizeof(*tallies)));
	struct pk_raw_hop *hops = need(calloc(b->backends, sizeof(*hops)));
	struct pk_raw_span *replies = need(calloc(b->backends, sizeof(*replies)));
	struct pk_raw_span *spans = need(calloc(b->services, sizeof(*spans)));
	struct pk_raw_port ports[2] = { { .ifindex = 1, .mtu = 1500 }, { .ifindex = 2, .mtu = 1500 } };
	__u32 *slots = need(calloc(b->backends > CYCLE ? b->backends : CYCLE, sizeof(*slots)));
	__u32 slot_count = b->backends > CYCLE ? b->backends : CYCLE / b->backends * b->backends;
	struct pk_array slot_array = { slots, slot_count * sizeof(*slots) };
	static const __u8 key[16];
	struct pk_source source = { 0 };
	struct pk_tables *tables;
	const char *wrong;

	for (i = 0; i < slot_count; i++)
		slots[i] = i % b->backends;
	for (i = 0; i < b->backends; i++) {
		hops[i] = (struct pk_raw_hop){ .to = end(b->family, backend(i), 0, 0), .port = 2,
					      .mtu = 1500 };
		replies[i] = span(b->family, backend(i), 8080, 0);
	}
	for (s = 0; s < b->services; s++) {
		services[s] = (struct pk_raw_service){
			.scheduler = (__u8)b->scheduler, .standing = s,
			.flags = b->mode == PK_NAT ? 0 : PK_DIRECT,
			.first_place = s * b->backends, .place_count = b->backends };
		put_address(services[s].vip, b->family, vip(s));
		spans[s] = span(b->family, vip(s), 80, s);
		for (i = 0; i < b->backends; i++) {
			__u32 pair = s * b->backends + i;

			places[pair] = (struct pk_place){ .tally = pair, .weight = 1,
							  .mode = b->mode };
			tallies[pair] = (struct pk_raw_tally){ end(b->family, backend(i), 8080,
								   PK_UDP), pair, s, i };
		}
	}
	source.services = (struct pk_array){ services, b->services * sizeof(*services) };
	source.places = (struct pk_array){ places, pairs * sizeof(*places) };
	source.tallies = (struct pk_array){ tallies, pairs * sizeof(*tallies) };
	source.hops = (struct pk_array){ hops, b->backends * sizeof(*hops) };
	source.replies = (struct pk_array){ replies, b->backends * sizeof(*replies) };
	source.spans = (struct pk_array){ spans, b->services * sizeof(*spans) };
	source.ports = (struct pk_array){ ports, sizeof(ports) };
	source.hash_key = (struct pk_array){ key, sizeof(key) };
	source.slots = &slot_array;
	source.slots_count = 1;
	source.tally_count = pairs;
	tables = pk_tables_load(&b->plane, &source, &wrong);
	if (!tables) {
		fprintf(stderr, "engine: %s\n", wrong);
		exit(1);
	}
	pk_plane_swap(&b->plane, tables);
	free(services), free(places), free(tallies), free(hops), free(replies), free(spans);
}

/* A frame of this flow: an empty datagram, its UDP checksum left out where that may be. */
static void make_frame(struct bench *b, __u32 place, __u32 flow)
{
	struct pk_frame *frame = &b->frames[place];
	__u32 header = pk_header_size(b->family), size = pk_size(b->family);
	__u32 length = b->family == 4 ? SHORTEST : PK_IP + header + 8;
	__u8 *data = b->memory[place] + PK_HEADROOM, *ip = data + PK_IP, *udp = ip + header;
	__u8 *ends = ip + pk_ends_at(b->family);

	memset(data, 0, length);
	pk_put16(data + 12, b->family == 4 ? 0x0800 : 0x86dd);
	put_address(ends, b->family, 0x0b000000 + flow / CLIENT_PORTS);
	put_address(ends + size, b->family, vip(flow % b->services));
	if (b->family == 4) {
		ip[0] = 0x45;
		pk_put16(ip + 2, length - PK_IP);
		ip[8] = 64;
		ip[9] = PK_UDP;
		pk_store16(ip + 10, pk_checksum(ip, 20, 0));
	} else {
		ip[0] = 0x60;
		pk_put16(ip + 4, length - PK_IP - header);
		ip[6] = PK_UDP;
		ip[7] = 64;
		pk_put16(udp + 6, 1);
	}
	pk_put16(udp, 1024 + flow % CLIENT_PORTS);
	pk_put16(udp + 2, 80);
	pk_put16(udp + 4, length - PK_IP - header);
	*frame = (struct pk_frame){ .data = data, .length = length, .port = 1 };
}

/* Seconds that the engine takes for so many frames of flows `first`, `first` + step, ... */
static double handle(struct bench *b, __u32 frames, __u32 step, __u32 *flow, __u32 now)
{
	double spent = 0, start;
	__u32 done, i;

	for (done = 0; done < frames; done += PK_BATCH) {
		for (i = 0; i < PK_BATCH; i++) {
			make_frame(b, i, *flow);
			*flow = (__u32)(((__u64)*flow + step) % b->flows);
		}
		start = seconds();
		pk_plane_handle(&b->plane, b->worker, b->frames, PK_BATCH, now + done / 1024,
				 &b->sink);
		spent += seconds() - start;
	}
	return spent;
}

static long resident(void)
{
	long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%*s %ld", &pages) != 1)
		exit(1);
	fclose(file);
	return pages * 4096;
}

/* Coprime to every number of flows that is used here, and far from each multiple of a page. */
#define STRIDE 611953u
#define KNOWN 4000000u /* frames of known flows */

struct point {
	const char *who;
	__u32 flows, services, backends, mode, scheduler;
	const char *insert; /* who opens the flows, where that is to be told too */
	__u8 family;
};

static const struct point points[] = {
	{ "1,000 flows", 1000, 1, 2, PK_NAT, PK_RR, NULL, 4 },
	{ "1,000 flows, IPv6", 1000, 1, 2, PK_NAT, PK_RR, NULL, 6 },
	{ "1,000,000 flows", 1000000, 1, 2, PK_NAT, PK_RR, "new flows", 4 },
	{ "1,000,000 flows, IPv6", 1000000, 1, 2, PK_NAT, PK_RR, "new flows, IPv6", 6 },
	{ "4,000,000 flows", 4000000, 1, 2, PK_NAT, PK_RR, NULL, 4 },
	{ "1,000 flows, dsr", 1000, 1, 2, PK_DSR, PK_RR, NULL, 4 },
	{ "1,000 flows, dsr, IPv6", 1000, 1, 2, PK_DSR, PK_RR, NULL, 6 },
	{ "1,000 flows, tunnel", 1000, 1, 2, PK_TUNNEL, PK_RR, NULL, 4 },
	{ "1,000 flows, tunnel, IPv6", 1000, 1, 2, PK_TUNNEL, PK_RR, NULL, 6 },
	{ "1,000 flows, 100 services", 1000, 100, 2, PK_NAT, PK_RR, NULL, 4 },
	{ "1,000 flows, 10,000 services", 1000, 10000, 2, PK_NAT, PK_RR, NULL, 4 },
	{ "1,000 flows, 64 backends", 1000, 1, 64, PK_NAT, PK_RR, NULL, 4 },
	{ "1,000 flows, 4,096 backends", 1000, 1, 4096, PK_NAT, PK_RR, NULL, 4 },
	{ "1,000,000 flows, lc over 4,096 backends", 1000000, 1, 4096, PK_NAT, PK_LC,
	  "new flows, lc over 4,096 backends", 4 },
};

static void tell(const char *measure, const char *who, const char *unit, double value)
{
	printf("{\"measure\": \"%s\", \"who\": \"%s\", \"unit\": \"%s\", \"value\": %.1f}\n", measure,
	       who, unit, value);
}

static int run(const struct point *point)
{
	struct bench *b = need(aligned_alloc(64, (sizeof(*b) + 63) / 64 * 64));
	struct pk_limits limits = { .timeouts = { 60000, 60000, 900000, 900000, 900000, 120000,
						  300000 } };
	struct pk_secret secret = { { 0x0123456789abcdefULL, 0xfedcba9876543210ULL } };
	__u32 flow = 0;
	double opening, known;
	long before;

	memset(b, 0, sizeof(*b));
	b->mode = point->mode;
	b->family = point->family;
	b->flows = point->flows;
	b->services = point->services;
	b->backends = point->backends;
	b->scheduler = point->scheduler;
	b->sink = (struct pk_sink){ take, take_back, count };
	limits.max_flows = b->flows + PK_BATCH;
	before = resident();
	if (pk_plane_init(&b->plane, &limits, &secret))
		return 1;
	b->worker = need(pk_worker_add(&b->plane, 0, 1));
	load_tables(b);
	opening = handle(b, b->flows, STRIDE % b->flows, &flow, 0);
	if (point->insert) {
		tell("insert", point->insert, "flows/s", b->flows / opening);
		tell("memory", point->who, "bytes", (double)(resident() - before) / b->flows);
	}
	known = handle(b, KNOWN, STRIDE % b->flows, &flow, 1000);
	tell("frame", point->who, "ns", known / KNOWN * 1e9);
	return b->ended[PK_OPENED] < b->flows || b->ended[PK_FORWARDED] < KNOWN;
}

int main(void)
{
	size_t i;
	int status;

	for (i = 0; i < sizeof(points) / sizeof(*points); i++) {
		fflush(stdout);
		if (!fork())
			exit(run(&points[i]));
		if (wait(&status) < 0 || status)
			return 1;
	}
	return 0;
}
