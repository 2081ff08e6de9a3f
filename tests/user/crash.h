/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All that a disk may hold after a power cut: what was flushed, and of each
 * write after that everything, nothing or some of its sectors.
 */
#ifndef CRASH_H
#define CRASH_H

#include "shim/disk.h"

#define CRASH_ALL_SUBSETS	10	/* with more writes, a sample of them */
#define CRASH_MAX_WRITES	512

struct crash_plan {
	u32 subsets;		/* the size of that sample */
	u32 torn;		/* times each write is torn at each place */
	u32 wild;		/* states with any sectors of any write */
};

struct crash_state {
	struct disk *disk;	/* to look at, or to clone; not to write to */
	u64 hash;		/* of all its content */
	const u8 *fate;		/* mask of sectors, for each of origin->pending */
	const struct disk *origin;
};

/* Calls @look for each state that the plan makes of @d. */
void crash_states(const struct disk *d, const struct crash_plan *plan, struct rng *rng,
		  void (*look)(const struct crash_state *s, void *context), void *context);

#endif
