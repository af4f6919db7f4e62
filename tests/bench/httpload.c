/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Short HTTP connections, many at a time: connect, one request, the whole answer, the server's end.
 *
 * The server closes first, so no port of the client is left waiting; several source addresses keep
 * a pair of ports from coming back soon.
 */
#include "load.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, BODY = 1024, ROOM = 4096 };

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";

struct visit {
	int fd;
	int asked;
	size_t got;
	char answer[ROOM];
};

struct load {
	union endpoint to, from;
	uint32_t sources, next;
	int poll;
	uint64_t done, failed;
};

static void begin(struct load *load, struct visit *visit)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = visit };
	union endpoint from = endpoint_after(load->from, load->next++ % load->sources);
	int on = 1;

	*visit = (struct visit){ .fd = socket(from.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0) };
	if (visit->fd < 0 ||
	    setsockopt(visit->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
	    bind(visit->fd, &from.any, endpoint_size(&from)) != 0)
		die("socket");
	if (connect(visit->fd, &load->to.any, endpoint_size(&load->to)) != 0 && errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(load->poll, EPOLL_CTL_ADD, visit->fd, &event) != 0)
		die("epoll_ctl");
}

static int complete(const struct visit *visit)
{
	const char *body = memmem(visit->answer, visit->got, "\r\n\r\n", 4);

	return body && (size_t)(visit->answer + visit->got - (body + 4)) == BODY;
}

/* Goes on with a visit; true when it is over, one way or the other. */
static int proceed(struct load *load, struct visit *visit, uint32_t events)
{
	if (!visit->asked && events & EPOLLOUT && !(events & EPOLLERR))
		visit->asked = send(visit->fd, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL) > 0;
	for (;;) {
		ssize_t got = recv(visit->fd, visit->answer + visit->got, ROOM - visit->got, 0);

		if (got < 0 && errno == EAGAIN && !(events & EPOLLERR))
			return 0;
		if (got > 0) {
			visit->got += (size_t)got;
			continue;
		}
		if (got == 0 && complete(visit))
			load->done++;
		else
			load->failed++;
		close(visit->fd);
		visit->fd = -1;
		return 1;
	}
}

static void run(struct load *load, double seconds)
{
	struct epoll_event events[EVENTS];
	double until = now() + seconds;

	while (now() < until) {
		int count = epoll_wait(load->poll, events, EVENTS, 10);

		for (int i = 0; i < count; i++) {
			if (proceed(load, events[i].data.ptr, events[i].events))
				begin(load, events[i].data.ptr);
		}
	}
}

/* Lets the visits that are still open end; they are counted no more. */
static void finish(struct load *load, int open, double seconds)
{
	struct epoll_event events[EVENTS];
	double until = now() + seconds;

	while (open > 0 && now() < until) {
		int count = epoll_wait(load->poll, events, EVENTS, 10);

		for (int i = 0; i < count; i++)
			open -= proceed(load, events[i].data.ptr, events[i].events);
	}
}

int main(int argc, char **argv)
{
	struct load load = { .poll = epoll_create1(0) };
	struct visit *visits;
	uint64_t done, failed;
	double start, took;
	int parallel;

	usage(argc, 6, "httpload ADDRESS PORT SOURCE SOURCES PARALLEL SECONDS");
	load.to = endpoint(argv[1], argv[2]);
	load.from = endpoint(argv[3], "0");
	load.sources = (uint32_t)atoi(argv[4]);
	parallel = atoi(argv[5]);
	visits = calloc((size_t)parallel, sizeof *visits);
	if (!visits || load.poll < 0 || !load.sources)
		die("PARALLEL");
	start = now();
	for (int i = 0; i < parallel; i++)
		begin(&load, &visits[i]);
	run(&load, atof(argv[6]));
	took = now() - start;
	done = load.done, failed = load.failed;
	finish(&load, parallel, 1);
	printf("{\"done\": %llu, \"failed\": %llu, \"seconds\": %.6f}\n", (unsigned long long)done,
	       (unsigned long long)failed, took);
	return 0;
}
