/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "count.h"

#define SLOTS 8192u          /* a scheduler's time slice of small frames */
#define RING_BYTES (32u << 20) /* at most, where the MTU is large */

static struct tpacket2_hdr *slot_at(const struct pk_ring *ring, __u32 number)
{
	__u32 block = number / ring->slots_a_block, within = number % ring->slots_a_block;

	return (struct tpacket2_hdr *)(void *)(ring->map + (size_t)block * ring->block_size +
					       (size_t)within * ring->slot_size);
}

static __u32 status_of(const struct tpacket2_hdr *slot)
{
	return __atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE);
}

static void set_status(struct tpacket2_hdr *slot, __u32 status)
{
	__atomic_store_n(&slot->tp_status, status, __ATOMIC_RELEASE);
}

static __u32 before(const struct pk_ring *ring, __u32 number)
{
	return number ? number - 1 : ring->slots - 1;
}

static __u32 behind(const struct pk_ring *ring, __u32 number)
{
	return number + 1 == ring->slots ? 0 : number + 1;
}

static int is_empty(const struct pk_ring *ring)
{
	__u32 next = behind(ring, ring->head);

	return !((status_of(slot_at(ring, ring->head)) | status_of(slot_at(ring, next))) &
		 TP_STATUS_USER);
}

/* The ring's header, the offload header and one frame of the MTU. An odd number of cache lines, or
 * the first bytes of all slots would compete for the same few places of the cache. */
static __u32 slot_size_for(__u32 mtu)
{
	__u32 size = (__u32)TPACKET_ALIGN(TPACKET2_HDRLEN + 16 + PK_VNET) + PK_IP + 8 + mtu;

	return ((size + 63) / 64 | 1) * 64;
}

static int set_option(int fd, int option, const void *value, socklen_t size)
{
	return setsockopt(fd, SOL_PACKET, option, value, size) ? errno : 0;
}

static struct tpacket_req geometry(struct pk_ring *ring, __u32 mtu)
{
	__u32 blocks;

	ring->slot_size = slot_size_for(mtu);
	ring->slots_a_block = 64; /* so that blocks are whole pages */
	ring->block_size = ring->slots_a_block * ring->slot_size;
	blocks = SLOTS / ring->slots_a_block;
	if (blocks * ring->block_size > RING_BYTES)
		blocks = RING_BYTES / ring->block_size + 1;
	ring->slots = blocks * ring->slots_a_block;
	ring->bytes = (size_t)blocks * ring->block_size;
	return (struct tpacket_req){ ring->block_size, blocks, ring->slot_size, ring->slots };
}

static int map_ring(struct pk_ring *ring)
{
	ring->map = mmap(NULL, ring->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			 ring->fd, 0);
	if (ring->map != MAP_FAILED)
		return 0;
	ring->map = NULL;
	return errno;
}

/* Keep the slot before the head, of a ring that is empty. */
static void keep_one(struct pk_ring *ring)
{
	set_status(slot_at(ring, before(ring, ring->head)), TP_STATUS_USER);
	ring->held = 1;
}

int pk_ring_open(struct pk_ring *ring, int fd, __u32 mtu)
{
	int version = TPACKET_V2, any = 1, error;
	struct tpacket_req request;

	*ring = (struct pk_ring){ .fd = fd, .long_frames = malloc((size_t)PK_LONG * PK_RECEIVED_MAX) };
	if (!ring->long_frames)
		return ENOMEM;
	error = set_option(fd, PACKET_VERSION, &version, sizeof(version));
	if (!error)
		error = set_option(fd, PACKET_COPY_THRESH, &any, sizeof(any));
	request = geometry(ring, mtu);
	if (!error)
		error = set_option(fd, PACKET_RX_RING, &request, sizeof(request));
	if (!error)
		error = map_ring(ring);
	if (!error)
		keep_one(ring);
	return error;
}

int pk_ring_take_over(struct pk_ring *ring, int fd, __u32 mtu, __u32 head)
{
	int error;

	*ring = (struct pk_ring){ .fd = fd, .long_frames = malloc((size_t)PK_LONG * PK_RECEIVED_MAX) };
	if (!ring->long_frames)
		return ENOMEM;
	geometry(ring, mtu);
	if (head >= ring->slots)
		return EINVAL;
	ring->head = head;
	ring->strained = 1; /* it may have been full meanwhile */
	error = map_ring(ring);
	if (!error && is_empty(ring))
		keep_one(ring);
	return error;
}

/* Give the kernel back the slots that are ours, the oldest ones, until `left` are. */
static void give_up(struct pk_ring *ring, __u32 left)
{
	__u32 number = ring->head, i;

	for (i = 0; i < ring->held; i++) {
		number = before(ring, number);
		if (i >= left)
			set_status(slot_at(ring, number), TP_STATUS_KERNEL);
	}
	if (ring->held > left)
		ring->held = left;
}

__u32 pk_ring_leave(struct pk_ring *ring)
{
	__u32 head = ring->head;

	if (ring->map && ring->held)
		give_up(ring, 0);
	if (ring->map)
		munmap(ring->map, ring->bytes);
	free(ring->long_frames);
	*ring = (struct pk_ring){ .fd = -1 };
	return head;
}

void pk_ring_close(struct pk_ring *ring)
{
	static const struct tpacket_req none;

	if (ring->map) {
		munmap(ring->map, ring->bytes);
		set_option(ring->fd, PACKET_RX_RING, &none, sizeof(none));
	}
	free(ring->long_frames);
	*ring = (struct pk_ring){ .fd = -1 };
}

/* The whole of a frame whose start is in a slot. */
static int read_long(struct pk_ring *ring, const struct tpacket2_hdr *slot, __u8 *into,
		     __u64 *errors)
{
	ssize_t got;
	int tries;

	/* That the link went down is told before the data. */
	for (tries = 0; tries < 3; tries++) {
		got = recv(ring->fd, into, PK_RECEIVED_MAX, MSG_DONTWAIT | MSG_TRUNC);
		if (got == (ssize_t)slot->tp_len + PK_VNET && got <= (ssize_t)PK_RECEIVED_MAX)
			return 1;
		if (got >= 0)
			break;
	}
	pk_count_error(errors, got < 0 ? errno : EMSGSIZE);
	return 0;
}

/* The frame in a slot, or the reason why there is none is counted. */
static int take(struct pk_ring *ring, struct tpacket2_hdr *slot, __u32 status, __u32 *longs,
		struct pk_frame *frame, __u64 *errors)
{
	__u8 *data = (__u8 *)slot + slot->tp_mac;

	if (status & TP_STATUS_COPY) {
		data = ring->long_frames + (size_t)*longs * PK_RECEIVED_MAX + PK_VNET;
		if (!read_long(ring, slot, data - PK_VNET, errors))
			return 0;
		++*longs;
	} else if (slot->tp_snaplen < slot->tp_len) {
		pk_count_error(errors, ENOBUFS); /* the socket's queue had no room for it */
		return 0;
	}
	memcpy(&frame->offload, data - PK_VNET, PK_VNET);
	frame->data = data;
	frame->length = slot->tp_len;
	return 1;
}

__u32 pk_ring_receive(struct pk_ring *ring, struct pk_frame *frames, __u32 most, __u32 *count,
		      __u64 *errors)
{
	__u32 longs = 0, slots = 0, status;
	struct tpacket2_hdr *slot;

	for (*count = 0; *count < most && longs < PK_LONG && ring->held < ring->slots; slots++) {
		slot = slot_at(ring, ring->head);
		status = status_of(slot);
		if (!(status & TP_STATUS_USER)) {
			ring->strained |= ring->run + slots >= ring->slots / 2;
			ring->run = 0;
			return slots;
		}
		ring->head = behind(ring, ring->head);
		ring->held++;
		*count += (__u32)take(ring, slot, status, &longs, &frames[*count], errors);
	}
	ring->run += slots;
	return slots;
}

void pk_ring_release(struct pk_ring *ring)
{
	give_up(ring, 1);
}

__u32 pk_frames_dropped(int fd)
{
	struct tpacket_stats stats = { 0, 0 };
	socklen_t size = sizeof(stats);

	/* A socket with a ring of version 3 would give a longer record; ours has none. */
	return getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size) ? 0 : stats.tp_drops;
}

struct pk_ring_loss pk_ring_look(struct pk_ring *ring)
{
	struct pk_ring_loss loss = { 0, 0 };

	ring->lost += pk_frames_dropped(ring->fd);
	if (ring->strained || ring->run >= ring->slots / 2) {
		loss.slow = ring->lost;
		ring->lost = ring->strained = 0;
	} else if (ring->lost && is_empty(ring)) {
		/* It had room all the time. */
		loss.stuck = ring->lost;
		ring->lost = 0;
	}
	return loss;
}
