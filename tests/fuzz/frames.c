/* SPDX-License-Identifier: BSD-3-Clause */
#include "frames.h"

#include <arpa/inet.h>

#define MOST_PIECES 256u /* of one frame: more take long and show nothing new */

/* The shape of a packet: which parts of it are out of the ordinary. */
enum shape { WITH_IP_OPTIONS = 1, WITH_TCP_OPTIONS = 2, PADDED = 4, POKED = 8, OFFLOADED = 16,
	     BIG = 32, ODD_FRAGMENT = 64, ODD_MACS = 128 };
enum more { DF = 1, MF = 2, TTL = 4 | 8, SUM = 16 | 32, PORT = 64 | 128 };

static void put_address(__u8 *at, __u32 address)
{
	address = htonl(address);
	memcpy(at, &address, 4);
}

static __u32 get_address(const __u8 *at)
{
	__u32 address;

	memcpy(&address, at, 4);
	return ntohl(address);
}

struct ends ends_of(const __u8 *ip, const __u8 *transport)
{
	return (struct ends){ get_address(ip + 12), get_address(ip + 16), pk_be16(transport),
			      pk_be16(transport + 2), ip[9] };
}

struct ends turned(const struct ends *ends)
{
	return (struct ends){ ends->destination, ends->source, ends->dport, ends->sport,
			      ends->proto };
}

static __u16 pseudo_sum(const __u8 *ip, __u8 proto, __u32 length)
{
	return pk_fold(pk_sum(ip + 12, 8, (__u64)htons(proto) + htons((__u16)length)));
}

static void allocate(struct shot *shot, __u32 length)
{
	memset(shot, 0, sizeof(*shot));
	shot->memory = must(calloc(1, PK_HEADROOM + length));
	shot->frame.data = shot->memory + PK_HEADROOM;
	shot->frame.length = length;
}

/* Nothing is changed any more: note what it was. */
static void finish(struct shot *shot)
{
	struct pk_offload *offload = &shot->frame.offload;
	__u32 least = shot->frame.length / MOST_PIECES;

	if (offload->gso_type && offload->segment_size && offload->segment_size < least)
		offload->segment_size = (__u16)least;
	shot->before = must(malloc(shot->frame.length + 1));
	memcpy(shot->before, shot->frame.data, shot->frame.length);
	shot->was = shot->frame;
	shot->was.data = shot->before;
}

/* Anything, but seldom far behind the frame, where it means nothing. */
static void any_offload(struct pk_offload *offload, struct input *in)
{
	__u32 how = take(in);

	offload->flags = (__u8)(how & 7);
	offload->gso_type = (__u8)(how & 8 ? take(in) : 0);
	offload->header_length = (__u16)take(in);
	offload->segment_size = (__u16)(how & 16 ? take16(in) : take(in));
	offload->checksum_start = (__u16)(how & 32 ? take16(in) : take(in));
	offload->checksum_offset = (__u16)(how & 64 ? take16(in) : take(in));
}

/* An offload header that fits the frame: a partial checksum, perhaps of many segments. */
static void fitting_offload(struct shot *shot, __u32 transport, __u32 payload, struct input *in)
{
	struct pk_offload *offload = &shot->frame.offload;
	__u8 *data = shot->frame.data;
	int tcp = data[PK_IP + 9] == PK_TCP;
	__u32 size = take16(in);
	__u32 length = PK_IP + (__u32)pk_be16(data + PK_IP + 2) - transport;

	offload->flags = PK_NEEDS_CHECKSUM;
	offload->checksum_start = (__u16)transport;
	offload->checksum_offset = tcp ? 16 : 6;
	pk_store16(data + transport + offload->checksum_offset,
		   pseudo_sum(data + PK_IP, data[PK_IP + 9], length));
	if (!size)
		return;
	offload->gso_type = (__u8)(tcp ? PK_GSO_TCP4 | (size & 1 ? PK_GSO_ECN : 0) : PK_GSO_UDP);
	offload->segment_size = (__u16)size;
	offload->header_length = (__u16)payload;
}

static void put_ip(__u8 *ip, __u32 header, __u32 total, const struct ends *ends, __u32 more)
{
	static const __u8 ttls[4] = { 64, 1, 2, 255 };

	ip[0] = (__u8)(0x40 | header / 4);
	ip[1] = (__u8)more;
	pk_put16(ip + 2, total);
	ip[5] = (__u8)total;
	ip[6] = (__u8)((more & DF ? 0x40 : 0) | ((more & (MF | SUM)) == (MF | SUM) ? 0x20 : 0));
	ip[8] = ttls[(more & TTL) / 4];
	ip[9] = ends->proto;
	put_address(ip + 12, ends->source);
	put_address(ip + 16, ends->destination);
}

static void put_transport(__u8 *at, __u32 header, __u32 length, const struct ends *ends,
			  __u8 flags)
{
	pk_put16(at, ends->sport);
	pk_put16(at + 2, ends->dport);
	if (ends->proto == PK_TCP) {
		at[7] = flags;
		at[12] = (__u8)(header / 4 << 4);
		at[13] = flags;
	} else {
		pk_put16(at + 4, length);
	}
}

static void put_checksum(__u8 *ip, __u8 *transport, __u32 length, __u32 more)
{
	__u8 *at = transport + (ip[9] == PK_TCP ? 16 : 6);
	__u16 check = pk_checksum(transport, length, pseudo_sum(ip, ip[9], length));

	pk_store16(at, check);
	if ((more & SUM) == 32)
		pk_store16(at, 0);
	else if ((more & SUM) == 48)
		at[1] ^= 1;
}

/* Bytes changed anywhere; the sum over the IP header is put right again, or not. */
static void poke(struct shot *shot, struct input *in)
{
	__u8 *data = shot->frame.data;
	__u32 how = take(in), length = shot->frame.length, header = (data[PK_IP] & 15u) * 4, i;

	for (i = 0; i < 1 + how % 4; i++)
		data[(how & 64 ? take16(in) : take(in)) % length] = (__u8)take(in);
	if (how & 128 || header < 20 || PK_IP + header > length)
		return;
	pk_put16(data + PK_IP + 10, 0);
	pk_store16(data + PK_IP + 10, pk_checksum(data + PK_IP, header, 0));
}

void shot_make(struct shot *shot, const struct ends *ends, struct input *in)
{
	__u32 shape = take(in), more = take(in), i;
	__u8 flags = (__u8)take(in);
	__u32 ip_header = 20 + (shape & WITH_IP_OPTIONS ? take(in) % 11 * 4 : 0);
	__u32 tcp_header = 20 + (shape & WITH_TCP_OPTIONS ? take(in) % 11 * 4 : 0);
	__u32 header = ends->proto == PK_TCP ? tcp_header : 8;
	__u32 payload = shape & BIG ? take16(in) : take(in) % 64;
	__u32 padding = shape & PADDED ? take(in) : 0, transport = PK_IP + ip_header;
	__u8 *data, *ip;

	if (ip_header + header + payload > 65535)
		payload = 65535 - ip_header - header;
	allocate(shot, transport + header + payload + padding);
	shot->frame.port = 1 + (more & PORT) / 64;
	data = shot->frame.data;
	ip = data + PK_IP;
	memcpy(data, "\2\0\0\0\3\1\2\0\0\0\4\1\10", 14);
	data[11] = (__u8)(1 + (more & PORT) / 64);
	if (shape & ODD_MACS)
		data[take(in) % 12] = (__u8)take(in);
	put_ip(ip, ip_header, ip_header + header + payload, ends, more);
	if (shape & ODD_FRAGMENT)
		pk_put16(ip + 6, take16(in));
	for (i = 20; i < ip_header; i++)
		ip[i] = (__u8)take(in);
	put_transport(data + transport, header, header + payload, ends, flags);
	for (i = 0; i < payload; i++)
		data[transport + header + i] = (__u8)(i * 31 + (i >> 8));
	put_checksum(ip, data + transport, header + payload, more);
	if (shape & OFFLOADED && !(flags & 64))
		fitting_offload(shot, transport, transport + header, in);
	else if (shape & OFFLOADED)
		any_offload(&shot->frame.offload, in);
	pk_store16(ip + 10, pk_checksum(ip, ip_header, 0));
	if (shape & POKED)
		poke(shot, in);
	finish(shot);
}

void shot_raw(struct shot *shot, struct input *in)
{
	__u32 length = take(in), left = (__u32)(in->end - in->at), i;

	length = length == 255 ? left : length < left ? length : left;
	allocate(shot, length);
	shot->frame.port = 1;
	for (i = 0; i < length; i++)
		shot->frame.data[i] = (__u8)take(in);
	if (length && shot->frame.data[length - 1] & 1)
		any_offload(&shot->frame.offload, in);
	finish(shot);
}

void shot_free(struct shot *shot)
{
	free(shot->memory);
	free(shot->before);
}
