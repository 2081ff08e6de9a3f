// SPDX-License-Identifier: GPL-2.0-only
/*
 * Each allocation of each function of the metadata fails once, and then all of
 * them: what fails has written nothing, leaks nothing (AddressSanitizer), and
 * works when it is done again.
 */
#include <stdio.h>

#include <linux/errno.h>
#include <linux/slab.h>

#include "dm-remap-v4-metadata.h"
#include "image.h"
#include "shim/bufio.h"
#include "shim/options.h"

#define ALL_OF_THEM	0

struct subject {
	struct disk *disk;
	struct dm_bufio_client *client;
	struct dmr_metadata *md;
	struct dmr_space space;
	struct replay r;
};

static u64 nr_failed, nr_errors;

static int open_it(struct subject *s)
{
	struct dmr_meta_params p = {
		.bufio = s->client, .bdev = bufio_bdev(s->client), .main_sectors = IMAGE_SECTORS, .spare_sectors = IMAGE_SECTORS,
		.block_size = REPLAY_BLOCK * SECTOR_SIZE,
	};
	const char *error = NULL;

	memset(&s->space, 0, sizeof(s->space));
	replay_init(&s->r);
	s->md = dmr_metadata_open(&p, &s->space, replay_records, &s->r, &error);
	if (!s->md) {
		check(!strcmp(error, "Out of memory"), "refused: %s", error);
		dmr_space_exit(&s->space);
	}
	return s->md ? 0 : -ENOMEM;
}

static int commit(struct subject *s, u32 nr)
{
	static struct dmr_record rec[800];
	unsigned int done;
	u32 i;
	int r;

	for (i = 0; i < nr; i++)
		rec[i] = (struct dmr_record){
			.main = i * REPLAY_BLOCK, .sectors = REPLAY_BLOCK, .kind = DMR_REC_PENDING,
		};
	r = dmr_metadata_commit(s->md, rec, nr, &done);
	check(done == (r ? 0 : nr), "%u of %u records after %d", done, nr, r);
	for (i = 0; i < done; i++)
		replay_record(&s->r, &rec[i]);
	return r;
}

static int commit_one(struct subject *s)
{
	return commit(s, 1);
}

static int commit_growing(struct subject *s)
{
	return commit(s, 800);
}

static int compact(struct subject *s)
{
	struct dmr_live live = replay_live(&s->r);

	return dmr_metadata_compact(s->md, &live);
}

static int save_soft(struct subject *s)
{
	struct dmr_soft_state soft = { .lost = 8 };

	return dmr_metadata_save_soft(s->md, &soft);
}

/* The info block of the first copy is gone. */
static int check_and_mend(struct subject *s)
{
	disk_put(s->disk, 1, NULL);
	dmr_metadata_check(s->md);
	return min(dmr_metadata_mend(s->md), 0);
}

static const struct operation {
	const char *name;
	int (*run)(struct subject *s);
} operations[] = {
	{ "open", open_it }, { "commit", commit_one }, { "commit that grows the log", commit_growing },
	{ "compaction", compact }, { "soft state", save_soft }, { "check and mend", check_and_mend },
};

static void set_up(struct subject *s, const struct operation *op, const u8 *image)
{
	s->disk = image ? image_from(image, 1) : disk_new(IMAGE_SECTORS, 1);
	s->client = dm_bufio_client_create(disk_bdev(s->disk), DMR_META_BLOCK, DMR_META_BUFFERS,
					   0, NULL, NULL, 0);
	s->md = NULL;
	if (op->run == open_it)
		return;
	check(!open_it(s) && dmr_metadata_mend(s->md) >= 0, "can't be opened");
	/* In the middle of what is free, and with nothing put by: each segment takes memory. */
	s->space.cursor = s->space.start + 4096;
	while (s->space.nr_reserve)
		kfree(s->space.reserve[--s->space.nr_reserve]);
}

static void tear_down(struct subject *s)
{
	if (s->md) {
		dmr_metadata_close(s->md);
		dmr_space_exit(&s->space);
	}
	dm_bufio_client_destroy(s->client);
	disk_free(s->disk);
}

/* The disk has what it should have. */
static void check_state(struct subject *s)
{
	u64 state = s->r.hash;

	dmr_metadata_close(s->md);
	dmr_space_exit(&s->space);
	check(!open_it(s), "can't be opened again");
	check(s->r.hash == state, "has another state");
}

/* Does allocation number @at of the operation exist? It fails. */
static bool try_operation(const struct operation *op, const u8 *image, long at)
{
	static struct subject s;
	u64 before;
	bool failed;
	int r;

	set_up(&s, op, image);
	before = s.disk->nr_log;
	if (at == ALL_OF_THEM)
		shim_no_memory(true);
	else
		shim_fail_alloc(at);
	r = op->run(&s);
	failed = shim_alloc_failed();
	shim_no_memory(false);
	shim_fail_alloc(0);
	nr_failed += failed;
	check(failed || !r, "%s: %d with all the memory there is", op->name, r);
	if (r) {
		nr_errors++;
		for (; before < s.disk->nr_log; before++)
			check(s.disk->log[before].op != DISK_WRITE, "%s: has written, and failed", op->name);
		check(!op->run(&s), "%s: does not work afterwards", op->name);
	}
	check_state(&s);
	tear_down(&s);
	return failed;
}

int main(int argc, char **argv)
{
	struct options o = {};
	u8 image;
	u32 i;
	long at;

	parse_options(argc, argv, &o, NULL);
	image_make_all();
	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *op = &operations[i];

		for (image = 0; image < IMAGES; image++) {
			for (at = 1; try_operation(op, &image, at); at++)
				;
			try_operation(op, &image, ALL_OF_THEM);
		}
		for (at = 1; try_operation(op, NULL, at); at++)
			;
	}
	printf("failed_allocations=%llu errors=%llu\n", nr_failed, nr_errors);
	image_free_all();
	return 0;
}
