/* SPDX-License-Identifier: BSD-3-Clause */
/* A frame as it comes off the wire or goes onto it, and the sink that takes frames that go out. */
#ifndef PK_FRAME_H
#define PK_FRAME_H

#include "packet.h"

#define PK_VNET 10 /* bytes of struct pk_offload on the wire */
#define PK_HEADROOM PK_VNET /* writable bytes in front of each frame that comes in */

#define PK_RECEIVED_MAX (65536u + 64) /* bytes: offload header, Ethernet, 64 KiB of IP */

enum pk_offload_flag { PK_NEEDS_CHECKSUM = 1, PK_CHECKED = 2 };
enum pk_gso { PK_GSO_NONE = 0, PK_GSO_TCP4 = 1, PK_GSO_TCP6 = 4, PK_GSO_UDP = 5, PK_GSO_ECN = 0x80 };

/* struct virtio_net_hdr, see pktlb.engine.datapath.frame; offsets count from the frame's first byte. */
#define PK_OFFLOAD(X) \
	X(__u8, flags) X(__u8, gso_type) \
	X(__u16, header_length) \
	X(__u16, segment_size) /* payload bytes a segment */ \
	X(__u16, checksum_start) X(__u16, checksum_offset)
struct pk_offload { PK_OFFLOAD(PK_FIELD) };

struct pk_frame {
	__u8 *data; /* from the destination MAC on */
	__u32 length;
	__u32 port; /* interface index where it came in */
	int lent;   /* the memory is gone when it has been sent */
	struct pk_offload offload;
};

/* A frame that goes out, in two parts so that payload need not be copied. */
struct pk_out {
	const __u8 *head, *body;
	__u32 head_length, body_length;
	__u32 port;
	int borrowed; /* the body too is only lent until `send` returns; the head always is */
	struct pk_offload offload;
};

#define PK_LONGEST_HEAD 192 /* of a segment: Ethernet, IP and TCP, with extensions or options */

struct pk_sink {
	void (*send)(struct pk_sink *sink, const struct pk_out *out);
	/* The frame belongs to the kernel after all. */
	void (*give_back)(struct pk_sink *sink, const struct pk_frame *frame);
	/* The reason that each frame ended in, in their order; NULL: not asked for. */
	void (*ended)(struct pk_sink *sink, enum pk_reason reason);
};

#endif
