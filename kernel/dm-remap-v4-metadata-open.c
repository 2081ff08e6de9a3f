// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening: which of the headers on a spare to believe, and the load of what it says.
 */
#include <linux/crc32.h>
#include <linux/dm-bufio.h>
#include <linux/log2.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "dm-remap-v4-metadata-internal.h"
#include "dm-remap-v4-readahead.h"

/* ----------------------------------------------------------- which header */

/* A header found on the spare, before any is chosen. */
struct candidate {
	uuid_t uuid;
	u64 sequence;
	u64 place;		/* block */
	u32 content;		/* CRC of what is the same in all copies */
	u8 copy;
};

#define MAX_CANDIDATES	(DMR_MAX_COPIES * 12)

static bool good_spacing(u32 spacing)
{
	return is_power_of_2(spacing) && spacing >= DMR_MIN_SPACING &&
	       spacing <= DMR_MAX_SPACING;
}

static bool probe(struct dmr_metadata *md, u64 block, u8 copy, u32 spacing,
		  struct disk_header *scratch, struct candidate *c)
{
	if ((block + 1) * BLOCK_SECTORS > md->params.spare_sectors ||
	    dmr_md_read_block(md, block, scratch) || !dmr_md_header_fits(scratch, copy, spacing))
		return false;
	c->uuid = scratch->p.uuid;
	c->sequence = le64_to_cpu(scratch->p.sequence);
	c->place = block;
	c->content = crc32_le(~0, (u8 *)scratch, offsetof(struct disk_prefix, crc));
	c->content = crc32_le(c->content, (u8 *)&scratch->p.copies,
			      BLOCK_SIZE_BYTES - offsetof(struct disk_prefix, copies));
	c->copy = copy;
	return true;
}

/* Headers at their places for one spacing. */
static unsigned int probe_spacing(struct dmr_metadata *md, u32 spacing,
				  struct disk_header *scratch,
				  struct candidate *c)
{
	unsigned int nr = 0;
	u8 copy;

	for (copy = 0; copy < DMR_MAX_COPIES; copy++)
		nr += probe(md, (u64)copy * (spacing / BLOCK_SECTORS), copy,
			    spacing, scratch, &c[nr]);
	/* The shadow is a second copy 0; the higher sequence will win. */
	if (probe(md, SLOT_SHADOW, 0, spacing, scratch, &c[nr]) &&
	    scratch->p.copies == 1)
		nr++;
	return nr;
}

/*
 * All headers of the geometry that was asked for, or of the one that the first
 * block names, or else of any.
 */
static unsigned int find_headers(struct dmr_metadata *md,
				 struct disk_header *scratch,
				 struct candidate *c)
{
	unsigned int nr = 0;
	u32 spacing = md->params.spacing;

	if (!spacing && !dmr_md_read_block(md, 0, scratch)) {
		u32 named = le32_to_cpu(scratch->p.spacing);

		if (good_spacing(named) && dmr_md_header_fits(scratch, 0, named))
			spacing = named;
	}
	if (spacing)
		return probe_spacing(md, spacing, scratch, c);
	for (spacing = DMR_MIN_SPACING; spacing <= DMR_MAX_SPACING; spacing *= 2)
		nr += probe_spacing(md, spacing, scratch, c + nr);
	return nr;
}

/* Index of the header to believe, or -1 with a sentence. */
static int choose_header(struct dmr_metadata *md, const struct candidate *c,
			 unsigned int nr, const char **error)
{
	unsigned int i, j, most = 0;
	bool tie = false;
	int best = -1;

	for (i = 0; i < nr; i++) {
		unsigned int same = 0;

		if (md->params.uuid_known) {
			if (!uuid_equal(&c[i].uuid, &md->params.uuid))
				continue;
		} else {
			for (j = 0; j < nr; j++)
				same += uuid_equal(&c[i].uuid, &c[j].uuid);
			if (same < most)
				continue;
			if (same > most) {
				best = -1;
				tie = false;
			} else if (!uuid_equal(&c[i].uuid, &c[best].uuid)) {
				tie = true;
			}
			most = same;
		}
		if (best < 0 || c[i].sequence > c[best].sequence)
			best = i;
	}
	if (best < 0) {
		*error = "The spare carries the metadata of another device (other uuid)";
		return -1;
	}
	if (tie) {
		*error = "The spare carries the metadata of two devices; name one by the DM uuid";
		return -1;
	}
	for (i = 0; i < nr; i++) {
		if (uuid_equal(&c[i].uuid, &c[best].uuid) &&
		    c[i].sequence == c[best].sequence &&
		    c[i].content != c[best].content) {
			*error = "Copies of the metadata differ; look with dmremapctl inspect";
			return -1;
		}
	}
	return best;
}

/* ------------------------------------------------------------------- load */

static const char *check_header(const struct dmr_metadata *md,
				const struct disk_header *h)
{
	const struct dmr_meta_params *p = &md->params;
	u32 half = slot_half_blocks(md->spacing), i, within, logs, in_log;

	if (le32_to_cpu(h->incompat))
		return "The spare uses a format feature that this version does not know";
	if (le32_to_cpu(h->ro_compat) && !p->read_only)
		return "The spare has a feature that this version can only read; open it read-only";
	/* Commits never lead beyond this; those that begin below it don't reach the last. */
	if (le64_to_cpu(h->p.sequence) > MAX_SEQUENCE / 2 && !p->read_only)
		return "The metadata has used up its sequence numbers; open it read-only";
	if (le64_to_cpu(h->main_sectors) != p->main_sectors)
		return "The spare belongs to a main device of another size";
	if (le64_to_cpu(h->spare_sectors) != p->spare_sectors)
		return "The spare has not the size its metadata was made for";
	if (le32_to_cpu(h->logical_block_size) != p->block_size)
		return "The metadata was made for another logical block size";
	if (p->copies && p->copies != h->p.copies)
		return "The spare has another number of metadata copies than the table says";
	if (data_start(md->copies, md->spacing) >= p->spare_sectors)
		return "The metadata names a region larger than the spare";

	logs = le32_to_cpu(h->log_blocks);
	if (le32_to_cpu(h->nr_records) > RECORDS_PER_BLOCK)
		return "The metadata header names more records than it can hold";
	if (le64_to_cpu(h->segment[0]) != SLOT_LOG * BLOCK_SECTORS &&
	    le64_to_cpu(h->segment[0]) != (SLOT_LOG + half) * BLOCK_SECTORS)
		return "The metadata header names an impossible log segment";
	in_log = logs ? dmr_md_log_segment(md, logs - 1, &within) : 0;
	if (in_log == NR_SEGMENTS)
		return "The metadata header names an impossible log length";
	for (i = 1; i <= in_log; i++)
		if (!h->segment[i])
			return "The metadata header lacks a log segment";
	return NULL;
}

/* Log segments are no longer free. Also checks their bounds and overlap. */
static const char *take_segments(struct dmr_metadata *md)
{
	const struct disk_header *h = md->hdr;
	unsigned int i;

	for (i = 1; i < NR_SEGMENTS; i++) {
		u64 at = le64_to_cpu(h->segment[i]);
		u64 len = (u64)segment_blocks(md, i) * md->copies * BLOCK_SECTORS;

		if (at && (at % BLOCK_SECTORS || dmr_space_take(md->space, at, len)))
			return "The metadata header names an impossible log segment";
	}
	return NULL;
}

/* To whom the records of a load go. */
struct reader {
	dmr_records_fn fn;
	void *context;
	struct dmr_record record[RECORDS_PER_BLOCK];
};

/* What is wrong with these records, if anything. */
static const char *feed(struct dmr_metadata *md, struct reader *to,
			const struct disk_record *d, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++) {
		decode_record(&to->record[i], &d[i]);
		md->nr_bad += to->record[i].kind == DMR_REC_BAD_SPARE;
	}
	switch (to->fn(to->context, to->record, nr)) {
	case 0:
		return NULL;
	case -EINTR:
		return "Interrupted";
	case -ENOMEM:
		return "Out of memory";
	default:
		return "The metadata holds an impossible record";
	}
}

/* Replay the log; find out which copies lack something. */
static const char *load_log(struct dmr_metadata *md, struct reader *to)
{
	u32 i, crc = 0, nr = le32_to_cpu(md->hdr->log_blocks);
	const char *error;
	struct found_log f;

	for (i = 0; i < nr; i++) {
		if (dmr_md_next_log_block(md, i, nr, &f))
			return "A block of the log is damaged in every copy of the metadata";
		md->good &= f.newest_in;
		crc = dmr_md_log_crc_with(md, crc, &f);
		error = feed(md, to, f.log->record, RECORDS_PER_BLOCK);
		if (error)
			return error;
		cond_resched();
	}
	if (crc != le32_to_cpu(md->hdr->log_crc))
		return "The log of the metadata lacks records that were acknowledged";
	return NULL;
}

/* The log, then the header. */
static const char *load_records(struct dmr_metadata *md, dmr_records_fn fn,
				void *context)
{
	struct reader *to = kmalloc(sizeof(*to), GFP_NOIO);
	const char *error;

	if (!to)
		return "Out of memory";
	to->fn = fn;
	to->context = context;
	/* Nothing is written before the load is done, nor dirty in dm-bufio. */
	md->stream = dmr_readahead_new(md->params.bdev, md->copies);
	error = load_log(md, to);
	dmr_readahead_free(md->stream);
	md->stream = NULL;
	if (!error)
		error = feed(md, to, md->hdr->record, le32_to_cpu(md->hdr->nr_records));
	kfree(to);
	return error;
}

static void load_info(struct dmr_metadata *md, struct disk_info *scratch)
{
	u64 newest = 0;
	u8 copy, newest_in = 0;

	for (copy = 0; copy < md->copies; copy++) {
		u64 seq;

		if (dmr_md_read_block(md, slot_block(md, copy, SLOT_INFO), scratch) ||
		    !dmr_md_block_valid(&scratch->p, INFO_MAGIC) ||
		    scratch->p.copy != copy ||
		    !uuid_equal(&scratch->p.uuid, &md->hdr->p.uuid))
			continue;
		seq = le64_to_cpu(scratch->p.sequence);
		if (seq > newest) {
			newest = seq;
			newest_in = 0;
			memcpy(md->info, scratch, sizeof(*scratch));
		}
		if (seq == newest)
			newest_in |= 1u << copy;
	}
	md->info_ok = newest_in;
	md->good &= newest_in;
}

/* Is the shadow the chosen header, too? */
static bool has_shadow(const struct candidate *c, unsigned int nr,
		       const struct candidate *best)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (uuid_equal(&c[i].uuid, &best->uuid) && c[i].copy == 0 && c[i].place &&
		    c[i].sequence == best->sequence)
			return true;
	return false;
}

/* The copies that have a header of ours, be it old. */
static u8 copies_seen(const struct candidate *c, unsigned int nr, const uuid_t *uuid)
{
	u8 mask = 0;
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (uuid_equal(&c[i].uuid, uuid))
			mask |= 1u << c[i].copy;
	return mask;
}

/* Which of the headers found are the chosen one, at its place? */
static u8 headers_like(const struct candidate *c, unsigned int nr,
		       const struct candidate *best)
{
	u8 mask = 0;
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (uuid_equal(&c[i].uuid, &best->uuid) &&
		    c[i].sequence == best->sequence &&
		    !(c[i].copy == 0 && c[i].place != 0))
			mask |= 1u << c[i].copy;
	return mask;
}

static const char *load(struct dmr_metadata *md, const struct candidate *c,
			unsigned int nr, dmr_records_fn fn, void *context)
{
	const char *error = NULL;
	struct disk_header *h = md->hdr;
	int best = choose_header(md, c, nr, &error);

	if (best < 0)
		return error;
	if (dmr_md_read_block(md, c[best].place, h) ||
	    !good_spacing(le32_to_cpu(h->p.spacing)) ||
	    !dmr_md_header_fits(h, c[best].copy, le32_to_cpu(h->p.spacing)))
		return "The metadata could not be read twice; check the spare device";
	md->copies = h->p.copies;
	md->spacing = le32_to_cpu(h->p.spacing);
	md->chosen = c[best].copy;
	error = check_header(md, h);
	if (error)
		return error;

	md->header_ok = headers_like(c, nr, &c[best]) & all_copies(md);
	md->good = md->header_ok;
	md->whole = md->header_ok;
	md->shadow_ok = md->copies == 1 && has_shadow(c, nr, &c[best]);
	md->loaded_in = md->header_ok | (md->shadow_ok ? SHADOW_BIT : 0);
	md->loaded = h->p.sequence;
	md->seen = copies_seen(c, nr, &c[best].uuid) & all_copies(md);
	memcpy(md->segment, h->segment, sizeof(md->segment));
	md->sequence = c[best].sequence;
	/*
	 * What was never acknowledged may be on disk under a later number: a log
	 * block that no header counts, or a header in a copy that can't be read
	 * now. So the first thing to be made durable is this state again, under
	 * a number beyond all those: see dmr_metadata_mend().
	 */
	md->ahead = true;
	md->skip = SKIP;
	md->needs_check = le32_to_cpu(h->flags) & FLAG_NEEDS_CHECK;
	dmr_md_init_info(md, &h->p.uuid);
	load_info(md, (struct disk_info *)md->log);

	if (dmr_space_init(md->space, data_start(md->copies, md->spacing),
			   md->params.spare_sectors))
		return "Out of memory";
	if (le64_to_cpu(h->cursor) > md->space->start &&
	    le64_to_cpu(h->cursor) <= md->space->end &&
	    !(le64_to_cpu(h->cursor) & ((md->params.block_size >> 9) - 1)))
		md->space->cursor = le64_to_cpu(h->cursor);
	error = take_segments(md);
	if (!error)
		error = load_records(md, fn, context);
	dmr_md_doubt_copies(md, md->params.unsure.copies & all_copies(md));
	md->cached = md->params.unsure.headers;
	return error;
}

/* ------------------------------------------------------------------- open */

struct dmr_metadata *dmr_metadata_open(const struct dmr_meta_params *params,
				       struct dmr_space *space,
				       dmr_records_fn fn, void *context,
				       const char **error)
{
	struct dmr_metadata *md = kzalloc(sizeof(*md), GFP_KERNEL);
	struct candidate *c = kcalloc(MAX_CANDIDATES, sizeof(*c), GFP_KERNEL);
	unsigned int nr;

	*error = "Out of memory";
	if (!md || !c)
		goto out;
	md->params = *params;
	md->space = space;
	md->hdr = kzalloc(sizeof(*md->hdr), GFP_KERNEL);
	md->next = kzalloc(sizeof(*md->next), GFP_KERNEL);
	md->info = kzalloc(sizeof(*md->info), GFP_KERNEL);
	md->log = kmalloc_array(LOG_BUFFERS, sizeof(*md->log), GFP_KERNEL);
	if (!md->hdr || !md->next || !md->info || !md->log)
		goto out;
	md->bufio = params->bufio;
	dmr_md_init_crcs(md, md->log);
	/* Somebody else may have had the spare since it was read. */
	dm_bufio_forget_buffers(md->bufio, 0,
				params->spare_sectors / BLOCK_SECTORS);

	nr = find_headers(md, (struct disk_header *)md->log, c);
	*error = nr ? load(md, c, nr, fn, context) : dmr_md_load_other(md, md->log);
out:
	kfree(c);
	if (!*error)
		return md;
	if (md)
		dmr_metadata_close(md);
	return NULL;
}

void dmr_metadata_close(struct dmr_metadata *md)
{
	kfree(md->log);
	kfree(md->info);
	kfree(md->next);
	kfree(md->hdr);
	kfree(md);
}
