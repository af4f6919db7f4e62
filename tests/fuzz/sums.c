/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A packet that came out beside the one that went in. Whatever may differ is taken over from what
 * came out, and the rest must be the same to the byte; of what may differ, sums must be kept: who
 * could trust a checksum before can trust it now, and who could not still cannot.
 */
#include "outcome.h"

#include <arpa/inet.h>

/* Where things are that a translation changes; offsets from the IP header on, 0: not there. */
struct fields {
	__u8 family, proto;
	__u32 ip, ports, check;
};

static __u32 reduced(__u64 sum)
{
	return pk_fold(sum) % 0xffff;
}

/* Over addresses, ports and checksum: a change of the ones makes up for that of the other. */
static __u32 sum_of(const __u8 *packet, const struct fields *f, int partial)
{
	__u32 size = pk_size(f->family);
	__u64 sum = pk_sum(packet + f->ip + pk_ends_at(f->family), 2 * size, 0);

	if (partial) /* the sum over the addresses itself */
		return reduced((__u64)pk_load16(packet + f->check) + (__u16)~pk_fold(sum));
	if (f->ports)
		sum = pk_sum(packet + f->ports, 4, sum);
	return reduced(f->check ? sum + pk_load16(packet + f->check) : sum);
}

static int is_unsummed(const __u8 *packet, const struct fields *f)
{
	return f->proto == PK_UDP && !pk_load16(packet + f->check);
}

static void check_kept(const __u8 *now, const __u8 *was, const struct fields *f, int partial)
{
	if (!f->check)
		return;
	if (!partial)
		CHECK(is_unsummed(now, f) == is_unsummed(was, f));
	if (partial || !is_unsummed(was, f))
		CHECK(sum_of(now, f, partial) == sum_of(was, f, partial));
}

static void take_over(__u8 *wanted, const __u8 *now, __u32 at, __u32 length)
{
	memcpy(wanted + at, now + at, length);
}

/* What a translation may change. */
static void allow(__u8 *wanted, const __u8 *now, const struct fields *f)
{
	take_over(wanted, now, f->ip + pk_ends_at(f->family), 2 * pk_size(f->family));
	if (f->family == 4)
		take_over(wanted, now, f->ip + 10, 2);
	if (f->ports)
		take_over(wanted, now, f->ports, 4);
	if (f->check)
		take_over(wanted, now, f->check, 2);
}

static int is_valid(const struct trial *t, const __u8 *ip, __u32 length)
{
	__u32 header = t->view.transport - (__u32)PK_IP;
	__u8 family = t->view.key.family;
	__u64 sum = pk_sum(ip + pk_ends_at(family), 2 * pk_size(family), 0);

	sum += (__u64)htons(t->view.key.proto) + htons((__u16)(length - header));
	return !reduced(pk_sum(ip + header, length - header, sum));
}

static int is_partial(const struct trial *t, const __u8 *ip, __u32 length)
{
	__u8 family = t->view.key.family;
	__u64 sum = pk_sum(ip + pk_ends_at(family), 2 * pk_size(family), 0);

	sum += (__u64)htons(t->view.key.proto) +
	       htons((__u16)(length - (t->view.transport - (__u32)PK_IP)));
	return pk_load16(ip + t->view.check - PK_IP) % 0xffff == reduced(sum);
}

static void check_sums(const struct trial *t, const __u8 *ip, __u32 length, const struct fields *f)
{
	const struct pk_offload *was = &t->shot->was.offload;
	int partial = was->flags & PK_NEEDS_CHECKSUM;
	int here = partial && was->checksum_start == t->view.transport;

	if (t->cut) {
		CHECK(is_valid(t, ip, length));
		CHECK(f->proto != PK_UDP || pk_load16(ip + f->check));
	} else if (!t->completed) {
		check_kept(ip, t->before, f, here);
	} else if (here && f->check + PK_IP == (__u32)t->view.transport + was->checksum_offset &&
		   is_partial(t, t->before, t->view.end - PK_IP)) {
		CHECK(is_valid(t, ip, length));
	}
}

static void check_segment(const struct trial *t, const __u8 *transport, const __u8 *was,
			  __u32 length, int last)
{
	__u32 size = t->shot->was.offload.segment_size;
	__u8 gone = (__u8)((last ? 0 : PK_FIN | PK_PSH) | (t->payload ? PK_CWR : 0));

	CHECK(last ? length <= size : length == size);
	if (t->view.key.proto == PK_UDP) {
		CHECK(pk_be16(transport + 4) == 8 + length);
		return;
	}
	CHECK(pk_be32(transport + 4) == pk_be32(was + 4) + t->payload);
	CHECK(transport[13] == (was[13] & (__u8)~gone));
}

/* The router's part: one hop less, and the lengths of a segment or of a packet put together. */
static void check_header(struct trial *t, const __u8 *ip, __u8 *wanted, __u32 length)
{
	__u32 ident = pk_be16(wanted + 4) + (t->cut ? t->packets : 0);

	if (wanted[0] >> 4 != 4) {
		CHECK(ip[7] == wanted[7] - 1 && pk_be16(ip + 4) == length - 40);
		take_over(wanted, ip, 4, 2);
		take_over(wanted, ip, 7, 1);
		return;
	}
	CHECK(ip[8] == wanted[8] - 1 && pk_be16(ip + 4) == (__u16)ident);
	CHECK(!((ip[6] ^ wanted[6]) & 0x40));
	CHECK(((pk_be16(ip + 6) ^ pk_be16(wanted + 6)) & 0x1fff) == 0);
	take_over(wanted, ip, 2, 7); /* the last of its fragments has the flag that more follow */
	take_over(wanted, ip, 10, 2);
}

/* An ICMP error: what it quotes comes from where it goes to. */
static void allow_error(const struct trial *t, const __u8 *ip, __u8 *wanted)
{
	const struct pk_quote *quote = &t->view.quote;
	__u8 family = t->view.key.family, proto = t->view.key.proto;
	__u32 check = pk_check_at(proto), size = pk_size(family);
	struct fields outside = { .family = family };
	struct fields inside = { family, proto, quote->ip - (__u32)PK_IP,
				 pk_is_ported(proto) ? quote->transport - (__u32)PK_IP : 0, 0 };
	__u32 icmp = t->view.transport - (__u32)PK_IP, end = t->view.end - PK_IP;
	const __u8 *ends = ip + pk_ends_at(family), *quoted = ip + inside.ip + pk_ends_at(family);

	if (!t->completed)
		CHECK(!reduced(pk_sum(ip + icmp, end - icmp,
				      pk_icmp_sum(family, ends, end - icmp))));
	if (t->tunnel || t->reason != PK_RELATED ||
	    (!memcmp(ip + icmp, t->before + icmp, end - icmp) &&
	     !memcmp(ends, t->before + pk_ends_at(family), 2 * size)))
		return; /* not translated */
	CHECK(!memcmp(quoted, ends + size, size));
	CHECK(!t->to_client || !memcmp(quoted + size, ends, size));
	if (check && quote->transport + check + 2 <= quote->end)
		inside.check = quote->transport + check - PK_IP;
	check_kept(ip, t->before, &inside, 0);
	if (family == 4)
		CHECK(reduced(pk_sum(ip + inside.ip, 20, 0)) ==
		      reduced(pk_sum(t->before + inside.ip, 20, 0)));
	allow(wanted, ip, &outside);
	allow(wanted, ip, &inside);
	take_over(wanted, ip, icmp + 2, 2);
}

void outcome_packet(struct trial *t, const __u8 *ip, __u32 length)
{
	const struct pk_offload *was = &t->shot->was.offload;
	const struct pk_view *view = &t->view;
	__u32 begin = view->payload - (__u32)PK_IP, whole = view->end - PK_IP, size, place;
	struct fields f = { view->key.family, view->key.proto, 0,
			    pk_has_ports(view) ? view->transport - (__u32)PK_IP : 0,
			    view->check ? view->check - (__u32)PK_IP : 0 };
	__u8 *wanted = must(malloc(whole));

	memcpy(wanted, t->before, whole);
	CHECK(length >= begin && (t->cut || length == whole));
	size = length - begin;
	CHECK(t->payload + size <= view->end - view->payload);
	check_header(t, ip, wanted, length);
	place = (__u32)was->checksum_start + was->checksum_offset - PK_IP;
	if (t->completed && was->checksum_start >= view->transport && place + 2 <= length)
		take_over(wanted, ip, place, 2); /* a checksum may stand anywhere */
	if (view->kind == PK_ERROR) {
		allow_error(t, ip, wanted);
	} else {
		check_sums(t, ip, length, &f);
		if (t->cut) {
			__u32 at = view->transport - (__u32)PK_IP;

			check_segment(t, ip + at, wanted + at, size,
				      t->payload + size == view->end - view->payload);
			take_over(wanted, ip, at + 4, f.proto == PK_UDP ? 2 : 4);
			if (f.proto == PK_TCP)
				take_over(wanted, ip, at + 13, 1);
			take_over(wanted, ip, f.check, 2);
		}
		if (!t->tunnel)
			allow(wanted, ip, &f);
	}
	CHECK(!memcmp(ip, wanted, begin));
	CHECK(!memcmp(ip + begin, wanted + begin + t->payload, size));
	t->payload += size;
	t->packets++;
	free(wanted);
}
