/* SPDX-License-Identifier: BSD-3-Clause */
#include "places.h"

#include <arpa/inet.h>

static const __u32 addresses[16] = {
	0xc0000201, 0xc0000202, 0xc0000203, 0x7f000001, /* clients, and one that cannot be one */
	FIRST_VIP, FIRST_VIP + 1,
	FIRST_BACKEND, FIRST_BACKEND + 1, FIRST_BACKEND + 2, FIRST_BACKEND + 3,
	FIRST_OF_POOL, FIRST_OF_POOL + 1,
	0xcb007101, 0xe0000001, 0x00000001, BALANCER,
};

/* The narrower one of two at the same address stands in front of the other. */
static const struct dialled services[SERVICES] = {
	{ 4, { PK_TCP, 0 }, FIRST_VIP, 80, 80 },
	{ 6, { PK_UDP, 0 }, FIRST_VIP, 80, 80 },
	{ 4, { PK_TCP, PK_UDP }, FIRST_VIP + 1, 80, 8080 },
	{ 4, { PK_UDP, 0 }, FIRST_OF_POOL, 40001, 40001 }, /* where replies arrive as well */
	{ 6, { PK_TCP, 0 }, FIRST_VIP, 80, 80 },
	{ 4, { PK_UDP, 0 }, FIRST_VIP, 80, 80 },
	{ 4, { 0, 0 }, FIRST_VIP + 1, 0, 65535 },
	{ 6, { 0, 0 }, FIRST_VIP + 1, 0, 65535 },
	{ 4, { 0, 0 }, 0, 0, 65535 }, /* any */
};

struct pk_addr place_address(__u32 number, __u8 family)
{
	struct pk_addr addr = { .half = { 0, 0 } };

	if (family == 4) {
		addr.word[0] = htonl(number);
		return addr;
	}
	addr.word[3] = htonl(number);
	if (number == 0x7f000001)
		addr.word[3] = htonl(1);
	else if (number == 0x00000001)
		addr.word[3] = 0;
	else
		addr.byte[0] = number >> 28 == 0xe ? 0xff : 0xfd;
	return addr;
}

struct pk_raw_end place_end(__u32 number, __u8 family, __u16 port, __u8 proto)
{
	struct pk_raw_end raw = { .port = htons(port), .proto = proto, .family = family };
	struct pk_addr addr = place_address(number, family);

	memcpy(raw.addr, addr.byte, 16);
	return raw;
}

struct pk_addr world_address(__u32 number, __u8 family)
{
	return place_address(addresses[number % 16], family);
}

__u16 world_port(__u32 number)
{
	static const __u16 ports[8] = { 40000, 40001, 80, 8080, 1024, 40002, 65535, 0 };

	return ports[number % 8];
}

const struct dialled *world_dialled(__u32 service)
{
	return &services[service];
}

/* The last two of each family are the VIPs of other services: balancers in a row. A service of
 * many ports has backends that serve what was dialled. */
struct pk_raw_end world_backend(__u32 backend, __u32 service)
{
	const struct dialled *dialled = &services[service];
	__u32 half = BACKENDS / 2, number = backend % half;
	__u8 family = backend < half ? 4 : 6, proto = dialled->protos[1] ? 0 : dialled->protos[0];
	__u16 port = dialled->low == dialled->high ? (number < half - 2 ? 8080 : 80) : 0;

	return number < half - 2 ? place_end(FIRST_BACKEND + number, family, port, proto) :
				   place_end(FIRST_VIP + number % 2, family, port, proto);
}

struct pk_key world_packet(__u32 service, __u32 who)
{
	static const __u8 protos[8] = { PK_TCP, PK_UDP, PK_TCP, 47, PK_DCCP, PK_UDPLITE, PK_ICMP,
					PK_ICMPV6 };
	const struct dialled *dialled = &services[service];
	__u8 family = service == ANY && who & 8 ? 6 : dialled->family;
	struct pk_key key = { .source = world_address(who, family),
			      .destination = place_address(dialled->number, family),
			      .sport = htons(world_port(who >> 4)),
			      .dport = htons(dialled->low),
			      .proto = dialled->protos[0],
			      .family = family };

	if (service == ANY)
		key.destination = world_address(who & 64 ? 1 : 12, family);
	if (dialled->low != dialled->high)
		key.dport = htons((__u16)(who & 1 ? 8080 : 80));
	if (dialled->protos[1])
		key.proto = dialled->protos[who >> 1 & 1];
	else if (!dialled->protos[0])
		key.proto = protos[who >> 2 & 7];
	return key;
}
