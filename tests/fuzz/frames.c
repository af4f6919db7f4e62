/* SPDX-License-Identifier: BSD-3-Clause */
#include "frames.h"

#include <arpa/inet.h>

#include "world.h"

#define MOST_PIECES 256u /* of one frame: more take long and show nothing new */
#define MOST_HEADERS 320u
#define PIECE 64u    /* bytes of a fragment */
#define DATAGRAM 232u /* bytes of what is sent in fragments: three of them and a shorter one */

/* The shape of a packet: which parts of it are out of the ordinary. */
enum shape { WITH_IP_OPTIONS = 1, WITH_TCP_OPTIONS = 2, PADDED = 4, POKED = 8, OFFLOADED = 16,
	     BIG = 32, IN_PIECES = 64, ODD_MACS = 128 };
enum more { DF = 1, MF = 2, TTL = 4 | 8, SUM = 16 | 32, PORT = 64 | 128 };
enum piece { NUMBER = 4 | 8, LAST = 16, ODD_START = 32, ODD_LENGTH = 64 };

/* Which bytes of the IP payload a frame has. */
struct part {
	__u32 start, length, ident;
	int fragmented, last;
};

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

/* The sum over the pseudo-header of a packet with this key. */
static __u16 pseudo_sum(const struct pk_key *key, __u32 length)
{
	__u64 sum = (__u64)htons(key->proto) + htons((__u16)length);

	return pk_fold(pk_sum(key->source.byte, 32, sum)); /* and the destination behind it */
}

/* An offload header that fits the frame: a partial checksum, perhaps of many segments. */
static void fitting_offload(struct shot *shot, const struct pk_key *key, __u32 transport,
			    __u32 header, __u32 length, struct input *in)
{
	struct pk_offload *offload = &shot->frame.offload;
	__u8 *data = shot->frame.data;
	int tcp = key->proto == PK_TCP;
	__u8 gso = key->family == 4 ? PK_GSO_TCP4 : PK_GSO_TCP6;
	__u32 size = take16(in);

	offload->flags = PK_NEEDS_CHECKSUM;
	offload->checksum_start = (__u16)transport;
	offload->checksum_offset = tcp ? 16 : 6;
	pk_store16(data + transport + offload->checksum_offset, pseudo_sum(key, length));
	if (!size)
		return;
	offload->gso_type = (__u8)(tcp ? gso | (size & 1 ? PK_GSO_ECN : 0) : PK_GSO_UDP);
	offload->segment_size = (__u16)size;
	offload->header_length = (__u16)(transport + header);
}

static __u32 put_ipv4(__u8 *ip, const struct pk_key *key, __u32 shape, __u32 more,
		      const struct part *part, struct input *in)
{
	__u32 header = 20 + (shape & WITH_IP_OPTIONS ? take(in) % 11 * 4 : 0), i;

	ip[0] = (__u8)(0x40 | header / 4);
	ip[1] = (__u8)more;
	pk_put16(ip + 4, part->fragmented ? part->ident : part->length);
	if (part->fragmented)
		pk_put16(ip + 6, (more & DF ? 0x4000 : 0) | (part->last ? 0 : 0x2000) |
				 part->start / 8);
	else
		pk_put16(ip + 6, more & DF ? 0x4000 : 0);
	ip[9] = key->proto;
	for (i = 20; i < header; i++)
		ip[i] = (__u8)take(in);
	return header;
}

/* Extension headers with nothing in them, and seldom a way still to go. */
static __u32 put_extensions(__u8 *ip, __u32 count, struct input *in, __u8 **next)
{
	static const __u8 kinds[4] = { 60, 0, 43, 60 };
	__u32 at = 40, how;

	for (; count--; at += 8 + (how >> 2) % 4 * 8) {
		how = take(in);
		**next = kinds[how % 4];
		*next = ip + at;
		ip[at + 1] = (__u8)((how >> 2) % 4);
		ip[at + 3] = how >> 6 == 3;
	}
	return at;
}

static __u32 put_ipv6(__u8 *ip, const struct pk_key *key, __u32 shape, __u32 more,
		      const struct part *part, struct input *in)
{
	__u8 *next = ip + 6;
	__u32 at;

	pk_put32(ip, 6u << 28 | more << 20 | more);
	at = put_extensions(ip, shape & WITH_IP_OPTIONS ? take(in) % 8 : 0, in, &next);
	if (part->fragmented) {
		*next = 44;
		next = ip + at;
		pk_put16(ip + at + 2, (part->start & 0xfff8) | !part->last);
		pk_put32(ip + at + 4, part->ident);
		at += 8;
	}
	*next = key->proto;
	return at;
}

/* All but the length and the checksum. Returns how long it is. */
static __u32 put_ip(__u8 *ip, const struct pk_key *key, __u32 shape, __u32 more,
		    const struct part *part, struct input *in)
{
	static const __u8 ttls[4] = { 64, 1, 2, 255 };
	__u32 size = pk_size(key->family);
	__u8 *ends = ip + pk_ends_at(key->family);
	__u32 header = key->family == 4 ? put_ipv4(ip, key, shape, more, part, in) :
					  put_ipv6(ip, key, shape, more, part, in);

	ip[key->family == 4 ? 8 : 7] = ttls[(more & TTL) / 4];
	pk_write_addr(ends, &key->source, size);
	pk_write_addr(ends + size, &key->destination, size);
	return header;
}

static void put_length(__u8 *ip, __u8 family, __u32 header, __u32 length)
{
	if (family == 4) {
		pk_put16(ip + 2, header + length);
		pk_put16(ip + 10, 0);
		pk_store16(ip + 10, pk_checksum(ip, header, 0));
	} else {
		pk_put16(ip + 4, header - 40 + length);
	}
}

/* A header and data of `length` bytes, the checksum right or not. */
static void put_transport(__u8 *at, __u32 header, __u32 length, const struct pk_key *key,
			  __u8 flags, __u32 more)
{
	__u32 place = pk_check_at(key->proto), i;

	for (i = header; i < length; i++)
		at[i] = (__u8)(i * 31 + (i >> 8));
	pk_store16(at, key->sport);
	pk_store16(at + 2, key->dport);
	if (key->proto == PK_TCP) {
		at[7] = flags;
		at[12] = (__u8)(header / 4 << 4);
		at[13] = flags;
	} else {
		pk_put16(at + 4, length);
	}
	if (!place || (more & SUM) == 32)
		return;
	pk_store16(at + place, pk_checksum(at, length, pseudo_sum(key, length)));
	if ((more & SUM) == 48)
		at[place + 1] ^= 1;
}

/* Bytes changed anywhere; the sum over the IP header is put right again, or not. */
static void poke(struct shot *shot, struct input *in)
{
	__u8 *data = shot->frame.data;
	__u32 how = take(in), length = shot->frame.length, header = (data[PK_IP] & 15u) * 4, i;

	for (i = 0; i < 1 + how % 4; i++)
		data[(how & 64 ? take16(in) : take(in)) % length] = (__u8)take(in);
	if (how & 128 || data[12] != 8 || header < 20 || PK_IP + header > length)
		return;
	pk_put16(data + PK_IP + 10, 0);
	pk_store16(data + PK_IP + 10, pk_checksum(data + PK_IP, header, 0));
}

static void put_ethernet(struct shot *shot, __u8 family, __u32 port)
{
	__u8 *data = shot->frame.data;

	memcpy(data, "\2\0\0\0\2\1\2\0\0\0\4\1", 12);
	data[5] = data[11] = (__u8)port;
	pk_put16(data + 12, family == 4 ? 0x0800 : 0x86dd);
	shot->frame.port = port;
}

/* One piece of a datagram of fixed size, most often one that fits the others. */
static struct part take_part(struct input *in)
{
	__u32 how = take(in);
	struct part part = { (how & NUMBER) / 4 * PIECE, PIECE, how & 3, 1,
			     (how & NUMBER) == NUMBER || how & LAST };

	if (part.last)
		part.length = DATAGRAM - 3 * PIECE;
	if (how & ODD_START)
		part.start = take16(in) & 0xfff8;
	if (how & ODD_LENGTH)
		part.length = take(in);
	return part;
}

void shot_make(struct shot *shot, const struct pk_key *key, struct input *in)
{
	__u32 shape = take(in), more = take(in), header = 8, length, transport, padding, i;
	__u8 flags = (__u8)take(in), ip[MOST_HEADERS] = { 0 }, *load;
	struct part part = { 0 };

	if (key->proto == PK_TCP)
		header = 20 + (shape & WITH_TCP_OPTIONS ? take(in) % 11 * 4 : 0);
	length = header + (shape & BIG ? take16(in) : take(in) % 64);
	padding = shape & PADDED ? take(in) : 0;
	if (shape & IN_PIECES) {
		part = take_part(in);
		length = DATAGRAM;
	}
	transport = PK_IP + put_ip(ip, key, shape, more, &part, in);
	if (transport - PK_IP + length > 65535)
		length = 65535 - (transport - PK_IP);
	load = must(calloc(1, length + 512));
	put_transport(load, header, length, key, flags, more);
	if (!part.fragmented)
		part.length = length;
	allocate(shot, transport + part.length + padding);
	put_length(ip, key->family, transport - PK_IP, part.length);
	put_ethernet(shot, key->family, 1 + (more & PORT) / 64);
	memcpy(shot->frame.data + PK_IP, ip, transport - PK_IP);
	for (i = 0; i < part.length; i++)
		shot->frame.data[transport + i] = load[(part.start + i) % (length + 512)];
	free(load);
	if (shape & ODD_MACS)
		shot->frame.data[take(in) % 12] = (__u8)take(in);
	if (shape & OFFLOADED && !(flags & 64) && !part.fragmented && pk_is_ported(key->proto))
		fitting_offload(shot, key, transport, header, length, in);
	else if (shape & OFFLOADED)
		any_offload(&shot->frame.offload, in);
	if (shape & POKED)
		poke(shot, in);
	finish(shot);
}

void shot_error(struct shot *shot, const __u8 *quoted, __u32 length, struct input *in)
{
	static const __u8 types[2][8] = { { 3, 3, 11, 12, 3, 5, 3, 8 }, { 1, 2, 3, 4, 2, 1, 2, 128 } };
	__u8 family = quoted[0] >> 4 == 4 ? 4 : 6, ip[MOST_HEADERS] = { 0 }, *icmp;
	__u32 how = take(in), shape = take(in), more = take(in), size = pk_size(family), transport;
	struct pk_key key = { .source = world_address(how >> 4, family), .family = family,
			      .proto = family == 4 ? PK_ICMP : PK_ICMPV6 };
	struct part part = { .length = 0 };

	pk_read_addr(&key.destination, quoted + pk_ends_at(family), size);
	if (how & 8) { /* its receiver says so */
		pk_read_addr(&key.source, quoted + pk_ends_at(family) + size, size);
		length = pk_header_size(family) + 8 < length ? pk_header_size(family) + 8 : length;
	} else if (more & MF) {
		length = take(in) % (length + 1);
	}
	part.length = 8 + length;
	transport = PK_IP + put_ip(ip, &key, shape, more, &part, in);
	allocate(shot, transport + part.length);
	put_length(ip, family, transport - PK_IP, part.length);
	put_ethernet(shot, family, 1 + (more & PORT) / 64);
	memcpy(shot->frame.data + PK_IP, ip, transport - PK_IP);
	icmp = shot->frame.data + transport;
	icmp[0] = types[family != 4][how % 8];
	icmp[1] = (__u8)(family == 4 ? (icmp[0] == 3 ? 4 - (more >> 4 & 3) : 0) : 0);
	pk_put16(icmp + 6, take16(in));
	memcpy(icmp + 8, quoted, length);
	pk_store16(icmp + 2, pk_checksum(icmp, part.length,
					 pk_icmp_sum(family, ip + pk_ends_at(family), part.length)));
	if (shape & ODD_MACS)
		shot->frame.data[take(in) % 12] = (__u8)take(in);
	if (shape & OFFLOADED)
		any_offload(&shot->frame.offload, in);
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
