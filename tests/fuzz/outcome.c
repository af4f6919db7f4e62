/* SPDX-License-Identifier: BSD-3-Clause */
#include "outcome.h"

#include "places.h"

struct pk_header outcome_header(const __u8 *data, __u32 length)
{
	static struct pk_key key; /* no caller asks for it */
	const struct pk_bytes in = { data, data + length };
	struct pk_header header = { .key = &key };
	__u32 word;

	CHECK(length >= PK_IP + 20);
	word = pk_be16(data + 12);
	if (word == 0x0800) {
		CHECK(pk_read_ipv4(&in, PK_IP, length, 0, &header) == PK_FORWARDED);
		CHECK(pk_fold(pk_sum(data + PK_IP, header.transport - PK_IP, 0)) == 0xffff);
	} else {
		CHECK(word == 0x86dd);
		CHECK(pk_read_ipv6(&in, PK_IP, length, 0, &header) == PK_FORWARDED);
	}
	CHECK(header.end == length);
	return header;
}

/* What all fragments have the same: not the length, and in IPv4 not all options. */
static int same_header(const __u8 *a, const __u8 *b, __u8 family)
{
	if (family == 4)
		return a[1] == b[1] && !memcmp(a + 4, b + 4, 2) && !memcmp(a + 8, b + 8, 2) &&
		       !memcmp(a + 12, b + 12, 8);
	return !memcmp(a, b, 4) && a[7] == b[7] && !memcmp(a + 8, b + 8, 32);
}

/*
 * Puts a piece behind those before it. Of an IPv6 packet the fragment header is left out. What is
 * put together may be a fragment itself, from `start` on and of `whole` bytes (0: it is not).
 * Whether all of it is there.
 */
static int join(struct joined *joined, const __u8 *data, const struct pk_header *header,
		__u32 start, __u32 whole)
{
	const __u8 *ip = data + PK_IP;
	__u32 load = header->end - header->transport, field = header->fragmented;
	__u32 at = field ? header->fragment.start : 0;

	if (!joined->length) {
		joined->header = header->family == 4 ? header->transport - PK_IP : 40;
		joined->length = joined->header;
		joined->start = start;
		joined->first = header->fragment;
		memcpy(joined->data, ip, joined->header);
		if (header->family == 6)
			joined->data[6] = header->proto;
	}
	CHECK(same_header(joined->data, ip, header->family));
	CHECK(at - start == joined->length - joined->header);
	CHECK(!field || header->fragment.ident == joined->first.ident);
	CHECK(joined->length + load <= sizeof(joined->data));
	memcpy(joined->data + joined->length, data + header->transport, load);
	joined->length += load;
	if (whole)
		return joined->length == whole;
	if (field && header->fragment.more) {
		CHECK(load && load % 8 == 0);
		return 0;
	}
	return 1;
}

/* The MTU on the way that a frame took, which must be one of the tables. */
static __u32 mtu_of(const struct trial *t, const struct sent *sent)
{
	static const __u8 way_mac[5] = { 2, 0, 0, 0, 1 }, own_mac[5] = { 2, 0, 0, 0, 2 };
	const struct way *way = &t->world->ways[sent->data[5] % BACKENDS];

	CHECK(!memcmp(sent->data + 6, own_mac, 5));
	if (sent->data[11]) { /* to a client; the ways to backends begin at another address */
		CHECK(t->reason != PK_OPENED && t->reason != PK_PICKED_UP);
		CHECK(sent->port < 4 && t->world->port_mtu[sent->port]);
		CHECK(sent->data[11] == sent->port);
		return t->world->port_mtu[sent->port];
	}
	CHECK(t->reason != PK_RETURNED);
	CHECK(sent->data[5] < BACKENDS && !memcmp(sent->data, way_mac, 5));
	CHECK(way->there && way->port == sent->port);
	return way->mtu;
}

/* What came out of the tunnel, or went past it; in a frame, though maybe not one of the wire. */
static void take_inner(struct trial *t, const __u8 *data, __u32 length)
{
	struct pk_header header;
	__u32 start = 0, whole = 0;

	if (t->view.kind == PK_FIRST || t->view.kind == PK_LATER) {
		start = t->view.fragment.start;
		whole = t->view.end - PK_IP;
	}
	if (pk_be16(data + 12) != 0x0800) {
		outcome_packet(t, data + PK_IP, length - PK_IP); /* nobody cuts it on its way */
		return;
	}
	header = outcome_header(data, length);
	if (!join(&t->inner, data, &header, start, whole))
		return;
	outcome_packet(t, t->inner.data, t->inner.length);
	t->inner.length = 0;
}

/* The header that was put in front (RFC 2003, 2473, 4213). */
static void check_outer(const struct trial *t, const __u8 *ip, const struct pk_header *header)
{
	int ipv4 = t->before[0] >> 4 == 4;
	__u32 traffic = ipv4 ? t->before[1] : pk_be32(t->before) >> 20 & 0xff;

	CHECK(header->proto == (ipv4 ? PK_IPIP : PK_IPV6) && header->ttl == PK_OUTER_TTL);
	if (header->family == 6) {
		CHECK((pk_be32(ip) >> 20 & 0xff) == traffic);
		return;
	}
	CHECK(header->transport == PK_IP + 20 && ip[1] == traffic);
	if (ipv4)
		CHECK(header->dont_fragment == !!(t->before[6] & 0x40));
	CHECK(!header->fragmented || !header->dont_fragment);
}

static void take_outer(struct trial *t, const __u8 *data, __u32 length)
{
	struct pk_header header;
	struct joined *outer = &t->outer;
	__u8 *inside;

	if (!t->tunnel) {
		take_inner(t, data, length);
		return;
	}
	header = outcome_header(data, length);
	check_outer(t, data + PK_IP, &header);
	if (!join(outer, data, &header, 0, 0))
		return;
	length = outer->length - outer->header;
	inside = must(malloc(PK_IP + length));
	memcpy(inside, data, 12);
	pk_put_ethertype(inside, t->before[0] >> 4);
	memcpy(inside + PK_IP, outer->data + outer->header, length);
	take_inner(t, inside, PK_IP + length);
	free(inside);
	outer->length = 0;
}

static void take_frame(struct trial *t, const struct sent *sent)
{
	__u32 size = sent->length - PK_IP, segment;

	outcome_header(sent->data, sent->length);
	if (sent->offload.gso_type || sent->offload.flags)
		CHECK(!memcmp(&sent->offload, &t->shot->was.offload, sizeof(sent->offload)));
	segment = t->view.payload + sent->offload.segment_size - PK_IP;
	if (sent->offload.gso_type && segment < size)
		size = segment;
	CHECK(size <= mtu_of(t, sent));
	t->to_client = sent->data[11] != 0;
	take_outer(t, sent->data, sent->length);
}

/* Of the other family; or a packet in another, of the balancer's own, which that one is not. */
static int is_wrapped(const struct trial *t, const struct sent *sent)
{
	struct pk_header header = outcome_header(sent->data, sent->length);
	__u8 family = t->before[0] >> 4, proto = family == 4 ? PK_IPIP : PK_IPV6;
	__u32 at = pk_ends_at(family), size = pk_size(family);
	struct pk_addr own = place_address(BALANCER, family);

	return header.family != family ||
	       (header.proto == proto && !memcmp(sent->data + PK_IP + at, own.byte, size) &&
		(t->view.key.proto != proto || memcmp(t->before + at, own.byte, size)));
}

__u32 outcome_check(struct trial *t, const struct sent *sent, __u32 count)
{
	const struct pk_offload *was = &t->shot->was.offload;
	__u32 total = t->view.end - t->view.payload, i = 0;

	CHECK(t->view.ttl > 1 && count);
	t->packets = t->payload = t->outer.length = t->inner.length = 0;
	t->tunnel = is_wrapped(t, sent);
	t->cut = was->gso_type && !sent->offload.gso_type;
	t->completed = (was->flags & PK_NEEDS_CHECKSUM) && !t->cut && !sent->offload.flags;
	do
		take_frame(t, &sent[i]);
	while (++i < count && (!t->packets || t->payload < total || t->outer.length || t->inner.length));
	CHECK(!t->outer.length && !t->inner.length);
	CHECK(t->payload == total && (t->cut || t->packets == 1));
	return i;
}
