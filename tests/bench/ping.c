/* SPDX-License-Identifier: BSD-3-Clause */
/* One datagram at a time, each after the answer to the one before: how long each takes. */
#include "load.h"

#include <sys/socket.h>
#include <sys/time.h>

enum { WARM_UP = 100 };

static int by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double round_trip(int fd)
{
	char data[16] = "x";
	double start = now();

	if (send(fd, data, sizeof data, 0) < 0 || recv(fd, data, sizeof data, 0) < 0)
		return -1;
	return (now() - start) * 1e6;
}

int main(int argc, char **argv)
{
	struct timeval patience = { .tv_sec = 1 };
	union endpoint to;
	long count, lost = 0, got = 0;
	double *times;
	int fd;

	usage(argc, 3, "ping ADDRESS PORT COUNT");
	to = endpoint(argv[1], argv[2]);
	count = atol(argv[3]);
	times = calloc((size_t)count, sizeof *times);
	fd = socket(to.any.sa_family, SOCK_DGRAM, 0);
	if (!times || fd < 0 || connect(fd, &to.any, endpoint_size(&to)) != 0)
		die(argv[1]);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0)
		die("SO_RCVTIMEO");
	for (long i = -WARM_UP; i < count && lost < 3; i++) {
		double us = round_trip(fd);

		if (us < 0)
			lost++;
		else if (i >= 0)
			times[got++] = us;
	}
	if (!got)
		die("no answer");
	qsort(times, (size_t)got, sizeof *times, by_size);
	printf("{\"p50\": %.2f, \"p99\": %.2f, \"lost\": %ld}\n", times[got / 2],
	       times[got * 99 / 100], lost);
	return 0;
}
