/* SPDX-License-Identifier: BSD-3-Clause */
/* A target without libFuzzer: feeds it the files that it is given, and says which one it is at. */
#include "input.h"

static void feed(const char *path)
{
	FILE *file = must(fopen(path, "rb"));
	__u8 *data;
	long size;

	fprintf(stderr, "%s\n", path);
	CHECK(!fseek(file, 0, SEEK_END) && (size = ftell(file)) >= 0);
	rewind(file);
	data = must(malloc((size_t)size + 1));
	CHECK(fread(data, 1, (size_t)size, file) == (size_t)size);
	fclose(file);
	LLVMFuzzerTestOneInput(data, (size_t)size);
	free(data);
}

int main(int argc, char **argv)
{
	int i;

	LLVMFuzzerInitialize(&argc, &argv);
	for (i = 1; i < argc; i++)
		feed(argv[i]);
	return 0;
}
