/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What records add up to, one entry a block of 4 KiB, with a hash of all of it
 * that follows each record: two equal hashes are the same state.
 */
#ifndef REPLAY_H
#define REPLAY_H

#include "dm-remap-v4-metadata.h"

#define REPLAY_BLOCK	8	/* sectors: the smallest unit of a remap here */
#define REPLAY_BLOCKS	4096	/* of main, and of the spare */

struct replay {
	u64 hash;
	u64 nr;				/* records */
	u32 crc;			/* of them all, as they stand on the spare */
	u8 kind[REPLAY_BLOCKS];		/* enum dmr_kind's numbers; by main block */
	u32 spare[REPLAY_BLOCKS];	/* block; 0 if there is none */
	bool bad[REPLAY_BLOCKS];	/* by spare block */
};

void replay_init(struct replay *r);

/* 0, or -EINVAL for a record that is none. */
int replay_record(struct replay *r, const struct dmr_record *rec);

/* The same for several; a dmr_records_fn. */
int replay_records(void *replay, const struct dmr_record *rec, unsigned int nr);

/* What is still so, for a compaction. */
struct dmr_live replay_live(struct replay *r);

#endif
