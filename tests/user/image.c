// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <linux/errno.h>

#include "dm-remap-v4-metadata.h"
#include "image.h"
#include "shim/bufio.h"

#define CRC_AT		0x18
#define COPY_AT		0x1c
#define LOG_BLOCKS_AT	0x6c
#define LOG_CRC_AT	0x74
#define RECORDS_AT	0x130
#define RECORDS_END	0xff0
#define MAX_GROUPS	64

/* One block of the metadata in all its copies. */
struct group {
	u64 place[DMR_MAX_COPIES];
	u8 known;			/* mask of copies */
	u8 kind;			/* the last letter of its magic, or 0 */
};

struct base {
	u32 copies, spacing, records;
	bool compacted;
	struct disk *disk;
	struct group group[MAX_GROUPS];
	u32 nr;
};

static struct base bases[IMAGES] = {
	{ .copies = 5, .spacing = 64, .records = 0 },
	{ .copies = 5, .spacing = 64, .records = 60 },
	{ .copies = 5, .spacing = 64, .records = 60 },	/* of another device */
	{ .copies = 5, .spacing = 64, .records = 118 },
	{ .copies = 3, .spacing = 64, .records = 380 },
	{ .copies = 2, .spacing = 256, .records = 260, .compacted = true },
	{ .copies = 8, .spacing = 128, .records = 119 },
	{ .copies = 1, .spacing = 64, .records = 3 },
	{ .copies = 1, .spacing = 64, .records = 130 },
};

/* ------------------------------------------------------------ whole images */

static struct dmr_record sample_record(u32 i)
{
	u64 main = i * 7919ull % REPLAY_BLOCKS, at = 20480 / REPLAY_BLOCK + i;
	struct dmr_record rec = {
		.main = main * REPLAY_BLOCK, .spare = at * REPLAY_BLOCK,
		.sectors = REPLAY_BLOCK, .kind = DMR_REC_REMAP, .errors = i % 3, .time = shim_clock,
	};

	if (i % 8 == 6) {
		rec.kind = DMR_REC_BAD_SPARE;
		rec.main = 0;
	} else if (i % 8 > 4) {
		rec.kind = i % 16 > 8 ? DMR_REC_PENDING : DMR_REC_FREE;
		rec.spare = 0;
	}
	return rec;
}

static void fill(struct base *b, struct dmr_metadata *md)
{
	static struct replay r;
	struct dmr_live live;
	unsigned int done;
	u32 i;

	replay_init(&r);
	for (i = 0; i < b->records; i++) {
		struct dmr_record rec = sample_record(i);

		check(!replay_record(&r, &rec) && !dmr_metadata_commit(md, &rec, 1, &done),
		      "an image can't be made");
	}
	live = replay_live(&r);
	check(!b->compacted || !dmr_metadata_compact(md, &live), "an image can't be made");
}

static bool in_group(const struct disk *d, const struct group *g, const struct page *p)
{
	const struct page *first = d->now[g->place[0]];

	return !(g->known & 1u << p->data[COPY_AT]) && !memcmp(first->data, p->data, CRC_AT) &&
	       !memcmp(first->data + COPY_AT + 1, p->data + COPY_AT + 1, DISK_BLOCK - COPY_AT - 1);
}

static void find_groups(struct base *b)
{
	u64 slot = b->spacing / REPLAY_BLOCK, block;
	struct disk *d = b->disk;
	u32 i, copy;

	for (block = 0; block < d->blocks; block++) {
		const struct page *p = d->now[block];

		if (!p)
			continue;
		for (i = 0; i < b->nr && !in_group(d, &b->group[i], p); i++)
			;
		check(i < MAX_GROUPS, "an image of too many blocks");
		b->group[i].place[p->data[COPY_AT]] = block;
		b->group[i].known |= 1u << p->data[COPY_AT];
		b->group[i].kind = p->data[3];
		b->nr = max(b->nr, i + 1);
	}
	/* And places that are empty: shadow, log blocks to come, data. */
	for (block = 2; block < 8; block++) {
		if (d->now[block])
			continue;
		for (copy = 0; copy < b->copies; copy++)
			b->group[b->nr].place[copy] = copy * slot + block;
		b->nr++;
	}
	for (copy = 0; copy < b->copies; copy++)
		b->group[b->nr].place[copy] = max(b->copies * slot, 256ull) + copy;
	b->nr++;
}

static void make_base(struct base *b)
{
	struct dmr_meta_params p = {
		.main_sectors = IMAGE_SECTORS, .spare_sectors = IMAGE_SECTORS,
		.block_size = REPLAY_BLOCK * SECTOR_SIZE, .copies = b->copies, .spacing = b->spacing,
	};
	static struct replay r;
	struct dmr_metadata *md;
	struct dmr_space space;
	const char *error;

	b->disk = disk_new(IMAGE_SECTORS, 1);
	p.bufio = dm_bufio_client_create(disk_bdev(b->disk), DMR_META_BLOCK, DMR_META_BUFFERS,
					 0, NULL, NULL, 0);
	p.bdev = bufio_bdev(p.bufio);
	replay_init(&r);
	md = dmr_metadata_open(&p, &space, replay_records, &r, &error);
	check(md, "an image can't be made: %s", error);
	fill(b, md);
	dmr_metadata_close(md);
	dmr_space_exit(&space);
	dm_bufio_client_destroy(p.bufio);
	find_groups(b);
}

void image_make_all(void)
{
	u32 i;

	for (i = 0; i < IMAGES; i++)
		make_base(&bases[i]);
}

void image_free_all(void)
{
	u32 i;

	for (i = 0; i < IMAGES; i++)
		disk_free(bases[i].disk);
}

/* ----------------------------------------------------------------- changes */

static void get(const struct disk *d, u64 place, u8 *block)
{
	if (d->now[place])
		memcpy(block, d->now[place]->data, DISK_BLOCK);
	else
		memset(block, 0, DISK_BLOCK);
}

static void put(struct disk *d, u64 place, u8 *block, bool seal)
{
	u32 crc;

	if (seal) {
		memset(block + CRC_AT, 0, sizeof(crc));
		crc = crc32_z(0, block, DISK_BLOCK);
		memcpy(block + CRC_AT, &crc, sizeof(crc));
	}
	disk_put(d, place, page_new(block));
}

static void take_any(const struct image_change *c, u8 *block)
{
	const struct base *from = &bases[le64toh(c->value) % IMAGES];
	u32 i = (le64toh(c->value) >> 8) % from->nr, copy = (le64toh(c->value) >> 16) % from->copies;

	get(from->disk, from->group[i].place[copy], block);
}

static void change_block(struct disk *d, u64 place, const struct image_change *c)
{
	u32 size = 1u << c->size % 4, at = le16toh(c->offset) % (DISK_BLOCK - 7), i;
	u64 value = le64toh(c->value), old = 0;
	struct rng noise = { value };
	u8 block[DISK_BLOCK];

	get(d, place, block);
	switch (c->op % 16 % IMAGE_OPS) {
	case IMAGE_ADD:
		memcpy(&old, block + at, size);
		value += old;
		/* fallthrough */
	case IMAGE_NUMBER:
		memcpy(block + at, &value, size);
		break;
	case IMAGE_ZERO:
		memset(block, 0, sizeof(block));
		break;
	case IMAGE_NOISE:
		for (i = at; i < sizeof(block); i++)
			block[i] = rng_next(&noise);
		break;
	case IMAGE_TAKE:
		take_any(c, block);
		break;
	}
	put(d, place, block, c->op & IMAGE_SEAL);
}

/* As if the headers of one copy, or of all, had counted the log as it is now. */
static void fix_log_crc(struct disk *d, const struct base *b, u8 copy)
{
	u32 crc = 0, blocks, nr = 0, i;
	u8 block[DISK_BLOCK];

	get(d, (u64)copy * b->spacing / REPLAY_BLOCK, block);
	memcpy(&blocks, block + LOG_BLOCKS_AT, sizeof(blocks));
	for (i = 0; i < b->nr && nr < blocks; i++) {
		if (b->group[i].kind != 'L')
			continue;
		get(d, b->group[i].place[copy], block);
		crc = crc32_z(crc, block + RECORDS_AT, RECORDS_END - RECORDS_AT);
		nr++;
	}
	get(d, (u64)copy * b->spacing / REPLAY_BLOCK, block);
	memcpy(block + LOG_CRC_AT, &crc, sizeof(crc));
	put(d, (u64)copy * b->spacing / REPLAY_BLOCK, block, true);
}

static void change(struct disk *d, const struct base *b, const struct image_change *c)
{
	const struct group *g = &b->group[c->block % b->nr];
	u8 copy;

	for (copy = 0; copy < b->copies; copy++) {
		if (!(c->op & IMAGE_EVERYWHERE) && copy != c->copy % b->copies)
			continue;
		if (c->op % 16 % IMAGE_OPS == IMAGE_LOG_CRC)
			fix_log_crc(d, b, copy);
		else
			change_block(d, g->place[copy], c);
	}
}

struct disk *image_from(const u8 *description, size_t len)
{
	const struct base *b = &bases[len ? description[0] % IMAGES : 0];
	struct disk *d = disk_clone(b->disk);
	struct image_change c;
	size_t at = 1;
	u32 nr;

	for (nr = 0; nr < IMAGE_MAX_CHANGES && at + sizeof(c) <= len; nr++, at += sizeof(c)) {
		memcpy(&c, description + at, sizeof(c));
		change(d, b, &c);
	}
	return d;
}
