// SPDX-License-Identifier: GPL-2.0-only
/* An image, loaded and used as the target does it. */
#include <stdlib.h>

#include <linux/errno.h>

#include "dm-remap-v4-replay.h"
#include "image.h"
#include "opinion.h"
#include "shim/bufio.h"

u64 image_loaded, image_refused;

struct loaded {
	struct dmr_meta_params params;
	struct dmr_map map;
	struct dmr_space space;
	struct dmr_replay replay;
	struct dmr_metadata *md;	/* NULL: refused */
	struct replay r;
};

static int keep_records(void *context, const struct dmr_record *rec, unsigned int nr)
{
	struct loaded *l = context;
	int r = dmr_replay_records(&l->replay, rec, nr);

	check(r || !replay_records(&l->r, rec, nr), "a record that can't be is accepted");
	return r;
}

static void open_image(struct loaded *l, struct disk *d, bool read_only)
{
	const char *error = NULL;

	memset(&l->map, 0, sizeof(l->map));
	memset(&l->space, 0, sizeof(l->space));
	l->replay = (struct dmr_replay){
		.map = &l->map, .space = &l->space,
		.main_sectors = IMAGE_SECTORS, .block = REPLAY_BLOCK,
	};
	check(!dmr_map_init(&l->map), "no memory");
	replay_init(&l->r);
	l->params = (struct dmr_meta_params){
		.main_sectors = IMAGE_SECTORS, .spare_sectors = IMAGE_SECTORS,
		.block_size = REPLAY_BLOCK * SECTOR_SIZE, .read_only = read_only,
	};
	l->params.bufio = dm_bufio_client_create(disk_bdev(d), DMR_META_BLOCK, DMR_META_BUFFERS,
						 0, NULL, NULL, 0);
	l->params.bdev = bufio_bdev(l->params.bufio);
	l->md = dmr_metadata_open(&l->params, &l->space, keep_records, l, &error);
	check(l->md || error, "refused without a word");
	if (l->md && dmr_replay_finish(&l->replay)) {
		dmr_metadata_close(l->md);
		l->md = NULL;
	}
	dmr_replay_exit(&l->replay);
}

static void close_image(struct loaded *l)
{
	if (l->md)
		dmr_metadata_close(l->md);
	dmr_space_exit(&l->space);
	dmr_map_exit(&l->map);
	dm_bufio_client_destroy(l->params.bufio);
}

static void look_again(struct disk *d, u64 records, const char *when)
{
	static struct loaded l;

	open_image(&l, d, true);
	check(l.md, "refused after a %s", when);
	check(l.r.nr == records, "%llu records after a %s, not %llu", l.r.nr, when, records);
	close_image(&l);
}

static void use(struct disk *d, const struct verdict *found)
{
	static struct loaded l;
	struct dmr_record rec = { .sectors = REPLAY_BLOCK, .kind = DMR_REC_PENDING };
	struct dmr_meta_status st;
	unsigned int done;
	bool committed;

	open_image(&l, d, false);
	check(l.md ? l.r.crc == found->records_crc : !d->nr_log, "to write it is another matter");
	if (!l.md) {
		close_image(&l);	/* a feature that allows reading only */
		return;
	}
	/* Rubbish may look like a torn header of what is newer: the owner has to say that it is none. */
	if (dmr_metadata_mend(l.md) < 0) {
		check(dmr_metadata_uncertain(l.md), "the disk is well, and it can't be mended");
		dmr_metadata_believe(l.md);
		check(dmr_metadata_mend(l.md) >= 0, "the disk is well, and a repair is refused");
	}
	dmr_metadata_status(l.md, &st);
	check(st.valid == st.copies, "%u of %u copies after a mend", st.valid, st.copies);
	check(dmr_metadata_check(l.md) == st.copies, "a mended copy is not good");
	look_again(d, found->records, "mend");
	committed = !dmr_metadata_commit(l.md, &rec, 1, &done);
	look_again(d, found->records + committed, "commit");
	close_image(&l);
}

void image_try(const u8 *description, size_t len, struct rng *rng)
{
	struct disk *d = image_from(description, len);
	static struct loaded l;
	struct verdict v;

	open_image(&l, d, true);
	v = verdict_of(l.md, &l.r);
	check(!d->nr_log, "a read-only open wrote");
	check(opinion_agrees(d, &l.params, &v, rng), "the other reader does not agree");
	close_image(&l);
	image_loaded += !v.refused;
	image_refused += v.refused;
	if (!v.refused)
		use(d, &v);
	disk_free(d);
}
