/* SPDX-License-Identifier: BSD-3-Clause */
/* The parser: the input is one frame. What it makes of it is compared with a slow reading. */
#include "input.h"
#include "packet.h"

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

static void check_transport(const __u8 *data, const struct pk_view *view)
{
	const __u8 *at = data + view->transport;

	if (data[PK_IP + 9] == PK_TCP) {
		CHECK(view->payload == view->transport + (at[12] >> 4) * 4u);
		CHECK(view->payload >= view->transport + 20u);
		CHECK(view->tcp_flags == at[13]);
	} else {
		CHECK(data[PK_IP + 9] == PK_UDP);
		CHECK(view->payload == view->transport + 8u);
		CHECK(view->fragment || view->transport + pk_be16(at + 4) <= (int)view->end);
		CHECK(view->tcp_flags == 0);
	}
}

static void check_view(const __u8 *data, __u32 size, const struct pk_view *view)
{
	static const __u8 zeros[12];
	const __u8 *ip = data + PK_IP;

	CHECK(ip[0] >> 4 == 4 && view->transport == PK_IP + (ip[0] & 15u) * 4);
	CHECK(PK_IP + 20 <= view->transport && view->transport < view->payload);
	CHECK(view->payload <= view->end && view->end <= size);
	CHECK(view->end == PK_IP + (__u32)pk_be16(ip + 2));
	CHECK(slow_sum(ip, view->transport - (__u32)PK_IP) == 0xffff);
	CHECK(view->ttl == ip[8]);
	CHECK(view->dont_fragment == (ip[6] >> 6 & 1) && view->fragment == (ip[6] >> 5 & 1));
	CHECK(!(ip[6] & 0x1f) && !ip[7]);
	CHECK(!memcmp(view->key.source.byte, ip + 12, 4));
	CHECK(!memcmp(view->key.destination.byte, ip + 16, 4));
	CHECK(!memcmp(view->key.source.byte + 4, zeros, 12));
	CHECK(!memcmp(view->key.destination.byte + 4, zeros, 12));
	CHECK(!memcmp(&view->key.sport, data + view->transport, 2));
	CHECK(!memcmp(&view->key.dport, data + view->transport + 2, 2));
	CHECK(view->key.proto == ip[9] && view->key.family == 4 && !view->key.zero);
	check_transport(data, view);
}

int LLVMFuzzerTestOneInput(const __u8 *data, size_t size)
{
	__u8 *frame = must(malloc(size ? size : 1)); /* of its own: a byte too far is seen */
	struct pk_view view;
	enum pk_reason reason;
	__u16 sum;

	memcpy(frame, data, size);
	reason = pk_parse(frame + (size ? 0 : 1), (__u32)size, &view);
	if (reason == PK_FORWARDED)
		check_view(frame, (__u32)size, &view);
	else
		CHECK(reason == PK_NOT_OURS || reason == PK_FRAGMENT || reason == PK_TRUNCATED ||
		      reason == PK_BAD_HEADER || reason == PK_BAD_CHECKSUM);
	sum = pk_fold(pk_sum(frame, (__u32)size, 0));
	CHECK(size > 0xffff || pk_be16((const __u8 *)&sum) == slow_sum(frame, (__u32)size));
	CHECK(!memcmp(frame, data, size));
	free(frame);
	return 0;
}
