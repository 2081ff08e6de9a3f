// SPDX-License-Identifier: GPL-2.0-only
/*
 * Damage to the metadata: which copies, which blocks of them, and how. As long as
 * each block is whole in one copy, all of it loads, the copies that were hurt are
 * named, and a mend makes every copy whole again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "opinion.h"
#include "shim/bufio.h"
#include "shim/options.h"

#define COPIES		5
#define SECTORS		(REPLAY_BLOCKS * REPLAY_BLOCK)
#define SLOT		8		/* blocks, with a spacing of 64 sectors */
#define SLOT_LOG_BLOCKS	2		/* of the log, in there */
#define FIRST_SEGMENT	16		/* blocks of a copy, behind the slots */
#define SEGMENTS_AT	0x78		/* in the header */
#define ALL		((1u << COPIES) - 1)
#define RECORDS		700		/* the log goes on behind the slots */
#define MANY_RECORDS	8000		/* and on, in a third segment there */
#define UNREADABLE	3u		/* blocks of it, there */

enum what { HEADER, INFO, FIRST_LOG, FURTHER_LOG, BLOCKS };
enum how { ZEROS, FLIPS, RANDOM, STALE, SWAPPED, FOREIGN, HOWS };

static const char *const what_name[] = { "header", "info", "log block", "further log block" };
static const char *const how_name[] = { "zeros", "flips", "random", "stale", "swapped", "foreign" };

/* A spare with a table, and its places; the one before the last commit; another device's. */
struct sample {
	struct disk *disk;
	uuid_t uuid;
	u64 place[BLOCKS][COPIES];
	u32 log_blocks;
	struct replay r;		/* of its records */
};

static struct sample now, before, foreign;
static struct rng rng;
static u64 nr_damaged, nr_mended;

static struct dm_bufio_client *client_of(struct disk *d)
{
	return dm_bufio_client_create(disk_bdev(d), DMR_META_BLOCK, DMR_META_BUFFERS, 0, NULL, NULL, 0);
}

static struct dmr_metadata *open_disk(struct dm_bufio_client *client, struct dmr_meta_params *p,
				      struct dmr_space *space, struct replay *r, const char **error)
{
	p->bufio = client;
	p->bdev = bufio_bdev(client);
	p->main_sectors = SECTORS;
	p->spare_sectors = SECTORS;
	p->block_size = REPLAY_BLOCK * SECTOR_SIZE;
	memset(space, 0, sizeof(*space));
	replay_init(r);
	return dmr_metadata_open(p, space, replay_records, r, error);
}

static void commit(struct sample *s, struct dmr_metadata *md, u32 first, u32 nr)
{
	static struct dmr_record rec[MANY_RECORDS];
	unsigned int done;
	u32 i;

	for (i = 0; i < nr; i++) {
		u32 at = (first + i) % (REPLAY_BLOCKS / 2);

		rec[i] = (struct dmr_record){
			.main = 2 * REPLAY_BLOCK * at,
			.spare = 16384 + REPLAY_BLOCK * at,
			.sectors = REPLAY_BLOCK, .kind = DMR_REC_REMAP, .time = shim_clock++,
		};
		replay_record(&s->r, &rec[i]);
	}
	check(!dmr_metadata_commit(md, rec, nr, &done), "a sample can't be made");
}

/* Where a copy has log block @index: the segments behind the slots grow to twice the one before. */
static u64 log_place(const struct disk *d, u32 index, u8 copy)
{
	const void *segments = d->now[0]->data + SEGMENTS_AT;
	u32 blocks = SLOT_LOG_BLOCKS, i;
	u64 start;

	for (i = 0; index >= blocks; i++) {
		index -= blocks;
		blocks = i ? 2 * blocks : FIRST_SEGMENT;
	}
	memcpy(&start, segments + i * sizeof(start), sizeof(start));
	return start / REPLAY_BLOCK + copy * (i ? blocks : SLOT) + index;
}

static void make_sample(struct sample *s, u32 records, bool last_step)
{
	struct dmr_meta_params p = { .copies = COPIES, .spacing = SLOT * REPLAY_BLOCK };
	struct dmr_soft_state soft = { .read_errors = 7 };
	struct dm_bufio_client *client;
	struct dmr_meta_status st;
	struct dmr_metadata *md;
	struct dmr_space space;
	const char *error;
	u8 copy;

	s->disk = disk_new(SECTORS, 1);
	client = client_of(s->disk);
	md = open_disk(client, &p, &space, &s->r, &error);
	check(md, "a sample can't be made: %s", error);
	commit(s, md, 0, records - 1);
	check(!dmr_metadata_save_soft(md, &soft), "a sample can't be made");
	if (last_step) {
		commit(s, md, records - 1, 1);
		soft.read_errors++;
		check(!dmr_metadata_save_soft(md, &soft), "a sample can't be made");
	}
	dmr_metadata_status(md, &st);
	s->uuid = st.uuid;
	s->log_blocks = st.log_blocks;
	for (copy = 0; copy < COPIES; copy++) {
		s->place[HEADER][copy] = copy * SLOT;
		s->place[INFO][copy] = copy * SLOT + 1;
		s->place[FIRST_LOG][copy] = log_place(s->disk, 0, copy);
		s->place[FURTHER_LOG][copy] = log_place(s->disk, SLOT_LOG_BLOCKS, copy);
	}
	dmr_metadata_close(md);
	dmr_space_exit(&space);
	dm_bufio_client_destroy(client);
}

static void make_samples(void)
{
	u64 clock = shim_clock, seed = shim_random.state;

	make_sample(&now, RECORDS, true);
	/* The same device, one step younger. */
	shim_clock = clock;
	shim_random.state = seed;
	make_sample(&before, RECORDS, false);
	make_sample(&foreign, MANY_RECORDS, true);
}

/* As a commit that was cut off and done again may leave it in a copy that missed the second. */
static void make_older(u8 *log)
{
	u64 sequence;
	u32 crc;

	memcpy(&sequence, log + 0x08, sizeof(sequence));
	sequence--;
	memcpy(log + 0x08, &sequence, sizeof(sequence));
	log[0x130] ^= 8;
	memset(log + 0x18, 0, 4);
	crc = crc32_z(0, log, DISK_BLOCK);
	memcpy(log + 0x18, &crc, 4);
}

static void damage(struct disk *d, enum what what, u8 copy, enum how how)
{
	u64 place = now.place[what][copy];
	u8 block[DISK_BLOCK];
	u32 i;

	memcpy(block, now.disk->now[place]->data, sizeof(block));
	switch (how) {
	case ZEROS:
		memset(block, 0, sizeof(block));
		break;
	case FLIPS:
		for (i = 1 + rng_below(&rng, 3); i; i--)
			block[rng_below(&rng, sizeof(block))] ^= 1u << rng_below(&rng, 8);
		break;
	case RANDOM:
		for (i = 0; i < sizeof(block); i++)
			block[i] = rng_next(&rng);
		break;
	case STALE:
		if (what == HEADER || what == INFO)
			memcpy(block, before.disk->now[place]->data, sizeof(block));
		else
			make_older(block);
		break;
	case SWAPPED:
		i = (copy + 1 + rng_below(&rng, COPIES - 1)) % COPIES;
		memcpy(block, now.disk->now[now.place[what][i]]->data, sizeof(block));
		break;
	default:
		memcpy(block, foreign.disk->now[foreign.place[what][copy]]->data, sizeof(block));
	}
	disk_put(d, place, page_new(block));
}

static u64 nr_written(const struct disk *d)
{
	u64 nr = 0, i;

	for (i = 0; i < d->nr_log; i++)
		nr += d->log[i].op == DISK_WRITE;
	return nr;
}

/* Each block is the same in every copy but for the number of the copy and the CRC. */
static void check_alike(const struct sample *s, const struct disk *d)
{
	u8 block[2][DISK_BLOCK];
	u32 what, copy;

	for (what = 0; what < BLOCKS; what++)
		for (copy = 0; copy < COPIES; copy++) {
			u8 *b = block[!!copy];

			memcpy(b, d->now[s->place[what][copy]]->data, DISK_BLOCK);
			check(b[0x1c] == copy, "%s of copy %u carries %u", what_name[what], copy, b[0x1c]);
			memset(b + 0x18, 0, 5);
			check(!copy || !memcmp(block[0], block[1], DISK_BLOCK),
			      "%s of copy %u is another one", what_name[what], copy);
		}
}

static bool same_state(const struct sample *s, const struct replay *r, const struct dmr_metadata *md)
{
	struct dmr_soft_state soft;

	dmr_metadata_get_soft((struct dmr_metadata *)md, &soft);
	return r->hash == s->r.hash && r->nr == s->r.nr && r->crc == s->r.crc &&
	       soft.read_errors == 8;
}

static u8 good_copies(struct dmr_metadata *md)
{
	struct dmr_meta_status st;

	dmr_metadata_status(md, &st);
	return st.good;
}

/* Load what is left of the sample: read-only, to mend it, and once more. */
static void examine(const struct sample *s, struct disk *d, u8 hurt, bool uuid_known)
{
	u64 nr_writes = 0;
	enum { LOOK, MEND, AGAIN } step;

	for (step = LOOK; step <= AGAIN; step++) {
		struct dmr_meta_params p = {
			.uuid_known = uuid_known, .uuid = s->uuid, .read_only = step != MEND,
		};
		struct dm_bufio_client *client = client_of(d);
		u8 expected = step == AGAIN ? ALL : ALL & ~hurt;
		static struct replay r;
		struct dmr_space space;
		const char *error = "";
		struct dmr_metadata *md = open_disk(client, &p, &space, &r, &error);
		struct verdict v;
		int mended;

		check(md, "refused: %s", error);
		check(same_state(s, &r, md), "loads something else");
		check(good_copies(md) == expected, "good copies 0x%02x, not 0x%02x", good_copies(md), expected);
		v = verdict_of(md, &r);
		if (step != MEND) {
			check(opinion_agrees(d, &p, &v, &rng), "the other reader does not agree");
			check(dmr_metadata_mend(md) == -EROFS, "a read-only open mends");
		}
		check(nr_written(d) == nr_writes, "an open writes");
		if (step == MEND) {
			mended = dmr_metadata_mend(md);
			check(mended == __builtin_popcount(hurt), "%d copies mended, not those of 0x%02x", mended, hurt);
			check(good_copies(md) == ALL, "not all mended");
			nr_writes = nr_written(d);
		}
		dmr_metadata_close(md);
		dmr_space_exit(&space);
		dm_bufio_client_destroy(client);
	}
	check_alike(s, d);
	nr_damaged++;
	nr_mended += __builtin_popcount(hurt);
}

/* @hurt: the copies in which each block is hurt. */
static const u8 *hurt_now;
static char how_now[32];

static void tell_damage(void)
{
	u32 what;

	for (what = 0; what < BLOCKS; what++)
		fprintf(stderr, "%s: copies 0x%02x (%s)\n", what_name[what], hurt_now[what], how_now);
}

static void try_damage(const u8 hurt[BLOCKS], enum how how)
{
	struct disk *d = disk_clone(now.disk);
	bool foreign_uuid = how >= FOREIGN;
	u32 what, copy;
	u8 any = 0;

	hurt_now = hurt;
	snprintf(how_now, sizeof(how_now), "%s", how < HOWS ? how_name[how] : "each in another way");
	for (what = 0; what < BLOCKS; what++)
		for (copy = 0; copy < COPIES; copy++)
			if (hurt[what] & 1u << copy) {
				damage(d, what, copy, how < HOWS ? how : rng_below(&rng, HOWS));
				any |= 1u << copy;
			}
	/* Without a uuid to look for, most copies may be those of the other device. */
	examine(&now, d, any, foreign_uuid);
	disk_free(d);
}

/*
 * A log block is compared with that of another copy where the two must not be the
 * same: the CRC, the number of the copy and what stands beside that.
 */
static void try_bit(u32 bit, u8 copy)
{
	const u8 hurt[BLOCKS] = { [FIRST_LOG] = 1u << copy };
	u64 place = now.place[FIRST_LOG][copy];
	struct disk *d = disk_clone(now.disk);
	u8 block[DISK_BLOCK];

	hurt_now = hurt;
	snprintf(how_now, sizeof(how_now), "bit %u of 0x%02x", bit % 8, 0x18 + bit / 8);
	memcpy(block, d->now[place]->data, sizeof(block));
	block[0x18 + bit / 8] ^= 1u << bit % 8;
	disk_put(d, place, page_new(block));
	examine(&now, d, hurt[FIRST_LOG], false);
	disk_free(d);
}

static bool is_log(const struct page *page, u32 index, u8 copy)
{
	static const u8 magic[] = { 0x34, 0x52, 0x4d, 0x4c };

	return page && !memcmp(page->data, magic, sizeof(magic)) && page->data[0x1c] == copy &&
	       !memcmp(page->data + 0x40, &index, sizeof(index));
}

/* The log of one copy is lost, in all its segments. */
static void try_no_log(const struct sample *s, u8 copy)
{
	const u8 hurt[BLOCKS] = { [FIRST_LOG] = 1u << copy, [FURTHER_LOG] = 1u << copy };
	static const u8 zeros[DISK_BLOCK];
	struct disk *d = disk_clone(s->disk);
	u32 index;
	u64 place;

	hurt_now = hurt;
	snprintf(how_now, sizeof(how_now), "all of the log");
	for (index = 0; index < s->log_blocks; index++) {
		place = log_place(d, index, copy);
		check(is_log(d->now[place], index, copy), "log block %u is elsewhere", index);
		disk_put(d, place, page_new(zeros));
	}
	examine(s, d, 1u << copy, false);
	disk_free(d);
}

/* A log of which each block can be read in one copy only, and in each of another. */
static void try_unreadable(void)
{
	struct disk *d = disk_clone(now.disk);
	struct dm_bufio_client *client = client_of(d);
	struct dmr_meta_params p = { .read_only = true };
	static struct replay r;
	struct dmr_metadata *md;
	struct dmr_space space;
	const char *error = "";
	u32 block, copy;

	for (block = 0; block < UNREADABLE; block++)
		for (copy = 0; copy < COPIES; copy++)
			if (block % COPIES != copy)
				disk_fail(d, DISK_READ, now.place[FURTHER_LOG][copy] + block,
					  now.place[FURTHER_LOG][copy] + block, U64_MAX);
	md = open_disk(client, &p, &space, &r, &error);
	check(md, "refused, with bad sectors: %s", error);
	check(same_state(&now, &r, md), "loads something else");
	check(!good_copies(md), "good copies 0x%02x", good_copies(md));
	dmr_metadata_close(md);
	dmr_space_exit(&space);
	dm_bufio_client_destroy(client);
	disk_free(d);
}

int main(int argc, char **argv)
{
	struct options o = { .seed = 1, .count = 100 };
	u32 mask, what, how, bit, copy, times;

	parse_options(argc, argv, &o, NULL);
	rng.state = o.seed;
	make_samples();
	try_unreadable();
	shim_on_death = tell_damage;

	/* One kind of block, then all of them, hurt in one way. */
	for (mask = 1; mask < ALL; mask++)
		for (how = 0; how < HOWS; how++)
			for (what = 0; what <= BLOCKS; what++) {
				u8 hurt[BLOCKS] = {};

				if (what == BLOCKS)
					memset(hurt, mask, sizeof(hurt));
				else
					hurt[what] = mask;
				try_damage(hurt, how);
			}
	printf("one_way=%llu ", nr_damaged);

	for (copy = 0; copy < COPIES; copy++) {
		for (bit = 0; bit < 64; bit++)
			try_bit(bit, copy);
		try_no_log(&foreign, copy);
	}

	/* Each kind of block hurt in copies of its own, and each in any way. */
	for (times = o.count * 40; times; times--) {
		u8 hurt[BLOCKS];

		for (what = 0; what < BLOCKS; what++)
			hurt[what] = rng_below(&rng, ALL);
		try_damage(hurt, HOWS);
	}
	printf("damaged=%llu mended=%llu both_codecs=%llu\n", nr_damaged, nr_mended, nr_opinions);
	disk_free(now.disk);
	disk_free(before.disk);
	disk_free(foreign.disk);
	return 0;
}
