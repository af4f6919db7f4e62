/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames off one interface with a system call for some of them, without a ring.
 *
 * That is slower. But a frame whose offloads the header cannot express stops nothing here: it is
 * lost, receiving it fails with EINVAL, and the next one follows.
 */
#ifndef PK_PLAIN_H
#define PK_PLAIN_H

#include "frame.h"

struct pk_plain;

/* Over a raw socket with offload headers; NULL where there is no memory. */
struct pk_plain *pk_plain_open(int fd);
void pk_plain_close(struct pk_plain *plain);

/* Up to `most` frames, into `count`. They are the caller's, with PK_HEADROOM bytes in front, until
 * the next call. Returns 0, or the number of an error; EAGAIN: none has arrived. */
int pk_plain_receive(struct pk_plain *plain, struct pk_frame *frames, __u32 most, __u32 *count);

#endif
