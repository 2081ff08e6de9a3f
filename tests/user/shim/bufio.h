/* SPDX-License-Identifier: GPL-2.0-only */
/* What a test can set in a dm-bufio client. */
#ifndef SHIM_BUFIO_H
#define SHIM_BUFIO_H

#include <linux/dm-bufio.h>

#include "shim.h"

/* Ways to break a protocol that relies on dm-bufio. */
enum bufio_bug {
	BUFIO_RIGHT,
	BUFIO_NO_FLUSH,		/* a flush is left out */
	BUFIO_LATE_WRITE,	/* so is all that it should follow, until the next one */
};

struct bufio_kindness {
	unsigned int early;	/* one in so many calls writes something; 0: none */
	unsigned int buffers;	/* in the cache, before some must go */
};

void bufio_set(struct dm_bufio_client *c, const struct bufio_kindness *k, u64 seed);

/* The disk it was made for. */
struct block_device *bufio_bdev(const struct dm_bufio_client *c);

/* Count flushes from here, with this bug in number @at. */
void bufio_begin(struct dm_bufio_client *c, enum bufio_bug bug, unsigned int at);
unsigned int bufio_flushes(const struct dm_bufio_client *c);

#endif
