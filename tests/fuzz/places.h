/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses of the small world by number: the same one in both families. */
#ifndef FUZZ_PLACES_H
#define FUZZ_PLACES_H

#include "world.h"

#define FIRST_VIP 0x0a000001u
#define FIRST_BACKEND 0x0a010000u
#define FIRST_OF_POOL 0x0a020001u
#define BALANCER 0x0a030001u

struct pk_addr place_address(__u32 number, __u8 family);
struct pk_raw_end place_end(__u32 number, __u8 family, __u16 port, __u8 proto);

#endif
