/* SPDX-License-Identifier: BSD-3-Clause */
/* What the load programs share: the clock, arguments, and giving up with a word. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline _Noreturn void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline void usage(int argc, int wanted, const char *line)
{
	if (argc == wanted + 1)
		return;
	fprintf(stderr, "usage: %s\n", line);
	exit(2);
}

static inline struct sockaddr_in endpoint(const char *address, const char *port)
{
	struct sockaddr_in it = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };

	if (inet_pton(AF_INET, address, &it.sin_addr) != 1) {
		fprintf(stderr, "%s is no IPv4 address\n", address);
		exit(2);
	}
	return it;
}
