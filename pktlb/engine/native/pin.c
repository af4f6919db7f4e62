/* SPDX-License-Identifier: BSD-3-Clause */
#include "pin.h"

#include <string.h>

#include "arena.h"

static size_t pin_bytes(const struct pk_pins *pins)
{
	return (pins->capacity + (size_t)1) * sizeof(*pins->pin);
}

static size_t hash_bytes(const struct pk_pins *pins)
{
	return (pins->mask + (size_t)1) * sizeof(*pins->hashed);
}

int pk_pins_init(struct pk_pins *pins, __u32 capacity, const struct pk_secret *secret,
		 struct pk_standings *standings, const __u32 *now)
{
	*pins = (struct pk_pins){ .standings = standings, .now = now, .secret = *secret,
				  .capacity = capacity, .freed = PK_ABSENT };
	while (pins->mask < capacity - 1)
		pins->mask = pins->mask * 2 + 1;
	pins->pin = pk_reserve(pin_bytes(pins));
	pins->hashed = pk_reserve(hash_bytes(pins));
	if (!pins->pin || !pins->hashed)
		return -1;
	pins->pin[capacity].before = pins->pin[capacity].after = capacity;
	return 0;
}

void pk_pins_free(struct pk_pins *pins)
{
	pk_release(pins->pin, pin_bytes(pins));
	pk_release(pins->hashed, hash_bytes(pins));
}

/* The client that sends packets of this key, as a pin of the service knows it. */
static struct pk_addr client_of(const struct pk_service *service, const struct pk_key *key)
{
	__u32 bits = key->family == 4 ? service->persist4 : service->persist6;
	struct pk_addr client = { .half = { 0, 0 } };

	pk_write_prefix(client.byte, &key->source, pk_size(key->family), bits);
	return client;
}

static __u32 *chain_of(struct pk_pins *pins, __u32 standing, const struct pk_addr *client,
		       __u8 family)
{
	struct pk_sip s;


	pk_sip_begin(&s, &pins->secret);
	pk_sip_add(&s, client->half[0], 1);
	pk_sip_add(&s, client->half[1], 1);
	pk_sip_add(&s, (__u64)standing << 8 | family, 1);
	return &pins->hashed[pk_sip_end(&s, 3) & pins->mask];
}

static void queue_up(struct pk_pins *pins, __u32 number)
{
	struct pk_pin *pin = pins->pin;
	__u32 head = pins->capacity, last = pin[head].before;

	pin[number].before = last;
	pin[number].after = head;
	pin[last].after = number;
	pin[head].before = number;
}

static void leave_queue(struct pk_pins *pins, __u32 number)
{
	struct pk_pin *pin = pins->pin;

	pin[pin[number].before].after = pin[number].after;
	pin[pin[number].after].before = pin[number].before;
}

static int is_over(const struct pk_pins *pins, const struct pk_pin *pin)
{
	return !pin->refs && *pins->now - pin->seen >= pin->life;
}

/* One that no flow refers to. */
static void forget(struct pk_pins *pins, __u32 number)
{
	struct pk_pin *pin = &pins->pin[number];
	__u32 *at = chain_of(pins, pin->standing, &pin->client, pin->family);

	while (*at != number + 1)
		at = &pins->pin[*at - 1].next;
	*at = pin->next;
	leave_queue(pins, number);
	pins->standings->tallies[pin->tally].pins--;
	pin->next = pins->freed;
	pins->freed = number;
	pins->count--;
}

static __u32 find(struct pk_pins *pins, __u32 standing, const struct pk_addr *client, __u8 family)
{
	__u32 at = *chain_of(pins, standing, client, family);
	const struct pk_pin *pin;

	for (; at; at = pin->next) {
		pin = &pins->pin[at - 1];
		if (pin->standing != standing || pin->family != family ||
		    !pk_addr_equal(&pin->client, client))
			continue;
		if (!is_over(pins, pin))
			return at - 1;
		forget(pins, at - 1);
		break;
	}
	return PK_ABSENT;
}

__u32 pk_pin_find(struct pk_pins *pins, const struct pk_service *service, const struct pk_key *key)
{
	struct pk_addr client = client_of(service, key);

	return find(pins, service->standing, &client, key->family);
}

/* Of those that there are no more than flows, so where all places are taken one has no flow. */
static __u32 make(struct pk_pins *pins, __u32 standing, struct pk_addr client, __u8 family)
{
	__u32 *chain = chain_of(pins, standing, &client, family), number;

	if (pins->count >= pins->capacity)
		forget(pins, pins->pin[pins->capacity].after);
	number = pins->freed;
	if (number != PK_ABSENT)
		pins->freed = pins->pin[number].next;
	else
		number = pins->used++;
	pins->pin[number] = (struct pk_pin){ .client = client, .standing = standing,
					     .next = *chain, .family = family };
	*chain = number + 1;
	pins->count++;
	return number;
}

__u32 pk_pin_hold(struct pk_pins *pins, __u32 number, const struct pk_service *service,
		  const struct pk_key *key, __u32 tally)
{
	struct pk_tally *tallies = pins->standings->tallies;
	struct pk_pin *pin;

	if (number == PK_ABSENT) {
		number = make(pins, service->standing, client_of(service, key), key->family);
	} else {
		tallies[pins->pin[number].tally].pins--;
		if (!pins->pin[number].refs)
			leave_queue(pins, number);
	}
	pin = &pins->pin[number];
	pin->tally = tally;
	tallies[tally].pins++;
	pin->refs++;
	pin->seen = *pins->now;
	pin->life = service->persist;
	return number;
}

void pk_pin_release(struct pk_pins *pins, __u32 number, __u32 seen)
{
	struct pk_pin *pin = &pins->pin[number];

	if (--pin->refs)
		return;
	if (*pins->now - seen < *pins->now - pin->seen) /* later: time wraps around */
		pin->seen = seen;
	queue_up(pins, number);
}

__u32 pk_pins_expire(struct pk_pins *pins, __u32 most)
{
	__u32 left = most, number;

	while (left && (number = pins->pin[pins->capacity].after) != pins->capacity) {
		if (!is_over(pins, &pins->pin[number]))
			break;
		forget(pins, number);
		left--;
	}
	return most - left;
}

static void save(const struct pk_pin *pin, struct pk_saved_pin *saved)
{
	*saved = (struct pk_saved_pin){ .standing = pin->standing, .tally = pin->tally,
					.seen = pin->seen, .life = pin->life,
					.family = pin->family };
	memcpy(saved->client, pin->client.byte, 16);
}

void pk_pins_save(const struct pk_pins *pins, struct pk_saved_pin *saved, __u32 *place)
{
	__u32 head = pins->capacity, number, count = 0;

	for (number = pins->pin[head].after; number != head; number = pins->pin[number].after) {
		place[number] = count;
		save(&pins->pin[number], &saved[count++]);
	}
	for (number = 0; number < pins->used; number++) {
		if (!pins->pin[number].refs)
			continue;
		place[number] = count;
		save(&pins->pin[number], &saved[count++]);
	}
}

__u32 pk_pin_restore(struct pk_pins *pins, const struct pk_saved_pin *saved, __u32 standing,
		     __u32 tally, __u32 seen)
{
	struct pk_addr client;
	__u32 number;

	memcpy(client.byte, saved->client, 16);
	if (pins->count >= pins->capacity ||
	    find(pins, standing, &client, saved->family) != PK_ABSENT)
		return PK_ABSENT;
	number = make(pins, standing, client, saved->family);
	pins->pin[number].tally = tally;
	pins->pin[number].seen = seen;
	pins->pin[number].life = saved->life;
	pins->standings->tallies[tally].pins++;
	queue_up(pins, number);
	return number;
}

void pk_pin_refer(struct pk_pins *pins, __u32 number)
{
	if (!pins->pin[number].refs++)
		leave_queue(pins, number);
}
