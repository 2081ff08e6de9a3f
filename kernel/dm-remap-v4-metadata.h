/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The metadata on the spare. Only the files dm-remap-v4-metadata*.c know the format
 * (docs/on-disk-format.md); they never see a bio, and their callers never see a
 * block. All functions may sleep and none may be called from map or end_io.
 *
 * One caller at a time: the target's worker while the device is live, the
 * preresume and postsuspend hooks otherwise. There are no locks; struct
 * dmr_meta_status is for everybody else.
 */
#ifndef DM_REMAP_V4_METADATA_H
#define DM_REMAP_V4_METADATA_H

#include <linux/blkdev.h>
#include <linux/types.h>
#include <linux/uuid.h>

#include "dm-remap-v4-space.h"

struct dm_bufio_client;

#define DMR_MAX_COPIES		8
#define DMR_DEFAULT_COPIES	5
#define DMR_DEFAULT_SPACING	256	/* sectors */
#define DMR_MIN_SPACING		64
#define DMR_MAX_SPACING		32768

enum dmr_record_kind {
	DMR_REC_REMAP = 1,
	DMR_REC_PENDING = 2,
	DMR_REC_FREE = 4,
	DMR_REC_BAD_SPARE = 8,
};

/* The longest that is written; a longer one is read all the same. */
#define DMR_MAX_RECORD_SECTORS	32768

struct dmr_record {
	u64 main;		/* sector of the main device; 0 for BAD_SPARE */
	u64 spare;		/* sector of the spare; 0 for PENDING and FREE */
	u32 sectors;
	u16 kind;		/* enum dmr_record_kind */
	u16 errors;
	u64 time;		/* seconds since 1970 */
};

/* State that may be a little out of date after a crash. */
struct dmr_soft_state {
	u64 read_errors;
	u64 write_errors;
	u64 salvaged;		/* sectors */
	u64 lost;		/* sectors */
	u64 scrub_sector;
};

/* How the caller makes the dm-bufio client: block size, reserved buffers. */
#define DMR_META_BLOCK		4096
#define DMR_META_BUFFERS	2

/*
 * Masks of copies of which not all that is read may be stored, since a flush or a write
 * failed. Of the @headers it may be the header; bit 1 is the shadow's if there is one copy.
 */
struct dmr_unsure {
	u8 copies, headers;
};

struct dmr_meta_params {
	struct dm_bufio_client *bufio;	/* on the spare, made as said above */
	struct block_device *bdev;	/* the spare */
	u64 main_sectors;
	u64 spare_sectors;
	u32 block_size;		/* logical block size of the stacked device, bytes */
	u32 copies;		/* 0: as found, or the default for a fresh spare */
	u32 spacing;		/* sectors; 0 likewise */
	bool uuid_known;	/* the metadata must carry @uuid */
	uuid_t uuid;
	bool read_only;		/* write nothing, not even to mend */
	struct dmr_unsure unsure;
	/*
	 * In place of the flushes of @bufio, where others flush the spare as well:
	 * fails also if one of theirs has, since what is to be flushed was written.
	 * Behind one that failed all of it is written again, and then blame() is told
	 * whether a @block was bad. Or both are NULL.
	 */
	int (*flush)(void *context, bool write);
	void (*blame)(void *context, bool block);
	void *flush_context;
};

struct dmr_metadata;

typedef int (*dmr_records_fn)(void *context, const struct dmr_record *rec,
			      unsigned int nr);

/*
 * Open the metadata of a spare, or format a spare whose region is all zero.
 * Log segments are taken out of *@space, which it initialises, and the records
 * are handed to @fn in order, some at a time. On failure *@error is a sentence for
 * the owner and nothing has been written, but by a format. Mending is the caller's
 * next step, without which no commit is made.
 */
struct dmr_metadata *dmr_metadata_open(const struct dmr_meta_params *params,
				       struct dmr_space *space,
				       dmr_records_fn fn, void *context,
				       const char **error);
void dmr_metadata_close(struct dmr_metadata *md);

/*
 * Rewrite whatever is damaged or stale in any copy, and record needs_check if it
 * has changed. Returns the number of copies that were mended, or a negative
 * error if one could not be. If the load met a minority of the headers nothing is
 * written: -ESTALE if there is a newer state, -ENODATA as long as there may be.
 */
int dmr_metadata_mend(struct dmr_metadata *md);

/*
 * After a load, until a mend has made what was found durable: may the next load find
 * another state? What was acknowledged last may be in headers that could not be read, or
 * what was found in a place where it can't be made to stay.
 */
bool dmr_metadata_uncertain(const struct dmr_metadata *md);

/* For &dmr_meta_params.unsure, if the same spare is opened again and was not switched off. */
struct dmr_unsure dmr_metadata_unsure(const struct dmr_metadata *md);

/* The owner wants the state that was loaded all the same, unless a newer one can be read. */
void dmr_metadata_believe(struct dmr_metadata *md);

/*
 * Flush, read every copy again and find out which are good. Returns how many,
 * and changes nothing on disk.
 */
u32 dmr_metadata_check(struct dmr_metadata *md);

/*
 * Make @nr records durable, in all good copies, after flushing what was
 * written to the spare before. @nr may be 0: a commit of the cursor alone. On
 * -EIO nothing of the last partial batch may be relied on, *@done tells how
 * many records are durable. -EREMOTEIO: what was written to the spare before
 * could not be flushed; it is to be written anew. -ENOSPC: there is no room for
 * the log to grow by all of them, and none is.
 */
int dmr_metadata_commit(struct dmr_metadata *md, const struct dmr_record *recs,
			unsigned int nr, unsigned int *done);

/*
 * What the caller knows of the present state, for a compaction: how many extents
 * it has, and whether what @rec says of its sectors from @offset on is still so,
 * for as many of them as have that answer.
 */
struct dmr_live {
	void *context;
	u64 extents;
	sector_t (*still)(void *context, const struct dmr_record *rec,
			  sector_t offset, bool *so);
};

/*
 * Should the log be compacted before @nr records are committed? If it has to
 * grow and half of it is dead; if it can't grow (@full), whenever that helps.
 */
bool dmr_metadata_worth_compacting(const struct dmr_metadata *md,
				   const struct dmr_live *live,
				   unsigned int nr, bool full);

/*
 * Write what is still so as a new log, and switch to it with one commit. On an
 * error but -EIO nothing has changed; after -EIO as after a failed commit. -ENOSPC:
 * no room for it that a majority of the copies can write.
 * Flushes first what was written to the spare before: -EREMOTEIO as there.
 */
int dmr_metadata_compact(struct dmr_metadata *md, const struct dmr_live *live);

/*
 * May there be a header of a higher number than the state's, of a commit that
 * failed or from before the load? Then it could not be denied yet in a majority of
 * the copies, and no commit is made.
 */
bool dmr_metadata_in_doubt(const struct dmr_metadata *md);

/* Write the soft state, in two waves as well. */
int dmr_metadata_save_soft(struct dmr_metadata *md,
			   const struct dmr_soft_state *soft);
void dmr_metadata_get_soft(struct dmr_metadata *md, struct dmr_soft_state *soft);

/* Recorded by the next commit or mend that can write a header. */
void dmr_metadata_set_needs_check(struct dmr_metadata *md, bool needs_check);

struct dmr_meta_status {
	uuid_t uuid;
	u64 sequence;
	u32 copies;
	u32 valid;		/* copies known to be good */
	u32 spacing;		/* sectors */
	u64 generation;		/* of the log, from 1 */
	u32 log_blocks;
	u64 commits;		/* since open */
	u64 block_writes;
	u64 flushes;
	bool needs_check;
	bool formatted;		/* this open made a fresh spare */
	s8 chosen;		/* copy whose header was taken */
	u8 good;		/* bit per copy */
};

void dmr_metadata_status(struct dmr_metadata *md, struct dmr_meta_status *st);

#endif
