// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metadata on the spare: how a commit becomes durable.
 *
 * docs/on-disk-format.md has every byte and the argument why no power cut
 * loses an acknowledged record. In short: the header block of each copy holds
 * the newest records; a commit rewrites the headers in two waves with a flush
 * after each, so one wave is whole at any instant. Full headers move to log
 * blocks, which are written one commit before a header counts them and never
 * change afterwards.
 */
#include <linux/dm-bufio.h>
#include <linux/ktime.h>

#include "dm-remap-v4-metadata-internal.h"

/* ------------------------------------------------------------------ waves */

static int dirty_spill(struct dmr_metadata *md, const struct disk_header *hdr,
		       u8 copy)
{
	u32 index = le32_to_cpu(hdr->log_blocks);
	struct disk_log *log = md->log;

	dmr_md_init_log_block(log, hdr, index);
	memcpy(log->record, hdr->record, sizeof(log->record));
	return dmr_md_dirty_block(md, dmr_md_log_place(md, hdr, index, copy), log, copy);
}

static int dirty_copy(struct dmr_metadata *md, const struct disk_header *hdr,
		      u8 copy, unsigned int what)
{
	int r = 0;

	if (what & WRITE_LOG)
		r = dmr_md_dirty_log(md, copy);
	if (!r && what & WRITE_SPILL)
		r = dirty_spill(md, hdr, copy);
	if (!r && what & WRITE_INFO)
		r = dmr_md_dirty_block(md, slot_block(md, copy, SLOT_INFO), md->info, copy);
	if (!r && what & WRITE_HEADER)
		r = dmr_md_dirty_block(md, slot_block(md, copy, SLOT_HEADER), hdr, copy);
	return r;
}

/*
 * A header was to be written to @block, or that @failed. If it is not to be read there
 * then it was refused, and what is there was before; as it is if that was the same.
 */
static void note_cached(struct dmr_metadata *md, u8 bit, u64 block,
			const struct disk_header *hdr, bool failed)
{
	const struct disk_prefix *p;
	struct dm_buffer *b;

	if (!failed)
		md->cached &= ~bit;
	if (!failed || (md->loaded_in & bit && md->loaded == hdr->p.sequence))
		return;
	dm_bufio_forget(md->bufio, block);
	p = dm_bufio_read(md->bufio, block, &b);
	if (IS_ERR(p) || p->sequence == hdr->p.sequence)
		md->cached |= bit;
	if (!IS_ERR(p))
		dm_bufio_release(b);
}

/*
 * Write @what to the copies in @mask, then flush. Returns the copies that
 * failed. dm-bufio has one error for all, so after an error they are written
 * one by one to learn which. All of it again: what was written before a flush
 * that failed may be read, and gone later, whatever further flushes say.
 */
u8 dmr_md_write_wave(struct dmr_metadata *md, const struct disk_header *hdr,
		     u8 mask, unsigned int what)
{
	/* Of what was unsure before only the whole log is sure now. */
	u8 copy, failed = 0, unsure = what & WRITE_LOG ? 0 : md->unsure;
	int r = 0;

	for (copy = 0; copy < md->copies && !r; copy++)
		if (mask & 1u << copy)
			r = dirty_copy(md, hdr, copy, what);
	if (!dmr_md_write_and_flush(md) && !r) {
		md->unsure &= ~mask | unsure;
		if (what & WRITE_HEADER)
			md->cached &= ~mask;
		return 0;
	}
	md->unsure |= mask;
	for (copy = 0; copy < md->copies; copy++) {
		if (!(mask & 1u << copy))
			continue;
		r = dirty_copy(md, hdr, copy, what);
		if (dmr_md_write_and_flush(md) || r)
			failed |= 1u << copy;
		if (what & WRITE_HEADER)
			note_cached(md, 1u << copy, slot_block(md, copy, SLOT_HEADER),
				    hdr, failed & 1u << copy);
	}
	md->unsure &= ~mask | failed | unsure;
	dmr_md_blame(md, failed);
	return failed;
}

/*
 * The copies in @good with an even rank among them: copies 0, 2 and 4 of five
 * good ones. Neither wave is empty as long as two copies are good.
 */
static u8 first_wave(u8 good)
{
	u8 wave = 0;
	unsigned int rank = 0, copy;

	for (copy = 0; copy < DMR_MAX_COPIES; copy++)
		if (good & 1u << copy && rank++ % 2 == 0)
			wave |= 1u << copy;
	return wave;
}

void dmr_md_lose_copies(struct dmr_metadata *md, u8 failed, unsigned int what)
{
	if (what & WRITE_HEADER)
		md->whole &= ~failed;
	md->good &= ~failed;
	md->header_ok &= ~failed;
	md->info_ok &= ~failed;
}

/* What is read from them may not be stored, whatever further flushes say. */
void dmr_md_doubt_copies(struct dmr_metadata *md, u8 copies)
{
	if (!copies)
		return;
	md->unsure |= copies;
	md->cached |= copies | (md->copies == 1 ? SHADOW_BIT : 0);
	md->shadow_unsure = true;
	md->shadow_ok = false;
	dmr_md_lose_copies(md, copies, 0);
}

struct dmr_unsure dmr_metadata_unsure(const struct dmr_metadata *md)
{
	return (struct dmr_unsure){ md->unsure, md->cached };
}

int dmr_md_write_shadow(struct dmr_metadata *md, const struct disk_header *hdr)
{
	int tries = 2, r;

	/* Twice, as dmr_md_write_wave(): was it the block or the flush? */
	do {
		r = dmr_md_dirty_block(md, SLOT_SHADOW, hdr, 0);
		if (!r)
			r = dmr_md_write_and_flush(md);
	} while (r && --tries);
	if (tries < 2)
		dmr_md_blame(md, r);
	md->shadow_ok = !r;
	md->shadow_unsure = r;
	note_cached(md, SHADOW_BIT, SLOT_SHADOW, hdr, r);
	return r;
}

/*
 * Write @what to all good copies so that a cut at any point leaves one of them
 * whole. Copies that fail are no longer good. Gives up, before it touches the
 * second wave, once no majority can be reached.
 */
int dmr_md_write_waves(struct dmr_metadata *md, const struct disk_header *hdr,
		       unsigned int what)
{
	u8 one = first_wave(md->good), two = md->good & ~one, failed;

	/* The shadow stands in for the missing other wave. */
	if (md->copies == 1 && what & WRITE_HEADER && dmr_md_write_shadow(md, hdr)) {
		dmr_md_lose_copies(md, 1, 0);
		return -EIO;
	}
	failed = dmr_md_write_wave(md, hdr, one, what);
	dmr_md_lose_copies(md, failed, what);
	if (count(md->good) < majority(md))
		return -EIO;
	if (two) {
		failed = dmr_md_write_wave(md, hdr, two, what);
		dmr_md_lose_copies(md, failed, what);
	}
	return count(md->good) < majority(md) ? -EIO : 0;
}

/* ----------------------------------------------------------------- commit */

/* A full header, already in the log, gives way to an empty one. */
static void count_spilled(struct disk_header *hdr)
{
	dmr_md_count_log_block(hdr, hdr->record);
	hdr->nr_records = 0;
	memset(hdr->record, 0, sizeof(hdr->record));
}

/* How many headers become full, and log blocks, before @nr records stand? */
static u32 blocks_to_fill(const struct dmr_metadata *md, unsigned int nr)
{
	u32 have = le32_to_cpu(md->hdr->nr_records);

	return nr ? (have + nr - 1) / RECORDS_PER_BLOCK : 0;
}

/*
 * Places for all log blocks that @nr records fill beyond the present header, so
 * that a commit of several headers doesn't run out of room on its way. What was
 * allocated stays, for later, even if it is not enough.
 */
static int reserve_log(struct dmr_metadata *md, unsigned int nr)
{
	u32 fills = blocks_to_fill(md, nr), i;
	int r = 0;

	for (i = 0; i < fills && !r; i++)
		r = dmr_md_ensure_segment(md, md->segment,
					  le32_to_cpu(md->hdr->log_blocks) + i);
	return r;
}

/*
 * Does a majority of the headers have the present number? Any other majority then
 * has a copy of it: nothing that is older or lower can be loaded instead.
 */
bool dmr_md_in_majority(const struct dmr_metadata *md)
{
	return count(md->header_ok) >= majority(md) && (md->copies > 1 || md->shadow_ok);
}

/* No two states share a number, nor two versions of a block. */
u64 dmr_md_new_sequence(struct dmr_metadata *md)
{
	md->sequence += 1 + md->skip;
	md->skip = 0;
	return md->sequence;
}

/*
 * Make the next header, whose records are in place, the durable one. After a
 * failure it may stand in some copies, until dmr_metadata_mend() denies it.
 */
int dmr_md_switch_header(struct dmr_metadata *md, unsigned int what)
{
	struct disk_header *next = md->next;
	int r;

	memcpy(next->segment, md->segment, sizeof(next->segment));
	next->cursor = cpu_to_le64(md->space->cursor);
	next->flags = cpu_to_le32(md->needs_check ? FLAG_NEEDS_CHECK : 0);
	next->p.time = cpu_to_le64(ktime_get_real_seconds());
	next->p.sequence = cpu_to_le64(dmr_md_new_sequence(md));
	r = dmr_md_write_waves(md, next, what | WRITE_HEADER);
	if (r) {
		md->ahead = true;
		md->shadow_ok = false;
		/*
		 * It may be the places that are bad: others next time. These stay
		 * taken, since the header that names them may stand.
		 */
		memcpy(md->segment, md->hdr->segment, sizeof(md->segment));
		return r;
	}
	swap(md->hdr, md->next);
	/* Those that lack something else were left out: their headers are old now. */
	md->header_ok &= md->good;
	md->whole &= md->good;
	md->durable = md->sequence;
	return 0;
}

/* Commit at most as many records as the header takes; returns how many. */
static int commit_batch(struct dmr_metadata *md, const struct dmr_record *recs,
			unsigned int nr)
{
	struct disk_header *next = md->next;
	unsigned int what = 0, have, i;
	bool full = le32_to_cpu(md->hdr->nr_records) == RECORDS_PER_BLOCK;
	int r;

	memcpy(next, md->hdr, sizeof(*next));
	if (nr && full && md->spilled)
		count_spilled(next);
	else if (full && !md->spilled)
		nr = 0;		/* there was no place for the log block; try again */
	have = le32_to_cpu(next->nr_records);
	nr = min(nr, RECORDS_PER_BLOCK - have);
	for (i = 0; i < nr; i++)
		encode_record(&next->record[have + i], &recs[i]);

	next->nr_records = cpu_to_le32(have + nr);

	if (have + nr == RECORDS_PER_BLOCK) {
		r = dmr_md_ensure_segment(md, md->segment, le32_to_cpu(next->log_blocks));
		if (!r)
			what |= WRITE_SPILL;
	}
	r = dmr_md_switch_header(md, what);
	if (r)
		return r;
	md->spilled = what & WRITE_SPILL;
	for (i = 0; i < nr; i++)
		md->nr_bad += recs[i].kind == DMR_REC_BAD_SPARE;
	md->commits++;
	return nr;
}

/*
 * What records point at must be there before they can be. This comes first of
 * all: when a flush fails nobody knows what was lost, also if the next succeeds.
 */
int dmr_md_flush_data(struct dmr_metadata *md)
{
	md->flushes++;
	return dmr_md_flush_spare(md, false) ? -EREMOTEIO : 0;
}

int dmr_metadata_commit(struct dmr_metadata *md, const struct dmr_record *recs,
			unsigned int nr, unsigned int *done)
{
	int r;

	*done = 0;
	if (md->params.read_only)
		return -EROFS;
	/* Before the flush: -EREMOTEIO says that no header names these records. */
	if (md->ahead || count(md->good) < majority(md))
		return -EIO;
	r = dmr_md_flush_data(md);
	if (r)
		return r;
	r = reserve_log(md, nr);
	if (r)
		return r;
	do {
		r = commit_batch(md, recs + *done, nr - *done);
		if (r < 0)
			return r;
		*done += r;
	} while (*done < nr);
	return 0;
}

/* ------------------------------------------------------------- soft state */

int dmr_metadata_save_soft(struct dmr_metadata *md,
			   const struct dmr_soft_state *soft)
{
	struct disk_info *info = md->info;
	int r;

	if (md->params.read_only)
		return -EROFS;
	/* Nor before the load's state stands. */
	if (md->skip || count(md->good) < majority(md))
		return -EIO;
	info->read_errors = cpu_to_le64(soft->read_errors);
	info->write_errors = cpu_to_le64(soft->write_errors);
	info->salvaged = cpu_to_le64(soft->salvaged);
	info->lost = cpu_to_le64(soft->lost);
	info->scrub_sector = cpu_to_le64(soft->scrub_sector);
	/* There it stays; which of two is newer is a guess then, but they are soft. */
	if (le64_to_cpu(info->p.sequence) < MAX_SEQUENCE)
		le64_add_cpu(&info->p.sequence, 1);
	info->p.time = cpu_to_le64(ktime_get_real_seconds());
	r = dmr_md_write_waves(md, md->hdr, WRITE_INFO);
	return r;
}

void dmr_metadata_get_soft(struct dmr_metadata *md, struct dmr_soft_state *soft)
{
	soft->read_errors = le64_to_cpu(md->info->read_errors);
	soft->write_errors = le64_to_cpu(md->info->write_errors);
	soft->salvaged = le64_to_cpu(md->info->salvaged);
	soft->lost = le64_to_cpu(md->info->lost);
	soft->scrub_sector = le64_to_cpu(md->info->scrub_sector);
}

/* ------------------------------------------------------------------ state */

bool dmr_metadata_in_doubt(const struct dmr_metadata *md)
{
	return md->ahead;
}

void dmr_metadata_set_needs_check(struct dmr_metadata *md, bool needs_check)
{
	md->needs_check = needs_check;
}

void dmr_metadata_status(struct dmr_metadata *md, struct dmr_meta_status *st)
{
	st->uuid = md->hdr->p.uuid;
	st->sequence = md->sequence;
	st->copies = md->copies;
	st->good = md->good;
	st->valid = count(st->good);
	st->spacing = md->spacing;
	st->generation = le64_to_cpu(md->hdr->generation);
	st->log_blocks = le32_to_cpu(md->hdr->log_blocks);
	st->commits = md->commits;
	st->block_writes = md->block_writes;
	st->flushes = md->flushes;
	st->needs_check = md->needs_check;
	st->formatted = md->formatted;
	st->chosen = md->chosen;
}
