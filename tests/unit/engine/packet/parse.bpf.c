/* SPDX-License-Identifier: BSD-3-Clause */
/* An XDP program that parses a frame as the engines do. It returns the reason: PK_FORWARDED, or why
 * the frame has no view. It forwards nothing. */
#include <linux/bpf.h>

#include "packet.h"

#define SECTION(name) __attribute__((section(name), used))

/* The view of the last frame whose reason was PK_FORWARDED. */
SECTION(".bss.view") struct pk_view view;

SECTION("xdp") int parse(struct xdp_md *context)
{
	const __u8 *data = (const __u8 *)(unsigned long)context->data;
	const __u8 *end = (const __u8 *)(unsigned long)context->data_end;

	if (end - data > PK_LONGEST_FRAME)
		return PK_REASON_COUNT; /* not decided here */
	return (int)pk_parse(data, end, &view);
}

SECTION("license") char _license[] = "BSD";
