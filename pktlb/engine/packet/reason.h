/* SPDX-License-Identifier: BSD-3-Clause */
/* Why a frame got its verdict: the names of pktlb.model.Reason, which has the sentences. */
#ifndef PK_REASON_H
#define PK_REASON_H

#define PK_REASONS(X) \
	X(OPENED) X(FORWARDED) X(RETURNED) X(PICKED_UP) X(RELATED) \
	X(NOT_OURS) X(NO_FLOW) X(NOT_OPEN) \
	X(TRUNCATED) X(BAD_HEADER) X(BAD_CHECKSUM) X(BAD_SOURCE) X(BAD_FRAGMENT) X(FRAGMENT_LOST) \
	X(TABLE_FULL) X(NO_NEXT_HOP) X(NO_PORT) X(ALL_FULL) X(UNSEGMENTABLE) \
	X(REMOVED) X(UNANSWERED) X(TUNNEL_REFUSED) \
	X(NO_BACKEND) X(TOO_BIG) X(TTL_EXPIRED) X(RESET) \
	X(HELD)

enum pk_reason {
#define PK_NAME(name) PK_##name,
	PK_REASONS(PK_NAME)
#undef PK_NAME
	PK_REASON_COUNT
};

/* Whether the frame was sent on; whether it was left to the kernel. */
static inline int pk_is_sent(enum pk_reason reason)
{
	return reason <= PK_RELATED;
}

static inline int pk_is_passed(enum pk_reason reason)
{
	return reason >= PK_NOT_OURS && reason <= PK_NOT_OPEN;
}

#endif
