/* SPDX-License-Identifier: BSD-3-Clause */
#include "reset.h"

#include <string.h>

#include "rewrite.h"

static void put_answer(__u8 *tcp, const __u8 *theirs, const struct pk_view *view)
{
	memcpy(tcp, theirs + 2, 2);
	memcpy(tcp + 2, theirs, 2);
	tcp[13] = PK_RST;
	if (view->tcp_flags & PK_ACK) {
		memcpy(tcp + 4, theirs + 8, 4);
		return;
	}
	tcp[13] |= PK_ACK;
	pk_put32(tcp + 8, pk_be32(theirs + 4) + view->end - view->payload +
			  !!(view->tcp_flags & PK_SYN) + !!(view->tcp_flags & PK_FIN));
}

static void put_instead(__u8 *tcp, const __u8 *theirs, const struct pk_view *view)
{
	int acknowledges = view->tcp_flags & PK_ACK;

	memcpy(tcp, theirs, acknowledges ? 12 : 8);
	tcp[13] = PK_RST | acknowledges;
}

/* An IP header but for the addresses. */
static void put_ip(__u8 *ip, __u8 family)
{
	if (family == 4) {
		ip[0] = 0x45;
		pk_put16(ip + 2, 20 + PK_RESET_TCP);
		pk_put16(ip + 6, PK_DONT_FRAGMENT);
		ip[8] = PK_OUTER_TTL;
		ip[9] = PK_TCP;
	} else {
		ip[0] = 0x60;
		pk_put16(ip + 4, PK_RESET_TCP);
		ip[6] = PK_TCP;
		ip[7] = PK_OUTER_TTL;
	}
}

/* All but the MACs, once the addresses, ports, numbers and flags are in their places. */
static void complete(__u8 *packet, __u8 family)
{
	__u8 rest[4] = { 0, PK_TCP, 0, PK_RESET_TCP };
	__u8 *tcp = packet + PK_IP + pk_header_size(family);
	const __u8 *ends = packet + PK_IP + pk_ends_at(family);

	pk_put_ethertype(packet, family);
	put_ip(packet + PK_IP, family);
	if (family == 4)
		pk_store16(packet + PK_IP + 10, pk_checksum(packet + PK_IP, 20, 0));
	tcp[12] = PK_RESET_TCP / 4 << 4;
	pk_store16(tcp + 16, pk_checksum(tcp, PK_RESET_TCP,
					 pk_sum(rest, 4, pk_sum(ends, 2 * pk_size(family), 0))));
}

void pk_reset(const struct pk_frame *frame, const struct pk_view *view, struct pk_sink *sink)
{
	__u8 family = view->key.family, packet[PK_LONGEST_RESET] = { 0 };
	__u32 header = pk_header_size(family), size = pk_size(family), ends = PK_IP + pk_ends_at(family);
	__u8 *tcp = packet + PK_IP + header;
	struct pk_out out = { packet, tcp, PK_IP + header, PK_RESET_TCP, frame->port, 1,
			      { 0, PK_GSO_NONE, 0, 0, 0, 0 } };

	memcpy(packet, frame->data + 6, 6);
	memcpy(packet + 6, frame->data, 6);
	memcpy(packet + ends, frame->data + ends + size, size);
	memcpy(packet + ends + size, frame->data + ends, size);
	put_answer(tcp, frame->data + view->transport, view);
	complete(packet, family);
	sink->send(sink, &out);
}

__u32 pk_reset_instead(const struct pk_frame *frame, const struct pk_view *view, __u8 *to)
{
	__u8 family = view->key.family;
	__u32 ends = PK_IP + pk_ends_at(family), length = PK_IP + pk_reset_size(family);

	memset(to, 0, length);
	memcpy(to, frame->data, 12);
	memcpy(to + ends, frame->data + ends, 2 * pk_size(family));
	put_instead(to + PK_IP + pk_header_size(family), frame->data + view->transport, view);
	complete(to, family);
	return length;
}
