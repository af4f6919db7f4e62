/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Large arrays that are reserved once and cost memory only where they are touched.
 *
 * So a table is sized for its bound when the plane is made: nothing is allocated or moved on the
 * path of a packet, and addresses in it stay.
 */
#ifndef PK_ARENA_H
#define PK_ARENA_H

#include <stddef.h>
#include <sys/mman.h>

/* Zeroed memory, or NULL. */
static inline void *pk_reserve(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* The same on huge pages where they are to be had: for what is used all over, since the first touch
 * anywhere takes 2 MiB. */
static inline void *pk_reserve_huge(size_t bytes)
{
	void *memory = pk_reserve(bytes);

	if (memory)
		madvise(memory, bytes, MADV_HUGEPAGE); /* advice: without it all is the same */
	return memory;
}

/* Take the memory that is going to be touched anyway, all at once and beforehand. */
static inline void pk_take(void *memory, size_t bytes)
{
	madvise(memory, bytes, 23); /* MADV_POPULATE_WRITE, since Linux 5.14: advice, too */
}

static inline void pk_release(void *memory, size_t bytes)
{
	if (memory)
		munmap(memory, bytes);
}

#endif
