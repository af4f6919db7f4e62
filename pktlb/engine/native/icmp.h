/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ICMP errors: our own (RFC 792, RFC 4443), under the restraint of RFC 1812, section 4.3.2.7, and
 * RFC 4443, section 2.4 (e), and bounded in number for each receiver; and those of others about the
 * packets of a flow, which must quote what was sent to be understood.
 */
#ifndef PK_ICMP_H
#define PK_ICMP_H

#include "frame.h"
#include "rewrite.h"
#include "siphash.h"

#define PK_BUCKETS 4096
#define PK_INTERVAL_MS 50 /* 20 errors a second and receiver in the long run */
#define PK_BURST 40       /* so many at once after a silence */

enum pk_problem { PK_HOST_UNREACHABLE, PK_PORT_UNREACHABLE, PK_NO_ROOM, PK_TIME_EXCEEDED };

/* What each bucket of receivers still allows (ITU-T I.371, annex A); see pktlb.engine.datapath.limiter. */
struct pk_limiter {
	struct pk_secret secret;
	/* ms: when one that went on at the allowed rate would be empty; 0: it was never used */
	__u64 due[PK_BUCKETS];
};

/* Never to an address that is not one host's, nor about a frame that was sent to many, about an
 * error, or about a later fragment. */
int pk_may_answer(const struct pk_frame *frame, const struct pk_view *view);

/* Tell the sender of a frame as it arrived what is wrong with it, in the name of `source`. `mtu`
 * is what fits, for PK_NO_ROOM. The reason that the frame ends in. */
enum pk_reason pk_answer(struct pk_limiter *limiter, const struct pk_frame *frame,
			 const struct pk_view *view, enum pk_problem problem,
			 const struct pk_addr *source, __u32 mtu, __u32 now, struct pk_sink *sink);

/* NAT: the error gets other ends, and what it quotes the same exchanged. `to->source` is not used
 * where `keeps_source`. */
void pk_translate_error(__u8 *data, const struct pk_view *view, const struct pk_translation *to,
			int keeps_source);

/* Whether an error at `icmp`, of the family of the tunnel's outer packets, says that its sender takes
 * none: protocol or port unreachable (RFC 792), unrecognized next header (RFC 4443, section 3.4). */
int pk_refuses_tunnel(const __u8 *icmp, __u8 outer);

/* An error about a tunnel's packet, told to the client (`to`) whose packet was inside. */
enum pk_reason pk_relay(struct pk_limiter *limiter, const struct pk_frame *frame,
			const struct pk_view *view, const __u8 *macs, __u32 port,
			const struct pk_addr *vip, const struct pk_addr *to, __u32 now,
			struct pk_sink *sink);

#endif
