/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The crash laboratory: metadata on a simulated disk, used as the target uses
 * it, and at each flush a look at every state that a power cut could leave.
 * Whatever was acknowledged must be in each of them, and what was not yet,
 * whole or not at all.
 */
#ifndef LAB_H
#define LAB_H

#include "crash.h"
#include "dm-remap-v4-metadata.h"
#include "replay.h"
#include "shim/bufio.h"
#include "shim/disk.h"

#define LAB_SECTORS	(REPLAY_BLOCKS * REPLAY_BLOCK)	/* of main and spare */
#define LAB_MAX_RECORDS	600				/* in one commit */

struct lab_setup {
	u32 copies, spacing;
	u64 seed;
	struct bufio_kindness kind;
	struct crash_plan plan;
	/* Planted in each commit, or in each compaction instead. */
	enum bufio_bug bug;
	unsigned int bug_at;
	bool bug_compacts;
	bool early_ack;		/* acknowledged after the first wave */
	struct dmr_unsure unsure;	/* as it was when the device was suspended */
};

/* What a load may find: the state after record number 0 to nr of a commit. */
struct lab_allowed {
	u64 state[LAB_MAX_RECORDS + 1];
	unsigned int first, nr;
};

struct lab_seen {
	u64 key, state, soft;
	bool refused;
};

struct lab {
	struct lab_setup setup;
	struct disk *disk;
	struct dm_bufio_client *client;
	struct dmr_metadata *md;
	struct dmr_space space;
	struct rng rng;

	struct replay acked;
	struct lab_allowed allowed;
	struct dmr_soft_state soft[2];	/* saved, and being saved */
	u8 good;			/* copies that have all of it */
	u64 failed_writes;		/* when it was last so */
	bool formatted;

	bool want_cut;			/* keep a state of the next flush ... */
	struct disk *cut;		/* ... here, with what a load may find */
	struct lab_allowed cut_allowed;
	struct dmr_soft_state cut_soft;	/* the newest */
	u8 cut_sound;			/* copies of which any one is enough */
	u8 away;			/* copies that can't be reached till the next boot */

	struct lab_seen *seen;
	u64 room, distinct;		/* states of different content */
	u64 looks, damaged, subsets, reboots, minorities, repairs, commits, failed_commits, compactions, uses, resumes;
	u32 log_blocks;			/* the most there were */
};

void lab_init(struct lab *lab, const struct lab_setup *setup);
void lab_exit(struct lab *lab);

/* Boot from lab->disk, and mend. False: there is no majority. */
bool lab_open(struct lab *lab);
/* Power off, cut at some moment since want_cut was set, and boot. */
void lab_reboot(struct lab *lab);
/* Suspend and resume, in doubt as it may be. */
void lab_resume(struct lab *lab);

/* Commit, roll back and mend as the target does. The number that is durable. */
unsigned int lab_commit(struct lab *lab, const struct dmr_record *rec, unsigned int nr);
/* Before @nr records: compact, if that wins anything, or if the spare is @full. */
int lab_compact(struct lab *lab, unsigned int nr, bool full);
void lab_save_soft(struct lab *lab);
/* False: some copy could not be mended that is not away, or a failed commit not be denied. */
bool lab_mend(struct lab *lab);
/* Make everything work again that is not away till the next boot. */
void lab_heal(struct lab *lab);
/* Damage copies behind everybody's back, find out and mend, but for one that is good. */
void lab_repair(struct lab *lab);

#endif
