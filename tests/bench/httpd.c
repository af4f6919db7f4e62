/* SPDX-License-Identifier: BSD-3-Clause */
/* A web server as fast as it gets: whatever is asked, 1 KiB is the answer, and the end. */
#include "load.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY = 1024, EVENTS = 256, BACKLOG = 4096 };

static char answer[2048];
static size_t answer_size;

static void make_answer(void)
{
	answer_size = (size_t)snprintf(answer, sizeof answer,
		"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", BODY);
	memset(answer + answer_size, 'x', BODY);
	answer_size += BODY;
}

static int open_listener(const char *address, const char *port)
{
	union endpoint at = endpoint(address, port);
	int on = 1, fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    bind(fd, &at.any, endpoint_size(&at)) != 0 || listen(fd, BACKLOG) != 0)
		die("listen");
	return fd;
}

/* Answers a request that is there in full (it is short: one segment); false: not there yet. */
static int serve(int fd)
{
	char request[2048];
	ssize_t got = recv(fd, request, sizeof request, 0);

	if (got < 0 && errno == EAGAIN)
		return 0;
	if (got > 4 && memcmp(request + got - 4, "\r\n\r\n", 4) == 0)
		(void)!send(fd, answer, answer_size, MSG_NOSIGNAL);
	close(fd);
	return 1;
}

static void welcome(int listener, int poll)
{
	struct epoll_event event = { .events = EPOLLIN };

	while ((event.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		if (!serve(event.data.fd) && epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event) != 0)
			die("epoll_ctl");
	}
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS], event = { .events = EPOLLIN };
	int poll = epoll_create1(0);

	usage(argc, 2, "httpd ADDRESS PORT");
	make_answer();
	event.data.fd = open_listener(argv[1], argv[2]);
	if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event) != 0)
		die("epoll");
	puts("listening");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(poll, events, EVENTS, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == event.data.fd)
				welcome(event.data.fd, poll);
			else
				serve(events[i].data.fd);
		}
	}
}
