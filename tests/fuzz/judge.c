/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames that went out are put together again: out of fragments, out of the tunnel, and out of
 * fragments once more. What then comes out must be the packet that went in, one hop further.
 */
#include "judge.h"

#include <arpa/inet.h>

enum verdict { SEND, PASS, DROP, ANSWER };

/* A packet as its fragments arrive. */
struct joined {
	__u8 data[65536 + 64];
	__u32 length, header; /* 0: nothing has arrived */
};

struct trial {
	const struct world *world;
	const struct shot *shot;
	const __u8 *before; /* the IP packet that went in */
	struct pk_view view;
	int cut, completed, tunnel;
	__u32 packets, payload; /* that came out so far */
	struct joined outer, inner;
};

static enum verdict verdict_of(enum pk_reason reason)
{
	return reason <= PK_RETURNED	  ? SEND :
	       reason <= PK_FRAGMENT	  ? PASS :
	       reason <= PK_UNSEGMENTABLE ? DROP :
					    ANSWER;
}

static __u32 header_of(const __u8 *ip)
{
	return (ip[0] & 15u) * 4;
}

static void check_ip(const __u8 *ip, __u32 length)
{
	CHECK(length >= 20 && ip[0] >> 4 == 4 && header_of(ip) >= 20);
	CHECK(header_of(ip) <= length && pk_be16(ip + 2) == length);
	CHECK(pk_fold(pk_sum(ip, header_of(ip), 0)) == 0xffff);
}

/* Whether the packet is whole now. */
static int join(struct joined *joined, const __u8 *ip, __u32 length)
{
	__u32 field = pk_be16(ip + 6), header = header_of(ip);

	if (!joined->length) {
		CHECK(!(field & 0x1fff) && length <= 65535);
		memcpy(joined->data, ip, length);
		joined->length = length;
		joined->header = header;
	} else {
		CHECK((field & 0x1fff) * 8 == joined->length - joined->header);
		CHECK(!memcmp(joined->data + 4, ip + 4, 2) && !memcmp(joined->data + 8, ip + 8, 2));
		CHECK(!memcmp(joined->data + 12, ip + 12, 8) && joined->data[1] == ip[1]);
		CHECK(joined->length + length - header <= 65535);
		memcpy(joined->data + joined->length, ip + header, length - header);
		joined->length += length - header;
	}
	if (field & 0x2000) {
		CHECK(length > header && (length - header) % 8 == 0);
		return 0;
	}
	return 1;
}

static __u64 pseudo(const __u8 *ip, __u32 length)
{
	return pk_sum(ip + 12, 8, (__u64)htons(ip[9]) + htons((__u16)length));
}

static __u16 check_of(const __u8 *ip)
{
	return pk_load16(ip + header_of(ip) + (ip[9] == PK_TCP ? 16 : 6));
}

static int is_valid(const __u8 *ip, __u32 length)
{
	__u32 header = header_of(ip);
	__u16 sum = pk_fold(pk_sum(ip + header, length - header, pseudo(ip, length - header)));

	return (ip[9] == PK_UDP && !check_of(ip)) || sum == 0xffff || sum == 0;
}

static int is_partial(const __u8 *ip, __u32 length)
{
	return check_of(ip) % 0xffff == pk_fold(pseudo(ip, length - header_of(ip))) % 0xffff;
}

/* Who could trust the transport checksum before can trust it now. */
static void check_sums(const struct trial *t, const __u8 *ip, __u32 length)
{
	const struct pk_offload *was = &t->shot->was.offload;
	__u32 size = t->view.end - PK_IP;
	int partial = was->flags & PK_NEEDS_CHECKSUM;
	int here = partial && was->checksum_start == t->view.transport;

	if (t->cut)
		CHECK(is_valid(ip, length) && (ip[9] == PK_TCP || check_of(ip)));
	else if (here && was->checksum_offset == (ip[9] == PK_TCP ? 16 : 6)) {
		if (is_partial(t->before, size))
			CHECK(t->completed ? is_valid(ip, length) : is_partial(ip, length));
	} else if (!here && !t->completed && is_valid(t->before, size)) {
		CHECK(is_valid(ip, length));
		CHECK(ip[9] == PK_TCP || !check_of(ip) == !check_of(t->before));
	}
}

static void check_segment(const struct trial *t, const __u8 *transport, const __u8 *was,
			  __u32 length, int last)
{
	__u32 size = t->shot->was.offload.segment_size, a, b;
	__u8 gone = (__u8)((last ? 0 : PK_FIN | PK_PSH) | (t->payload ? PK_CWR : 0));

	CHECK(last ? length <= size : length == size);
	if (t->view.key.proto == PK_UDP) {
		CHECK(pk_be16(transport + 4) == 8 + length);
		return;
	}
	memcpy(&a, transport + 4, 4);
	memcpy(&b, was + 4, 4);
	CHECK(ntohl(a) == ntohl(b) + t->payload);
	CHECK(transport[13] == (was[13] & (__u8)~gone));
	CHECK(!memcmp(transport + 8, was + 8, 5) && !memcmp(transport + 14, was + 14, 2));
}

/* A packet in full, as the backend or client will see it. */
static void check_packet(struct trial *t, const __u8 *ip, __u32 length)
{
	const struct pk_offload *was = &t->shot->was.offload;
	__u32 header = t->view.transport - PK_IP, begin = t->view.payload - (__u32)PK_IP;
	__u32 total = t->view.end - t->view.payload, place, ident, size;
	__u8 *wanted = must(malloc(t->view.end - PK_IP));

	memcpy(wanted, t->before, t->view.end - PK_IP);
	CHECK(header_of(ip) == header && length >= begin);
	size = length - begin;
	CHECK(t->payload + size <= total);
	place = (__u32)was->checksum_start + was->checksum_offset - PK_IP;
	if (t->completed && was->checksum_start >= t->view.transport && place + 2 <= length)
		memcpy(wanted + place, ip + place, 2); /* a checksum may stand anywhere */
	ident = pk_be16(wanted + 4) + (t->cut ? t->packets : 0);
	CHECK(pk_be16(ip + 4) == (__u16)ident && ip[1] == wanted[1]);
	CHECK(ip[8] == wanted[8] - 1 && ip[9] == wanted[9]);
	CHECK(!((ip[6] ^ wanted[6]) & 0x40) && !memcmp(ip + 20, wanted + 20, header - 20));
	if (t->tunnel)
		CHECK(!memcmp(ip + 12, wanted + 12, 8) && !memcmp(ip + header, wanted + header, 4));
	if (t->cut)
		check_segment(t, ip + header, wanted + header, size, t->payload + size == total);
	else if (ip[9] == PK_UDP)
		CHECK(!memcmp(ip + header + 4, wanted + header + 4, 2));
	else
		CHECK(!memcmp(ip + header + 4, wanted + header + 4, 12));
	if (ip[9] == PK_TCP)
		CHECK(!memcmp(ip + header + 18, wanted + header + 18, begin - header - 18));
	CHECK(!memcmp(ip + begin, wanted + begin + t->payload, size));
	check_sums(t, ip, length);
	t->payload += size;
	t->packets++;
	free(wanted);
}

/* What came out of the tunnel, or went past it. */
static void take_inner(struct trial *t, const __u8 *ip, __u32 length)
{
	check_ip(ip, length);
	if (!join(&t->inner, ip, length))
		return;
	check_packet(t, t->inner.data, t->inner.length);
	t->inner.length = 0;
}

static void take_outer(struct trial *t, const __u8 *ip, __u32 length)
{
	struct joined *outer = &t->outer;

	if (!t->tunnel) {
		take_inner(t, ip, length);
		return;
	}
	CHECK(header_of(ip) == 20 && ip[8] == PK_OUTER_TTL && ip[1] == t->before[1]);
	CHECK(!((ip[6] ^ t->before[6]) & 0x40));
	if (!join(outer, ip, length))
		return;
	take_inner(t, outer->data + 20, outer->length - 20);
	outer->length = 0;
}

/* The MTU on the way that a frame took, which must be one of the tables. */
static __u32 mtu_of(const struct trial *t, const struct sent *sent, enum pk_reason reason)
{
	static const __u8 way_mac[5] = { 2, 0, 0, 0, 1 }, own_mac[5] = { 2, 0, 0, 0, 2 };
	const struct way *way = &t->world->ways[sent->data[5] % BACKENDS];

	CHECK(!memcmp(sent->data + 6, own_mac, 5));
	if (reason == PK_RETURNED) {
		CHECK(sent->port < 4 && t->world->port_mtu[sent->port]);
		CHECK(sent->data[11] == sent->port);
		return t->world->port_mtu[sent->port];
	}
	CHECK(sent->data[5] < BACKENDS && !memcmp(sent->data, way_mac, 5));
	CHECK(way->there && way->port == sent->port);
	return way->mtu;
}

static void take_frame(struct trial *t, const struct sent *sent, enum pk_reason reason)
{
	const __u8 *ip = sent->data + PK_IP;
	__u32 size = sent->length - PK_IP, segment;

	CHECK(sent->length >= PK_IP + 20 && sent->data[12] == 8 && !sent->data[13]);
	check_ip(ip, size);
	if (sent->offload.gso_type || sent->offload.flags)
		CHECK(!memcmp(&sent->offload, &t->shot->was.offload, sizeof(sent->offload)));
	segment = t->view.payload + sent->offload.segment_size - PK_IP;
	if (sent->offload.gso_type && segment < size)
		size = segment;
	CHECK(size <= mtu_of(t, sent, reason));
	take_outer(t, ip, sent->length - PK_IP);
}

static void judge_sent(struct trial *t, enum pk_reason reason, const struct sent *sent, __u32 count)
{
	const struct pk_offload *was = &t->shot->was.offload;
	__u32 i;

	CHECK(t->view.ttl > 1 && !t->view.fragment);
	CHECK(count);
	CHECK(sent->length >= PK_IP + 20);
	t->tunnel = sent->data[PK_IP + 9] == PK_IPIP;
	t->cut = was->gso_type && !sent->offload.gso_type;
	t->completed = (was->flags & PK_NEEDS_CHECKSUM) && !t->cut && !sent->offload.flags;
	for (i = 0; i < count; i++)
		take_frame(t, &sent[i], reason);
	CHECK(!t->outer.length && !t->inner.length);
	CHECK(t->payload == t->view.end - t->view.payload && (t->cut || t->packets == 1));
}

static void judge_answer(const struct trial *t, enum pk_reason reason, const struct sent *sent,
			 __u32 count)
{
	const __u8 *was = t->shot->before, *ip, *icmp;
	__u8 sender = was[PK_IP + 12];
	int may = sender && sender != 127 && sender < 224 && !((was[0] | was[6]) & 1);
	__u32 quoted;

	CHECK(count == (__u32)may);
	if (!may)
		return;
	ip = sent->data + PK_IP;
	icmp = ip + 20;
	CHECK(sent->length >= PK_IP + 28 && sent->port == t->shot->was.port);
	check_ip(ip, sent->length - PK_IP);
	CHECK(!memcmp(sent->data, was + 6, 6) && !memcmp(sent->data + 6, was, 6));
	CHECK(ip[9] == PK_ICMP && !memcmp(ip + 16, was + PK_IP + 12, 4));
	CHECK(!memcmp(ip + 12, was + PK_IP + 16, 4) || reason == PK_TOO_BIG);
	CHECK(icmp[0] == 3 && icmp[1] == (reason == PK_TOO_BIG ? 4 : 3));
	CHECK(pk_fold(pk_sum(icmp, sent->length - PK_IP - 20, 0)) == 0xffff);
	quoted = sent->length - PK_IP - 28;
	CHECK(quoted == (t->view.end - PK_IP < 548 ? t->view.end - PK_IP : 548));
	CHECK(!memcmp(icmp + 8, was + PK_IP, quoted));
	CHECK(!sent->offload.flags && !sent->offload.gso_type);
}

struct trial *judge_open(const struct world *world)
{
	struct trial *t = must(malloc(sizeof(*t)));

	t->world = world;
	return t;
}

void judge(struct trial *t, const struct shot *shot, enum pk_reason reason, int given_back,
	   const struct sent *sent, __u32 count)
{
	const struct pk_frame *frame = &shot->frame, *was = &shot->was;
	enum verdict verdict = verdict_of(reason);
	int known;

	t->shot = shot;
	t->before = shot->before + PK_IP;
	t->cut = t->completed = t->tunnel = 0;
	t->packets = t->payload = t->outer.length = t->inner.length = 0;
	known = pk_parse(shot->before, was->length, &t->view) == PK_FORWARDED;
	CHECK(!given_back || verdict == PASS);
	CHECK(given_back || (reason != PK_NO_FLOW && reason != PK_NOT_OPEN));
	CHECK(known || verdict == PASS || verdict == DROP);
	if (verdict != SEND) {
		CHECK(frame->length == was->length && frame->port == was->port);
		CHECK(!memcmp(frame->data, shot->before, was->length));
		CHECK(!memcmp(&frame->offload, &was->offload, sizeof(was->offload)));
	}
	if (verdict == SEND)
		judge_sent(t, reason, sent, count);
	else if (verdict == ANSWER)
		judge_answer(t, reason, sent, count);
	else
		CHECK(!count);
}
