/* SPDX-License-Identifier: BSD-3-Clause */
/* Sends every datagram back to where it came from. */
#include "load.h"

#include <sys/socket.h>

int main(int argc, char **argv)
{
	struct sockaddr_in at, from;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char data[2048];

	usage(argc, 2, "echo ADDRESS PORT");
	at = endpoint(argv[1], argv[2]);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0)
		die("bind");
	puts("listening");
	fflush(stdout);
	for (;;) {
		socklen_t size = sizeof from;
		ssize_t got = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &size);

		if (got < 0 || sendto(fd, data, (size_t)got, 0, (struct sockaddr *)&from, size) < 0)
			die("echo");
	}
}
