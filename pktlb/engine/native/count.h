/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters that one thread writes and others read at any time. */
#ifndef PK_COUNT_H
#define PK_COUNT_H

#include <linux/types.h>

#define PK_ERRORS 134 /* one more than the highest errno; place 0 is for all others */

static inline void pk_count(__u64 *counter, __u64 more)
{
	__atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

static inline void pk_count_error(__u64 *errors, int error)
{
	pk_count(&errors[error > 0 && error < PK_ERRORS ? error : 0], 1);
}

#endif
