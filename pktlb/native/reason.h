/* SPDX-License-Identifier: BSD-3-Clause */
/* Why a frame got its verdict: the names of pktlb.model.Reason, which has the sentences. */
#ifndef PK_REASON_H
#define PK_REASON_H

#define PK_REASONS(X) \
	X(OPENED) X(FORWARDED) X(RETURNED) \
	X(NOT_OURS) X(NO_FLOW) X(NOT_OPEN) X(FRAGMENT) \
	X(TRUNCATED) X(BAD_HEADER) X(BAD_CHECKSUM) X(TTL_EXPIRED) \
	X(TABLE_FULL) X(NO_NEXT_HOP) X(NO_PORT) X(UNSEGMENTABLE) \
	X(NO_BACKEND) X(TOO_BIG)

enum pk_reason {
#define PK_NAME(name) PK_##name,
	PK_REASONS(PK_NAME)
#undef PK_NAME
	PK_REASON_COUNT
};

#endif
