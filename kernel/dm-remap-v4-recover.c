// SPDX-License-Identifier: GPL-2.0-only
/*
 * The worker. Bios that failed, or that may not pass just now, come here in
 * rounds:
 *
 *   collect   take what is queued, requests to move blocks (messages) as well;
 *             hold the sectors concerned
 *   serve     find by retries which logical blocks really fail, write their
 *             data to the spare, note the records
 *   commit    one commit for the whole round
 *   publish   in the map, only if the commit succeeded
 *   complete  let go of the sectors, answer all
 *
 * While sectors are held nobody else has I/O to them in flight, on either
 * device, so what was read is still true when the map changes.
 */
#include <linux/sched/mm.h>

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

static bool may_change(struct dmr_target *c)
{
	return c->mode == DMR_RW && !c->breaker && !c->read_only;
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
				dmr_breaker_success(c, REQ_OP_READ);
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
		if (!may_change(c) ||
		    (!remapped && !dmr_breaker_believes(c, REQ_OP_READ)))
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
		if (dmr_txn_room(c))
			return BLK_STS_RESOURCE;
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
				dmr_breaker_success(c, REQ_OP_WRITE);
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
		if (!may_change(c) ||
		    (!remapped && !dmr_breaker_believes(c, REQ_OP_WRITE)))
			return status;
		status = dmr_write_to_spare(c, data, offset + done, sector + done, n);
		if (status)
			return status;
		/* Behind the remap, so that no state maps to a bad place. */
		if (remapped && dmr_txn_room(c))
			return BLK_STS_RESOURCE;
		if (remapped)
			dmr_txn_add(c, DMR_REC_BAD_SPARE, 0, base + done, n);
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

/*
 * Blocks went to the spare since main refused them. If it refuses every write,
 * take that back; what the probe itself had to save behind them stays.
 */
static blk_status_t believe_writes(struct dmr_target *c, unsigned int savepoint)
{
	unsigned int end = c->txn->nr;

	c->txn->merge_from = end;
	if (end == savepoint || dmr_breaker_believes_writes(c))
		return BLK_STS_OK;
	dmr_txn_rollback(c, savepoint, end);
	return BLK_STS_IOERR;
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
	unsigned int savepoint = c->txn->nr;
	blk_status_t status;

	c->txn->merge_from = savepoint;
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		if (pb->error)
			dmr_add(&c->count.read_errors, 1);
		return dmr_read_run(c, &data, 0, sector, len);
	case REQ_OP_WRITE:
		if (pb->error)
			dmr_add(&c->count.write_errors, 1);
		status = write_run(c, &data, sector, len);
		if (status == BLK_STS_NOSPC)
			tell_full(c);
		if (!status)
			status = believe_writes(c, savepoint);
		else
			dmr_txn_rollback(c, savepoint, c->txn->nr);
		pb->in_txn = !status && c->txn->nr > savepoint;
		/* An error of our own, not of main: the caller gets main's. */
		if (status == BLK_STS_NOSPC || status == BLK_STS_RESOURCE)
			status = pb->error ?: BLK_STS_MEDIUM;
		return status;
	case REQ_OP_DISCARD:
		discard_main(c, sector, len);
		return BLK_STS_OK;
	default:
		/* Write zeroes: the caller falls back to writing them. */
		return BLK_STS_NOTSUPP;
	}
}

static void hold_begin(struct dmr_target *c)
{
	WRITE_ONCE(c->divert, true);
	dmr_hold_acquire(&c->hold);
}

static void hold_end(struct dmr_target *c)
{
	dmr_hold_release(&c->hold);
	if (dmr_map_empty(&c->map))
		WRITE_ONCE(c->divert, false);
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
static void collect_bios(struct dmr_target *c, struct dmr_round *round)
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
		pb->in_txn = false;
		bio_list_add(&round->bios, bio);
	}

	/* What is left comes first in the next round. */
	spin_lock_irq(&c->lock);
	bio_list_merge_head(&c->deferred, &todo);
	spin_unlock_irq(&c->lock);
}

/* Requests that move blocks, likewise; any other has a round of its own. */
static void collect_requests(struct dmr_target *c, struct dmr_round *round)
{
	struct dmr_request *req;

	spin_lock_irq(&c->lock);
	while ((req = list_first_entry_or_null(&c->requests, struct dmr_request, list))) {
		if (dmr_moves_blocks(req)) {
			if (!dmr_hold_add(&c->hold, req->sector, req->len))
				break;
		} else if (!bio_list_empty(&round->bios) ||
			   !list_empty(&round->requests)) {
			break;
		}
		list_move_tail(&req->list, &round->requests);
		if (!dmr_moves_blocks(req))
			break;
	}
	spin_unlock_irq(&c->lock);
}

int dmr_round_commit(struct dmr_target *c)
{
	int r = dmr_txn_commit(c);
	struct dmr_request *req;
	struct bio *bio;

	if (r == -ENOSPC)
		tell_full(c);
	bio_list_for_each(bio, &c->round->bios) {
		struct dmr_bio *pb = dmr_bio(bio);

		if (pb->in_txn && r)
			bio->bi_status = pb->error ?: BLK_STS_IOERR;
		pb->in_txn = false;
	}
	list_for_each_entry(req, &c->round->requests, list) {
		if (req->in_txn && r)
			dmr_request_failed(req, r);
		req->in_txn = false;
	}
	return r;
}

static void serve_all(struct dmr_target *c)
{
	struct dmr_round *round = c->round;
	struct dmr_request *req;
	struct bio *bio;

	dmr_add(&c->count.rounds, 1);
	c->soft_dirty = true;
	hold_begin(c);
	bio_list_for_each(bio, &round->bios) {
		dmr_add(&c->count.deferred, 1);
		bio->bi_status = serve(c, bio);
		if (dmr_txn_worth(c))
			dmr_round_commit(c);
	}
	list_for_each_entry(req, &round->requests, list)
		dmr_serve_request(c, req);
	dmr_round_commit(c);
	list_for_each_entry(req, &round->requests, list)
		dmr_count_moved(c, req);
	hold_end(c);
}

static void answer_all(struct dmr_round *round)
{
	struct dmr_request *req, *next;
	struct bio *bio;

	while ((bio = bio_list_pop(&round->bios)))
		bio_endio(bio);
	/* The asker's memory: it may be gone once it is told. */
	list_for_each_entry_safe(req, next, &round->requests, list)
		complete(&req->done);
}

/* False if there was nothing to do. */
static bool run_round(struct dmr_target *c)
{
	struct dmr_round round = { .requests = LIST_HEAD_INIT(round.requests) };
	struct dmr_request *req;

	bio_list_init(&round.bios);
	collect_bios(c, &round);
	collect_requests(c, &round);
	req = list_first_entry_or_null(&round.requests, struct dmr_request, list);
	if (!req && bio_list_empty(&round.bios))
		return false;

	/* Bios keep the device live, requests don't. */
	if (req)
		mutex_lock(&c->live);
	c->round = &round;
	if (req && !dmr_moves_blocks(req))
		dmr_run_request(c, req);
	else
		serve_all(c);
	c->round = NULL;
	answer_all(&round);
	if (c->md)
		dmr_txn_refill(c);
	if (req)
		mutex_unlock(&c->live);
	return true;
}

void dmr_worker(struct work_struct *work)
{
	struct dmr_target *c = container_of(work, struct dmr_target, worker);
	unsigned int noio = memalloc_noio_save();

	while (run_round(c))
		cond_resched();
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
