/* SPDX-License-Identifier: BSD-3-Clause */
/* What all fuzz targets share: the input as a stream of choices, and a check that is never off. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/types.h>

#define CHECK(what)                                                                    \
	do {                                                                           \
		if (!(what)) {                                                         \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
			abort();                                                       \
		}                                                                      \
	} while (0)

/* An input that has come to its end goes on with zeros. */
struct input {
	const __u8 *at, *end;
};

static inline __u32 take(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static inline __u32 take16(struct input *in)
{
	__u32 high = take(in);

	return high << 8 | take(in);
}

static inline void *must(void *memory)
{
	CHECK(memory);
	return memory;
}

/* What libFuzzer and replay.c call, for each input once. */
int LLVMFuzzerTestOneInput(const __u8 *data, size_t size);
/* Before the first one. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

#endif
