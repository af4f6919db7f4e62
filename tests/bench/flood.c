/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * 64-byte UDP frames (60 without their check sequence) of many flows, as fast as it goes or paced.
 *
 * Each frame carries its number, so that a receiver can tell what is missing and what came twice.
 * All frames are made at the start; sending one changes its number and its checksum only.
 */
#include "load.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { BATCH = 64, SOURCES = 256, FIRST_PORT = 10000, PAYLOAD = 60 - 14 - 20 - 8 };

struct frame {
	struct ether_header ether;
	struct iphdr ip;
	struct udphdr udp;
	uint64_t number;
	uint8_t rest[PAYLOAD - 8];
} __attribute__((packed));

struct flow {
	struct frame frame;
	uint32_t sum; /* of the UDP checksum, without the number */
};

struct tally { uint64_t sent, refused; };

static uint32_t sum_words(const void *data, size_t length, uint32_t sum)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i + 1 < length; i += 2) {
		uint16_t word;

		memcpy(&word, bytes + i, 2);
		sum += word;
	}
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void make_flow(struct flow *flow, const struct frame *model, uint32_t i)
{
	struct frame *f = &flow->frame;

	*f = *model;
	f->ip.saddr = htonl(ntohl(f->ip.saddr) + i % SOURCES);
	f->ip.check = fold(sum_words(&f->ip, sizeof f->ip, 0));
	f->udp.source = htons((uint16_t)(FIRST_PORT + i / SOURCES));
	flow->sum = sum_words(&f->ip.saddr, 8, htons(IPPROTO_UDP) + f->udp.len);
	flow->sum = sum_words(&f->udp, sizeof f->udp + PAYLOAD, flow->sum);
}

static void number_frame(struct flow *flow, uint64_t number)
{
	uint16_t check;

	flow->frame.number = number;
	check = fold(sum_words(&number, sizeof number, flow->sum));
	flow->frame.udp.check = check ? check : 0xffff;
}

static int open_port(const char *ifname, struct frame *model)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(ifname) };
	struct ifreq request = { 0 };
	int on = 1, fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0)
		die(ifname);
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0)
		die("PACKET_QDISC_BYPASS");
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", ifname);
	if (ioctl(fd, SIOCGIFHWADDR, &request) != 0)
		die("SIOCGIFHWADDR");
	memcpy(model->ether.ether_shost, request.ifr_hwaddr.sa_data, 6);
	return fd;
}

static void make_model(struct frame *model, char **argv)
{
	struct sockaddr_in from = endpoint(argv[3], "0"), to = endpoint(argv[4], argv[5]);
	uint8_t *m = model->ether.ether_dhost;

	if (sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", m, m + 1, m + 2, m + 3, m + 4, m + 5) != 6)
		die(argv[2]);
	model->ether.ether_type = htons(ETHERTYPE_IP);
	model->ip = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP,
		.tot_len = htons(20 + 8 + PAYLOAD), .frag_off = htons(IP_DF),
		.saddr = from.sin_addr.s_addr, .daddr = to.sin_addr.s_addr };
	model->udp = (struct udphdr){ .dest = to.sin_port, .len = htons(8 + PAYLOAD) };
}

/* How many may go now: all there is room for, or what the pace allows. */
static uint64_t allowance(double since, double rate, uint64_t sent)
{
	uint64_t due;

	if (rate <= 0)
		return BATCH;
	due = (uint64_t)((now() - since) * rate);
	return due <= sent ? 0 : due - sent < BATCH ? due - sent : BATCH;
}

static struct tally run(int fd, struct flow *flows, uint32_t count, double seconds, double rate,
			uint64_t most)
{
	struct timespec nap = { .tv_nsec = 20000 };
	struct mmsghdr batch[BATCH] = { 0 };
	struct iovec parts[BATCH];
	struct tally tally = { 0 };
	double start = now();

	while (tally.sent < most && now() - start < seconds) {
		uint64_t n = allowance(start, rate, tally.sent);
		int done;

		n = n > count ? count : n > most - tally.sent ? most - tally.sent : n;
		if (n == 0) {
			nanosleep(&nap, NULL);
			continue;
		}
		for (uint64_t i = 0; i < n; i++) {
			struct flow *flow = &flows[(tally.sent + i) % count];

			number_frame(flow, tally.sent + i);
			parts[i] = (struct iovec){ &flow->frame, sizeof flow->frame };
			batch[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
		}
		done = sendmmsg(fd, batch, (unsigned)n, 0);
		if (done < 0 && errno != ENOBUFS && errno != EAGAIN)
			die("sendmmsg");
		tally.sent += done > 0 ? (uint64_t)done : 0;
		tally.refused += done < (int)n;
	}
	return tally;
}

int main(int argc, char **argv)
{
	struct frame model = { 0 };
	struct flow *flows;
	struct tally tally;
	uint32_t count;
	double start;
	int fd;

	usage(argc, 9, "flood IF MAC SOURCE ADDRESS PORT FLOWS SECONDS RATE COUNT (0: unlimited)");
	make_model(&model, argv);
	fd = open_port(argv[1], &model);
	count = (uint32_t)strtoul(argv[6], NULL, 10);
	flows = count ? calloc(count, sizeof *flows) : NULL;
	if (!flows)
		die("FLOWS");
	for (uint32_t i = 0; i < count; i++)
		make_flow(&flows[i], &model, i);
	puts("flooding");
	fflush(stdout);
	start = now();
	tally = run(fd, flows, count, atof(argv[7]), atof(argv[8]),
		    strtoull(argv[9], NULL, 10) ? strtoull(argv[9], NULL, 10) : UINT64_MAX);
	printf("{\"sent\": %llu, \"refused\": %llu, \"seconds\": %.6f}\n",
	       (unsigned long long)tally.sent, (unsigned long long)tally.refused, now() - start);
	return 0;
}
