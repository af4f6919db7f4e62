/* SPDX-License-Identifier: BSD-3-Clause */
/* What the load programs share: the clock, arguments, and giving up with a word. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

/* An address of either family. */
union endpoint {
	struct sockaddr any;
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;
};

static inline union endpoint endpoint(const char *address, const char *port)
{
	union endpoint it = { .ipv6 = { .sin6_family = AF_INET6,
					.sin6_port = htons((uint16_t)atoi(port)) } };

	if (inet_pton(AF_INET6, address, &it.ipv6.sin6_addr) == 1)
		return it;
	it.ipv4 = (struct sockaddr_in){ .sin_family = AF_INET,
					.sin_port = htons((uint16_t)atoi(port)) };
	if (inet_pton(AF_INET, address, &it.ipv4.sin_addr) == 1)
		return it;
	fprintf(stderr, "%s is no address\n", address);
	exit(2);
}

static inline socklen_t endpoint_size(const union endpoint *it)
{
	return it->any.sa_family == AF_INET ? sizeof it->ipv4 : sizeof it->ipv6;
}

/* Further by this many addresses. */
static inline union endpoint endpoint_after(union endpoint it, uint32_t more)
{
	uint32_t *last = it.any.sa_family == AF_INET ? &it.ipv4.sin_addr.s_addr :
						       &it.ipv6.sin6_addr.s6_addr32[3];

	*last = htonl(ntohl(*last) + more);
	return it;
}
