/* SPDX-License-Identifier: BSD-3-Clause */
/* The parser: the input is one frame. What it makes of it is compared with a slow reading. */
#include "input.h"
#include "packet.h"

/* What an IP header with all that belongs to it says, read once more. */
struct slow {
	__u32 transport, end, fragment; /* fragment: offset of the fragment header, or 0 */
	__u8 proto, more;
	__u32 start, length, ident; /* of a fragment */
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

/* RFC 1071 word by word. */
static __u32 slow_sum(const __u8 *data, __u32 length)
{
	__u32 sum = 0, i;

	for (i = 0; i < length; i++)
		sum += i % 2 ? data[i] : (__u32)data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static struct slow read_ipv4(const __u8 *ip)
{
	__u32 word = pk_be16(ip + 6);

	CHECK(slow_sum(ip, (ip[0] & 15u) * 4) == 0xffff);
	return (struct slow){ .transport = PK_IP + (ip[0] & 15u) * 4,
			      .end = PK_IP + (__u32)pk_be16(ip + 2),
			      .fragment = word & 0x3fff ? PK_IP : 0,
			      .proto = ip[9],
			      .more = word >> 13 & 1,
			      .start = (word & 0x1fff) * 8,
			      .length = (__u32)pk_be16(ip + 2) - (ip[0] & 15u) * 4,
			      .ident = pk_be16(ip + 4) };
}

static struct slow read_ipv6(const __u8 *data)
{
	struct slow slow = { .transport = PK_IP + 40,
			     .end = PK_IP + 40 + (__u32)pk_be16(data + PK_IP + 4),
			     .proto = data[PK_IP + 6] };
	__u32 count;

	for (count = 0; !slow.start; count++) {
		const __u8 *at = data + slow.transport;

		if (slow.proto == 44) {
			slow.fragment = slow.transport;
			slow.start = pk_be16(at + 2) / 8 * 8u;
			slow.more = at[3] & 1;
			slow.ident = pk_be32(at + 4);
			slow.transport += 8;
			slow.length = slow.end - slow.transport;
		} else if (slow.proto == 0 || slow.proto == 43 || slow.proto == 60) {
			CHECK(slow.proto != 43 || !at[3]);
			slow.transport += 8 + at[1] * 8u;
		} else {
			break;
		}
		CHECK(count < PK_MAX_EXTENSIONS && slow.transport <= slow.end);
		slow.proto = at[0];
	}
	if (!slow.start && !slow.more)
		slow.fragment = 0;
	return slow;
}

static void check_transport(const __u8 *data, const struct pk_view *view)
{
	const __u8 *at = data + view->transport;

	CHECK(!memcmp(&view->key.sport, at, 2) && !memcmp(&view->key.dport, at + 2, 2));
	if (view->key.proto == PK_TCP) {
		CHECK(view->payload == view->transport + (at[12] >> 4) * 4u);
		CHECK(view->payload >= view->transport + 20u && view->payload <= view->end);
		CHECK(view->tcp_flags == at[13]);
	} else {
		CHECK(view->payload == view->transport + 8u && view->payload <= view->end);
		CHECK(view->kind == PK_FIRST ||
		      view->transport + pk_be16(at + 4) <= (int)view->end);
		CHECK(view->tcp_flags == 0);
	}
}

static void check_fragment(const struct pk_view *view, const struct slow *slow)
{
	const struct pk_fragment *fragment = &view->fragment;

	CHECK(view->kind == (slow->start ? PK_LATER : PK_FIRST));
	CHECK(fragment->start == slow->start && fragment->more == slow->more);
	CHECK(fragment->ident == slow->ident);
	CHECK(fragment->stop == slow->start + slow->length);
	CHECK(fragment->start < fragment->stop && fragment->stop <= 0xffff);
	CHECK(!fragment->more || (fragment->stop - fragment->start) % 8 == 0);
	CHECK(fragment->proto == (view->key.family == 4 ? view->key.proto : 0));
}

/* The quoted packet lies inside, and the key is that of its way back, or of the one in it. */
static void check_error(const __u8 *data, const struct pk_view *view)
{
	const struct pk_quote *quote = &view->quote;
	const __u8 *ip = data + quote->ip;
	__u8 family = view->key.family;
	__u32 size = pk_size(family), at = pk_ends_at(family);
	const struct pk_addr *first = &view->key.source, *second = &view->key.destination;

	CHECK(view->transport + 8 <= quote->ip && quote->ip < quote->transport);
	CHECK(quote->transport <= quote->end && quote->end <= view->end);
	CHECK(ip[0] >> 4 == family && quote->ip + pk_header_size(family) <= quote->transport);
	if (!quote->outer_family) {
		first = &view->key.destination;
		second = &view->key.source;
	}
	CHECK(!memcmp(first->byte, ip + at, size) && !memcmp(second->byte, ip + at + size, size));
	CHECK(!pk_is_ported(view->key.proto) || quote->transport + 8 <= (int)quote->end);
	CHECK(!view->check && !quote->outer_family == (quote->ip == view->transport + 8));
}

static void check_view(const __u8 *data, __u32 size, const struct pk_view *view)
{
	static const __u8 zeros[12];
	const __u8 *ip = data + PK_IP;
	__u8 family = ip[0] >> 4;
	__u32 length = pk_size(family), at = pk_ends_at(family), place;
	struct slow slow = family == 4 ? read_ipv4(ip) : read_ipv6(data);

	CHECK(pk_be16(data + 12) == (family == 4 ? 0x0800 : 0x86dd));
	CHECK(view->transport == slow.transport && view->end == slow.end && view->end <= size);
	CHECK(view->transport <= view->payload && view->payload <= view->end);
	CHECK(view->ttl == ip[family == 4 ? 8 : 7]);
	CHECK(view->dont_fragment == (family == 4 ? ip[6] >> 6 & 1 : 1) && !view->key.zero);
	if (view->kind == PK_ERROR) {
		CHECK(slow.proto == (family == 4 ? PK_ICMP : PK_ICMPV6) && !slow.fragment);
		check_error(data, view);
		return;
	}
	CHECK(!memcmp(view->key.source.byte, ip + at, length));
	CHECK(!memcmp(view->key.destination.byte, ip + at + length, length));
	CHECK(family == 6 || (!memcmp(view->key.source.byte + 4, zeros, 12) &&
			      !memcmp(view->key.destination.byte + 4, zeros, 12)));
	CHECK(view->key.proto == slow.proto && view->key.family == family);
	if (slow.fragment)
		check_fragment(view, &slow);
	else
		CHECK(view->kind == PK_WHOLE);
	if (pk_has_ports(view))
		check_transport(data, view);
	else
		CHECK(!view->key.sport && !view->key.dport && view->payload == view->transport);
	place = view->kind == PK_LATER ? 0 : pk_check_at(slow.proto);
	if (place && view->transport + place + 2 <= view->end)
		CHECK(view->check == view->transport + place);
	else
		CHECK(!view->check);
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	__u8 *frame = must(malloc(size ? size : 1)); /* of its own: a byte too far is seen */
	struct pk_view view;
	enum pk_reason reason;
	__u16 sum;

	memcpy(frame, data, size);
	reason = pk_parse(frame + !size, frame + (size ? size : 1), &view);
	if (reason == PK_FORWARDED)
		check_view(frame, (__u32)size, &view);
	else
		CHECK(reason == PK_NOT_OURS || reason == PK_BAD_FRAGMENT ||
		      reason == PK_TRUNCATED || reason == PK_BAD_HEADER ||
		      reason == PK_BAD_CHECKSUM);
	sum = pk_fold(pk_sum(frame, (__u32)size, 0));
	CHECK(size > 0xffff || pk_be16((const __u8 *)&sum) == slow_sum(frame, (__u32)size));
	CHECK(!memcmp(frame, data, size));
	free(frame);
	return 0;
}
