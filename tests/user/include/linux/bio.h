/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads of a struct disk, which are done when somebody waits; see shim/bio.c. */
#ifndef SHIM_BIO_H
#define SHIM_BIO_H

#include <linux/blkdev.h>
#include <linux/mm.h>

typedef u8 blk_status_t;

enum req_op { REQ_OP_READ };

struct bio_vec {
	struct page *bv_page;
	unsigned int bv_len, bv_offset;
};

struct bio {
	struct bio *bi_next;
	struct block_device *bi_bdev;
	blk_status_t bi_status;
	struct { sector_t bi_sector; } bi_iter;
	void (*bi_end_io)(struct bio *bio);
	void *bi_private;
	struct bio_vec *bi_io_vec;
	unsigned short bi_vcnt, bi_max_vecs;
};

void bio_init(struct bio *bio, struct block_device *bdev, struct bio_vec *table,
	      unsigned short max_vecs, enum req_op op);
void __bio_add_page(struct bio *bio, struct page *page, unsigned int len, unsigned int off);
void submit_bio(struct bio *bio);

static inline void bio_uninit(struct bio *bio) {}

#endif
