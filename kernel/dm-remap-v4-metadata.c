// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metadata on the spare: reading, choosing, mending, committing.
 *
 * docs/on-disk-format.md has every byte and the argument why no power cut
 * loses an acknowledged record. In short: the header block of each copy holds
 * the newest records; a commit rewrites the headers in two waves with a flush
 * after each, so one wave is whole at any instant. Full headers move to log
 * blocks, which are written one commit before a header counts them and never
 * change afterwards.
 */
#include <linux/crc32.h>
#include <linux/device-mapper.h>
#include <linux/dm-bufio.h>
#include <linux/ktime.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "dm-remap-v4-metadata.h"
#include "dm-remap-v4-readahead.h"

#define DM_MSG_PREFIX "remap-v4 metadata"

/* ------------------------------------------------------- the format itself */

#define HEADER_MAGIC	0x444D5234	/* "4RMD" */
#define INFO_MAGIC	0x494D5234	/* "4RMI" */
#define LOG_MAGIC	0x4C4D5234	/* "4RML" */
#define V3_MAGIC	"DMREMAP3"
#define FORMAT_VERSION	4
#define V42_STRUCT_SIZE	84288
#define MAX_SEQUENCE	0x8000000000000000ull	/* of any block; from 1 */

#define BLOCK_SIZE_BYTES	4096
#define BLOCK_SECTORS		8
#define MIB_SECTORS		2048
#define RECORDS_PER_BLOCK	118
#define NR_SEGMENTS		12
#define FIRST_SEGMENT_BLOCKS	16
#define SLOT_HEADER		0	/* blocks within a slot */
#define SLOT_INFO		1
#define SLOT_SHADOW		2
#define SHADOW_BIT		2	/* in a mask, beside the bit of copy 0 */
#define SLOT_LOG		3
#define FLAG_NEEDS_CHECK	1

struct disk_record {
	__le64 main;
	__le64 spare;
	__le32 sectors;
	__le16 kind;
	__le16 errors;
	__le64 time;
} __packed;

/* What every kind of block begins with. */
struct disk_prefix {
	__le32 magic;
	__le32 version;
	__le64 sequence;
	__le64 time;
	__le32 crc;
	u8 copy;
	u8 copies;		/* header only */
	__le16 reserved0;
	__le32 block_size;	/* header only */
	__le32 spacing;		/* header only, sectors */
	uuid_t uuid;
} __packed;

struct disk_header {
	struct disk_prefix p;
	__le64 main_sectors;
	__le64 spare_sectors;
	__le32 compat;
	__le32 ro_compat;
	__le32 incompat;
	__le32 flags;
	__le64 generation;
	__le64 cursor;
	__le32 nr_records;
	__le32 log_blocks;
	__le32 logical_block_size;
	__le32 log_crc;
	__le64 segment[NR_SEGMENTS];
	u8 reserved1[0x130 - 0xd8];
	struct disk_record record[RECORDS_PER_BLOCK];
	u8 reserved2[16];
} __packed;

struct disk_log {
	struct disk_prefix p;
	__le64 generation;
	__le32 index;
	u8 reserved1[0x130 - 0x44];
	struct disk_record record[RECORDS_PER_BLOCK];
	u8 reserved2[16];
} __packed;

struct disk_info {
	struct disk_prefix p;
	char main_id[128];
	char name[128];
	__le64 read_errors;
	__le64 write_errors;
	__le64 salvaged;
	__le64 lost;
	__le64 scrub_sector;
	u8 reserved[BLOCK_SIZE_BYTES - 0x160];
} __packed;

static_assert(sizeof(struct disk_record) == 32);
static_assert(sizeof(struct disk_header) == BLOCK_SIZE_BYTES);
static_assert(sizeof(struct disk_log) == BLOCK_SIZE_BYTES);
static_assert(sizeof(struct disk_info) == BLOCK_SIZE_BYTES);
static_assert(offsetof(struct disk_header, p.crc) == 0x18);
static_assert(offsetof(struct disk_prefix, block_size) % 32 == 0);
static_assert(offsetof(struct disk_header, record) == 0x130);
static_assert(offsetof(struct disk_log, record) == 0x130);
static_assert(offsetof(struct disk_info, read_errors) == 0x138);

/* ---------------------------------------------------------- in-core state */

/*
 * No locks: one caller at a time, see the header. Fields marked (s) are also
 * read by dmr_metadata_status() and are written with WRITE_ONCE.
 */
#define LOG_BUFFERS	3

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

	u8 good;			/* (s) copies that hold the state whole */
	u8 header_ok, info_ok;		/* copies whose block is the present one */
	u8 whole;			/* copies whose header is that, or a later one, whole */
	u8 cached;			/* dmr_unsure.headers */
	u8 loaded_in;			/* likewise, those with the header that was loaded ... */
	__le64 loaded;			/* ... and its number; constant after open */
	u8 unsure;			/* copies of which not all that is read may be stored ... */
	u8 alone;			/* ... and that no other had when last looked at */
	u64 nr_bad;			/* bad-spare records on disk */
	u64 compacted;			/* records that the last compaction left */
	u8 seen;			/* copies with a header at the load; constant after open */
	bool believed;			/* the owner wants what was loaded, be it old */
	bool certain;			/* any other load would find it, too, or a later one */
	u64 sequence;			/* (s) the highest ever tried on disk */
	u64 durable;			/* that a majority of the headers is known to have had */
	u64 skip;			/* of sequence numbers, see load() */
	bool shadow_ok;			/* one copy: its shadow is the present header */
	bool shadow_unsure;		/* it may be read, and not be stored */
	bool spilled;			/* a full header stands in the log too */
	bool ahead;			/* there may be a newer header, to be denied */
	bool needs_check;		/* (s) wanted in the next header */

	u64 commits, block_writes, flushes;	/* (s) */

	/* While the log is loaded, if there is memory. */
	struct dmr_readahead *stream;
	u32 piece, piece_end;		/* of log blocks: its newest piece */
};

static u8 all_copies(const struct dmr_metadata *md)
{
	return (1u << md->copies) - 1;
}

static u32 majority(const struct dmr_metadata *md)
{
	return md->copies / 2 + 1;
}

static u64 region_sectors(u32 copies, u32 spacing)
{
	return (u64)copies * spacing;
}

static u64 data_start(u32 copies, u32 spacing)
{
	return round_up(region_sectors(copies, spacing), MIB_SECTORS);
}

/* ------------------------------------------------------------ single blocks */

static u32 block_crc(const void *block)
{
	const u8 *p = block;
	const size_t at = offsetof(struct disk_prefix, crc);
	static const u8 zero[4];
	u32 crc = crc32_le(~0, p, at);

	crc = crc32_le(crc, zero, sizeof(zero));
	return ~crc32_le(crc, p + at + 4, BLOCK_SIZE_BYTES - at - 4);
}

static bool block_known(const struct disk_prefix *p, u32 magic)
{
	u64 sequence = le64_to_cpu(p->sequence);

	return le32_to_cpu(p->magic) == magic &&
	       le32_to_cpu(p->version) == FORMAT_VERSION &&
	       sequence && sequence <= MAX_SEQUENCE;
}

static bool block_valid(const struct disk_prefix *p, u32 magic)
{
	return block_known(p, magic) && le32_to_cpu(p->crc) == block_crc(p);
}

/*
 * By how much the CRC of a block changes with the bits of its copy number, and
 * what becomes of each bit of a CRC over the length of all records.
 */
static void init_crcs(struct dmr_metadata *md, struct disk_log *scratch)
{
	u32 none;
	u8 bits, i;

	memset(scratch, 0, sizeof(*scratch));
	for (i = 0; i < 32; i++)
		md->over_records[i] = crc32_le(1u << i, (u8 *)scratch->record,
					       sizeof(scratch->record));
	none = block_crc(scratch);
	for (bits = 0; bits < DMR_MAX_COPIES; bits++) {
		scratch->p.copy = bits;
		md->copy_crc[bits] = block_crc(scratch) ^ none;
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

/* The CRC of a log block as block_crc() has it; *@records as said above. */
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

/* Read a block into @to, which may be on the heap only (DMA is dm-bufio's). */
static int read_block(struct dmr_metadata *md, u64 block, void *to)
{
	struct dm_buffer *b;
	void *data = dm_bufio_read(md->bufio, block, &b);

	if (IS_ERR(data))
		return PTR_ERR(data);
	memcpy(to, data, BLOCK_SIZE_BYTES);
	dm_bufio_release(b);
	return 0;
}

/* Put @image, as copy @copy, into the cache; the next flush writes it. */
static int dirty_block(struct dmr_metadata *md, u64 block, const void *image,
		       u8 copy)
{
	struct dm_buffer *b;
	struct disk_prefix *p = dm_bufio_new(md->bufio, block, &b);

	if (IS_ERR(p))
		return PTR_ERR(p);
	memcpy(p, image, BLOCK_SIZE_BYTES);
	p->copy = copy;
	p->crc = cpu_to_le32(block_crc(p));
	dm_bufio_mark_buffer_dirty(b);
	dm_bufio_release(b);
	WRITE_ONCE(md->block_writes, md->block_writes + 1);
	return 0;
}

/* Flush the spare, after writing what is dirty if @write. */
static int flush_spare(struct dmr_metadata *md, bool write)
{
	if (md->params.flush)
		return md->params.flush(md->params.flush_context, write);
	return write ? dm_bufio_write_dirty_buffers(md->bufio) :
		       dm_bufio_issue_flush(md->bufio);
}

/* What failed was written again, since a block and a flush have one error. Was it a block? */
static void blame(struct dmr_metadata *md, bool block)
{
	if (md->params.blame)
		md->params.blame(md->params.flush_context, block);
}

static int write_and_flush(struct dmr_metadata *md)
{
	WRITE_ONCE(md->flushes, md->flushes + 1);
	return flush_spare(md, true);
}

/* ------------------------------------------------------------------ places */

static u64 slot_block(const struct dmr_metadata *md, u8 copy, u32 block)
{
	return (u64)copy * (md->spacing / BLOCK_SECTORS) + block;
}

static u32 slot_half_blocks(u32 spacing)
{
	return (spacing / BLOCK_SECTORS - SLOT_LOG) / 2;
}

static u32 segment_blocks(const struct dmr_metadata *md, unsigned int i)
{
	return i ? FIRST_SEGMENT_BLOCKS << (i - 1) : slot_half_blocks(md->spacing);
}

/* Segment that holds log block @index; *@within is its place there. */
static unsigned int log_segment(const struct dmr_metadata *md, u32 index,
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

static u64 log_place(const struct dmr_metadata *md,
		     const struct disk_header *hdr, u32 index, u8 copy)
{
	u32 within;
	unsigned int i = log_segment(md, index, &within);
	u64 start = le64_to_cpu(hdr->segment[i]) / BLOCK_SECTORS;

	if (!i)
		return slot_block(md, copy, start) + within;
	return start + (u64)copy * segment_blocks(md, i) + within;
}

/* ------------------------------------------------------------------- waves */

#define PREFETCH_BLOCKS	64
enum {
	WRITE_HEADER = 1,
	WRITE_SPILL = 2,	/* the full header, as the next log block */
	WRITE_INFO = 4,
	WRITE_LOG = 8,		/* every log block */
};

/* Begin log block @index of the generation of @hdr; its records are to follow. */
static void init_log_block(struct disk_log *log, const struct disk_header *hdr,
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

static int dirty_spill(struct dmr_metadata *md, const struct disk_header *hdr,
		       u8 copy)
{
	u32 index = le32_to_cpu(hdr->log_blocks);
	struct disk_log *log = md->log;

	init_log_block(log, hdr, index);
	memcpy(log->record, hdr->record, sizeof(log->record));
	return dirty_block(md, log_place(md, hdr, index, copy), log, copy);
}

/* *@records: the CRC of its records, from 0 on. */
static bool log_valid(const struct dmr_metadata *md, const struct disk_log *log,
		      u32 index, u8 copy, u32 *records)
{
	const struct disk_header *hdr = md->hdr;

	return block_known(&log->p, LOG_MAGIC) && log->p.copy == copy &&
	       uuid_equal(&log->p.uuid, &hdr->p.uuid) &&
	       log->generation == hdr->generation &&
	       le32_to_cpu(log->index) == index &&
	       le32_to_cpu(log->p.crc) == log_block_crc(md, log, records);
}

struct found_log {
	const struct disk_log *log;	/* md->log, or as it was read ahead */
	u32 records;			/* CRC of its records, from 0 on */
	u8 newest_in;			/* copies that have this version */
};

/* The CRC of the log with one more block. */
static u32 log_crc_with(const struct dmr_metadata *md, u32 crc,
			const struct found_log *f)
{
	return ~crc_over_records(md, ~crc, f->records);
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
		if (read_block(md, log_place(md, md->hdr, index, copy), scratch) ||
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
	if (read_block(md, log_place(md, md->hdr, index, best), log) ||
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
	u64 block = log_place(md, md->hdr, index, copy);
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
	const struct disk_log *log[DMR_MAX_COPIES];
	u8 copy, next;

	for (copy = 0; copy < md->copies; copy++) {
		u64 block = log_place(md, md->hdr, index, copy);

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
static int read_log_block(struct dmr_metadata *md, u32 index, struct found_log *f)
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
static void forget_log_block(struct dmr_metadata *md, u32 index)
{
	u8 copy;

	for (copy = 0; copy < md->copies; copy++)
		dm_bufio_forget(md->bufio, log_place(md, md->hdr, index, copy));
}

/* Is what can be read of the log what the header counts? */
static int check_log(struct dmr_metadata *md)
{
	u32 i, crc = 0, nr = le32_to_cpu(md->hdr->log_blocks);
	struct found_log f;
	int r;

	for (i = 0; i < nr; i++) {
		forget_log_block(md, i);
		r = read_log_block(md, i, &f);
		if (r)
			return r;
		crc = log_crc_with(md, crc, &f);
		cond_resched();
	}
	return crc == le32_to_cpu(md->hdr->log_crc) ? 0 : -ENODATA;
}

/*
 * Copy the whole log to @copy from the others, some blocks a flush. What the copy
 * has stays as it is. If that is unsure it is written again, unless no other has it:
 * then -EAGAIN, to be tried again when others have been mended.
 */
static int dirty_log(struct dmr_metadata *md, u8 copy)
{
	u32 i, crc = 0, nr = le32_to_cpu(md->hdr->log_blocks);
	u8 bit = 1u << copy;
	struct found_log f;
	int r = check_log(md);

	if (r)
		return r;
	md->alone &= ~bit;
	for (i = 0; i < nr; i++) {
		forget_log_block(md, i);
		r = read_log_block(md, i, &f);
		if (r)
			return r;
		crc = log_crc_with(md, crc, &f);
		if (md->unsure & bit && f.newest_in == bit && md->copies > 1)
			md->alone |= bit;
		else if (md->unsure & bit || !(f.newest_in & bit))
			r = dirty_block(md, log_place(md, md->hdr, i, copy), f.log, copy);
		if (!r && i % 64 == 63)
			r = write_and_flush(md);
		if (r)
			return r;
	}
	/* A copy that could be read a moment ago may have been the one that counted. */
	if (crc != le32_to_cpu(md->hdr->log_crc))
		return -ENODATA;
	return md->alone & bit ? -EAGAIN : 0;
}

/* How many log blocks are to be read as one, from @index on, of @nr? */
static u32 log_run(const struct dmr_metadata *md, u32 index, u32 nr)
{
	u32 within;
	unsigned int i = log_segment(md, index, &within);

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
		dm_bufio_prefetch(md->bufio, log_place(md, md->hdr, index, copy), run);
}

/*
 * Log block @index of @nr is next. Have the disk busy with what comes behind,
 * while its run is worked on.
 */
static void prefetch_log(struct dmr_metadata *md, u32 index, u32 nr)
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
					    log_place(md, md->hdr, md->piece_end, copy) *
					    BLOCK_SECTORS, run * BLOCK_SECTORS);
		md->piece = md->piece_end;
		md->piece_end += run;
	}
}

static int dirty_copy(struct dmr_metadata *md, const struct disk_header *hdr,
		      u8 copy, unsigned int what)
{
	int r = 0;

	if (what & WRITE_LOG)
		r = dirty_log(md, copy);
	if (!r && what & WRITE_SPILL)
		r = dirty_spill(md, hdr, copy);
	if (!r && what & WRITE_INFO)
		r = dirty_block(md, slot_block(md, copy, SLOT_INFO), md->info, copy);
	if (!r && what & WRITE_HEADER)
		r = dirty_block(md, slot_block(md, copy, SLOT_HEADER), hdr, copy);
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
static u8 write_wave(struct dmr_metadata *md, const struct disk_header *hdr,
		     u8 mask, unsigned int what)
{
	/* Of what was unsure before only the whole log is sure now. */
	u8 copy, failed = 0, unsure = what & WRITE_LOG ? 0 : md->unsure;
	int r = 0;

	for (copy = 0; copy < md->copies && !r; copy++)
		if (mask & 1u << copy)
			r = dirty_copy(md, hdr, copy, what);
	if (!write_and_flush(md) && !r) {
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
		if (write_and_flush(md) || r)
			failed |= 1u << copy;
		if (what & WRITE_HEADER)
			note_cached(md, 1u << copy, slot_block(md, copy, SLOT_HEADER),
				    hdr, failed & 1u << copy);
	}
	md->unsure &= ~mask | failed | unsure;
	blame(md, failed);
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

static u32 count(u8 mask)
{
	return hweight8(mask);
}

static void lose_copies(struct dmr_metadata *md, u8 failed, unsigned int what)
{
	if (what & WRITE_HEADER)
		md->whole &= ~failed;
	WRITE_ONCE(md->good, md->good & ~failed);
	md->header_ok &= ~failed;
	md->info_ok &= ~failed;
}

/* What is read from them may not be stored, whatever further flushes say. */
static void doubt_copies(struct dmr_metadata *md, u8 copies)
{
	if (!copies)
		return;
	md->unsure |= copies;
	md->cached |= copies | (md->copies == 1 ? SHADOW_BIT : 0);
	md->shadow_unsure = true;
	md->shadow_ok = false;
	lose_copies(md, copies, 0);
}

struct dmr_unsure dmr_metadata_unsure(const struct dmr_metadata *md)
{
	return (struct dmr_unsure){ md->unsure, md->cached };
}

static int write_shadow(struct dmr_metadata *md, const struct disk_header *hdr)
{
	int tries = 2, r;

	/* Twice, as write_wave(): was it the block or the flush? */
	do {
		r = dirty_block(md, SLOT_SHADOW, hdr, 0);
		if (!r)
			r = write_and_flush(md);
	} while (r && --tries);
	if (tries < 2)
		blame(md, r);
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
static int write_waves(struct dmr_metadata *md, const struct disk_header *hdr,
		       unsigned int what)
{
	u8 one = first_wave(md->good), two = md->good & ~one, failed;

	/* The shadow stands in for the missing other wave. */
	if (md->copies == 1 && what & WRITE_HEADER && write_shadow(md, hdr)) {
		lose_copies(md, 1, 0);
		return -EIO;
	}
	failed = write_wave(md, hdr, one, what);
	lose_copies(md, failed, what);
	if (count(md->good) < majority(md))
		return -EIO;
	if (two) {
		failed = write_wave(md, hdr, two, what);
		lose_copies(md, failed, what);
	}
	return count(md->good) < majority(md) ? -EIO : 0;
}

/* ------------------------------------------------------------------ commit */

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

static void free_segments(struct dmr_metadata *md, const __le64 *segment)
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
static int ensure_segment(struct dmr_metadata *md, __le64 *segment, u32 index)
{
	u32 within;
	unsigned int i = log_segment(md, index, &within);
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

static bool has_segment(const struct dmr_metadata *md, u32 index)
{
	u32 within;
	unsigned int i = log_segment(md, index, &within);

	return i < NR_SEGMENTS && md->hdr->segment[i];
}

static void decode_record(struct dmr_record *r, const struct disk_record *d)
{
	r->main = le64_to_cpu(d->main);
	r->spare = le64_to_cpu(d->spare);
	r->sectors = le32_to_cpu(d->sectors);
	r->kind = le16_to_cpu(d->kind);
	r->errors = le16_to_cpu(d->errors);
	r->time = le64_to_cpu(d->time);
}

static void encode_record(struct disk_record *d, const struct dmr_record *r)
{
	d->main = cpu_to_le64(r->main);
	d->spare = cpu_to_le64(r->spare);
	d->sectors = cpu_to_le32(r->sectors);
	d->kind = cpu_to_le16(r->kind);
	d->errors = cpu_to_le16(r->errors);
	d->time = cpu_to_le64(r->time);
}

/* One more log block, with these records, is counted by @hdr. */
static void count_log_block(struct disk_header *hdr,
			    const struct disk_record *record)
{
	u32 crc = le32_to_cpu(hdr->log_crc);

	crc = ~crc32_le(~crc, (u8 *)record, sizeof(hdr->record));
	hdr->log_crc = cpu_to_le32(crc);
	le32_add_cpu(&hdr->log_blocks, 1);
}

/* A full header, already in the log, gives way to an empty one. */
static void count_spilled(struct disk_header *hdr)
{
	count_log_block(hdr, hdr->record);
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
		r = ensure_segment(md, md->segment,
				   le32_to_cpu(md->hdr->log_blocks) + i);
	return r;
}

/*
 * More numbers than can be used up between two durable headers: by compactions
 * that are given up, a commit that fails, and the header that denies it, with
 * needs_check set or not.
 */
#define SKIP	16

/*
 * Does a majority of the headers have the present number? Any other majority then
 * has a copy of it: nothing that is older or lower can be loaded instead.
 */
static bool in_majority(const struct dmr_metadata *md)
{
	return count(md->header_ok) >= majority(md) && (md->copies > 1 || md->shadow_ok);
}

/* No two states share a number, nor two versions of a block. */
static u64 new_sequence(struct dmr_metadata *md)
{
	WRITE_ONCE(md->sequence, md->sequence + 1 + md->skip);
	md->skip = 0;
	return md->sequence;
}

/*
 * Make the next header, whose records are in place, the durable one. After a
 * failure it may stand in some copies, until dmr_metadata_mend() denies it.
 */
static int switch_header(struct dmr_metadata *md, unsigned int what)
{
	struct disk_header *next = md->next;
	int r;

	memcpy(next->segment, md->segment, sizeof(next->segment));
	next->cursor = cpu_to_le64(md->space->cursor);
	next->flags = cpu_to_le32(md->needs_check ? FLAG_NEEDS_CHECK : 0);
	next->p.time = cpu_to_le64(ktime_get_real_seconds());
	next->p.sequence = cpu_to_le64(new_sequence(md));
	r = write_waves(md, next, what | WRITE_HEADER);
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
	/* Those that lack something else were left out. */
	md->header_ok &= md->good;
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
		r = ensure_segment(md, md->segment, le32_to_cpu(next->log_blocks));
		if (!r)
			what |= WRITE_SPILL;
	}
	r = switch_header(md, what);
	if (r)
		return r;
	md->spilled = what & WRITE_SPILL;
	for (i = 0; i < nr; i++)
		md->nr_bad += recs[i].kind == DMR_REC_BAD_SPARE;
	WRITE_ONCE(md->commits, md->commits + 1);
	return nr;
}

/*
 * What records point at must be there before they can be. This comes first of
 * all: when a flush fails nobody knows what was lost, also if the next succeeds.
 */
static int flush_data(struct dmr_metadata *md)
{
	WRITE_ONCE(md->flushes, md->flushes + 1);
	return flush_spare(md, false) ? -EREMOTEIO : 0;
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
	r = flush_data(md);
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

/* -------------------------------------------------------------- compaction */

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
		    dirty_block(md, log_place(md, md->next, index, copy), out, copy))
			co->failed = true;
	count_log_block(md->next, out->record);
	if (index % PREFETCH_BLOCKS == PREFETCH_BLOCKS - 1 && write_and_flush(md))
		co->failed = true;
	init_log_block(out, md->next, index + 1);
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
	struct dmr_record rec, part;
	sector_t done, n;
	bool so;
	int r;

	decode_record(&rec, d);
	if (rec.kind == DMR_REC_FREE)
		return 0;
	if (rec.kind == DMR_REC_BAD_SPARE)
		return emit(co, &rec);
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
		prefetch_log(md, i, nr);
		r = read_log_block(md, i, &f);
		if (!r)
			crc = log_crc_with(md, crc, &f);
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
	next->p.sequence = cpu_to_le64(new_sequence(md));
	next->log_blocks = 0;
	next->log_crc = 0;
	next->nr_records = 0;
	memset(next->record, 0, sizeof(next->record));
	memset(next->segment, 0, sizeof(next->segment));
	next->segment[0] = cpu_to_le64((SLOT_LOG + (first ? half : 0)) * BLOCK_SECTORS);
	for (i = 0; i < log_blocks; i++) {
		if (ensure_segment(md, next->segment, i)) {
			free_segments(md, next->segment);
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
	init_log_block(md->log + 2, md->next, 0);
	r = sift_all(co);
	if (write_and_flush(md))
		co->failed = true;
	return r;
}

/*
 * The same to all good copies. After an error one by one, as in write_wave(); those
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
	blame(md, failed);
	if (count(md->good & ~failed) < majority(md))
		return -ENOSPC;
	md->unsure |= failed;
	lose_copies(md, failed, 0);
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
		free_segments(md, md->next->segment);
		return r == -ENOSPC ? r : -ENODATA;
	}
	div_u64_rem(co->nr, RECORDS_PER_BLOCK, &rest);
	memcpy(md->next->record, out->record, rest * sizeof(out->record[0]));
	md->next->nr_records = cpu_to_le32(rest);

	memcpy(old, md->segment, sizeof(old));
	memcpy(md->segment, md->next->segment, sizeof(old));
	r = switch_header(md, 0);
	if (r) {
		/* The new places stay taken: a header may name them still. */
		memcpy(md->segment, old, sizeof(old));
		return r;
	}
	free_segments(md, old);
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
			!has_segment(md, le32_to_cpu(md->hdr->log_blocks) + fills - 1));
}

int dmr_metadata_compact(struct dmr_metadata *md, const struct dmr_live *live)
{
	struct compaction co = { .md = md, .live = live };
	int r;

	if (md->params.read_only)
		return -EROFS;
	if (md->ahead || count(md->good) < majority(md))
		return -EIO;
	r = flush_data(md);
	if (r)
		return r;
	r = compact(&co);
	/* Also if it failed: whatever prevented it, not every commit shall try. */
	md->compacted = logged_records(md);
	return r;
}

/* -------------------------------------------------------------- soft state */

int dmr_metadata_save_soft(struct dmr_metadata *md,
			   const struct dmr_soft_state *soft)
{
	struct disk_info *info = md->info;
	int r;

	if (md->params.read_only)
		return -EROFS;
	if (count(md->good) < majority(md))
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
	r = write_waves(md, md->hdr, WRITE_INFO);
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

bool dmr_metadata_in_doubt(const struct dmr_metadata *md)
{
	return md->ahead;
}

void dmr_metadata_set_needs_check(struct dmr_metadata *md, bool needs_check)
{
	WRITE_ONCE(md->needs_check, needs_check);
}

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
	if (shadow && md->whole & bit && write_shadow(md, md->hdr)) {
		lose_copies(md, bit, 0);
		return -EIO;
	}
	/* Until it has a new header the copy is, with its log, what it was: the header last. */
	if (what & WRITE_HEADER && what & WRITE_LOG) {
		if (write_wave(md, md->hdr, bit, what & ~WRITE_HEADER))
			return -EIO;
		rest = WRITE_HEADER;
	}
	if (rest && write_wave(md, md->hdr, bit, rest)) {
		lose_copies(md, bit, rest);
		return -EIO;
	}
	if (what & WRITE_HEADER) {
		md->whole |= bit;
		md->header_ok |= bit;
	}
	if (what & WRITE_INFO)
		md->info_ok |= bit;
	if (shadow && !md->shadow_ok && write_shadow(md, md->hdr)) {
		lose_copies(md, bit, 0);
		return -EIO;
	}
	if (was_good || lacks(md, bit, false) & ~(what | WRITE_SPILL))
		return 0;
	WRITE_ONCE(md->good, md->good | bit);
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
	if (in_majority(md))
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
		md->hdr->p.sequence = cpu_to_le64(new_sequence(md));
		md->header_ok = 0;
		md->shadow_ok = false;
	}
	/* Without a place it is left to the next commit, which may find one. */
	spill = spill && has_segment(md, le32_to_cpu(md->hdr->log_blocks));

	r = mend_copies(md, WRITE_HEADER | WRITE_INFO | WRITE_LOG | WRITE_SPILL, spill);
	/* The last whole header was left as it is, and is not known to fail. */
	WRITE_ONCE(md->good, md->good & (md->header_ok | md->whole));
	md->spilled = spill && md->good;
	note_durable(md);
	/* In a majority it denies the failed commit, whichever copies are there next time. */
	md->ahead = md->ahead && !in_majority(md);
	md->certain |= !md->ahead;
	return r;
}

static bool header_fits(const struct disk_header *h, u8 copy, u32 spacing)
{
	return block_valid(&h->p, HEADER_MAGIC) && h->p.copy == copy &&
	       h->p.copies && h->p.copies <= DMR_MAX_COPIES &&
	       copy < h->p.copies &&
	       le32_to_cpu(h->p.block_size) == BLOCK_SIZE_BYTES &&
	       le32_to_cpu(h->p.spacing) == spacing;
}

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
	for (copy = 0; copy < md->copies; copy++) {
		block = slot_block(md, copy, SLOT_HEADER);
		dm_bufio_forget(md->bufio, block);
		if (read_block(md, block, h)) {
			all = false;
			continue;
		}
		if (!block_known(&h->p, HEADER_MAGIC) ||
		    !uuid_equal(&h->p.uuid, &md->hdr->p.uuid))
			continue;
		seq = le64_to_cpu(h->p.sequence);
		if (seq > number && header_fits(h, copy, md->spacing))
			return -ESTALE;
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
		if (read_block(md, block, h)) {
			if (!md->believed)
				return false;
			continue;
		}
		if (!header_fits(h, copy, md->spacing) ||
		    !uuid_equal(&h->p.uuid, &md->hdr->p.uuid))
			continue;
		seq = le64_to_cpu(h->p.sequence);
		if (same_state(h, md->hdr))
			number[copy] = seq;
		else if (md->copies == 1)
			return false;
		else
			other = max(other, seq);
	}
	for (copy = 0; copy < md->copies; copy++)
		same += number[copy] > other;
	return same >= majority(md);
}

/* What was read may not be stored; and a flush that fails may have lost it. */
static void make_certain(struct dmr_metadata *md)
{
	bool stood = stands(md);

	if (flush_spare(md, false))
		doubt_copies(md, all_copies(md));
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
	if (!in_majority(md))
		mend_copies(md, WRITE_HEADER, false);
	note_durable(md);
	return in_majority(md) ? max(mended, 0) : -EIO;
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

/* Read block @block again from the disk, past the cache. Is it @want, for @copy? */
static int reread(struct dmr_metadata *md, u64 block, void *to, u32 magic,
		  const struct disk_prefix *want, u8 copy)
{
	const struct disk_prefix *p = to;
	int r;

	dm_bufio_forget(md->bufio, block);
	r = read_block(md, block, to);
	if (r)
		return r;
	return block_valid(p, magic) && p->copy == copy &&
	       p->sequence == want->sequence && uuid_equal(&p->uuid, &want->uuid);
}

u32 dmr_metadata_check(struct dmr_metadata *md)
{
	struct disk_log *log = md->log;
	/* The block written ahead is to be counted by the next commit. */
	u32 i, nr = le32_to_cpu(md->hdr->log_blocks) + md->spilled;
	/* What may be in a cache only does not count. */
	bool flushed = !flush_spare(md, false);
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
		if (!r && (!header_fits((struct disk_header *)log, copy, md->spacing) ||
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
		doubt_copies(md, all_copies(md));
	/* Nor what was before a flush that failed. */
	md->header_ok &= ~md->unsure;
	md->info_ok &= ~md->unsure;
	md->whole |= md->header_ok;
	note_durable(md);
	for (i = 0; i < nr; i++) {
		forget_log_block(md, i);
		if (read_log_block(md, i, &f))
			f.newest_in = 0;
		logs &= f.newest_in;
	}
	if (md->copies == 1 && !md->shadow_ok)
		logs = 0;
	WRITE_ONCE(md->good, md->header_ok & md->info_ok & logs);
	return count(md->good);
}

/* -------------------------------------------------------------------- open */

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
	    read_block(md, block, scratch) || !header_fits(scratch, copy, spacing))
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

	if (!spacing && !read_block(md, 0, scratch)) {
		u32 named = le32_to_cpu(scratch->p.spacing);

		if (good_spacing(named) && header_fits(scratch, 0, named))
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
	in_log = logs ? log_segment(md, logs - 1, &within) : 0;
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

/* Read log block @index of @nr, when they are read one after the other. */
static int next_log_block(struct dmr_metadata *md, u32 index, u32 nr, struct found_log *f)
{
	int r;

	if (md->stream) {
		stream_log(md, index, nr);
		if (read_same_log_block(md, index, f))
			return 0;
	} else {
		prefetch_log(md, index, nr);
	}
	r = read_log_block(md, index, f);
	/* It won't be read again soon, and dm-bufio would keep it. */
	forget_log_block(md, index);
	return r;
}

/* Replay the log; find out which copies lack something. */
static const char *load_log(struct dmr_metadata *md, struct reader *to)
{
	u32 i, crc = 0, nr = le32_to_cpu(md->hdr->log_blocks);
	const char *error;
	struct found_log f;

	for (i = 0; i < nr; i++) {
		if (next_log_block(md, i, nr, &f))
			return "A block of the log is damaged in every copy of the metadata";
		md->good &= f.newest_in;
		crc = log_crc_with(md, crc, &f);
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

		if (read_block(md, slot_block(md, copy, SLOT_INFO), scratch) ||
		    !block_valid(&scratch->p, INFO_MAGIC) ||
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

static void init_info(struct dmr_metadata *md, const uuid_t *uuid)
{
	struct disk_prefix *p = &md->info->p;

	memset(md->info, 0, sizeof(*md->info));
	p->magic = cpu_to_le32(INFO_MAGIC);
	p->version = cpu_to_le32(FORMAT_VERSION);
	p->sequence = cpu_to_le64(1);
	p->time = cpu_to_le64(ktime_get_real_seconds());
	p->uuid = *uuid;
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
	if (read_block(md, c[best].place, h) ||
	    !good_spacing(le32_to_cpu(h->p.spacing)) ||
	    !header_fits(h, c[best].copy, le32_to_cpu(h->p.spacing)))
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
	init_info(md, &h->p.uuid);
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
	doubt_copies(md, md->params.unsure.copies & all_copies(md));
	md->cached = md->params.unsure.headers;
	return error;
}

/* Is the whole region zero? A region that can't be read is not. */
static bool region_zero(struct dmr_metadata *md, void *scratch)
{
	u64 block, nr = region_sectors(md->copies, md->spacing) / BLOCK_SECTORS;

	for (block = 0; block < nr; block++)
		if (read_block(md, block, scratch) ||
		    memchr_inv(scratch, 0, BLOCK_SIZE_BYTES))
			return false;
	return true;
}

static const char *format(struct dmr_metadata *md)
{
	struct disk_header *h = md->hdr;

	if (md->params.read_only)
		return "The spare is empty and opened read-only";
	memset(h, 0, sizeof(*h));
	h->p.magic = cpu_to_le32(HEADER_MAGIC);
	h->p.version = cpu_to_le32(FORMAT_VERSION);
	h->p.sequence = cpu_to_le64(1);
	h->p.time = cpu_to_le64(ktime_get_real_seconds());
	h->p.copies = md->copies;
	h->p.block_size = cpu_to_le32(BLOCK_SIZE_BYTES);
	h->p.spacing = cpu_to_le32(md->spacing);
	if (md->params.uuid_known)
		h->p.uuid = md->params.uuid;
	else
		generate_random_uuid(h->p.uuid.b);
	h->main_sectors = cpu_to_le64(md->params.main_sectors);
	h->spare_sectors = cpu_to_le64(md->params.spare_sectors);
	h->generation = cpu_to_le64(1);
	h->cursor = cpu_to_le64(data_start(md->copies, md->spacing));
	h->logical_block_size = cpu_to_le32(md->params.block_size);
	h->segment[0] = cpu_to_le64(SLOT_LOG * BLOCK_SECTORS);
	init_info(md, &h->p.uuid);
	md->sequence = 1;
	md->durable = 1;
	md->formatted = true;
	md->certain = true;

	memcpy(md->segment, h->segment, sizeof(md->segment));
	if (dmr_space_init(md->space, data_start(md->copies, md->spacing),
			   md->params.spare_sectors))
		return "Out of memory";
	md->good = all_copies(md);
	md->whole = md->good;
	md->header_ok = md->good;
	md->info_ok = md->good;
	/* The headers first, or a cut would leave what is neither blank nor ours. */
	if (write_waves(md, h, WRITE_HEADER) || write_waves(md, h, WRITE_INFO))
		return "The spare could not be formatted: writing the metadata failed";
	return NULL;
}

/* There is no valid header: say what there is instead, or format it. */
static const char *load_other(struct dmr_metadata *md, void *scratch)
{
	const struct disk_prefix *p = scratch;

	md->copies = md->params.copies ?: DMR_DEFAULT_COPIES;
	md->spacing = md->params.spacing ?: DMR_DEFAULT_SPACING;
	if (data_start(md->copies, md->spacing) >= md->params.spare_sectors)
		return "The spare is too small: the metadata alone fills it";
	if (region_zero(md, scratch))
		return format(md);
	if (read_block(md, 0, scratch))
		return "The metadata of the spare can't be read";
	if (!memcmp(scratch, V3_MAGIC, 8))
		return "The spare holds dm-remap v3.0 metadata; import it with dmremapctl";
	if (le32_to_cpu(p->magic) != HEADER_MAGIC)
		return "The spare is not blank; use another one or dmremapctl create --format";
	if (le32_to_cpu(p->block_size) == V42_STRUCT_SIZE)
		return "The spare holds dm-remap v4.2 metadata; import it with dmremapctl";
	return "The metadata is damaged in every copy; look with dmremapctl inspect";
}

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
	init_crcs(md, md->log);
	/* Somebody else may have had the spare since it was read. */
	dm_bufio_forget_buffers(md->bufio, 0,
				params->spare_sectors / BLOCK_SECTORS);

	nr = find_headers(md, (struct disk_header *)md->log, c);
	*error = nr ? load(md, c, nr, fn, context) : load_other(md, md->log);
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

void dmr_metadata_status(struct dmr_metadata *md, struct dmr_meta_status *st)
{
	st->uuid = md->hdr->p.uuid;
	st->sequence = READ_ONCE(md->sequence);
	st->copies = md->copies;
	st->good = READ_ONCE(md->good);
	st->valid = count(st->good);
	st->spacing = md->spacing;
	st->generation = le64_to_cpu(md->hdr->generation);
	st->log_blocks = le32_to_cpu(md->hdr->log_blocks);
	st->commits = READ_ONCE(md->commits);
	st->block_writes = READ_ONCE(md->block_writes);
	st->flushes = READ_ONCE(md->flushes);
	st->needs_check = READ_ONCE(md->needs_check);
	st->formatted = md->formatted;
	st->chosen = md->chosen;
}
