// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which logical blocks of a failed bio really fail? The request is halved until
 * it is known; the rest of it is read or written as ever. A bad block is noted
 * as pending if it was to be read, and goes to the spare if it was written.
 *
 * The worker's, on sectors that it holds: nobody else has I/O to them in flight
 * on either device.
 */
#include "dm-remap-v4.h"

/* After so many bad blocks of the spare in a row it is the spare that is bad. */
#define MAX_SPARE_FAILURES	16

/*
 * Transfer [@offset, @offset + @len) sectors of @data from or to @at of @bdev,
 * and wait. Memory comes from our own bio_set, so this can always go on.
 */
blk_status_t dmr_data_io(struct dmr_target *c, const struct dmr_data *data,
			 sector_t offset, sector_t len, enum req_op op,
			 struct block_device *bdev, sector_t at)
{
	struct bio *clone = bio_alloc_clone(bdev, data->bio, GFP_NOIO, &c->bs);
	unsigned long began = jiffies;
	blk_status_t status;

	clone->bi_iter = data->iter;
	bio_advance_iter(clone, &clone->bi_iter, offset << SECTOR_SHIFT);
	clone->bi_iter.bi_size = len << SECTOR_SHIFT;
	clone->bi_iter.bi_sector = at;
	clone->bi_opf = op | REQ_SYNC | (op_is_write(op) ? data->flags : 0);
	/* Also for a bio of the same device: a clone keeps BIO_REMAPPED. */
	bio_set_dev(clone, bdev);
	submit_bio_wait(clone);
	status = clone->bi_status;
	bio_put(clone);
	c->round->slow |= status || time_after(jiffies, began + HZ / 4);
	if (!status && op_is_write(op))
		c->wrote |= 1u << (bdev == c->spare->bdev ? DMR_SPARE : DMR_MAIN);
	return status;
}

void dmr_lookup(struct dmr_target *c, sector_t sector, sector_t max,
		struct dmr_extent *ex)
{
	rcu_read_lock_sched();
	dmr_map_lookup(&c->map, sector, max, ex);
	rcu_read_unlock_sched();
}

static bool may_change(struct dmr_target *c)
{
	return c->mode == DMR_RW && !c->breaker && !c->read_only;
}

/* An extent of sectors on one device, piece by piece. */
struct narrowing {
	struct block_device *bdev;
	sector_t base;		/* where it begins there */
	sector_t len;
	sector_t done;
	sector_t step;		/* try so many next */
	sector_t n;		/* the piece: so many from done on */
	bool retried;		/* the block was tried twice */
};

static struct narrowing narrow(struct dmr_target *c, sector_t sector,
			       const struct dmr_extent *ex)
{
	bool remapped = ex->kind == DMR_REMAP;

	return (struct narrowing){
		.bdev = remapped ? c->spare->bdev : c->main->bdev,
		.base = remapped ? ex->spare : sector,
		.len = ex->len,
		.step = ex->len,
	};
}

/*
 * The next piece that goes well, or the block that does not: by halves, and a
 * retry of its own condemns it. @data at @offset is where the extent's begins.
 */
static blk_status_t next_piece(struct dmr_target *c, struct narrowing *w,
			       const struct dmr_data *data, sector_t offset,
			       enum req_op op)
{
	blk_status_t status;

	for (;;) {
		w->n = min(w->step, w->len - w->done);
		status = dmr_data_io(c, data, offset + w->done, w->n, op, w->bdev,
				     w->base + w->done);
		if (!status || !dmr_may_be_medium(op, status) || w->n <= c->block)
			break;
		w->step = max(round_down(w->n / 2, c->block), c->block);
	}
	w->step = status ? c->block : w->n * 2;
	w->retried = status && dmr_may_be_medium(op, status);
	if (w->retried)
		status = dmr_data_io(c, data, offset + w->done, w->n, op, w->bdev,
				     w->base + w->done);
	return status;
}

/* ---------------------------------------------------------------- reading */

static int note_unreadable(struct dmr_target *c, sector_t sector,
			   const struct dmr_extent *ex, sector_t done)
{
	if (dmr_txn_room(c))
		return -ENOMEM;
	/* Never a bad place that the record before still maps to. */
	dmr_txn_add(c, DMR_REC_PENDING, sector, 0, c->block);
	if (ex->kind == DMR_REMAP)
		dmr_txn_add(c, DMR_REC_BAD_SPARE, 0, ex->spare + done, c->block);
	return 0;
}

/* From a buffer of our own: the reader's may be changed under our hands. */
static void move_weak(struct dmr_target *c, sector_t sector)
{
	struct dmr_data data = dmr_bounce(c, 1);

	if (!dmr_data_io(c, &data, 0, c->block, REQ_OP_READ, c->main->bdev, sector))
		dmr_write_to_spare(c, &data, 0, sector, c->block);
}

/* A block came back when it was read again. Move it if that was asked for. */
static void rescue_weak(struct dmr_target *c, const struct dmr_data *data,
			sector_t sector, enum dmr_kind kind)
{
	dmr_add(&c->count.salvaged, c->block);
	c->soft_dirty = true;
	/* A failure here leaves the block where it was, readable just now. */
	if (c->relocate_weak && kind == DMR_LINEAR && may_change(c) &&
	    data->bio != c->bounce[0])	/* those are moved anyway */
		move_weak(c, sector);
}

/*
 * Read @ex->len sectors from @sector on, which are held, into @data; from main
 * or the spare, as the map says. The blocks that fail become pending, the rest
 * is delivered. BLK_STS_MEDIUM if any is lost, or the first error that is not
 * the medium's.
 */
static blk_status_t read_extent(struct dmr_target *c, const struct dmr_data *data,
				sector_t offset, sector_t sector,
				const struct dmr_extent *ex)
{
	/* Of several blocks nobody knows which one was weak. */
	bool weak = data->failed && data->iter.bi_size == c->block << SECTOR_SHIFT;
	struct narrowing w = narrow(c, sector, ex);
	blk_status_t result = BLK_STS_OK, status;

	for (; w.done < ex->len; w.done += w.n) {
		status = next_piece(c, &w, data, offset, REQ_OP_READ);
		if (!status) {
			if (weak || w.retried)
				rescue_weak(c, data, sector + w.done, ex->kind);
			continue;
		}
		if (!dmr_may_be_medium(REQ_OP_READ, status) || !may_change(c) ||
		    !(ex->kind == DMR_REMAP ?
			      dmr_spare_answers(c) :
			      dmr_breaker_believes(c, REQ_OP_READ, sector + w.done)))
			return status;
		/* Or was it the device, which is back by now? */
		status = dmr_data_io(c, data, offset + w.done, w.n, REQ_OP_READ,
				     w.bdev, w.base + w.done);
		if (!status) {
			rescue_weak(c, data, sector + w.done, ex->kind);
			continue;
		}
		if (!dmr_may_be_medium(REQ_OP_READ, status) ||
		    note_unreadable(c, sector + w.done, ex, w.done))
			return status;
		result = BLK_STS_MEDIUM;
	}
	return result;
}

/* The same for sectors that may be partly here and partly there. */
blk_status_t dmr_read_run(struct dmr_target *c, const struct dmr_data *data,
			  sector_t offset, sector_t sector, sector_t len)
{
	blk_status_t result = BLK_STS_OK, status;
	struct dmr_extent ex;

	for (; len; sector += ex.len, offset += ex.len, len -= ex.len) {
		dmr_lookup(c, sector, len, &ex);
		if (ex.kind == DMR_PENDING)
			status = BLK_STS_MEDIUM;
		else
			status = read_extent(c, data, offset, sector, &ex);
		if (status && status != BLK_STS_MEDIUM)
			return status;
		result = result ?: status;
	}
	return result;
}

/* ---------------------------------------------------------------- writing */

/* Main may say the same of itself. */
static blk_status_t own_error(struct dmr_target *c, blk_status_t status)
{
	c->txn->own_error = true;
	return status;
}

/* The records from @from on, all of places that failed, go, and the places are free. */
static void forget_failures(struct dmr_target *c, unsigned int from)
{
	struct dmr_txn *txn = c->txn;

	while (txn->nr > from) {
		txn->nr--;
		dmr_space_free(&c->space, txn->rec[txn->nr].spare,
			       txn->rec[txn->nr].sectors);
	}
}

/*
 * Write @len sectors of @data to free places of the spare and note the remaps
 * of @sector on. Places that fail are noted as bad and others are tried; if none
 * does it is the spare, and no place is bad for that.
 * BLK_STS_NOSPC if there is no place left; the caller rolls back.
 */
blk_status_t dmr_write_to_spare(struct dmr_target *c, const struct dmr_data *data,
				sector_t offset, sector_t sector, sector_t len)
{
	unsigned int failures = 0, from = 0;
	blk_status_t status = BLK_STS_OK;
	sector_t want = len, got, at;

	while (len) {
		if (dmr_txn_room(c)) {
			status = own_error(c, BLK_STS_RESOURCE);
			break;
		}
		got = dmr_space_alloc(&c->space, min(want, len), c->block, &at);
		if (!got) {
			dmr_tell_full(c);
			status = own_error(c, BLK_STS_NOSPC);
			break;
		}
		status = dmr_data_io(c, data, offset, got, REQ_OP_WRITE,
				     c->spare->bdev, at);
		if (status && got > c->block) {
			/* Try again from the same place, block by block. */
			dmr_space_free(&c->space, at, got);
			c->space.cursor = at;
			want = c->block;
			continue;
		}
		if (status)
			status = dmr_data_io(c, data, offset, got, REQ_OP_WRITE,
					     c->spare->bdev, at);
		if (status) {
			if (!failures++) {
				from = c->txn->nr;
				c->txn->merge_from = from;
			}
			if (!dmr_may_be_medium(REQ_OP_WRITE, status) ||
			    failures == MAX_SPARE_FAILURES) {
				dmr_space_free(&c->space, at, got);
				status = BLK_STS_IOERR;
				break;
			}
			dmr_txn_add(c, DMR_REC_BAD_SPARE, 0, at, got);
			continue;
		}
		failures = 0;
		dmr_txn_add(c, DMR_REC_REMAP, sector, at, got);
		want = got * 2;
		offset += got;
		sector += got;
		len -= got;
	}
	if (failures && status == BLK_STS_IOERR)
		forget_failures(c, from);
	return status;
}

/*
 * Write @ex->len sectors from @sector on where they live; blocks that fail
 * there go to the spare.
 */
static blk_status_t write_extent(struct dmr_target *c, struct dmr_data *data,
				 sector_t offset, sector_t sector,
				 const struct dmr_extent *ex)
{
	bool remapped = ex->kind == DMR_REMAP;
	struct narrowing w = narrow(c, sector, ex);
	blk_status_t status;

	for (; w.done < ex->len; w.done += w.n) {
		status = next_piece(c, &w, data, offset, REQ_OP_WRITE);
		if (!status) {
			if (!remapped)
				dmr_breaker_written(c);
			continue;
		}
		if (!dmr_may_be_medium(REQ_OP_WRITE, status) || !may_change(c) ||
		    (!remapped && !dmr_breaker_believes(c, REQ_OP_WRITE, sector + w.done)))
			return status;
		data->moved = true;
		status = dmr_write_to_spare(c, data, offset + w.done,
					    sector + w.done, w.n);
		if (status)
			return status;
		/* Behind the remap, so that no state maps to a bad place. */
		if (remapped && dmr_txn_room(c))
			return own_error(c, BLK_STS_RESOURCE);
		if (remapped)
			dmr_txn_add(c, DMR_REC_BAD_SPARE, 0, w.base + w.done, w.n);
	}
	return BLK_STS_OK;
}

blk_status_t dmr_write_run(struct dmr_target *c, struct dmr_data *data,
			   sector_t sector, sector_t len)
{
	sector_t offset = 0;
	blk_status_t status;
	struct dmr_extent ex;

	for (; len; sector += ex.len, offset += ex.len, len -= ex.len) {
		dmr_lookup(c, sector, len, &ex);
		if (ex.kind != DMR_PENDING)
			status = write_extent(c, data, offset, sector, &ex);
		else if (may_change(c))
			status = dmr_write_to_spare(c, data, offset, sector, ex.len);
		else
			status = BLK_STS_MEDIUM;
		if (status)
			return status;
	}
	return BLK_STS_OK;
}
