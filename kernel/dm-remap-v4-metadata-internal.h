/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What dm-remap-v4-metadata.c, which commits, and these share, and nobody else includes:
 *
 *	-block.c	single blocks: which are valid; read, dirtied, flushed
 *	-log.c		log blocks: where they are, what they hold by a vote
 *	-open.c		which header to believe; the load
 *	-format.c	a spare without a header
 *	-mend.c		what copies lack; whether what was loaded stands
 *	-compact.c	a new log of what is still so
 */
#ifndef DM_REMAP_V4_METADATA_INTERNAL_H
#define DM_REMAP_V4_METADATA_INTERNAL_H

#include <linux/bitops.h>
#include <linux/math.h>

#include "dm-remap-v4-metadata-disk.h"
#include "dm-remap-v4-metadata.h"

struct dmr_readahead;

#define LOG_BUFFERS	3

/*
 * No locks: one caller at a time, see dm-remap-v4-metadata.h. Masks have a bit for each
 * copy. Behind a commit that succeeded, and a mend that did, header_ok, whole and good are
 * the same. What takes a copy out of which, and brings it back:
 *
 *				header_ok	info_ok		good	whole
 *	header failed		out		out		out	out
 *	info, log or shadow
 *	failed, or in doubt	out		out		out	out by the next commit
 *	commit			those good	-		-	those good
 *	mend's new number	all out		-		-	-
 *	mended			in		in		in	in
 *	check			those that are on disk, and sure	in with header_ok; out
 *								if it has none of ours
 */
struct dmr_metadata {
	struct dm_bufio_client *bufio;	/* the caller's */
	struct dmr_meta_params params;
	struct dmr_space *space;

	struct disk_header *hdr;	/* the state that is durable */
	struct disk_header *next;	/* the state a commit tries to write */
	__le64 segment[NR_SEGMENTS];	/* as the next header will name them */
	struct disk_info *info;
	struct disk_log *log;		/* LOG_BUFFERS blocks to work with */

	u32 copies;			/* constant after open */
	u32 spacing;			/* sectors; constant after open */
	unsigned int chosen;		/* constant after open */
	u32 copy_crc[DMR_MAX_COPIES];	/* see same_prefix(); constant after open */
	u32 over_records[32];		/* see crc_over_records(); the same */
	bool formatted;			/* constant after open */

	u8 good;			/* copies that hold the state whole */
	u8 header_ok, info_ok;		/* copies whose block is the present one */
	u8 whole;			/* copies whose header has that state, or a later one, whole */
	u8 cached;			/* dmr_unsure.headers */
	u8 loaded_in;			/* likewise, those with the header that was loaded ... */
	__le64 loaded;			/* ... and its number; constant after open */
	u8 unsure;			/* copies of which not all that is read may be stored ... */
	u8 alone;			/* ... and that no other had when last looked at */
	u64 nr_bad;			/* bad-spare records on disk */
	u64 compacted;			/* records that the last compaction left */
	u8 seen;			/* copies with a header at the load; constant after open */
	bool believed;			/* the owner wants what was loaded, be it old */
	bool stale;			/* a newer header was met since; till the next open */
	bool certain;			/* any other load would find it, too, or a later one */
	u64 sequence;			/* the highest ever tried on disk */
	u64 durable;			/* that a majority of the headers is known to have had */
	u64 skip;			/* of sequence numbers, see load() */
	bool shadow_ok;			/* one copy: its shadow is the present header */
	bool shadow_unsure;		/* it may be read, and not be stored */
	bool spilled;			/* a full header stands in the log too */
	bool ahead;			/* there may be a newer header, to be denied */
	bool needs_check;		/* wanted in the next header */

	u64 commits, block_writes, flushes;	/* since the open */

	/* While the log is loaded, if there is memory. */
	struct dmr_readahead *stream;
	u32 piece, piece_end;		/* of log blocks: its newest piece */
};

/*
 * More numbers than can be used up between two durable headers: by compactions
 * that are given up, a commit that fails, and the header that denies it, with
 * needs_check set or not.
 */
#define SKIP	16

static inline u8 all_copies(const struct dmr_metadata *md)
{
	return (1u << md->copies) - 1;
}

static inline u32 majority(const struct dmr_metadata *md)
{
	return md->copies / 2 + 1;
}

static inline u32 count(u8 mask)
{
	return hweight8(mask);
}

static inline u64 region_sectors(u32 copies, u32 spacing)
{
	return (u64)copies * spacing;
}

static inline u64 data_start(u32 copies, u32 spacing)
{
	return round_up(region_sectors(copies, spacing), MIB_SECTORS);
}

static inline u64 slot_block(const struct dmr_metadata *md, u8 copy, u32 block)
{
	return (u64)copy * (md->spacing / BLOCK_SECTORS) + block;
}

static inline u32 slot_half_blocks(u32 spacing)
{
	return (spacing / BLOCK_SECTORS - SLOT_LOG) / 2;
}

static inline u32 segment_blocks(const struct dmr_metadata *md, unsigned int i)
{
	return i ? FIRST_SEGMENT_BLOCKS << (i - 1) : slot_half_blocks(md->spacing);
}

/* ------------------------------------------------------------------ block */

u32 dmr_md_block_crc(const void *block);
bool dmr_md_block_known(const struct disk_prefix *p, u32 magic);
bool dmr_md_block_valid(const struct disk_prefix *p, u32 magic);
bool dmr_md_header_fits(const struct disk_header *h, u8 copy, u32 spacing);
int dmr_md_read_block(struct dmr_metadata *md, u64 block, void *to);
int dmr_md_dirty_block(struct dmr_metadata *md, u64 block, const void *image,
		       u8 copy);
int dmr_md_flush_spare(struct dmr_metadata *md, bool write);
void dmr_md_blame(struct dmr_metadata *md, bool block);
int dmr_md_write_and_flush(struct dmr_metadata *md);

static inline void decode_record(struct dmr_record *r, const struct disk_record *d)
{
	r->main = le64_to_cpu(d->main);
	r->spare = le64_to_cpu(d->spare);
	r->sectors = le32_to_cpu(d->sectors);
	r->kind = le16_to_cpu(d->kind);
	r->errors = le16_to_cpu(d->errors);
	r->time = le64_to_cpu(d->time);
}

static inline void encode_record(struct disk_record *d, const struct dmr_record *r)
{
	d->main = cpu_to_le64(r->main);
	d->spare = cpu_to_le64(r->spare);
	d->sectors = cpu_to_le32(r->sectors);
	d->kind = cpu_to_le16(r->kind);
	d->errors = cpu_to_le16(r->errors);
	d->time = cpu_to_le64(r->time);
}

/* -------------------------------------------------------------------- log */

#define PREFETCH_BLOCKS	64

struct found_log {
	const struct disk_log *log;	/* md->log, or as it was read ahead */
	u32 records;			/* CRC of its records, from 0 on */
	u8 newest_in;			/* copies that have this version */
};

void dmr_md_init_crcs(struct dmr_metadata *md, struct disk_log *scratch);
unsigned int dmr_md_log_segment(const struct dmr_metadata *md, u32 index,
				u32 *within);
u64 dmr_md_log_place(const struct dmr_metadata *md,
		     const struct disk_header *hdr, u32 index, u8 copy);
int dmr_md_ensure_segment(struct dmr_metadata *md, __le64 *segment, u32 index);
void dmr_md_free_segments(struct dmr_metadata *md, const __le64 *segment);
bool dmr_md_has_segment(const struct dmr_metadata *md, u32 index);
void dmr_md_init_log_block(struct disk_log *log, const struct disk_header *hdr,
			   u32 index);
void dmr_md_count_log_block(struct disk_header *hdr,
			    const struct disk_record *record);
u32 dmr_md_log_crc_with(const struct dmr_metadata *md, u32 crc,
			const struct found_log *f);
int dmr_md_read_log_block(struct dmr_metadata *md, u32 index, struct found_log *f);
int dmr_md_next_log_block(struct dmr_metadata *md, u32 index, u32 nr, struct found_log *f);
void dmr_md_forget_log_block(struct dmr_metadata *md, u32 index);
void dmr_md_prefetch_log(struct dmr_metadata *md, u32 index, u32 nr);
int dmr_md_dirty_log(struct dmr_metadata *md, u8 copy);

/* --------------------------------------------------------------- metadata */

enum {
	WRITE_HEADER = 1,
	WRITE_SPILL = 2,	/* the full header, as the next log block */
	WRITE_INFO = 4,
	WRITE_LOG = 8,		/* every log block */
};

u8 dmr_md_write_wave(struct dmr_metadata *md, const struct disk_header *hdr,
		     u8 mask, unsigned int what);
int dmr_md_write_waves(struct dmr_metadata *md, const struct disk_header *hdr,
		       unsigned int what);
int dmr_md_write_shadow(struct dmr_metadata *md, const struct disk_header *hdr);
void dmr_md_lose_copies(struct dmr_metadata *md, u8 failed, unsigned int what);
void dmr_md_doubt_copies(struct dmr_metadata *md, u8 copies);
bool dmr_md_in_majority(const struct dmr_metadata *md);
u64 dmr_md_new_sequence(struct dmr_metadata *md);
int dmr_md_switch_header(struct dmr_metadata *md, unsigned int what);
int dmr_md_flush_data(struct dmr_metadata *md);

/* ----------------------------------------------------------------- format */

void dmr_md_init_info(struct dmr_metadata *md, const uuid_t *uuid);
const char *dmr_md_load_other(struct dmr_metadata *md, void *scratch);

#endif
