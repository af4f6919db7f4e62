/* SPDX-License-Identifier: BSD-3-Clause */
/* Sends every datagram back to where it came from. */
#include "load.h"

#include <sys/socket.h>

int main(int argc, char **argv)
{
	union endpoint at, from;
	char data[2048];
	int fd;

	usage(argc, 2, "echo ADDRESS PORT");
	at = endpoint(argv[1], argv[2]);
	fd = socket(at.any.sa_family, SOCK_DGRAM, 0);
	if (fd < 0 || bind(fd, &at.any, endpoint_size(&at)) != 0)
		die("bind");
	puts("listening");
	fflush(stdout);
	for (;;) {
		socklen_t size = sizeof from;
		ssize_t got = recvfrom(fd, data, sizeof data, 0, &from.any, &size);

		if (got < 0 || sendto(fd, data, (size_t)got, 0, &from.any, size) < 0)
			die("echo");
	}
}
