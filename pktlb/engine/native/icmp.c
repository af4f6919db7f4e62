/* SPDX-License-Identifier: BSD-3-Clause */
#include "icmp.h"

#include <string.h>

#define MIN_IPV4_MTU 68u
#define USED (1ull << 32)
#define MTU_UNKNOWN 576u /* of a router that does not say (RFC 1191, section 5) */

static const __u8 kinds[][2][2] = { /* type and code, in IPv4 and in IPv6 */
	[PK_HOST_UNREACHABLE] = { { 3, 1 }, { 1, 3 } },
	[PK_PORT_UNREACHABLE] = { { 3, 3 }, { 1, 4 } },
	[PK_NO_ROOM] = { { 3, 4 }, { 2, 0 } },
	[PK_TIME_EXCEEDED] = { { 11, 0 }, { 3, 0 } },
};

static const enum pk_reason reasons[] = {
	[PK_HOST_UNREACHABLE] = PK_NO_BACKEND,
	[PK_PORT_UNREACHABLE] = PK_NO_BACKEND,
	[PK_NO_ROOM] = PK_TOO_BIG,
	[PK_TIME_EXCEEDED] = PK_TTL_EXPIRED,
};

/* As much as fits 576 bytes (RFC 1812, section 4.3.2.3), and the least MTU (RFC 4443, 2.4). */
static __u32 longest_quote(__u8 family)
{
	return family == 4 ? 576 - 20 - 8 : PK_MIN_IPV6_MTU - 40 - 8;
}

static int allows(struct pk_limiter *limiter, const struct pk_addr *receiver, __u8 family,
		  __u32 now)
{
	__u64 hash = pk_siphash(&limiter->secret, receiver->byte, pk_size(family));
	__u64 *due = &limiter->due[hash % PK_BUCKETS];
	__s32 ahead = (__s32)((__u32)*due - now);

	if (!*due || ahead < 0 || ahead > PK_BURST * PK_INTERVAL_MS)
		ahead = 0; /* nothing was sent yet, or that is long over */
	if (ahead > (PK_BURST - 1) * PK_INTERVAL_MS)
		return 0;
	*due = USED | (now + (__u32)ahead + PK_INTERVAL_MS);
	return 1;
}

/* An error of one family about `length` bytes of a packet; Ethernet in front is filled in but for
 * the MACs. */
static void send_error(__u8 *head, const __u8 *macs, __u8 family, enum pk_problem problem,
		       const struct pk_addr *source, const struct pk_addr *receiver,
		       const __u8 *quoted, __u32 length, __u32 mtu, __u32 port,
		       struct pk_sink *sink)
{
	__u32 header = pk_header_size(family), size = pk_size(family);
	__u8 *ip = head + PK_IP, *icmp = ip + header, *ends = ip + pk_ends_at(family);
	struct pk_out out = { head, quoted, PK_IP + header + 8, length, port, 0,
			      { 0, PK_GSO_NONE, 0, 0, 0, 0 } };

	if (length > longest_quote(family))
		out.body_length = length = longest_quote(family);
	memset(head, 0, PK_IP + header + 8);
	memcpy(head, macs, 12);
	pk_put_ethertype(head, family);
	pk_write_addr(ends, source, size);
	pk_write_addr(ends + size, receiver, size);
	icmp[0] = kinds[problem][family != 4][0];
	icmp[1] = kinds[problem][family != 4][1];
	pk_put32(icmp + 4, mtu);
	pk_store16(icmp + 2, pk_checksum(quoted, length,
					 pk_sum(icmp, 8, pk_icmp_sum(family, ends, 8 + length))));
	if (family == 4) {
		ip[0] = 0x45;
		pk_put16(ip + 2, 28 + length);
		ip[8] = PK_OUTER_TTL;
		ip[9] = PK_ICMP;
		pk_store16(ip + 10, pk_checksum(ip, 20, 0));
	} else {
		ip[0] = 0x60;
		pk_put16(ip + 4, 8 + length);
		ip[6] = PK_ICMPV6;
		ip[7] = PK_OUTER_TTL;
	}
	sink->send(sink, &out);
}

int pk_may_answer(const struct pk_frame *frame, const struct pk_view *view)
{
	return view->kind <= PK_FIRST && !((frame->data[0] | frame->data[6]) & 1) &&
	       pk_can_be_answered(&view->key.source, view->key.family);
}

enum pk_reason pk_answer(struct pk_limiter *limiter, const struct pk_frame *frame,
			 const struct pk_view *view, enum pk_problem problem,
			 const struct pk_addr *source, __u32 mtu, __u32 now, struct pk_sink *sink)
{
	__u8 family = view->key.family, macs[12], head[PK_IP + 40 + 8];
	const struct pk_addr *sender = &view->key.source;

	if (!source || !pk_may_answer(frame, view))
		return reasons[problem];
	if (!allows(limiter, sender, family, now))
		return PK_UNANSWERED;
	memcpy(macs, frame->data + 6, 6);
	memcpy(macs + 6, frame->data, 6);
	send_error(head, macs, family, problem, source, sender, frame->data + PK_IP,
		   view->end - PK_IP, mtu, frame->port, sink);
	return reasons[problem];
}

/* The quoted packet comes from where the error goes to. */
static void translate_quoted(__u8 *data, const struct pk_view *view,
			     const struct pk_translation *to)
{
	const struct pk_quote *quote = &view->quote;
	__u8 *ip = data + quote->ip, *transport = data + quote->transport, *at;
	__u8 family = view->key.family, proto = view->key.proto;
	__u32 size = pk_size(family), place = pk_check_at(proto);
	__u8 *ends = ip + pk_ends_at(family);
	__u16 by = to->by;

	pk_write_addr(ends, &to->destination, size);
	pk_write_addr(ends + size, &to->source, size);
	if (family == 4)
		pk_store16(ip + 10, pk_update(pk_load16(ip + 10), to->by));
	if (pk_is_ported(proto)) {
		pk_store16(transport, to->dport);
		pk_store16(transport + 2, to->sport);
		by = to->by_transport;
	}
	at = transport + place;
	if (place && quote->transport + place + 2 <= quote->end)
		pk_store16(at, pk_corrected(proto, pk_load16(at), by));
}

void pk_translate_error(__u8 *data, const struct pk_view *view, const struct pk_translation *to,
			int keeps_source)
{
	__u8 family = view->key.family, *ip = data + PK_IP, *ends = ip + pk_ends_at(family);
	__u8 *icmp = data + view->transport;
	__u32 size = pk_size(family), length = view->end - view->transport;

	if (!keeps_source)
		pk_write_addr(ends, &to->source, size); /* hides routers behind the VIP */
	pk_write_addr(ends + size, &to->destination, size);
	translate_quoted(data, view, to);
	pk_put16(icmp + 2, 0);
	pk_store16(icmp + 2, pk_checksum(icmp, length, pk_icmp_sum(family, ends, length)));
	if (family == 4) {
		pk_put16(ip + 10, 0);
		pk_store16(ip + 10, pk_checksum(ip, view->transport - (__u32)PK_IP, 0));
	}
}

int pk_refuses_tunnel(const __u8 *icmp, __u8 outer)
{
	if (outer == 4)
		return icmp[0] == 3 && (icmp[1] == 2 || icmp[1] == 3);
	return (icmp[0] == 1 && icmp[1] == 4) || (icmp[0] == 4 && icmp[1] == 1);
}

/* What an error about a tunnel's packet leaves for the one inside; 0: it is not about its size. */
static __u32 room_inside(const __u8 *icmp, __u8 outer, __u8 inner)
{
	__u32 mtu, least = inner == 4 ? MIN_IPV4_MTU : PK_MIN_IPV6_MTU;

	if (memcmp(icmp, kinds[PK_NO_ROOM][outer != 4], 2))
		return 0;
	mtu = outer == 4 ? pk_be16(icmp + 6) : pk_be32(icmp + 4);
	if (!mtu)
		mtu = MTU_UNKNOWN;
	if (mtu > 0xffff)
		mtu = 0xffff;
	mtu = mtu > pk_header_size(outer) ? mtu - pk_header_size(outer) : 0;
	return mtu < least ? least : mtu;
}

enum pk_reason pk_relay(struct pk_limiter *limiter, const struct pk_frame *frame,
			const struct pk_view *view, const __u8 *macs, __u32 port,
			const struct pk_addr *vip, const struct pk_addr *to, __u32 now,
			struct pk_sink *sink)
{
	const struct pk_quote *quote = &view->quote;
	__u8 family = view->key.family, head[PK_IP + 40 + 8];
	__u32 mtu = room_inside(frame->data + view->transport, quote->outer_family, family);

	if (!allows(limiter, to, family, now))
		return PK_UNANSWERED;
	send_error(head, macs, family, mtu ? PK_NO_ROOM : PK_HOST_UNREACHABLE, vip, to,
		   frame->data + quote->ip, quote->end - quote->ip, mtu, port, sink);
	return PK_RELATED;
}
