/* SPDX-License-Identifier: BSD-3-Clause */
#include "ends.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static struct pk_end end_of(const struct pk_raw_span *raw)
{
	struct pk_end end = { .family = raw->family };

	memcpy(end.addr.byte, raw->addr, 16);
	return end;
}

static int is_exact(const struct pk_raw_span *raw)
{
	return raw->low == raw->high && (raw->proto == PK_TCP || raw->proto == PK_UDP);
}

static int same_address(const struct pk_raw_span *a, const struct pk_raw_span *b)
{
	return a->family == b->family && !memcmp(a->addr, b->addr, 16);
}

int pk_ends_init(struct pk_ends *ends, const struct pk_secret *secret,
		 const struct pk_raw_span *raw, __u32 count)
{
	__u32 used = 0, i;

	ends->spans = calloc(count + 1, sizeof(*ends->spans));
	if (!ends->spans || pk_map_init(&ends->exact, count) ||
	    pk_map_init(&ends->addresses, count))
		return -1;
	for (i = 0; i < count; i++) {
		struct pk_end end = end_of(&raw[i]);

		if (!is_exact(&raw[i])) {
			pk_map_put(&ends->addresses, secret, &end, used);
			ends->spans[used++] = (struct pk_span){ raw[i].low, raw[i].high,
								raw[i].proto, 1, raw[i].meaning };
			if (i && !is_exact(&raw[i - 1]) && same_address(&raw[i - 1], &raw[i]))
				ends->spans[used - 2].last = 0;
			continue;
		}
		end.port = htons(raw[i].low);
		end.proto = raw[i].proto;
		pk_map_put(&ends->exact, secret, &end, raw[i].meaning);
	}
	for (i = 0; i < count; i++) {
		struct pk_end end = end_of(&raw[i]);

		pk_map_put(&ends->addresses, secret, &end, PK_NO_SPAN); /* the first one stays */
	}
	return 0;
}

void pk_ends_free(struct pk_ends *ends)
{
	pk_map_free(&ends->exact);
	pk_map_free(&ends->addresses);
	free(ends->spans);
}

static int holds(const struct pk_span *span, __u8 proto, __u32 port)
{
	if (!span->proto && (proto == PK_ICMP || proto == PK_ICMPV6))
		return 0; /* the kernel answers */
	return (!span->proto || span->proto == proto) && span->low <= port && port <= span->high;
}

__u32 pk_ends_find(const struct pk_ends *ends, const struct pk_secret *secret,
		   const struct pk_end *end)
{
	__u32 found = pk_map_find(&ends->exact, secret, end), port = ntohs(end->port);
	struct pk_end address = pk_end_of(&end->addr, end->family);
	const struct pk_span *span;

	if (found != PK_ABSENT)
		return found;
	found = pk_map_find(&ends->addresses, secret, &address);
	if (found == PK_ABSENT || found == PK_NO_SPAN)
		return PK_ABSENT;
	for (span = &ends->spans[found];; span++) {
		if (holds(span, end->proto, port))
			return span->meaning;
		if (span->last)
			return PK_ABSENT;
	}
}
