// SPDX-License-Identifier: GPL-2.0-only
/*
 * The worker. Bios that failed, or that may not pass just now, come here in
 * rounds:
 *
 *   collect   take what is queued; hold the sectors concerned
 *   serve     find by retries which logical blocks really fail, write their
 *             data to the spare, note the records
 *   commit    one commit for the whole round
 *   publish   in the map, only if the commit succeeded
 *   complete  let go of the sectors, answer all bios
 *
 * While sectors are held nobody else has I/O to them in flight, on either
 * device, so what was read is still true when the map changes.
 */
#include <linux/ktime.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "dm-remap-v4.h"

#define DM_MSG_PREFIX "remap-v4"

/* After so many bad blocks of the spare in a row it is the spare that is bad. */
#define MAX_SPARE_FAILURES	16

/* ------------------------------------------------------------------- I/O */

/*
 * Transfer [@offset, @offset + @len) sectors of @data from or to @at of @bdev,
 * and wait. Memory comes from our own bio_set, so this can always go on.
 */
blk_status_t dmr_data_io(struct dmr_target *c, const struct dmr_data *data,
			 sector_t offset, sector_t len, enum req_op op,
			 struct block_device *bdev, sector_t at)
{
	struct bio *clone = bio_alloc_clone(bdev, data->bio, GFP_NOIO, &c->bs);
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
	return status;
}

void dmr_lookup(struct dmr_target *c, sector_t sector, sector_t max,
		struct dmr_extent *ex)
{
	rcu_read_lock();
	dmr_map_lookup(&c->map, sector, max, ex);
	rcu_read_unlock();
}

/* ------------------------------------------------------------ transaction */

/* -ENOSPC: commit first. Neighbours that map to neighbours become one record. */
int dmr_txn_add(struct dmr_target *c, enum dmr_record_kind kind, sector_t main,
		sector_t spare, sector_t len)
{
	struct dmr_txn *txn = c->txn;
	struct dmr_record *last = txn->nr ? &txn->rec[txn->nr - 1] : NULL;

	if (txn->nr > txn->merge_from && last->kind == kind &&
	    last->sectors + len <= DMR_MAX_RECORD_SECTORS &&
	    (kind == DMR_REC_BAD_SPARE || last->main + last->sectors == main) &&
	    (kind == DMR_REC_PENDING || kind == DMR_REC_FREE ||
	     last->spare + last->sectors == spare)) {
		last->sectors += len;
		return 0;
	}
	if (txn->nr == DMR_TXN_RECORDS)
		return -ENOSPC;
	txn->rec[txn->nr++] = (struct dmr_record){
		.main = main,
		.spare = spare,
		.sectors = len,
		.kind = kind,
		.errors = 1,
		.time = ktime_get_real_seconds(),
	};
	return 0;
}

/*
 * Forget the records from @nr on. Places on the spare are free again, bad ones
 * stay taken until the next load.
 */
void dmr_txn_rollback(struct dmr_target *c, unsigned int nr)
{
	struct dmr_txn *txn = c->txn;

	while (txn->nr > nr) {
		const struct dmr_record *r = &txn->rec[--txn->nr];

		if (r->kind == DMR_REC_REMAP)
			dmr_space_free(&c->space, r->spare, r->sectors);
	}
}

static void free_spare_of(struct dmr_target *c, sector_t main, sector_t len)
{
	struct dmr_extent ex;

	for (; len; main += ex.len, len -= ex.len) {
		dmr_lookup(c, main, len, &ex);
		if (ex.kind == DMR_REMAP)
			dmr_space_free(&c->space, ex.spare, ex.len);
	}
}

static void publish(struct dmr_target *c, const struct dmr_record *r)
{
	switch (r->kind) {
	case DMR_REC_REMAP:
		/* The old place, if any, has a bad-spare record of its own. */
		dmr_map_set(&c->map, r->main, r->sectors, DMR_REMAP, r->spare);
		dmr_event(c, DMR_EV_REMAP, r->main, r->sectors);
		break;
	case DMR_REC_PENDING:
		dmr_map_set(&c->map, r->main, r->sectors, DMR_PENDING, 0);
		dmr_add(&c->count.lost, r->sectors);
		dmr_event(c, DMR_EV_PENDING, r->main, r->sectors);
		break;
	case DMR_REC_FREE:
		free_spare_of(c, r->main, r->sectors);
		dmr_map_set(&c->map, r->main, r->sectors, DMR_LINEAR, 0);
		dmr_event(c, DMR_EV_UNMAP, r->main, r->sectors);
		break;
	}
}

static void tell_fill(struct dmr_target *c)
{
	u64 used = c->space.used, total = c->space.total;

	if (used >= total - total / 10) {
		if (!c->nearly_full_told)
			dmr_event(c, DMR_EV_SPARE_NEARLY_FULL, 0, total - used);
		c->nearly_full_told = true;
	} else {
		c->nearly_full_told = false;
	}
}

/* Take note of what a commit or a repair did to the copies. */
void dmr_metadata_changed(struct dmr_target *c)
{
	struct dmr_meta_status now;
	unsigned long flags;
	u32 before;

	dmr_metadata_status(c->md, &now);
	spin_lock_irqsave(&c->lock, flags);
	before = c->meta.valid;
	c->meta = now;
	spin_unlock_irqrestore(&c->lock, flags);

	if (now.valid < before) {
		DMWARN("%s: a copy of the metadata can't be written, %u of %u are left",
		       c->name, now.valid, now.copies);
		dmr_event(c, DMR_EV_COPY_LOST, 0, 0);
	} else if (now.valid > before) {
		dmr_event(c, DMR_EV_COPY_MENDED, 0, 0);
	}
}

/* A failed commit is undone on disk, and tried once more if that went well. */
static int commit_or_mend(struct dmr_target *c, unsigned int *done)
{
	struct dmr_txn *txn = c->txn;
	unsigned int again = 0;
	int r = dmr_metadata_commit(c->md, txn->rec, txn->nr, done);

	if (r == -EIO) {
		dmr_metadata_mend(c->md);
		r = dmr_metadata_commit(c->md, txn->rec + *done, txn->nr - *done,
					&again);
		*done += again;
		if (r == -EIO)
			dmr_metadata_mend(c->md);
	}
	dmr_metadata_changed(c);
	return r;
}

/*
 * A header on disk may name these records, and none can be written that denies
 * them. After a crash they might come true, so nothing may be acknowledged
 * there meanwhile: not reading from, nor writing to, the old place.
 */
static void block_in_doubt(struct dmr_target *c)
{
	const struct dmr_txn *txn = c->txn;
	unsigned int i;

	for (i = 0; i < txn->nr; i++)
		if (txn->rec[i].kind != DMR_REC_BAD_SPARE)
			dmr_map_set(&c->map, txn->rec[i].main,
				    txn->rec[i].sectors, DMR_PENDING, 0);
}

/*
 * Make the records durable, then visible. On failure nothing that is not
 * durable becomes visible and the places on the spare are given back.
 */
int dmr_txn_commit(struct dmr_target *c)
{
	struct dmr_txn *txn = c->txn;
	unsigned int done = 0, i;
	int r;

	if (!txn->nr)
		return 0;
	/* A change can split a leaf at each end, a long one at each cut. */
	r = dmr_map_reserve(&c->map, 4 * txn->nr);
	if (!r)
		r = commit_or_mend(c, &done);
	for (i = 0; i < done; i++)
		publish(c, &txn->rec[i]);
	if (r) {
		if (r == -EIO) {
			dmr_metadata_set_needs_check(c->md, true);
			dmr_set_mode(c, DMR_RO, "the metadata can't be written");
		}
		/* What was durable before the failure stays. */
		memmove(txn->rec, txn->rec + done,
			(txn->nr - done) * sizeof(txn->rec[0]));
		txn->nr -= done;
		if (dmr_metadata_in_doubt(c->md))
			block_in_doubt(c);
		else
			dmr_txn_rollback(c, 0);
	}
	txn->nr = 0;
	txn->merge_from = 0;
	txn->commits++;
	txn->error = txn->error ?: r;
	tell_fill(c);
	return r;
}

/* Room for the few records that one step may add? Otherwise commit now. */
static int make_room(struct dmr_target *c)
{
	return c->txn->nr + 4 > DMR_TXN_RECORDS ? dmr_txn_commit(c) : 0;
}

/* ---------------------------------------------------------------- breaker */

/* Read one block of main into the bounce buffer, away from any error. */
static blk_status_t probe_block(struct dmr_target *c, sector_t at)
{
	struct dmr_data data = {
		.bio = c->bounce[1],
		.iter = c->bounce[1]->bi_iter,
	};

	return dmr_data_io(c, &data, 0, c->block, REQ_OP_READ, c->main->bdev, at);
}

/*
 * A block of main has failed twice. Is it the block, or the device? A good
 * device answers at least one of some places spread over it.
 */
static bool main_is_dead(struct dmr_target *c)
{
	sector_t last = c->main_sectors - c->block;
	struct dmr_extent ex;
	unsigned int i;

	for (i = 0; i < 5; i++) {
		sector_t at = round_down(div_u64(last, 4) * i, c->block);

		dmr_lookup(c, at, c->block, &ex);
		if (ex.kind == DMR_LINEAR && !probe_block(c, at))
			return false;
	}
	return true;
}

/* False: too many failures, nothing more is to be remapped. */
static bool medium_error_believed(struct dmr_target *c)
{
	if (c->breaker)
		return false;
	if (c->streak++ % 8 || !main_is_dead(c))
		return true;
	WRITE_ONCE(c->breaker, true);
	DMERR("%s: the main device fails everywhere, no more remapping; mend it and send the message rearm",
	      c->name);
	dmr_event(c, DMR_EV_BREAKER, 0, 0);
	return false;
}

static bool may_change(struct dmr_target *c)
{
	return c->mode == DMR_RW && !c->breaker && !c->read_only;
}

/* ---------------------------------------------------------------- reading */

static int note_unreadable(struct dmr_target *c, sector_t sector,
			   const struct dmr_extent *ex, sector_t done)
{
	int r = make_room(c);

	/* Never a bad place that the record before still maps to. */
	if (!r)
		r = dmr_txn_add(c, DMR_REC_PENDING, sector, 0, c->block);
	if (!r && ex->kind == DMR_REMAP)
		r = dmr_txn_add(c, DMR_REC_BAD_SPARE, 0, ex->spare + done, c->block);
	return r;
}

/* From a buffer of our own: the reader's may be changed under our hands. */
static void move_weak(struct dmr_target *c, sector_t sector)
{
	struct dmr_data data = {
		.bio = c->bounce[1],
		.iter = c->bounce[1]->bi_iter,
	};

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
 * Read @len sectors from @sector on, which are held, into @data; from main or
 * the spare, as the map says. Halves the request until the blocks that fail
 * are found. Those become pending; the rest is delivered. BLK_STS_MEDIUM if
 * any is lost, or the first error that is not the medium's.
 */
static blk_status_t read_extent(struct dmr_target *c, const struct dmr_data *data,
				sector_t offset, sector_t sector,
				const struct dmr_extent *ex)
{
	bool remapped = ex->kind == DMR_REMAP;
	struct block_device *bdev = remapped ? c->spare->bdev : c->main->bdev;
	sector_t base = remapped ? ex->spare : sector;
	sector_t done = 0, step = ex->len, n;
	blk_status_t result = BLK_STS_OK, status;

	for (; done < ex->len; done += n) {
		n = min(step, ex->len - done);
		status = dmr_data_io(c, data, offset + done, n, REQ_OP_READ,
				     bdev, base + done);
		if (!status) {
			if (!remapped)
				c->streak = 0;
			/* Of several blocks nobody knows which one was weak. */
			if (data->failed && data->iter.bi_size == c->block << SECTOR_SHIFT)
				rescue_weak(c, data, sector, ex->kind);
			step = n * 2;
			continue;
		}
		if (!dmr_may_be_medium(REQ_OP_READ, status))
			return status;
		if (n > c->block) {
			step = max(round_down(n / 2, c->block), c->block);
			n = 0;
			continue;
		}
		/* One block. Only a retry of its own condemns it. */
		step = c->block;
		status = dmr_data_io(c, data, offset + done, n, REQ_OP_READ,
				     bdev, base + done);
		if (!status) {
			rescue_weak(c, data, sector + done, ex->kind);
			continue;
		}
		if (!dmr_may_be_medium(REQ_OP_READ, status))
			return status;
		if (!may_change(c) || (!remapped && !medium_error_believed(c)))
			return status;
		if (note_unreadable(c, sector + done, ex, done))
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

/*
 * Write @len sectors of @data to free places of the spare and note the remaps
 * of @sector on. Places that fail are noted as bad and others are tried.
 * BLK_STS_NOSPC if there is no place left; the caller rolls back.
 */
blk_status_t dmr_write_to_spare(struct dmr_target *c, const struct dmr_data *data,
				sector_t offset, sector_t sector, sector_t len)
{
	unsigned int failures = 0;
	sector_t want = len, got, at;
	blk_status_t status;

	while (len) {
		if (make_room(c))
			return BLK_STS_IOERR;
		got = dmr_space_alloc(&c->space, min(want, len), c->block, &at);
		if (!got)
			return BLK_STS_NOSPC;
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
			if (!dmr_may_be_medium(REQ_OP_WRITE, status) ||
			    ++failures == MAX_SPARE_FAILURES) {
				dmr_space_free(&c->space, at, got);
				return BLK_STS_IOERR;
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
	return BLK_STS_OK;
}

/*
 * Write @ex->len sectors from @sector on where they live; blocks that fail
 * there go to the spare. Halves the request until they are found.
 */
static blk_status_t write_extent(struct dmr_target *c, const struct dmr_data *data,
				 sector_t offset, sector_t sector,
				 const struct dmr_extent *ex)
{
	bool remapped = ex->kind == DMR_REMAP;
	struct block_device *bdev = remapped ? c->spare->bdev : c->main->bdev;
	sector_t base = remapped ? ex->spare : sector;
	sector_t done = 0, step = ex->len, n;
	blk_status_t status;

	for (; done < ex->len; done += n) {
		n = min(step, ex->len - done);
		status = dmr_data_io(c, data, offset + done, n, REQ_OP_WRITE,
				     bdev, base + done);
		if (!status) {
			if (!remapped)
				c->streak = 0;
			step = n * 2;
			continue;
		}
		if (!dmr_may_be_medium(REQ_OP_WRITE, status))
			return status;
		if (n > c->block) {
			step = max(round_down(n / 2, c->block), c->block);
			n = 0;
			continue;
		}
		step = c->block;
		status = dmr_data_io(c, data, offset + done, n, REQ_OP_WRITE,
				     bdev, base + done);
		if (!status)
			continue;
		if (!dmr_may_be_medium(REQ_OP_WRITE, status))
			return status;
		if (!may_change(c) || (!remapped && !medium_error_believed(c)))
			return status;
		status = dmr_write_to_spare(c, data, offset + done, sector + done, n);
		if (status)
			return status;
		/* Behind the remap, so that no state maps to a bad place. */
		if (remapped &&
		    (make_room(c) ||
		     dmr_txn_add(c, DMR_REC_BAD_SPARE, 0, base + done, n)))
			return BLK_STS_IOERR;
	}
	return BLK_STS_OK;
}

static blk_status_t write_run(struct dmr_target *c, const struct dmr_data *data,
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

/* -------------------------------------------------------------- the round */

static void tell_full(struct dmr_target *c)
{
	if (c->full_told == c->space.used + 1)
		return;
	c->full_told = c->space.used + 1;
	DMERR("%s: no place is left on the spare, errors go to the caller", c->name);
	dmr_event(c, DMR_EV_SPARE_FULL, 0, 0);
}

static void discard_main(struct dmr_target *c, sector_t sector, sector_t len)
{
	struct dmr_extent ex;

	/* A discard is advice: what lives elsewhere, or failed, keeps its data. */
	for (; len; sector += ex.len, len -= ex.len) {
		dmr_lookup(c, sector, len, &ex);
		if (ex.kind == DMR_LINEAR)
			blkdev_issue_discard(c->main->bdev, sector, ex.len, GFP_NOIO);
	}
}

static blk_status_t serve(struct dmr_target *c, struct bio *bio)
{
	struct dmr_bio *pb = dmr_bio(bio);
	struct dmr_data data = {
		.bio = bio,
		.iter = pb->iter,
		.flags = bio->bi_opf & (REQ_FUA | REQ_META | REQ_PRIO),
		.failed = pb->error,
	};
	sector_t sector = pb->iter.bi_sector;
	sector_t len = pb->iter.bi_size >> SECTOR_SHIFT;
	unsigned int savepoint = c->txn->nr, commits = c->txn->commits;
	blk_status_t status;

	c->txn->merge_from = savepoint;
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		if (pb->error)
			dmr_add(&c->count.read_errors, 1);
		status = dmr_read_run(c, &data, 0, sector, len);
		pb->in_txn = false;
		return status;
	case REQ_OP_WRITE:
		if (pb->error)
			dmr_add(&c->count.write_errors, 1);
		status = write_run(c, &data, sector, len);
		if (status == BLK_STS_NOSPC)
			tell_full(c);
		/* A commit under way, for want of room, emptied the transaction. */
		if (c->txn->commits != commits)
			savepoint = 0;
		if (status)
			dmr_txn_rollback(c, savepoint);
		if (status == BLK_STS_NOSPC)
			status = pb->error ?: BLK_STS_MEDIUM;
		pb->in_txn = c->txn->nr > savepoint || c->txn->commits != commits;
		return status;
	case REQ_OP_DISCARD:
		discard_main(c, sector, len);
		return BLK_STS_OK;
	default:
		/* Write zeroes: the caller falls back to writing them. */
		return BLK_STS_NOTSUPP;
	}
}

void dmr_hold_begin(struct dmr_target *c)
{
	WRITE_ONCE(c->divert, true);
	dmr_hold_acquire(&c->hold);
}

void dmr_hold_end(struct dmr_target *c)
{
	dmr_hold_release(&c->hold);
	if (dmr_map_empty(&c->map))
		WRITE_ONCE(c->divert, false);
}

static void complete_bio(struct bio *bio, blk_status_t status)
{
	bio->bi_status = status;
	bio_endio(bio);
}

/* A bio that was only in the way of a held range may pass by itself now. */
static bool passes_now(struct dmr_target *c, struct bio *bio)
{
	struct dmr_bio *pb = dmr_bio(bio);
	enum dmr_route route;

	if (pb->error)
		return false;
	bio->bi_iter = pb->iter;
	rcu_read_lock();
	route = dmr_route_bio(c, bio, false);
	rcu_read_unlock();
	if (route == DMR_DEFER)
		return false;
	if (route == DMR_SUBMIT)
		submit_bio_noacct(bio);
	return true;
}

/* Bios whose sectors do not overlap, as many as can be held at once. */
static void collect(struct dmr_target *c, struct bio_list *round)
{
	struct bio_list todo;
	struct bio *bio;

	bio_list_init(&todo);
	spin_lock_irq(&c->lock);
	bio_list_merge(&todo, &c->deferred);
	bio_list_init(&c->deferred);
	spin_unlock_irq(&c->lock);

	while ((bio = bio_list_pop(&todo))) {
		struct dmr_bio *pb = dmr_bio(bio);

		if (passes_now(c, bio))
			continue;
		if (!dmr_hold_add(&c->hold, pb->iter.bi_sector,
				  pb->iter.bi_size >> SECTOR_SHIFT)) {
			bio_list_add_head(&todo, bio);
			break;
		}
		bio_list_add(round, bio);
	}

	/* What is left comes first in the next round. */
	spin_lock_irq(&c->lock);
	bio_list_merge_head(&c->deferred, &todo);
	spin_unlock_irq(&c->lock);
}

static void run_round(struct dmr_target *c, struct bio_list *round)
{
	struct bio *bio;
	int r;

	dmr_add(&c->count.rounds, 1);
	c->soft_dirty = true;
	c->txn->error = 0;
	dmr_hold_begin(c);
	bio_list_for_each(bio, round) {
		dmr_add(&c->count.deferred, 1);
		bio->bi_status = serve(c, bio);
	}
	dmr_txn_commit(c);
	/* Of any commit of this round: an earlier one may have failed too. */
	r = c->txn->error;
	dmr_hold_end(c);

	while ((bio = bio_list_pop(round))) {
		struct dmr_bio *pb = dmr_bio(bio);
		blk_status_t status = bio->bi_status;

		if (!status && r && pb->in_txn)
			status = pb->error ?: BLK_STS_IOERR;
		complete_bio(bio, status);
	}
}

static struct dmr_request *next_request(struct dmr_target *c)
{
	struct dmr_request *req;

	spin_lock_irq(&c->lock);
	req = list_first_entry_or_null(&c->requests, struct dmr_request, list);
	if (req)
		list_del_init(&req->list);
	spin_unlock_irq(&c->lock);
	return req;
}

void dmr_worker(struct work_struct *work)
{
	struct dmr_target *c = container_of(work, struct dmr_target, worker);
	unsigned int noio = memalloc_noio_save();
	struct dmr_request *req;
	struct bio_list round;

	for (;;) {
		bio_list_init(&round);
		collect(c, &round);
		if (!bio_list_empty(&round))
			run_round(c, &round);
		req = next_request(c);
		if (req) {
			dmr_run_request(c, req);
			complete(&req->done);
		}
		if (bio_list_empty(&round) && !req)
			break;
		cond_resched();
	}
	memalloc_noio_restore(noio);
}

/* --------------------------------------------------------------- autosave */

int dmr_save_soft(struct dmr_target *c)
{
	struct dmr_soft_state soft;
	int r;

	if (!c->soft_dirty || c->read_only)
		return 0;
	dmr_metadata_get_soft(c->md, &soft);
	soft.read_errors = c->count.read_errors;
	soft.write_errors = c->count.write_errors;
	soft.salvaged = c->count.salvaged;
	soft.lost = c->count.lost;
	r = dmr_metadata_save_soft(c->md, &soft);
	if (r) {
		dmr_add(&c->count.autosave_failures, 1);
	} else {
		dmr_add(&c->count.autosaves, 1);
		c->soft_dirty = false;
	}
	dmr_metadata_changed(c);
	return r;
}

void dmr_autosave(struct work_struct *work)
{
	struct dmr_target *c = container_of(to_delayed_work(work),
					    struct dmr_target, autosave);
	unsigned int noio = memalloc_noio_save();

	if (READ_ONCE(dmr_autosave_enabled))
		dmr_save_soft(c);
	memalloc_noio_restore(noio);
	queue_delayed_work(c->wq, &c->autosave,
			   READ_ONCE(dmr_autosave_interval) * HZ);
}
