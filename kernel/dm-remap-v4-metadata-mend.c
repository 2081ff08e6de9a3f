// SPDX-License-Identifier: GPL-2.0-only
/*
 * What copies lack is written anew; and what a load found is made the state that every
 * later load finds.
 */
#include <linux/dm-bufio.h>

#include "dm-remap-v4-metadata-internal.h"

/* What does a copy lack? */
static unsigned int lacks(const struct dmr_metadata *md, u8 bit, bool spill)
{
	return (spill ? WRITE_SPILL : 0) |
	       (md->header_ok & bit ? 0 : WRITE_HEADER) |
	       (md->info_ok & bit ? 0 : WRITE_INFO) |
	       (md->good & bit ? 0 : WRITE_LOG);
}

/*
 * Rewrite what one copy lacks of @only. Its header may be the last whole one, and
 * is rewritten in place only if there is another. A single copy has its shadow:
 * whichever of the two may not be whole comes first. As long as either is not
 * rewritten a failed commit may stand there.
 * Returns whether the copy is good now and was not, or a negative error.
 */
static int mend_copy(struct dmr_metadata *md, u8 copy, unsigned int only, bool spill)
{
	u8 bit = 1u << copy;
	unsigned int what = lacks(md, bit, spill) & only, rest = what;
	bool was_good = md->good & bit, shadow = md->copies == 1 && !md->shadow_ok;

	if (what & WRITE_HEADER && md->copies > 1 && md->whole == bit)
		return -EIO;
	if (shadow && md->whole & bit && dmr_md_write_shadow(md, md->hdr)) {
		dmr_md_lose_copies(md, bit, 0);
		return -EIO;
	}
	/* Until it has a new header the copy says, if anything, what it did: the header last. */
	if (what & WRITE_HEADER && what & WRITE_LOG) {
		if (dmr_md_write_wave(md, md->hdr, bit, what & ~WRITE_HEADER))
			return -EIO;
		rest = WRITE_HEADER;
	}
	if (rest && dmr_md_write_wave(md, md->hdr, bit, rest)) {
		dmr_md_lose_copies(md, bit, rest);
		return -EIO;
	}
	if (what & WRITE_HEADER) {
		md->whole |= bit;
		md->header_ok |= bit;
	}
	if (what & WRITE_INFO)
		md->info_ok |= bit;
	if (shadow && !md->shadow_ok && dmr_md_write_shadow(md, md->hdr)) {
		dmr_md_lose_copies(md, bit, 0);
		return -EIO;
	}
	if (was_good || lacks(md, bit, false) & ~(what | WRITE_SPILL))
		return 0;
	md->good |= bit;
	return 1;
}

/*
 * One copy after the other, those whose header is whole last; then once more those that
 * alone had something, which others may have by now.
 */
static int mend_copies(struct dmr_metadata *md, unsigned int only, bool spill)
{
	u8 mask[] = { ~md->whole, md->whole, 0 }, done = 0, bit;
	int mended = 0, i, r;

	for (i = 0; i < 3 * md->copies; i++) {
		bit = 1u << i % md->copies;
		mask[2] = md->alone;
		if (!(mask[i / md->copies] & bit))
			continue;
		r = mend_copy(md, i % md->copies, only, spill);
		if (r < 0)
			continue;
		mended += r;
		done |= bit;
	}
	return done == all_copies(md) ? mended : -EIO;
}

static void note_durable(struct dmr_metadata *md)
{
	if (dmr_md_in_majority(md))
		md->durable = le64_to_cpu(md->hdr->p.sequence);
}

/*
 * Rewrite what copies lack, one copy at a time and only the blocks that are not
 * as they should be: the blocks of a damaged copy that are good may be the only
 * good ones. Where there may be a newer header than the state, or a flag in it
 * is to change, every header is rewritten with a sequence higher still. A further
 * attempt is the same header again: numbers beyond what a majority has are few
 * (SKIP), or a minority would be ahead of what others commit without it.
 */
static int mend(struct dmr_metadata *md, u32 flags)
{
	bool spill = le32_to_cpu(md->hdr->nr_records) == RECORDS_PER_BLOCK;
	bool other = le32_to_cpu(md->hdr->flags) != flags;
	int r;

	if (md->sequence >= md->durable + SKIP)
		other = false;
	if (md->good == all_copies(md) && !md->ahead && !other && (!spill || md->spilled))
		return 0;
	if (other)
		md->hdr->flags = cpu_to_le32(flags);
	if (other || (md->ahead &&
		      (md->skip || le64_to_cpu(md->hdr->p.sequence) != md->sequence))) {
		md->hdr->p.sequence = cpu_to_le64(dmr_md_new_sequence(md));
		md->header_ok = 0;
		md->shadow_ok = false;
	}
	/* Without a place it is left to the next commit, which may find one. */
	spill = spill && dmr_md_has_segment(md, le32_to_cpu(md->hdr->log_blocks));

	r = mend_copies(md, WRITE_HEADER | WRITE_INFO | WRITE_LOG | WRITE_SPILL, spill);
	/* The last whole header was left as it is, and is not known to fail. */
	md->good &= md->header_ok | md->whole;
	md->spilled = spill && md->good;
	note_durable(md);
	/* In a majority it denies the failed commit, whichever copies are there next time. */
	md->ahead = md->ahead && !dmr_md_in_majority(md);
	md->certain |= !md->ahead;
	return r;
}

/* ----------------------------------------------------------- after a load */

/*
 * Is the state that was loaded the newest? A majority of the headers says so, for it has
 * a copy of any other majority. With fewer it must be possible to read all of them, torn
 * ones as well. -ESTALE: there is a newer one; -ENODATA: there may be, or there was.
 */
static int newest(struct dmr_metadata *md)
{
	struct disk_header *h = (struct disk_header *)md->log;
	u64 number = le64_to_cpu(md->hdr->p.sequence), seq, block;
	bool all = true;
	u8 copy;

	if (count(md->seen) >= majority(md))
		return 0;
	/* Once seen, it is somewhere: also if it can't be read any more. */
	if (md->stale)
		return -ESTALE;
	for (copy = 0; copy < md->copies; copy++) {
		block = slot_block(md, copy, SLOT_HEADER);
		dm_bufio_forget(md->bufio, block);
		if (dmr_md_read_block(md, block, h)) {
			all = false;
			continue;
		}
		if (!dmr_md_block_known(&h->p, HEADER_MAGIC) ||
		    !uuid_equal(&h->p.uuid, &md->hdr->p.uuid))
			continue;
		seq = le64_to_cpu(h->p.sequence);
		if (seq > number && dmr_md_header_fits(h, copy, md->spacing)) {
			md->stale = true;
			return -ESTALE;
		}
		/* A torn one has its number, no further ahead of what a majority had. */
		if (seq > number + SKIP + 1)
			all = false;
	}
	return all || md->believed ? 0 : -ENODATA;
}

static bool same_state(const struct disk_header *a, const struct disk_header *b)
{
	const size_t from = offsetof(struct disk_header, nr_records);

	return a->generation == b->generation &&
	       !memcmp((u8 *)a + from, (u8 *)b + from, sizeof(*a) - from);
}

/*
 * If no header is written any more, does each load find the state that was loaded? It does
 * if a majority of the headers has it, with a number beyond that of any other.
 */
static bool stands(struct dmr_metadata *md)
{
	struct disk_header *h = (struct disk_header *)md->log;
	u64 block, seq, other = 0, number[DMR_MAX_COPIES] = {};
	/* The shadow of a single copy is as good as its header. */
	u32 places = md->copies > 1 ? md->copies : 2, same = 0, i;
	u8 copy;

	if (md->cached && !md->believed)
		return false;
	for (i = 0; i < places; i++) {
		copy = md->copies > 1 ? i : 0;
		block = i > copy ? SLOT_SHADOW : slot_block(md, copy, SLOT_HEADER);
		dm_bufio_forget(md->bufio, block);
		if (dmr_md_read_block(md, block, h)) {
			if (!md->believed)
				return false;
			continue;
		}
		if (!dmr_md_header_fits(h, copy, md->spacing) ||
		    !uuid_equal(&h->p.uuid, &md->hdr->p.uuid))
			continue;
		seq = le64_to_cpu(h->p.sequence);
		if (same_state(h, md->hdr))
			number[copy] = seq;
		else if (md->copies > 1)
			other = max(other, seq);
		else
			return false;
	}
	for (copy = 0; copy < md->copies; copy++)
		same += number[copy] > other;
	return same >= majority(md);
}

/* What was read may not be stored; and a flush that fails may have lost it. */
static void make_certain(struct dmr_metadata *md)
{
	bool stood = stands(md);

	if (dmr_md_flush_spare(md, false))
		dmr_md_doubt_copies(md, all_copies(md));
	else if (stood)
		md->certain = true;
}

/*
 * The first mend after a load: the state as it is, in a majority of the headers.
 * No number is used up before that, or loads that reach a minority only would
 * be ahead, one after the other, of what the others commit.
 */
static int settle(struct dmr_metadata *md)
{
	int mended = newest(md);

	if (mended)
		return mended;
	make_certain(md);
	mended = mend_copies(md, WRITE_HEADER | WRITE_INFO | WRITE_LOG, false);
	/* Else a header is worth more than the older state which that copy has. */
	if (!dmr_md_in_majority(md))
		mend_copies(md, WRITE_HEADER, false);
	note_durable(md);
	return dmr_md_in_majority(md) ? max(mended, 0) : -EIO;
}

bool dmr_metadata_uncertain(const struct dmr_metadata *md)
{
	return !md->certain;
}

void dmr_metadata_believe(struct dmr_metadata *md)
{
	md->believed = true;
}

int dmr_metadata_mend(struct dmr_metadata *md)
{
	u32 flags = md->needs_check ? FLAG_NEEDS_CHECK : 0;
	int settled = 0, r;

	if (md->params.read_only)
		return -EROFS;
	if (md->skip) {
		settled = settle(md);
		if (settled < 0)
			return settled;
		/* With the flags it has: whoever else makes this number makes the same header. */
		r = mend(md, le32_to_cpu(md->hdr->flags));
		if (r < 0 && md->hdr->flags == cpu_to_le32(flags))
			return r;
		settled += max(r, 0);
	} else if (!md->certain) {
		make_certain(md);
	}
	r = mend(md, flags);
	return r < 0 ? r : settled + r;
}

/* ------------------------------------------------------------------ check */

/* Read block @block again from the disk, past the cache. Is it @want, for @copy? */
static int reread(struct dmr_metadata *md, u64 block, void *to, u32 magic,
		  const struct disk_prefix *want, u8 copy)
{
	const struct disk_prefix *p = to;
	int r;

	dm_bufio_forget(md->bufio, block);
	r = dmr_md_read_block(md, block, to);
	if (r)
		return r;
	return dmr_md_block_valid(p, magic) && p->copy == copy &&
	       p->sequence == want->sequence && uuid_equal(&p->uuid, &want->uuid);
}

u32 dmr_metadata_check(struct dmr_metadata *md)
{
	struct disk_log *log = md->log;
	/* The block written ahead is to be counted by the next commit. */
	u32 i, nr = le32_to_cpu(md->hdr->log_blocks) + md->spilled;
	/* What may be in a cache only does not count. */
	bool flushed = !dmr_md_flush_spare(md, false);
	u8 copy, logs = all_copies(md);
	struct found_log f;
	int r;

	md->header_ok = 0;
	md->info_ok = 0;
	for (copy = 0; copy < md->copies; copy++) {
		r = reread(md, slot_block(md, copy, SLOT_HEADER), log, HEADER_MAGIC,
			   &md->hdr->p, copy);
		if (r > 0)
			md->header_ok |= 1u << copy;
		/* What can't be read just now may be the last whole one all the same. */
		if (!r && (!dmr_md_header_fits((struct disk_header *)log, copy, md->spacing) ||
			   !uuid_equal(&log->p.uuid, &md->hdr->p.uuid)))
			md->whole &= ~(1u << copy);
		if (reread(md, slot_block(md, copy, SLOT_INFO), log, INFO_MAGIC,
			   &md->info->p, copy) > 0)
			md->info_ok |= 1u << copy;
	}
	if (md->copies == 1)
		md->shadow_ok = flushed && !md->shadow_unsure &&
				reread(md, SLOT_SHADOW, log, HEADER_MAGIC, &md->hdr->p, 0) > 0;
	if (!flushed)
		dmr_md_doubt_copies(md, all_copies(md));
	/* Nor what was before a flush that failed. */
	md->header_ok &= ~md->unsure;
	md->info_ok &= ~md->unsure;
	md->whole |= md->header_ok;
	note_durable(md);
	for (i = 0; i < nr; i++) {
		dmr_md_forget_log_block(md, i);
		if (dmr_md_read_log_block(md, i, &f))
			f.newest_in = 0;
		logs &= f.newest_in;
	}
	if (md->copies == 1 && !md->shadow_ok)
		logs = 0;
	md->good = md->header_ok & md->info_ok & logs;
	return count(md->good);
}
