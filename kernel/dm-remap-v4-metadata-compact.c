// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compaction: a new log of what is still so, and one commit that switches to it.
 */
#include <linux/math64.h>
#include <linux/sched.h>

#include "dm-remap-v4-metadata-internal.h"

struct compaction {
	struct dmr_metadata *md;
	const struct dmr_live *live;
	u8 to;			/* copies that this pass writes; the first one counts only */
	bool failed;		/* this pass, in one of them */
	u32 blocks;		/* of the new log that have a place */
	struct dmr_record last;	/* not yet emitted, its neighbour may follow */
	u64 nr;			/* records emitted */
	u64 nr_bad;
};

static u64 logged_records(const struct dmr_metadata *md)
{
	return (u64)le32_to_cpu(md->hdr->log_blocks) * RECORDS_PER_BLOCK +
	       le32_to_cpu(md->hdr->nr_records);
}

/* The next log block of the new generation is full. */
static int write_compacted(struct compaction *co)
{
	struct dmr_metadata *md = co->md;
	struct disk_log *out = md->log + 2;
	u32 index = le32_to_cpu(md->next->log_blocks);
	u8 copy;

	/* What is read may be other than when it was counted. */
	if (index >= co->blocks)
		return -ENODATA;
	for (copy = 0; copy < md->copies; copy++)
		if (co->to & 1u << copy &&
		    dmr_md_dirty_block(md, dmr_md_log_place(md, md->next, index, copy),
				       out, copy))
			co->failed = true;
	dmr_md_count_log_block(md->next, out->record);
	if (index % PREFETCH_BLOCKS == PREFETCH_BLOCKS - 1 && dmr_md_write_and_flush(md))
		co->failed = true;
	dmr_md_init_log_block(out, md->next, index + 1);
	return 0;
}

static int emit_last(struct compaction *co)
{
	struct disk_log *out = co->md->log + 2;
	u32 at;

	if (!co->last.sectors)
		return 0;
	div_u64_rem(co->nr, RECORDS_PER_BLOCK, &at);
	co->nr++;
	co->nr_bad += co->last.kind == DMR_REC_BAD_SPARE;
	if (co->to)
		encode_record(&out->record[at], &co->last);
	co->last.sectors = 0;
	return co->to && at == RECORDS_PER_BLOCK - 1 ? write_compacted(co) : 0;
}

static int emit(struct compaction *co, const struct dmr_record *rec)
{
	struct dmr_record *last = &co->last;
	bool on_main = rec->kind != DMR_REC_BAD_SPARE;
	bool on_spare = rec->kind != DMR_REC_PENDING;
	int r;

	if (last->sectors && last->kind == rec->kind &&
	    (!on_main || last->main + last->sectors == rec->main) &&
	    (!on_spare || last->spare + last->sectors == rec->spare) &&
	    (u64)last->sectors + rec->sectors <= DMR_MAX_RECORD_SECTORS) {
		last->sectors += rec->sectors;
		last->errors = max(last->errors, rec->errors);
		last->time = max(last->time, rec->time);
		return 0;
	}
	r = emit_last(co);
	*last = *rec;
	return r;
}

/* Emit those parts of a record that are still so. */
static int sift(struct compaction *co, const struct disk_record *d)
{
	u64 main_sectors = co->md->params.main_sectors;
	struct dmr_record rec, part;
	sector_t done, n;
	bool so;
	int r;

	decode_record(&rec, d);
	if (rec.kind == DMR_REC_FREE)
		return 0;
	if (rec.kind == DMR_REC_BAD_SPARE)
		return emit(co, &rec);
	/* The load saw to that; what is read now need not be what it read. */
	if (rec.main >= main_sectors || rec.sectors > main_sectors - rec.main)
		return -ENODATA;
	for (done = 0; done < rec.sectors; done += n) {
		n = co->live->still(co->live->context, &rec, done, &so);
		n = min_t(sector_t, n, rec.sectors - done);
		if (!so)
			continue;
		part = rec;
		part.main += done;
		part.spare += rec.kind == DMR_REC_REMAP ? done : 0;
		part.sectors = n;
		r = emit(co, &part);
		if (r)
			return r;
	}
	return 0;
}

/* One pass over all records, oldest first. */
static int sift_all(struct compaction *co)
{
	struct dmr_metadata *md = co->md;
	u32 i, j, crc = 0, nr = le32_to_cpu(md->hdr->log_blocks);
	struct found_log f;
	int r;

	co->nr = 0;
	co->nr_bad = 0;
	co->last.sectors = 0;
	for (i = 0; i < nr; i++) {
		dmr_md_prefetch_log(md, i, nr);
		r = dmr_md_read_log_block(md, i, &f);
		if (!r)
			crc = dmr_md_log_crc_with(md, crc, &f);
		for (j = 0; j < RECORDS_PER_BLOCK && !r; j++)
			r = sift(co, &f.log->record[j]);
		if (r)
			return r;
		cond_resched();
	}
	/* Nothing that was not acknowledged may be sealed anew. */
	if (crc != le32_to_cpu(md->hdr->log_crc))
		return -ENODATA;
	nr = le32_to_cpu(md->hdr->nr_records);
	for (i = 0; i < nr; i++) {
		r = sift(co, &md->hdr->record[i]);
		if (r)
			return r;
	}
	return emit_last(co);
}

/* The next header as the start of a new generation, in the other half of slots. */
static int begin_generation(struct dmr_metadata *md, u32 log_blocks)
{
	struct disk_header *next = md->next;
	u32 half = slot_half_blocks(md->spacing), i;
	bool first = le64_to_cpu(md->hdr->segment[0]) == SLOT_LOG * BLOCK_SECTORS;

	memcpy(next, md->hdr, sizeof(*next));
	le64_add_cpu(&next->generation, 1);
	next->p.sequence = cpu_to_le64(dmr_md_new_sequence(md));
	next->log_blocks = 0;
	next->log_crc = 0;
	next->nr_records = 0;
	memset(next->record, 0, sizeof(next->record));
	memset(next->segment, 0, sizeof(next->segment));
	next->segment[0] = cpu_to_le64((SLOT_LOG + (first ? half : 0)) * BLOCK_SECTORS);
	for (i = 0; i < log_blocks; i++) {
		if (dmr_md_ensure_segment(md, next->segment, i)) {
			dmr_md_free_segments(md, next->segment);
			return -ENOSPC;
		}
	}
	return 0;
}

/* The new log to the copies in @to, flushed; co->failed tells how that went. */
static int write_new_log(struct compaction *co, u8 to)
{
	struct dmr_metadata *md = co->md;
	int r;

	co->to = to;
	co->failed = false;
	md->next->log_blocks = 0;
	md->next->log_crc = 0;
	dmr_md_init_log_block(md->log + 2, md->next, 0);
	r = sift_all(co);
	if (dmr_md_write_and_flush(md))
		co->failed = true;
	return r;
}

/*
 * The same to all good copies. After an error one by one, as in dmr_md_write_wave(); those
 * that fail can't follow, and are no longer good, if a majority of others can.
 */
static int write_new_logs(struct compaction *co)
{
	struct dmr_metadata *md = co->md;
	u8 copy, failed = 0;
	int r = write_new_log(co, md->good);

	if (r || !co->failed)
		return r;
	for (copy = 0; copy < md->copies; copy++) {
		if (!(md->good & 1u << copy))
			continue;
		r = write_new_log(co, 1u << copy);
		if (r)
			return r;
		if (co->failed)
			failed |= 1u << copy;
	}
	dmr_md_blame(md, failed);
	if (count(md->good & ~failed) < majority(md))
		return -ENOSPC;
	md->unsure |= failed;
	dmr_md_lose_copies(md, failed, 0);
	return 0;
}

static int compact(struct compaction *co)
{
	struct dmr_metadata *md = co->md;
	struct disk_log *out = md->log + 2;
	__le64 old[NR_SEGMENTS];
	u32 rest;
	int r = sift_all(co);

	if (r)
		return r;
	co->blocks = div_u64(co->nr, RECORDS_PER_BLOCK);
	r = begin_generation(md, co->blocks);
	if (r)
		return r;

	r = write_new_logs(co);
	if (r) {
		/* No header names them. */
		dmr_md_free_segments(md, md->next->segment);
		return r == -ENOSPC ? r : -ENODATA;
	}
	div_u64_rem(co->nr, RECORDS_PER_BLOCK, &rest);
	memcpy(md->next->record, out->record, rest * sizeof(out->record[0]));
	md->next->nr_records = cpu_to_le32(rest);

	memcpy(old, md->segment, sizeof(old));
	memcpy(md->segment, md->next->segment, sizeof(old));
	r = dmr_md_switch_header(md, 0);
	if (r) {
		/* The new places stay taken: a header may name them still. */
		memcpy(md->segment, old, sizeof(old));
		return r;
	}
	dmr_md_free_segments(md, old);
	md->spilled = false;
	md->nr_bad = co->nr_bad;
	return 0;
}

bool dmr_metadata_worth_compacting(const struct dmr_metadata *md,
				   const struct dmr_live *live,
				   unsigned int nr, bool full)
{
	u64 logged = logged_records(md), alive = live->extents + md->nr_bad;
	/* Also the one that becomes just full is written into the log. */
	u32 fills = (le32_to_cpu(md->hdr->nr_records) + nr) / RECORDS_PER_BLOCK;

	/*
	 * How much a compaction wins is known only when it is done: records that
	 * are one extent in the caller's map may be too far apart here.
	 */
	alive = max(alive, md->compacted);
	if (logged < alive + RECORDS_PER_BLOCK)
		return false;
	return full || (fills && logged >= 2 * alive &&
			!dmr_md_has_segment(md, le32_to_cpu(md->hdr->log_blocks) + fills - 1));
}

int dmr_metadata_compact(struct dmr_metadata *md, const struct dmr_live *live)
{
	struct compaction co = { .md = md, .live = live };
	int r;

	if (md->params.read_only)
		return -EROFS;
	if (md->ahead || count(md->good) < majority(md))
		return -EIO;
	r = dmr_md_flush_data(md);
	if (r)
		return r;
	r = compact(&co);
	/* Also if it failed: whatever prevented it, not every commit shall try. */
	md->compacted = logged_records(md);
	return r;
}
