/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Short UDP frames of many flows, as fast as it goes or paced: of 64 bytes with IPv4, of 74 with
 * IPv6, 4 less without their check sequence.
 *
 * Each frame carries its number, so that a receiver can tell what is missing and what came twice.
 * All frames are made at the start; sending one changes its number and its checksum only.
 */
#include "load.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { BATCH = 64, SOURCES = 256, FIRST_PORT = 10000, SHORTEST = 60, NUMBER = 8 };

struct frame {
	struct ether_header ether;
	union {
		struct iphdr ipv4;
		struct ip6_hdr ipv6;
	} ip; /* and what follows it */
	uint8_t rest[sizeof(struct udphdr) + NUMBER];
} __attribute__((packed));

struct model {
	struct frame frame;
	union endpoint from, to;
	uint16_t udp, length; /* offset of the UDP header, and behind everything */
};

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

static void *at(struct frame *frame, uint32_t offset)
{
	return (uint8_t *)frame + offset;
}

/* The sum over the pseudo-header but for the length, and the checksum of an IPv4 header. */
static uint32_t address_flow(struct frame *f, union endpoint from)
{
	uint32_t sum = htons(IPPROTO_UDP);

	if (from.any.sa_family == AF_INET6) {
		memcpy(&f->ip.ipv6.ip6_src, &from.ipv6.sin6_addr, 16);
		return sum_words(&f->ip.ipv6.ip6_src, 32, sum);
	}
	memcpy(&f->ip.ipv4.saddr, &from.ipv4.sin_addr, 4);
	f->ip.ipv4.check = fold(sum_words(&f->ip, sizeof f->ip.ipv4, 0));
	return sum_words(&f->ip.ipv4.saddr, 8, sum);
}

static void make_flow(struct flow *flow, const struct model *model, uint32_t i)
{
	struct udphdr udp = { .dest = model->to.ipv4.sin_port,
			      .source = htons((uint16_t)(FIRST_PORT + i / SOURCES)),
			      .len = htons((uint16_t)(model->length - model->udp)) };

	flow->frame = model->frame;
	flow->sum = address_flow(&flow->frame, endpoint_after(model->from, i % SOURCES));
	flow->sum = sum_words(&udp, sizeof udp, flow->sum + udp.len);
	memcpy(at(&flow->frame, model->udp), &udp, sizeof udp);
}

static void number_frame(struct flow *flow, const struct model *model, uint64_t number)
{
	struct udphdr *udp = at(&flow->frame, model->udp);
	uint16_t check = fold(sum_words(&number, sizeof number, flow->sum));

	memcpy(udp + 1, &number, sizeof number);
	check = check ? check : 0xffff;
	memcpy(&udp->check, &check, sizeof check);
}

static int open_port(const char *ifname, struct frame *model)
{
	struct sockaddr_ll link = { .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(ifname) };
	struct ifreq request = { 0 };
	int on = 1, fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&link, sizeof link) != 0)
		die(ifname);
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on) != 0)
		die("PACKET_QDISC_BYPASS");
	snprintf(request.ifr_name, sizeof request.ifr_name, "%s", ifname);
	if (ioctl(fd, SIOCGIFHWADDR, &request) != 0)
		die("SIOCGIFHWADDR");
	memcpy(model->ether.ether_shost, request.ifr_hwaddr.sa_data, 6);
	return fd;
}

static void make_model(struct model *model, char **argv)
{
	uint8_t *m = model->frame.ether.ether_dhost;
	struct frame *f = &model->frame;

	model->from = endpoint(argv[3], "0");
	model->to = endpoint(argv[4], argv[5]);
	if (sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", m, m + 1, m + 2, m + 3, m + 4, m + 5) != 6)
		die(argv[2]);
	if (model->to.any.sa_family == AF_INET) {
		f->ether.ether_type = htons(ETHERTYPE_IP);
		model->udp = sizeof f->ether + sizeof f->ip.ipv4;
		model->length = SHORTEST;
		f->ip.ipv4 = (struct iphdr){ .version = 4, .ihl = 5, .ttl = 64,
			.protocol = IPPROTO_UDP, .frag_off = htons(IP_DF),
			.tot_len = htons((uint16_t)(model->length - sizeof f->ether)),
			.daddr = model->to.ipv4.sin_addr.s_addr };
	} else {
		f->ether.ether_type = htons(ETHERTYPE_IPV6);
		model->udp = sizeof f->ether + sizeof f->ip.ipv6;
		model->length = sizeof *f;
		f->ip.ipv6.ip6_flow = htonl(6u << 28);
		f->ip.ipv6.ip6_plen = htons((uint16_t)(model->length - model->udp));
		f->ip.ipv6.ip6_nxt = IPPROTO_UDP;
		f->ip.ipv6.ip6_hlim = 64;
		f->ip.ipv6.ip6_dst = model->to.ipv6.sin6_addr;
	}
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

static struct tally run(int fd, const struct model *model, struct flow *flows, uint32_t count,
			double seconds, double rate, uint64_t most)
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

			number_frame(flow, model, tally.sent + i);
			parts[i] = (struct iovec){ &flow->frame, model->length };
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
	struct model model = { .length = 0 };
	struct flow *flows;
	struct tally tally;
	uint32_t count;
	double start;
	int fd;

	usage(argc, 9, "flood IF MAC SOURCE ADDRESS PORT FLOWS SECONDS RATE COUNT (0: unlimited)");
	make_model(&model, argv);
	fd = open_port(argv[1], &model.frame);
	count = (uint32_t)strtoul(argv[6], NULL, 10);
	flows = count ? calloc(count, sizeof *flows) : NULL;
	if (!flows)
		die("FLOWS");
	for (uint32_t i = 0; i < count; i++)
		make_flow(&flows[i], &model, i);
	puts("flooding");
	fflush(stdout);
	start = now();
	tally = run(fd, &model, flows, count, atof(argv[7]), atof(argv[8]),
		    strtoull(argv[9], NULL, 10) ? strtoull(argv[9], NULL, 10) : UINT64_MAX);
	printf("{\"sent\": %llu, \"refused\": %llu, \"seconds\": %.6f}\n",
	       (unsigned long long)tally.sent, (unsigned long long)tally.refused, now() - start);
	return 0;
}
