/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the bytes of a frame are reached, in a process and in the kernel.
 *
 * The kernel's verifier lets a program read a packet only through a pointer that was compared with
 * the packet's end. To the verifier, a second pointer made from the same offset is another one,
 * which was not compared. So a parser makes a pointer with pk_at, checks it with PK_WITHIN, and
 * reads through it. Lengths that a header states are compared as numbers beside that.
 */
#ifndef PK_BOUNDS_H
#define PK_BOUNDS_H

#include <linux/types.h>

/* The bytes of a frame. */
struct pk_bytes {
	const __u8 *data, *end;
};

/* Whether `bytes` from `at` on lie in front of `end`, the end of the frame. */
#define PK_WITHIN(at, bytes, end) ((at) + (bytes) <= (end))

/* PK_ALIGNMENT: words lie at odd places in a packet. Where the kernel runs BPF on packets the
 * machine reads them all the same, but clang would read each byte. PK_LONGEST_FRAME, in bytes, is
 * one less than a power of two: the verifier follows no pointer beyond 64 KiB. */
#ifdef __bpf__
#define PK_ALIGNMENT 4
#define PK_LONGEST_FRAME 0x7fff
#else
#define PK_ALIGNMENT 1
#define PK_LONGEST_FRAME 0x1ffff
#endif

/* Copies `bytes`, which is a constant, out of a frame. */
#define pk_copy(to, from, bytes) \
	__builtin_memcpy(to, __builtin_assume_aligned(from, PK_ALIGNMENT), bytes)

/* The same offset, but the kernel's verifier forgets what it knows about it. Else it would follow
 * each way through the extension headers apart, to the end of the program. */
static inline __u32 pk_forget(__u32 offset)
{
#ifdef __bpf__
	__u64 wide = offset;

	__asm__ volatile("%0 <<= 48\n%0 >>= 48" : "+r"(wide));
	return (__u32)wide;
#else
	return offset;
#endif
}

/* The byte at `offset`. In the kernel the verifier must see how large an offset can be, and the
 * compiler must not make the pointer again later on. */
static inline const __u8 *pk_at(const __u8 *data, __u64 offset)
{
#ifdef __bpf__
	__asm__ volatile("%0 &= %1" : "+r"(offset) : "i"(PK_LONGEST_FRAME));
	data += offset;
	__asm__ volatile("" : "+r"(data));
	return data;
#else
	return data + offset;
#endif
}

#endif
