/* SPDX-License-Identifier: BSD-3-Clause */
#include "judge.h"

#include "outcome.h"

#define MOST_INSIDE 512u /* bytes of headers */

enum verdict { SEND, PASS, DROP, ANSWER, HOLD };

static enum verdict verdict_of(enum pk_reason reason)
{
	return pk_is_sent(reason)     ? SEND :
	       pk_is_passed(reason)   ? PASS :
	       reason == PK_HELD      ? HOLD :
	       reason < PK_NO_BACKEND ? DROP :
					ANSWER;
}

/* Type and code of an error of ours in one family, and the least MTU it may name. */
static void check_kind(const __u8 *icmp, __u8 family, enum pk_reason reason)
{
	int ipv4 = family == 4;
	__u32 rest = pk_be32(icmp + 4);

	if (reason == PK_TOO_BIG) {
		CHECK(icmp[0] == (ipv4 ? 3 : 2) && icmp[1] == (ipv4 ? 4 : 0) && rest);
		return;
	}
	CHECK(!rest);
	if (reason == PK_TTL_EXPIRED)
		CHECK(icmp[0] == (ipv4 ? 11 : 3) && !icmp[1]);
	else
		CHECK(ipv4 ? icmp[0] == 3 && (icmp[1] == 1 || icmp[1] == 3) :
			     icmp[0] == 1 && (icmp[1] == 3 || icmp[1] == 4));
}

/* An error that quotes these bytes, or as many of them as go into it. Where it begins. */
static const __u8 *check_error(const struct sent *sent, __u8 family, const __u8 *quoted,
			       __u32 length)
{
	__u32 most = (family == 4 ? 576u : 1280u) - pk_header_size(family) - 8;
	struct pk_header header = outcome_header(sent->data, sent->length);
	const __u8 *icmp = sent->data + header.transport;
	__u32 size = header.end - header.transport;
	const __u8 *ends = sent->data + PK_IP + pk_ends_at(family);

	CHECK(header.family == family && header.proto == (family == 4 ? PK_ICMP : PK_ICMPV6));
	CHECK(!header.fragmented && header.ttl == PK_OUTER_TTL && size >= 8);
	CHECK(pk_fold(pk_sum(icmp, size, pk_icmp_sum(family, ends, size))) == 0xffff);
	CHECK(size - 8 == (length < most ? length : most));
	CHECK(!memcmp(icmp + 8, quoted, size - 8));
	CHECK(!sent->offload.flags && !sent->offload.gso_type);
	return icmp;
}

static void judge_answer(const struct trial *t, const struct sent *sent)
{
	const __u8 *was = t->shot->before;
	__u8 family = t->view.key.family;
	__u32 size = pk_size(family), at = PK_IP + pk_ends_at(family);
	const __u8 *icmp = check_error(sent, family, t->before, t->view.end - PK_IP);

	CHECK(t->view.kind <= PK_FIRST && pk_can_be_answered(&t->view.key.source, family));
	CHECK(!((was[0] | was[6]) & 1) && sent->port == t->shot->was.port);
	CHECK(!memcmp(sent->data, was + 6, 6) && !memcmp(sent->data + 6, was, 6));
	CHECK(!memcmp(sent->data + at + size, was + at, size));
	check_kind(icmp, family, t->reason);
	if (t->reason == PK_TOO_BIG)
		CHECK(pk_be32(icmp + 4) < pk_packet_size(&t->shot->was, &t->view));
	else
		CHECK(t->reason != PK_TTL_EXPIRED || t->view.ttl <= 1);
}

/* A reset as short as it can be, for whom the packet came from. */
static void judge_reset(const struct trial *t, const struct sent *sent)
{
	const __u8 *was = t->shot->before, *theirs = was + t->view.transport, *mine;
	__u8 family = t->view.key.family, flags = t->view.tcp_flags;
	__u32 size = pk_size(family), at = PK_IP + pk_ends_at(family);
	struct pk_header header = outcome_header(sent->data, sent->length);
	__u8 rest[4] = { 0, PK_TCP, 0, 20 };

	mine = sent->data + header.transport;
	CHECK(t->view.kind <= PK_FIRST && t->view.key.proto == PK_TCP && !(flags & PK_RST));
	CHECK(pk_can_be_answered(&t->view.key.source, family) && !((was[0] | was[6]) & 1));
	CHECK(sent->port == t->shot->was.port && !sent->offload.flags && !sent->offload.gso_type);
	CHECK(!memcmp(sent->data, was + 6, 6) && !memcmp(sent->data + 6, was, 6));
	CHECK(header.family == family && header.proto == PK_TCP && !header.fragmented);
	CHECK(header.transport == PK_IP + pk_header_size(family) && header.end - header.transport == 20);
	CHECK(!memcmp(sent->data + at, was + at + size, size));
	CHECK(!memcmp(sent->data + at + size, was + at, size));
	CHECK(pk_load16(mine) == pk_load16(theirs + 2) && pk_load16(mine + 2) == pk_load16(theirs));
	CHECK(pk_fold(pk_sum(mine, 20, pk_sum(rest, 4, pk_sum(sent->data + at, 2 * size, 0)))) ==
	      0xffff);
	CHECK(mine[12] == 0x50 && mine[13] == (flags & PK_ACK ? PK_RST : PK_RST | PK_ACK));
	if (flags & PK_ACK)
		CHECK(!memcmp(mine + 4, theirs + 8, 4) && !pk_be32(mine + 8));
	else
		CHECK(!pk_be32(mine + 4) &&
		      pk_be32(mine + 8) - pk_be32(theirs + 4) ==
			      t->view.end - t->view.payload + !!(flags & PK_SYN) + (flags & PK_FIN));
}

static int begin(struct trial *t, const struct shot *shot, enum pk_reason reason)
{
	t->shot = shot;
	t->before = shot->before + PK_IP;
	t->reason = reason;
	return pk_parse(shot->before, shot->before + shot->was.length, &t->view) == PK_FORWARDED;
}

/* The RST that its sender might have sent instead of a TCP packet; how many bytes. */
static __u32 make_instead(const struct trial *t, __u8 *made)
{
	const __u8 *was = t->shot->before;
	__u8 family = t->view.key.family;
	__u32 head = pk_header_size(family), ends = pk_ends_at(family), at = PK_IP + head;
	__u8 *ip = made + PK_IP, *tcp = made + at, rest[4] = { 0, PK_TCP, 0, 20 };

	memcpy(made, was, PK_IP + 1);
	memset(ip, 0, head + 20);
	ip[0] = family == 4 ? 0x45 : 0x60;
	ip[family == 4 ? 3 : 5] = family == 4 ? 40 : 20;
	ip[6] = family == 4 ? 0x40 : PK_TCP;
	ip[family == 4 ? 8 : 7] = 64;
	if (family == 4)
		ip[9] = PK_TCP;
	memcpy(ip + ends, was + PK_IP + ends, 2 * pk_size(family));
	if (family == 4)
		pk_store16(ip + 10, pk_checksum(ip, 20, 0));
	memcpy(tcp, was + t->view.transport, 12);
	tcp[12] = 0x50;
	tcp[13] = PK_RST | (t->view.tcp_flags & PK_ACK);
	if (!(tcp[13] & PK_ACK))
		memset(tcp + 8, 0, 4);
	pk_store16(tcp + 16, pk_checksum(tcp, 20,
					 pk_sum(rest, 4, pk_sum(ip + ends, 2 * pk_size(family), 0))));
	return at + 20;
}

/* What goes on to the other end, if anything does: as if it had come in. How many frames. */
static __u32 judge_instead(struct trial *t, const struct sent *sent, __u32 count)
{
	__u8 made[PK_IP + 60];
	struct shot shot = { .before = made, .was = { .data = made, .port = t->shot->was.port } };

	if (!count)
		return 0;
	shot.was.length = make_instead(t, made);
	CHECK(begin(t, &shot, PK_RESET));
	return outcome_check(t, sent, count);
}

/* What an error about our tunnel becomes: one about the packet inside. */
static void judge_relayed(const struct trial *t, const struct sent *sent)
{
	const struct pk_quote *quote = &t->view.quote;
	__u8 family = t->view.key.family;
	const __u8 *icmp = check_error(sent, family, t->shot->before + quote->ip,
				       quote->end - quote->ip);
	__u32 mtu = pk_be32(icmp + 4);

	CHECK(!pk_refuses_tunnel(t->shot->before + t->view.transport, quote->outer_family));
	CHECK(sent->port < 4 && t->world->port_mtu[sent->port]);
	CHECK(!memcmp(sent->data + PK_IP + pk_ends_at(family) + pk_size(family),
		      t->view.key.source.byte, pk_size(family)) ||
	      !memcmp(sent->data + PK_IP + pk_ends_at(family) + pk_size(family),
		      t->view.key.destination.byte, pk_size(family)));
	check_kind(icmp, family, mtu ? PK_TOO_BIG : PK_NO_BACKEND);
	CHECK(!mtu || mtu >= (family == 4 ? 68u : PK_MIN_IPV6_MTU));
}

struct trial *judge_open(const struct world *world)
{
	struct trial *t = must(malloc(sizeof(*t)));

	t->world = world;
	return t;
}

/* An error that quotes IP in IP, which was taken to be about the packet around. */
static void look_around(struct trial *t)
{
	struct pk_quote *quote = &t->view.quote;

	pk_address_key(t->shot->before, &t->view.key);
	t->view.key.proto = t->before[0] >> 4 == 4 ? PK_IPIP : PK_IPV6; /* no ports, no checksum */
	quote->transport = quote->ip;
	quote->ip = (__u16)(t->view.transport + 8);
	quote->outer_family = 0;
}

__u32 judge(struct trial *t, const struct shot *shot, enum pk_reason reason, int given_back,
	    const struct sent *sent, __u32 count)
{
	const struct pk_frame *frame = &shot->frame, *was = &shot->was;
	enum verdict verdict = verdict_of(reason);
	int known = begin(t, shot, reason), first = known && t->view.kind == PK_FIRST;
	int tunnel = known && t->view.kind == PK_ERROR && t->view.quote.outer_family;
	int relayed = tunnel && reason == PK_RELATED &&
		      !memcmp(frame->data, shot->before, was->length);
	__u32 own = 0;

	CHECK(!given_back || verdict == PASS);
	CHECK(given_back || (reason != PK_NO_FLOW && reason != PK_NOT_OPEN));
	CHECK(known || verdict == PASS || verdict == DROP);
	CHECK(verdict != HOLD || t->view.kind == PK_LATER);
	CHECK(reason != PK_RELATED || t->view.kind == PK_ERROR);
	CHECK(reason != PK_TUNNEL_REFUSED || tunnel);
	if (verdict != SEND || relayed) {
		CHECK(frame->length == was->length && frame->port == was->port);
		CHECK(!memcmp(frame->data, shot->before, was->length));
		CHECK(!memcmp(&frame->offload, &was->offload, sizeof(was->offload)));
	}
	if (tunnel && !relayed)
		look_around(t);
	if (relayed) {
		judge_relayed(t, sent);
		own = 1;
	} else if (verdict == SEND) {
		own = outcome_check(t, sent, count);
	} else if (reason == PK_RESET) {
		CHECK(count);
		judge_reset(t, sent);
		own = 1 + judge_instead(t, sent + 1, count - 1);
	} else if (verdict == ANSWER && count) {
		judge_answer(t, sent);
		own = 1;
	}
	CHECK(own == count || (first && verdict == SEND));
	return own;
}

__u32 judge_held(struct trial *t, const struct shot *shot, const struct sent *sent, __u32 count)
{
	CHECK(begin(t, shot, PK_FORWARDED) && t->view.kind == PK_LATER);
	if (sent->data[11])
		t->reason = PK_RETURNED; /* it may be: the way that it took tells */
	return outcome_check(t, sent, count);
}

/* The first bytes of the packet inside a tunnel's, which may come in pieces too short for a header.
 * Its first frame is `sent`; returns how many bytes. */
static __u32 open_tunnel(const struct pk_header *outer, const struct sent *sent, __u32 count,
			 __u8 *to, __u32 room)
{
	struct pk_header header = *outer;
	__u32 length = 0, load, i = 0;

	for (;;) {
		load = header.end - header.transport;
		load = load < room - length ? load : room - length;
		memcpy(to + length, sent[i].data + header.transport, load);
		length += load;
		if (!header.fragmented || !header.fragment.more || ++i == count)
			return length;
		header = outcome_header(sent[i].data, sent[i].length);
	}
}

static int is_same(const struct pk_header *header, const struct pk_view *view)
{
	return header->family == view->key.family && header->fragmented &&
	       header->fragment.ident == view->fragment.ident &&
	       header->fragment.start == view->fragment.start && header->proto == view->key.proto;
}

int judge_is_of(const struct shot *held, const struct sent *sent, __u32 count)
{
	struct pk_header header = outcome_header(sent->data, sent->length);
	__u8 inside[MOST_INSIDE] = { 0 };
	const struct pk_bytes in = { inside, inside + sizeof(inside) };
	struct pk_view view;
	enum pk_reason reason;
	__u32 length;

	CHECK(pk_parse(held->before, held->before + held->was.length, &view) == PK_FORWARDED);
	if (is_same(&header, &view))
		return 1;
	if (header.proto != PK_IPIP && header.proto != PK_IPV6)
		return 0;
	length = open_tunnel(&header, sent, count, inside, sizeof(inside));
	reason = header.proto == PK_IPIP ? pk_read_ipv4(&in, 0, length, 1, &header) :
					   pk_read_ipv6(&in, 0, length, 1, &header);
	return reason == PK_FORWARDED && is_same(&header, &view);
}
