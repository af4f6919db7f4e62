/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receives numbered datagrams (see flood.c) and tells what came, what is missing, what came twice.
 *
 * Ends when nothing has come for a second after the first.
 */
#include "load.h"

#include <sys/socket.h>
#include <sys/time.h>

enum { BATCH = 64, SIZE = 64, BUFFER = 256 << 20 };

struct tally { uint64_t received, distinct, twice; };

static int open_socket(const char *port)
{
	union endpoint at = endpoint("0.0.0.0", port);
	struct timeval patience = { .tv_sec = 1 };
	int size = BUFFER, fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, &at.any, endpoint_size(&at)) != 0)
		die("bind");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0)
		die("setsockopt");
	return fd;
}

static void note(struct tally *tally, uint8_t *seen, uint64_t most, const uint8_t *data)
{
	uint64_t number;

	memcpy(&number, data, sizeof number);
	tally->received++;
	if (number >= most)
		return;
	if (seen[number])
		tally->twice++;
	else
		tally->distinct++;
	seen[number] = 1;
}

int main(int argc, char **argv)
{
	static uint8_t data[BATCH][SIZE];
	struct mmsghdr batch[BATCH] = { 0 };
	struct iovec parts[BATCH];
	struct tally tally = { 0 };
	uint64_t most;
	uint8_t *seen;
	int fd;

	usage(argc, 2, "collect PORT COUNT");
	most = strtoull(argv[2], NULL, 10);
	seen = calloc(most, 1);
	if (!seen)
		die("COUNT");
	fd = open_socket(argv[1]);
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ data[i], SIZE };
		batch[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	puts("listening");
	fflush(stdout);
	for (;;) {
		int got = recvmmsg(fd, batch, BATCH, MSG_WAITFORONE, NULL);

		if (got < 0 && errno != EAGAIN && errno != EINTR)
			die("recvmmsg");
		if (got < 0 && tally.received)
			break;
		for (int i = 0; i < got; i++)
			note(&tally, seen, most, data[i]);
	}
	printf("{\"received\": %llu, \"missing\": %llu, \"twice\": %llu}\n",
	       (unsigned long long)tally.received, (unsigned long long)(most - tally.distinct),
	       (unsigned long long)tally.twice);
	return 0;
}
