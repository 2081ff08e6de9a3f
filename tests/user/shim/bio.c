// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bios, as unkind as they may be: what is read is there when somebody has waited
 * for it, not before, and after an error nobody knows what is there.
 */
#include <linux/bio.h>
#include <linux/completion.h>

#include "disk.h"

static struct bio *submitted;

void bio_init(struct bio *bio, struct block_device *bdev, struct bio_vec *table,
	      unsigned short max_vecs, enum req_op op)
{
	check(op == REQ_OP_READ, "a kind of bio that the shim does not know");
	*bio = (struct bio){ .bi_bdev = bdev, .bi_io_vec = table, .bi_max_vecs = max_vecs };
}

static void fill(const struct bio_vec *v, int rubbish)
{
	memset((u8 *)v->bv_page + v->bv_offset, rubbish, v->bv_len);
}

void __bio_add_page(struct bio *bio, struct page *page, unsigned int len, unsigned int off)
{
	struct bio_vec *v = &bio->bi_io_vec[bio->bi_vcnt++];

	check(bio->bi_vcnt <= bio->bi_max_vecs, "a bio is given more than it holds");
	check(off + len <= PAGE_SIZE && len % DISK_BLOCK == 0, "not a block of a page");
	*v = (struct bio_vec){ page, len, off };
	fill(v, 0xa5);
}

void submit_bio(struct bio *bio)
{
	struct bio **last = &submitted;

	while (*last)
		last = &(*last)->bi_next;
	*last = bio;
}

static void do_bio(struct bio *bio)
{
	struct disk *d = (struct disk *)bio->bi_bdev;
	u64 block = bio->bi_iter.bi_sector / BLOCK_PIECES;
	unsigned int i;

	check(bio->bi_iter.bi_sector % BLOCK_PIECES == 0, "a bio between two blocks");
	for (i = 0; i < bio->bi_vcnt; i++) {
		const struct bio_vec *v = &bio->bi_io_vec[i];

		check(block + i < d->blocks, "a bio beyond the disk");
		if (disk_read(d, block + i, (u8 *)v->bv_page + v->bv_offset))
			bio->bi_status = 1;
	}
	for (i = 0; i < bio->bi_vcnt && bio->bi_status; i++)
		fill(&bio->bi_io_vec[i], 0x5a);
	bio->bi_end_io(bio);
}

void wait_for_completion_io(struct completion *c)
{
	while (submitted) {
		struct bio *bio = submitted;

		submitted = bio->bi_next;
		bio->bi_next = NULL;
		do_bio(bio);
	}
	check(c->done, "waits for ever");
}
