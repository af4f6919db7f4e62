/* SPDX-License-Identifier: BSD-3-Clause */
#include "segment.h"

#include <arpa/inet.h>
#include <string.h>

#define MORE 0x2000u
#define OFFSET 0x1fffu
#define COPIED 0x80 /* bit of an option's type: it goes into every fragment, not only the first */
#define END 0
#define NOP 1
#define IPV6_FRAGMENT 44

int pk_can_segment(const struct pk_offload *offload, const struct pk_view *view)
{
	__u8 tcp = view->key.family == 4 ? PK_GSO_TCP4 : PK_GSO_TCP6;
	__u8 kind = view->key.proto == PK_TCP ? tcp : PK_GSO_UDP;

	return (offload->gso_type & ~PK_GSO_ECN) == kind && offload->segment_size &&
	       view->payload <= PK_LONGEST_HEAD && view->kind == PK_WHOLE && pk_has_ports(view);
}

static void finish_ip(__u8 *ip, __u32 header, __u32 length)
{
	pk_put16(ip + 2, length);
	pk_put16(ip + 10, 0);
	pk_store16(ip + 10, pk_checksum(ip, header, 0));
}

/* The lengths of a segment's IP header, and its number in the identification. */
static void finish_header(__u8 *head, const struct pk_view *view, __u32 length, __u16 number)
{
	__u8 *ip = head + PK_IP;

	if (view->key.family == 4) {
		pk_put16(ip + 4, (__u16)(pk_be16(ip + 4) + number));
		finish_ip(ip, view->transport - (__u32)PK_IP,
			  view->payload - (__u32)PK_IP + length);
	} else {
		pk_put16(ip + 4, view->payload - (__u32)PK_IP - 40 + length);
	}
}

/* Over the pseudo-header (RFC 9293, section 3.1; RFC 768; RFC 8200, section 8.1) and the transport
 * header and data. */
static __u16 transport_checksum(const __u8 *head, const struct pk_view *view, const __u8 *body,
				__u32 length)
{
	__u32 header = view->payload - (__u32)view->transport;
	__u8 family = view->key.family;
	__u64 sum = pk_sum(head + PK_IP + pk_ends_at(family), 2 * pk_size(family), 0);

	sum += htons(view->key.proto);
	sum += htons((__u16)(header + length));
	sum = pk_sum(head + view->transport, header, sum);
	return pk_checksum(body, length, sum);
}

static void finish_tcp(__u8 *head, const struct pk_view *view, __u32 offset, int last)
{
	__u8 *tcp = head + view->transport;
	__u32 sequence;

	memcpy(&sequence, tcp + 4, 4);
	sequence = htonl(ntohl(sequence) + offset);
	memcpy(tcp + 4, &sequence, 4);
	if (!last)
		tcp[13] &= (__u8) ~(PK_FIN | PK_PSH);
	if (offset)
		tcp[13] &= (__u8)~PK_CWR;
	pk_put16(tcp + 16, 0);
}

static void finish_udp(__u8 *head, const struct pk_view *view, __u32 length)
{
	__u8 *udp = head + view->transport;

	pk_put16(udp + 4, 8 + length);
	pk_put16(udp + 6, 0);
}

static void put_checksum(__u8 *head, const struct pk_view *view, const __u8 *body, __u32 length)
{
	__u16 check = transport_checksum(head, view, body, length);

	if (view->key.proto == PK_UDP)
		pk_store16(head + view->transport + 6, check ? check : 0xffff);
	else
		pk_store16(head + view->transport + 16, check);
}

void pk_segment(const struct pk_frame *frame, const struct pk_view *view, struct pk_pieces *to)
{
	__u32 size = frame->offload.segment_size, total = view->end - view->payload, offset = 0;
	__u8 head[PK_LONGEST_HEAD];
	__u16 number = 0;

	do {
		__u32 length = total - offset < size ? total - offset : size;
		const __u8 *body = frame->data + view->payload + offset;

		memcpy(head, frame->data, view->payload);
		finish_header(head, view, length, number++);
		if (view->key.proto == PK_TCP)
			finish_tcp(head, view, offset, offset + length >= total);
		else
			finish_udp(head, view, length);
		put_checksum(head, view, body, length);
		to->take(to, head, view->payload, body, length);
		offset += size;
	} while (offset < total);
}

/* Those options that every fragment carries, padded to whole words; stops at nonsense. */
static __u32 copy_options(const __u8 *options, __u32 length, __u8 *kept)
{
	__u32 at = 0, size = 0, long_is;

	while (at < length && options[at] != END) {
		if (options[at] == NOP)
			long_is = 1;
		else if (at + 1 >= length || options[at + 1] < 2)
			break;
		else
			long_is = options[at + 1];
		if (at + long_is > length)
			break;
		if (options[at] & COPIED) {
			memcpy(kept + size, options + at, long_is);
			size += long_is;
		}
		at += long_is;
	}
	while (size % 4)
		kept[size++] = 0;
	return size;
}

/* Bytes of load a fragment: whole words of 8, and one of them on the narrowest link. */
static __u32 load_for(__u32 mtu, __u32 headers)
{
	return mtu > headers + 8 ? (mtu - headers) & ~7u : 8;
}

static void cut_ipv4(const __u8 *data, __u32 length, __u32 mtu, struct pk_pieces *to)
{
	__u8 first[PK_LONGEST_HEAD], later[PK_LONGEST_HEAD], *head = first;
	__u32 first_length = PK_IP + (data[PK_IP] & 0x0fu) * 4, later_length, head_length, at, end;
	__u32 field = pk_be16(data + PK_IP + 6), room;

	memcpy(first, data, first_length);
	memcpy(later, data, PK_IP + 20);
	later_length = PK_IP + 20 + copy_options(data + PK_IP + 20, first_length - PK_IP - 20,
						 later + PK_IP + 20);
	later[PK_IP] = (__u8)(0x40 | (later_length - PK_IP) / 4);
	head_length = first_length;
	for (at = first_length; at < length; at = end) {
		room = load_for(mtu, head_length - PK_IP);
		end = at + room < length ? at + room : length;
		pk_put16(head + PK_IP + 6, (end == length ? field & MORE : MORE) |
					   ((field & OFFSET) + (at - first_length) / 8));
		finish_ip(head + PK_IP, head_length - PK_IP, head_length - PK_IP + end - at);
		to->take(to, head, head_length, data + at, end - at);
		head = later;
		head_length = later_length;
	}
}

/* A packet of our own, without extension headers. */
static void cut_ipv6(const __u8 *data, __u32 length, __u32 mtu, __u32 ident, struct pk_pieces *to)
{
	__u32 begin = PK_IP + 40, at, end, room = load_for(mtu, 48);
	__u8 head[PK_IP + 48], *ip = head + PK_IP, *fragment = head + begin;

	for (at = begin; at < length; at = end) {
		end = at + room < length ? at + room : length;
		memcpy(head, data, begin);
		fragment[0] = ip[6];
		fragment[1] = 0;
		pk_put16(fragment + 2, (at - begin) | (end < length));
		pk_put32(fragment + 4, ident);
		ip[6] = IPV6_FRAGMENT;
		pk_put16(ip + 4, 8 + end - at);
		to->take(to, head, sizeof(head), data + at, end - at);
	}
}

void pk_fragment(const __u8 *data, __u32 length, __u32 mtu, __u32 ident, struct pk_pieces *to)
{
	if (data[12] == 0x08)
		cut_ipv4(data, length, mtu, to);
	else
		cut_ipv6(data, length, mtu, ident, to);
}
