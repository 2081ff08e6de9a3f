// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading a device onward; see dm-remap-v4-readahead.h.
 */
#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include "dm-remap-v4-readahead.h"

#define PIECE_PAGES	DIV_ROUND_UP(DMR_PIECE_SECTORS << SECTOR_SHIFT, PAGE_SIZE)

struct piece {
	sector_t start, len;
	struct completion read;	/* also while there is nothing to be read */
	void *page[PIECE_PAGES];
	unsigned int pages;	/* there are so many */
	struct bio_vec vec[PIECE_PAGES];
	struct bio bio;		/* on its way until @read */
};

struct dmr_readahead {
	struct block_device *bdev;
	unsigned int streams;
	struct stream {
		struct piece *piece[2];
		unsigned int newest;
	} stream[];
};

struct dmr_readahead *dmr_readahead_new(struct block_device *bdev,
					unsigned int streams)
{
	struct dmr_readahead *ra;
	unsigned int i;

	ra = kzalloc(struct_size(ra, stream, streams), GFP_NOIO | __GFP_NOWARN);
	if (!ra)
		return NULL;
	ra->bdev = bdev;
	ra->streams = streams;
	for (i = 0; i < 2 * streams; i++) {
		struct piece *p = kzalloc(sizeof(*p), GFP_NOIO | __GFP_NOWARN);

		if (!p) {
			dmr_readahead_free(ra);
			return NULL;
		}
		init_completion(&p->read);
		complete_all(&p->read);
		ra->stream[i / 2].piece[i % 2] = p;
	}
	return ra;
}

void dmr_readahead_free(struct dmr_readahead *ra)
{
	unsigned int i;

	if (!ra)
		return;
	for (i = 0; i < 2 * ra->streams; i++) {
		struct piece *p = ra->stream[i / 2].piece[i % 2];

		if (!p)
			break;
		wait_for_completion_io(&p->read);
		while (p->pages)
			free_page((unsigned long)p->page[--p->pages]);
		kfree(p);
	}
	kfree(ra);
}

static void piece_read(struct bio *bio)
{
	struct piece *p = bio->bi_private;

	bio_uninit(bio);
	complete_all(&p->read);
}

/* Pages for @len sectors, or as many as there is memory for: returns their sectors. */
static sector_t get_pages(struct piece *p, sector_t len)
{
	while ((sector_t)p->pages * PAGE_SIZE < len << SECTOR_SHIFT) {
		p->page[p->pages] = (void *)__get_free_page(GFP_NOIO | __GFP_NORETRY |
							    __GFP_NOWARN);
		if (!p->page[p->pages])
			break;
		p->pages++;
	}
	return min_t(sector_t, len, (sector_t)p->pages * PAGE_SIZE >> SECTOR_SHIFT);
}

void dmr_readahead_start(struct dmr_readahead *ra, unsigned int stream,
			 sector_t start, sector_t len)
{
	struct stream *s = &ra->stream[stream];
	struct piece *p = s->piece[!s->newest];
	size_t left, n;
	unsigned int i;

	wait_for_completion_io(&p->read);
	s->newest = !s->newest;
	p->start = start;
	p->len = get_pages(p, min_t(sector_t, len, DMR_PIECE_SECTORS));
	if (!p->len)
		return;
	bio_init(&p->bio, ra->bdev, p->vec, PIECE_PAGES, REQ_OP_READ);
	p->bio.bi_iter.bi_sector = start;
	p->bio.bi_end_io = piece_read;
	p->bio.bi_private = p;
	for (i = 0, left = p->len << SECTOR_SHIFT; left; i++, left -= n) {
		n = min_t(size_t, left, PAGE_SIZE);
		__bio_add_page(&p->bio, virt_to_page(p->page[i]), n, 0);
	}
	reinit_completion(&p->read);
	submit_bio(&p->bio);
}

const void *dmr_readahead_data(struct dmr_readahead *ra, unsigned int stream,
			       sector_t sector)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		struct piece *p = ra->stream[stream].piece[i];
		size_t at = (sector - p->start) << SECTOR_SHIFT;

		if (sector < p->start || sector - p->start >= p->len)
			continue;
		wait_for_completion_io(&p->read);
		return p->bio.bi_status ? NULL :
					  p->page[at / PAGE_SIZE] + at % PAGE_SIZE;
	}
	return NULL;
}
