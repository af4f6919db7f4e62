/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Persistence: which backend a client stays with.
 *
 * A pin outlives the flows that refer to it. It does not age while there are such flows. Then it
 * joins a queue of pins without flows. It is forgotten when it was not looked up for the time of
 * its service, or when there are too many pins: the first of the queue makes way. See
 * pktlb.engine.datapath.pin. The caller holds a lock.
 */
#ifndef PK_PIN_H
#define PK_PIN_H

#include "schedule.h"

struct pk_pin {
	struct pk_addr client; /* as much of the address as is one client */
	__u32 standing;        /* of the service */
	__u32 tally;
	__u32 refs; /* flows of the client, those to other backends as well */
	__u32 seen; /* ms: when it last got a flow, or when the last packet of its last flow came */
	__u32 life; /* ms that it lasts after `seen` */
	__u32 before, after; /* without flows: in the queue */
	__u32 next;          /* of the same hash, or free */
	__u8 family;
};

struct pk_pins {
	struct pk_pin *pin; /* `capacity` of them, and the head of the queue behind them */
	__u32 *hashed;      /* first of each hash, plus one; 0: there is none */
	struct pk_standings *standings;
	const __u32 *now; /* ms */
	struct pk_secret secret;
	__u32 capacity, mask; /* mask: number of hashes, a power of two, less one */
	__u32 used, freed, count;
};

/* One for the process to come, where standing and tally are places in lists. */
#define PK_SAVED_PIN(X) \
	X(__u8, client, [16]) \
	X(__u32, standing) X(__u32, tally) X(__u32, seen) X(__u32, life) \
	X(__u8, family) X(__u8, zero, [3])
struct pk_saved_pin { PK_SAVED_PIN(PK_FIELD) };

/* `capacity` is no less than flows may refer to, below 2^30. 0, or -1 without memory. */
int pk_pins_init(struct pk_pins *pins, __u32 capacity, const struct pk_secret *secret,
		 struct pk_standings *standings, const __u32 *now);
void pk_pins_free(struct pk_pins *pins);

/* The number of the pin of the client that sends packets of this key to a service, or PK_ABSENT; a
 * pin whose time is over is forgotten. */
__u32 pk_pin_find(struct pk_pins *pins, const struct pk_service *service,
		  const struct pk_key *key);
/* The client's new flow goes to this backend: so do those to come, until told otherwise. `number`
 * is what pk_pin_find has found; returns that of the pin, to be kept with the flow. */
__u32 pk_pin_hold(struct pk_pins *pins, __u32 number, const struct pk_service *service,
		  const struct pk_key *key, __u32 tally);
/* A flow of it is over, whose last packet was seen then. */
void pk_pin_release(struct pk_pins *pins, __u32 number, __u32 seen);

/* All of them, those without flows first, in the order of their queue; `place` says by number which
 * place each has got. */
void pk_pins_save(const struct pk_pins *pins, struct pk_saved_pin *saved, __u32 *place);
/* One of an earlier process, without flows so far: its number, or PK_ABSENT where there is no room,
 * or its client has one. */
__u32 pk_pin_restore(struct pk_pins *pins, const struct pk_saved_pin *saved, __u32 standing,
		     __u32 tally, __u32 seen);
/* A flow more belongs to it. */
void pk_pin_refer(struct pk_pins *pins, __u32 number);
/* Forget up to `most` pins whose time is over; returns how many. */
__u32 pk_pins_expire(struct pk_pins *pins, __u32 most);

#endif
