// SPDX-License-Identifier: GPL-2.0-only
/*
 * The log: where its blocks are, what they hold by a vote of the copies, and how a
 * copy that lacks them gets them.
 */
#include <linux/crc32.h>
#include <linux/dm-bufio.h>
#include <linux/sched.h>

#include "dm-remap-v4-metadata-internal.h"
#include "dm-remap-v4-readahead.h"

/* ----------------------------------------------------------------- places */

/* Segment that holds log block @index; *@within is its place there. */
unsigned int dmr_md_log_segment(const struct dmr_metadata *md, u32 index,
				u32 *within)
{
	u32 first = segment_blocks(md, 0), i;

	*within = index;
	if (index < first)
		return 0;
	/* Each of the others is twice as long as the one before. */
	index -= first;
	i = fls(index / FIRST_SEGMENT_BLOCKS + 1);
	*within = index - FIRST_SEGMENT_BLOCKS * ((1u << (i - 1)) - 1);
	return min_t(u32, i, NR_SEGMENTS);
}

u64 dmr_md_log_place(const struct dmr_metadata *md,
		     const struct disk_header *hdr, u32 index, u8 copy)
{
	u32 within;
	unsigned int i = dmr_md_log_segment(md, index, &within);
	u64 start = le64_to_cpu(hdr->segment[i]) / BLOCK_SECTORS;

	if (!i)
		return slot_block(md, copy, start) + within;
	return start + (u64)copy * segment_blocks(md, i) + within;
}

/* A place for log segment @i of all copies, which begins at a whole block. */
static int alloc_segment(struct dmr_metadata *md, unsigned int i, sector_t *place)
{
	u32 len = segment_blocks(md, i) * md->copies * BLOCK_SECTORS;
	sector_t at, aligned;

	if (dmr_space_alloc(md->space, len, len, &at)) {
		*place = at;
		if (at % BLOCK_SECTORS == 0)
			return 0;
		dmr_space_free(md->space, at, len);
	}
	/* With room to spare, which is trimmed then. */
	if (!dmr_space_alloc(md->space, len + BLOCK_SECTORS, len + BLOCK_SECTORS, &at))
		return -ENOSPC;
	aligned = round_up(at, BLOCK_SECTORS);
	if (aligned > at)
		dmr_space_free(md->space, at, aligned - at);
	dmr_space_free(md->space, aligned + len, BLOCK_SECTORS - (aligned - at));
	*place = aligned;
	return 0;
}

void dmr_md_free_segments(struct dmr_metadata *md, const __le64 *segment)
{
	unsigned int i;

	for (i = 1; i < NR_SEGMENTS; i++)
		if (segment[i])
			dmr_space_free(md->space, le64_to_cpu(segment[i]),
				       (u64)segment_blocks(md, i) * md->copies *
				       BLOCK_SECTORS);
}

/*
 * Make sure that log block @index has a place; allocates a segment for it, which
 * the next header to be written names.
 */
int dmr_md_ensure_segment(struct dmr_metadata *md, __le64 *segment, u32 index)
{
	u32 within;
	unsigned int i = dmr_md_log_segment(md, index, &within);
	sector_t at;

	if (i == NR_SEGMENTS)
		return -ENOSPC;
	if (segment[i])
		return 0;
	if (alloc_segment(md, i, &at))
		return -ENOSPC;
	segment[i] = cpu_to_le64(at);
	return 0;
}

bool dmr_md_has_segment(const struct dmr_metadata *md, u32 index)
{
	u32 within;
	unsigned int i = dmr_md_log_segment(md, index, &within);

	return i < NR_SEGMENTS && md->hdr->segment[i];
}

/* ------------------------------------------------------------------- CRCs */

/*
 * By how much the CRC of a block changes with the bits of its copy number, and
 * what becomes of each bit of a CRC over the length of all records.
 */
void dmr_md_init_crcs(struct dmr_metadata *md, struct disk_log *scratch)
{
	u32 none;
	u8 bits, i;

	memset(scratch, 0, sizeof(*scratch));
	for (i = 0; i < 32; i++)
		md->over_records[i] = crc32_le(1u << i, (u8 *)scratch->record,
					       sizeof(scratch->record));
	none = dmr_md_block_crc(scratch);
	for (bits = 0; bits < DMR_MAX_COPIES; bits++) {
		scratch->p.copy = bits;
		md->copy_crc[bits] = dmr_md_block_crc(scratch) ^ none;
	}
}

/*
 * What becomes of @crc over the records of a log block, of which @records is the
 * CRC from 0 on: a CRC is linear. So one look at them serves the CRC of their
 * block and that of the log.
 */
static u32 crc_over_records(const struct dmr_metadata *md, u32 crc, u32 records)
{
	unsigned int i;

	for (i = 0; i < 32; i++)
		records ^= md->over_records[i] & -(crc >> i & 1);
	return records;
}

/* The CRC of a log block as dmr_md_block_crc() has it; *@records as said above. */
static u32 log_block_crc(const struct dmr_metadata *md, const struct disk_log *log,
			 u32 *records)
{
	const size_t at = offsetof(struct disk_log, record);
	struct disk_prefix p = log->p;
	u32 crc;

	p.crc = 0;
	crc = crc32_le(~0, (u8 *)&p, sizeof(p));
	crc = crc32_le(crc, (u8 *)log + sizeof(p), at - sizeof(p));
	*records = crc32_le(0, (u8 *)log->record, sizeof(log->record));
	crc = crc_over_records(md, crc, *records);
	return ~crc32_le(crc, log->reserved2, sizeof(log->reserved2));
}

/* The CRC of the log with one more block. */
u32 dmr_md_log_crc_with(const struct dmr_metadata *md, u32 crc,
			const struct found_log *f)
{
	return ~crc_over_records(md, ~crc, f->records);
}

static __always_inline bool same_word(const u64 *a, const u64 *b, const u64 *c)
{
	return *a == *b && *a == *c;
}

/*
 * Are three blocks the same from @from on? memcmp() takes more instructions: it also
 * finds out which is less.
 */
static bool same_from(size_t from, const void *block, const void *other, const void *third)
{
	const u64 *a = block, *b = other, *c = third;
	unsigned int i;

	for (i = from / sizeof(u64); i < BLOCK_SIZE_BYTES / sizeof(u64); i += 4)
		if (!same_word(a + i, b + i, c + i) ||
		    !same_word(a + i + 1, b + i + 1, c + i + 1) ||
		    !same_word(a + i + 2, b + i + 2, c + i + 2) ||
		    !same_word(a + i + 3, b + i + 3, c + i + 3))
			return false;
	return true;
}

/*
 * Is the beginning of @b, up to SAME_FROM, what that of @a looks like as copy @copy?
 * If the rest is the same and @a is valid then @b is valid too, and there is no need
 * to compute its CRC: CRCs of blocks of one length differ by what depends only on
 * the bits in which the blocks differ.
 */
#define SAME_FROM	offsetof(struct disk_prefix, block_size)

static bool same_prefix(const struct dmr_metadata *md, const struct disk_prefix *a,
			const struct disk_prefix *b, u8 copy)
{
	u32 crc = le32_to_cpu(a->crc) ^ md->copy_crc[a->copy ^ copy];

	return b->copy == copy && le32_to_cpu(b->crc) == crc &&
	       a->copies == b->copies && a->reserved0 == b->reserved0 &&
	       !memcmp(a, b, offsetof(struct disk_prefix, crc));
}

/* The same of whole blocks. */
static bool same_block(const struct dmr_metadata *md, const struct disk_log *a,
		       const struct disk_log *b, u8 copy)
{
	return same_prefix(md, &a->p, &b->p, copy) && same_from(SAME_FROM, a, b, b);
}

/* -------------------------------------------------------------- one block */

/* Begin log block @index of the generation of @hdr; its records are to follow. */
void dmr_md_init_log_block(struct disk_log *log, const struct disk_header *hdr,
			   u32 index)
{
	memset(log, 0, sizeof(*log));
	log->p.magic = cpu_to_le32(LOG_MAGIC);
	log->p.version = cpu_to_le32(FORMAT_VERSION);
	log->p.sequence = hdr->p.sequence;
	log->p.time = hdr->p.time;
	log->p.uuid = hdr->p.uuid;
	log->generation = hdr->generation;
	log->index = cpu_to_le32(index);
}

/* One more log block, with these records, is counted by @hdr. */
void dmr_md_count_log_block(struct disk_header *hdr,
			    const struct disk_record *record)
{
	u32 crc = le32_to_cpu(hdr->log_crc);

	crc = ~crc32_le(~crc, (u8 *)record, sizeof(hdr->record));
	hdr->log_crc = cpu_to_le32(crc);
	le32_add_cpu(&hdr->log_blocks, 1);
}

/* *@records: the CRC of its records, from 0 on. */
static bool log_valid(const struct dmr_metadata *md, const struct disk_log *log,
		      u32 index, u8 copy, u32 *records)
{
	const struct disk_header *hdr = md->hdr;

	return dmr_md_block_known(&log->p, LOG_MAGIC) && log->p.copy == copy &&
	       uuid_equal(&log->p.uuid, &hdr->p.uuid) &&
	       log->generation == hdr->generation &&
	       le32_to_cpu(log->index) == index &&
	       le32_to_cpu(log->p.crc) == log_block_crc(md, log, records);
}

/*
 * Read log block @index. Of several valid versions the newest counts, of equally
 * new ones (a commit that was cut off and done again, and a copy that missed the
 * second) the one that most copies have.
 */
static int vote_on_log_block(struct dmr_metadata *md, u32 index,
			     struct found_log *f)
{
	struct disk_log *log = md->log, *scratch = log + 1;
	u64 seq[DMR_MAX_COPIES] = {}, newest = 0;
	u32 crc[DMR_MAX_COPIES] = {};
	unsigned int most = 0, same, i;
	u8 copy, best = 0;

	f->newest_in = 0;
	for (copy = 0; copy < md->copies; copy++) {
		if (dmr_md_read_block(md, dmr_md_log_place(md, md->hdr, index, copy), scratch) ||
		    !log_valid(md, scratch, index, copy, &crc[copy]))
			continue;
		seq[copy] = le64_to_cpu(scratch->p.sequence);
		newest = max(newest, seq[copy]);
	}
	if (!newest)
		return -ENODATA;
	for (copy = 0; copy < md->copies; copy++) {
		if (seq[copy] != newest)
			continue;
		for (same = 0, i = 0; i < md->copies; i++)
			same += seq[i] == newest && crc[i] == crc[copy];
		if (same > most) {
			most = same;
			best = copy;
		}
	}
	for (copy = 0; copy < md->copies; copy++)
		if (seq[copy] == newest && crc[copy] == crc[best])
			f->newest_in |= 1u << copy;
	/* Whatever was cached then may come from the disk now. */
	if (dmr_md_read_block(md, dmr_md_log_place(md, md->hdr, index, best), log) ||
	    !log_valid(md, log, index, best, &f->records) ||
	    le64_to_cpu(log->p.sequence) != newest || f->records != crc[best])
		return -EIO;
	f->log = log;
	return 0;
}

/* What a copy has there: read ahead, or else in dm-bufio's *@held. */
static const struct disk_log *get_log_block(struct dmr_metadata *md, u32 index,
					    u8 copy, struct dm_buffer **held)
{
	u64 block = dmr_md_log_place(md, md->hdr, index, copy);
	const void *data = NULL;

	*held = NULL;
	if (md->stream)
		data = dmr_readahead_data(md->stream, copy, block * BLOCK_SECTORS);
	return data ?: dm_bufio_read(md->bufio, block, held);
}

/*
 * The same, if all copies were read ahead and hold the same, which is so almost
 * always: each is looked at once, where it was read to.
 */
static bool read_same_log_block(struct dmr_metadata *md, u32 index, struct found_log *f)
{
	const struct disk_log *log[DMR_MAX_COPIES] = {};
	u8 copy, next;

	for (copy = 0; copy < md->copies; copy++) {
		u64 block = dmr_md_log_place(md, md->hdr, index, copy);

		log[copy] = dmr_readahead_data(md->stream, copy, block * BLOCK_SECTORS);
		/* Nothing of it was checked yet; same_prefix() relies on this. */
		if (!log[copy] || log[copy]->p.copy != copy)
			return false;
	}
	for (copy = 1; copy < md->copies; copy++)
		if (!same_prefix(md, &log[0]->p, &log[copy]->p, copy))
			return false;
	for (copy = 1; copy < md->copies; copy += 2) {
		next = min(copy + 1u, md->copies - 1);
		if (!same_from(SAME_FROM, log[0], log[copy], log[next]))
			return false;
	}
	/* Last, since who reads the block otherwise has to compute its CRC, too. */
	if (!log_valid(md, log[0], index, 0, &f->records))
		return false;
	f->log = log[0];
	f->newest_in = all_copies(md);
	return true;
}

/* The same, of whatever can be read. */
int dmr_md_read_log_block(struct dmr_metadata *md, u32 index, struct found_log *f)
{
	const struct disk_log *data;
	struct dm_buffer *held;
	bool same, valid;
	u32 records;
	u8 copy;

	f->newest_in = 0;
	for (copy = 0; copy < md->copies; copy++) {
		data = get_log_block(md, index, copy, &held);
		if (IS_ERR(data))
			continue;
		same = f->newest_in && same_block(md, f->log, data, copy);
		valid = same || log_valid(md, data, index, copy, &records);
		if (valid && !f->newest_in) {
			f->log = held ? memcpy(md->log, data, sizeof(*data)) : data;
			f->records = records;
		} else if (valid && !same) {
			same = data->p.sequence == f->log->p.sequence &&
			       !memcmp(data->record, f->log->record, sizeof(data->record));
		}
		if (held)
			dm_bufio_release(held);
		if (!valid)
			continue;
		if (f->newest_in && !same)
			return vote_on_log_block(md, index, f);
		f->newest_in |= 1u << copy;
	}
	return f->newest_in ? 0 : -ENODATA;
}

/* dm-bufio keeps what it failed to write: look at the disk. */
void dmr_md_forget_log_block(struct dmr_metadata *md, u32 index)
{
	u8 copy;

	for (copy = 0; copy < md->copies; copy++)
		dm_bufio_forget(md->bufio, dmr_md_log_place(md, md->hdr, index, copy));
}

/* ----------------------------------------------------------------- onward */

/* How many log blocks are to be read as one, from @index on, of @nr? */
static u32 log_run(const struct dmr_metadata *md, u32 index, u32 nr)
{
	u32 within;
	unsigned int i = dmr_md_log_segment(md, index, &within);

	return min3(nr - index, (u32)PREFETCH_BLOCKS, segment_blocks(md, i) - within);
}

static void prefetch_run(struct dmr_metadata *md, u32 index, u32 nr)
{
	u32 run;
	u8 copy;

	if (index >= nr)
		return;
	run = log_run(md, index, nr);
	for (copy = 0; copy < md->copies; copy++)
		dm_bufio_prefetch(md->bufio, dmr_md_log_place(md, md->hdr, index, copy), run);
}

/*
 * Log block @index of @nr is next. Have the disk busy with what comes behind,
 * while its run is worked on.
 */
void dmr_md_prefetch_log(struct dmr_metadata *md, u32 index, u32 nr)
{
	if (index % PREFETCH_BLOCKS)
		return;
	if (!index)
		prefetch_run(md, 0, nr);
	prefetch_run(md, index + PREFETCH_BLOCKS, nr);
}

/* The same with larger pieces: two are kept, that of @index and the next. */
static void stream_log(struct dmr_metadata *md, u32 index, u32 nr)
{
	u32 run;
	u8 copy;

	while (md->piece <= index && md->piece_end < nr) {
		run = log_run(md, md->piece_end, nr);
		for (copy = 0; copy < md->copies; copy++)
			dmr_readahead_start(md->stream, copy,
					    dmr_md_log_place(md, md->hdr, md->piece_end, copy) *
					    BLOCK_SECTORS, run * BLOCK_SECTORS);
		md->piece = md->piece_end;
		md->piece_end += run;
	}
}

/* Read log block @index of @nr, when they are read one after the other. */
int dmr_md_next_log_block(struct dmr_metadata *md, u32 index, u32 nr, struct found_log *f)
{
	int r;

	if (md->stream) {
		stream_log(md, index, nr);
		if (read_same_log_block(md, index, f))
			return 0;
	} else {
		dmr_md_prefetch_log(md, index, nr);
	}
	r = dmr_md_read_log_block(md, index, f);
	/* It won't be read again soon, and dm-bufio would keep it. */
	dmr_md_forget_log_block(md, index);
	return r;
}

/* ------------------------------------------------------------------ whole */

/* Is what can be read of the log what the header counts? */
static int check_log(struct dmr_metadata *md)
{
	u32 i, crc = 0, nr = le32_to_cpu(md->hdr->log_blocks);
	struct found_log f;
	int r;

	for (i = 0; i < nr; i++) {
		dmr_md_forget_log_block(md, i);
		r = dmr_md_read_log_block(md, i, &f);
		if (r)
			return r;
		crc = dmr_md_log_crc_with(md, crc, &f);
		cond_resched();
	}
	return crc == le32_to_cpu(md->hdr->log_crc) ? 0 : -ENODATA;
}

/*
 * Copy the whole log to @copy from the others, some blocks a flush. What the copy
 * has stays as it is. If that is unsure it is written again, unless no other has it:
 * then -EAGAIN, to be tried again when others have been mended.
 */
int dmr_md_dirty_log(struct dmr_metadata *md, u8 copy)
{
	u32 i, crc = 0, nr = le32_to_cpu(md->hdr->log_blocks);
	u8 bit = 1u << copy;
	struct found_log f;
	int r = check_log(md);

	if (r)
		return r;
	md->alone &= ~bit;
	for (i = 0; i < nr; i++) {
		dmr_md_forget_log_block(md, i);
		r = dmr_md_read_log_block(md, i, &f);
		if (r)
			return r;
		crc = dmr_md_log_crc_with(md, crc, &f);
		if (md->unsure & bit && f.newest_in == bit && md->copies > 1)
			md->alone |= bit;
		else if (md->unsure & bit || !(f.newest_in & bit))
			r = dmr_md_dirty_block(md, dmr_md_log_place(md, md->hdr, i, copy),
					       f.log, copy);
		if (!r && i % 64 == 63)
			r = dmr_md_write_and_flush(md);
		if (r)
			return r;
	}
	/* A copy that could be read a moment ago may have been the one that counted. */
	if (crc != le32_to_cpu(md->hdr->log_crc))
		return -ENODATA;
	return md->alone & bit ? -EAGAIN : 0;
}
