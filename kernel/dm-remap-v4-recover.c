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
 *   complete  let go of the sectors, answer all
 *
 * Requests of messages (dm-remap-v4-relocate.c) have rounds of their own, by turns
 * with these: they take their time, and no bio shall wait for that.
 *
 * While sectors are held nobody else has I/O to them in flight, on either
 * device, so what was read is still true when the map changes.
 */
#include <linux/sched/mm.h>

#include "dm-remap-v4.h"

#define DM_MSG_PREFIX "remap-v4"

#define MAX_BIOS	128	/* of those that failed, in one round */

/*
 * A request without data, of so many sectors at once as the device takes. Memory
 * comes from our own bio_set: the bios that wait may hold what others have.
 */
static blk_status_t bare_io(struct dmr_target *c, blk_opf_t opf,
			    struct block_device *bdev, sector_t at, sector_t len,
			    sector_t most)
{
	blk_status_t status = most < c->block ? BLK_STS_NOTSUPP : BLK_STS_OK;
	struct bio *bio;
	sector_t n;

	most = round_down(most, c->block);
	for (; len && !status; at += n, len -= n) {
		n = min(len, most);
		bio = bio_alloc_bioset(bdev, 0, opf | REQ_SYNC, GFP_NOIO, &c->bs);
		bio->bi_iter.bi_sector = at;
		bio->bi_iter.bi_size = n << SECTOR_SHIFT;
		submit_bio_wait(bio);
		status = bio->bi_status;
		bio_put(bio);
		c->wrote |= 1u << (bdev == c->spare->bdev ? DMR_SPARE : DMR_MAIN);
	}
	return status;
}

/* A discard is advice: what lives elsewhere, or failed, keeps its data. */
static blk_status_t discard_main(struct dmr_target *c, sector_t sector, sector_t len)
{
	struct block_device *bdev = c->main->bdev;
	blk_status_t status = BLK_STS_OK;
	struct dmr_extent ex;

	for (; len && !status; sector += ex.len, len -= ex.len) {
		dmr_lookup(c, sector, len, &ex);
		if (ex.kind == DMR_LINEAR)
			status = bare_io(c, REQ_OP_DISCARD, bdev, sector, ex.len,
					 bdev_max_discard_sectors(bdev));
	}
	return status;
}

/* As any write of zeroes: narrowed if it fails, and it heals what is pending. */
static blk_status_t write_zero_data(struct dmr_target *c, sector_t sector, sector_t len)
{
	struct dmr_data data = dmr_bounce(c, 0);
	blk_status_t status = BLK_STS_OK;
	sector_t n;

	zero_fill_bio(data.bio);
	for (; len && !status; sector += n, len -= n) {
		n = min_t(sector_t, len, DMR_BOUNCE_SECTORS);
		status = dmr_write_run(c, &data, sector, n);
	}
	return status;
}

static blk_status_t write_zeroes(struct dmr_target *c, struct bio *bio,
				 sector_t sector, sector_t len)
{
	blk_opf_t opf = REQ_OP_WRITE_ZEROES | (bio->bi_opf & REQ_NOUNMAP);
	blk_status_t status = BLK_STS_OK;
	struct block_device *bdev;
	struct dmr_extent ex;

	for (; len && !status; sector += ex.len, len -= ex.len) {
		dmr_lookup(c, sector, len, &ex);
		bdev = ex.kind == DMR_REMAP ? c->spare->bdev : c->main->bdev;
		if (ex.kind == DMR_PENDING ||
		    bare_io(c, opf, bdev, ex.kind == DMR_REMAP ? ex.spare : sector,
			    ex.len, bdev_write_zeroes_sectors(bdev)))
			status = write_zero_data(c, sector, ex.len);
	}
	return status;
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
	bool failed = pb->error && !pb->served_once;
	struct dmr_data data = {
		.bio = bio,
		.iter = pb->iter,
		.flags = bio->bi_opf & (REQ_META | REQ_PRIO),
		.failed = failed,
	};
	sector_t sector = pb->iter.bi_sector;
	sector_t len = pb->iter.bi_size >> SECTOR_SHIFT;
	unsigned int savepoint = c->txn->nr;
	blk_status_t status;

	/* Whoever asks for zeroes writes them as data then, by whole blocks. */
	if (bio_op(bio) != REQ_OP_DISCARD && !dmr_whole_blocks(c, sector, len))
		return BLK_STS_NOTSUPP;
	c->txn->merge_from = savepoint;
	c->txn->own_error = false;
	c->wrote = 0;
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		if (failed)
			dmr_add(&c->count.read_errors, 1);
		return dmr_read_run(c, &data, 0, sector, len);
	case REQ_OP_WRITE:
	case REQ_OP_WRITE_ZEROES:
		if (failed)
			dmr_add(&c->count.write_errors, 1);
		if (bio_op(bio) == REQ_OP_WRITE)
			status = dmr_write_run(c, &data, sector, len);
		else
			status = write_zeroes(c, bio, sector, len);
		pb->wrote = c->wrote;
		/* No block is bad: it was the flush behind it, and its only report. */
		if (!status && failed && pb->suspect && !data.moved)
			dmr_flush_lost(c, pb->suspect - 1);
		if (!status)
			status = believe_writes(c, savepoint);
		else
			dmr_txn_rollback(c, savepoint, c->txn->nr);
		if (!status && c->txn->nr > savepoint)
			pb->fate = DMR_WAITS;
		/* The caller gets main's. */
		if (status && c->txn->own_error)
			status = pb->error ?: BLK_STS_MEDIUM;
		return status;
	case REQ_OP_DISCARD:
		return discard_main(c, sector, len);
	default:
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
	if (dmr_map_empty(&c->map) && !c->uncertain)
		WRITE_ONCE(c->divert, false);
}

/* A bio that was only in the way of a held range may pass by itself now. */
static bool passes_now(struct dmr_target *c, struct bio *bio)
{
	struct dmr_bio *pb = dmr_bio(bio);
	enum dmr_route route;

	/* What was submitted once can't be again: core may have counted its parts in it. */
	if (pb->error || pb->served_once)
		return false;
	bio->bi_iter = pb->iter;
	rcu_read_lock_sched();
	route = dmr_route_bio(c, bio, false);
	rcu_read_unlock_sched();
	if (dmr_follow_route(c, bio, route) &&
	    (!(bio->bi_opf & REQ_FUA) || dmr_map_fua(c, bio)))
		submit_bio_noacct(bio);
	return route != DMR_DEFER;
}

/*
 * Bios whose sectors do not overlap. Not too many: all wait until the last is
 * served, and a bad block may take a disk seconds.
 */
static void collect_bios(struct dmr_target *c, struct dmr_round *round)
{
	unsigned int left = MAX_BIOS;
	struct bio_list todo;
	struct bio *bio;

	bio_list_init(&todo);
	spin_lock_irq(&c->lock);
	bio_list_merge(&todo, &c->deferred);
	bio_list_init(&c->deferred);
	spin_unlock_irq(&c->lock);

	while (left && (bio = bio_list_pop(&todo))) {
		struct dmr_bio *pb = dmr_bio(bio);

		if (passes_now(c, bio))
			continue;
		left--;
		if (!dmr_hold_add(&c->hold, pb->iter.bi_sector,
				  pb->iter.bi_size >> SECTOR_SHIFT)) {
			bio_list_add_head(&todo, bio);
			break;
		}
		pb->fate = DMR_NO_RECORDS;
		bio_list_add(&round->bios, bio);
	}

	/* What is left comes first in the next round. */
	spin_lock_irq(&c->lock);
	bio_list_merge_head(&c->deferred, &todo);
	spin_unlock_irq(&c->lock);
}

#define MAX_IN_THE_WAY	64	/* of those; then all that come behind wait as well */

/* Requests that move blocks and do not overlap, up to one that moves none. */
static void collect_requests(struct dmr_target *c, struct dmr_round *round)
{
	struct dmr_request *req, *next;
	unsigned int in_the_way = 0;

	spin_lock_irq(&c->lock);
	list_for_each_entry_safe(req, next, &c->requests, list) {
		if (!dmr_moves_blocks(req)) {
			list_del_init(&req->list);
			round->last = req;
		} else if (dmr_hold_add(&c->hold, req->sector, req->len)) {
			list_move_tail(&req->list, &round->requests);
		} else if (in_the_way++ < MAX_IN_THE_WAY) {
			continue;
		} else {
			break;
		}
		req->queued = false;
		if (round->last)
			break;
	}
	spin_unlock_irq(&c->lock);
}

/*
 * If the commit failed because a flush did, which need not have been ours, all that
 * @bio has written and noted can be done once more.
 */
static void commit_ended(struct bio *bio, int error)
{
	struct dmr_bio *pb = dmr_bio(bio);

	if (pb->fate != DMR_WAITS)
		return;
	pb->fate = error == -EREMOTEIO && !pb->served_once ? DMR_AGAIN : DMR_NO_RECORDS;
	if (error)
		bio->bi_status = pb->error ?: BLK_STS_IOERR;
}

int dmr_round_commit(struct dmr_target *c)
{
	int r = dmr_txn_commit(c);
	struct dmr_request *req;
	struct bio *bio;

	if (r == -ENOSPC)
		dmr_tell_full(c);
	bio_list_for_each(bio, &c->round->bios)
		commit_ended(bio, r);
	list_for_each_entry(req, &c->round->requests, list) {
		if (req->in_txn && r)
			dmr_request_failed(req, r);
		req->in_txn = false;
	}
	return r;
}

static void count_round(struct dmr_target *c)
{
	dmr_add(&c->count.rounds, 1);
	c->soft_dirty = true;
}

static void serve_bios(struct dmr_target *c)
{
	struct bio *bio;

	count_round(c);
	hold_begin(c);
	bio_list_for_each(bio, &c->round->bios) {
		dmr_add(&c->count.deferred, 1);
		bio->bi_status = serve(c, bio);
		if (dmr_txn_worth(c))
			dmr_round_commit(c);
	}
	dmr_round_commit(c);
	hold_end(c);
}

static void serve_requests(struct dmr_target *c)
{
	struct dmr_round *round = c->round;
	struct dmr_request *req;

	count_round(c);
	hold_begin(c);
	round->began = jiffies;
	list_for_each_entry(req, &round->requests, list)
		dmr_serve_request(c, req);
	dmr_round_commit(c);
	list_for_each_entry(req, &round->requests, list)
		dmr_count_moved(c, req);
	hold_end(c);
}

bool dmr_round_is_long(const struct dmr_target *c)
{
	return c->round->slow && time_after(jiffies, c->round->began + HZ);
}

static bool wrote(const struct bio *bio)
{
	return !bio->bi_status && op_is_write(bio_op(bio)) &&
	       bio_op(bio) != REQ_OP_DISCARD;
}

static bool was_fua(struct bio *bio)
{
	return dmr_bio(bio)->ticket == DMR_TICKET_NONE_FUA;
}

/* What was REQ_FUA is to be stable, wherever it went. */
static void flush_fua(struct dmr_target *c, struct dmr_round *round)
{
	unsigned int dev, to = 0, failed = 0;
	struct bio *bio;

	bio_list_for_each(bio, &round->bios)
		if (wrote(bio) && was_fua(bio))
			to |= dmr_bio(bio)->wrote;
	for (dev = 0; dev < DMR_NR_DEVICES; dev++)
		if (to & 1u << dev && dmr_flush_device(c, dev))
			failed |= 1u << dev;
	/* They may have one cache. */
	if (failed && !c->two_disks)
		failed = to;
	bio_list_for_each(bio, &round->bios)
		if (wrote(bio) && was_fua(bio) && dmr_bio(bio)->wrote & failed)
			bio->bi_status = BLK_STS_IOERR;
}

/*
 * What was written in this round and not yet answered may be lost with a flush that
 * failed meanwhile, of which only its own sender hears. So it is served once more, and
 * written where it lives now.
 */
static bool write_again(struct dmr_target *c, struct bio *bio)
{
	struct dmr_bio *pb = dmr_bio(bio);

	/* Not for ever: what fails again is told. */
	if (pb->served_once)
		return false;
	pb->suspect = 0;
	pb->served_once = true;
	bio->bi_opf &= ~REQ_NOWAIT;
	spin_lock_irq(&c->lock);
	bio_list_add(&c->deferred, bio);
	spin_unlock_irq(&c->lock);
	return true;
}

/* Likewise; @bio was written twice, and the next flush tells, of each device in @lost. */
static void answer_in_doubt(struct dmr_target *c, struct bio *bio, unsigned int lost)
{
	unsigned int dev;

	for (dev = 0; dev < DMR_NR_DEVICES; dev++)
		if (lost & 1u << dev)
			dmr_flush_lost(c, dev);
	if (was_fua(bio))
		bio->bi_status = BLK_STS_IOERR;
	bio_endio(bio);
}

static void answer_bios(struct dmr_target *c, struct dmr_round *round)
{
	unsigned int dev, failed = 0, lost;
	struct bio *bio;

	for (dev = 0; dev < DMR_NR_DEVICES; dev++)
		if (dmr_flushes_failed(c, dev) != round->failed[dev])
			failed |= 1u << dev;
	if (failed && !c->two_disks)
		failed = (1u << DMR_NR_DEVICES) - 1;
	while ((bio = bio_list_pop(&round->bios))) {
		lost = wrote(bio) ? dmr_bio(bio)->wrote & failed : 0;
		if (dmr_bio(bio)->fate != DMR_AGAIN && !lost)
			bio_endio(bio);
		else if (!write_again(c, bio))
			answer_in_doubt(c, bio, lost);
	}
}

/*
 * Those that are not done yet come first in the next round of theirs: the one that was
 * cut behind those that had no turn.
 */
static void answer_requests(struct dmr_target *c, struct dmr_round *round)
{
	struct dmr_request *req, *next;
	LIST_HEAD(again);

	spin_lock_irq(&c->lock);
	list_for_each_entry_safe(req, next, &round->requests, list) {
		if (!dmr_request_goes_on(req) || dmr_request_stopped(req))
			continue;
		req->queued = true;
		list_move_tail(&req->list, &again);
	}
	list_rotate_left(&again);
	list_splice(&again, &c->requests);
	spin_unlock_irq(&c->lock);
	/* The asker's memory: it may be gone once it is told. */
	list_for_each_entry_safe(req, next, &round->requests, list)
		complete(&req->done);
	if (round->last)
		complete(&round->last->done);
}

static void begin_round(struct dmr_target *c, struct dmr_round *round)
{
	dmr_flush_mark(c, DMR_SPARE);
	c->round = round;
}

/* Behind the answers: what refilling waits for may wait for these. */
static void end_round(struct dmr_target *c)
{
	c->round = NULL;
	if (c->md)
		dmr_txn_refill(c);
}

/* False if there was nothing to do. */
static bool run_bios(struct dmr_target *c)
{
	struct dmr_round round = { .requests = LIST_HEAD_INIT(round.requests) };

	bio_list_init(&round.bios);
	collect_bios(c, &round);
	if (bio_list_empty(&round.bios))
		return false;

	/* They keep the device live, and behind them the worker itself does. */
	begin_round(c, &round);
	round.failed[DMR_MAIN] = dmr_flushes_failed(c, DMR_MAIN);
	round.failed[DMR_SPARE] = dmr_flushes_failed(c, DMR_SPARE);
	serve_bios(c);
	flush_fua(c, &round);
	answer_bios(c, &round);
	end_round(c);
	return true;
}

static bool run_requests(struct dmr_target *c)
{
	struct dmr_round round = { .requests = LIST_HEAD_INIT(round.requests) };

	bio_list_init(&round.bios);
	collect_requests(c, &round);
	if (list_empty(&round.requests) && !round.last)
		return false;

	mutex_lock(&c->live);
	/* Behind the lock: under it a suspend flushes as well. */
	begin_round(c, &round);
	if (!list_empty(&round.requests))
		serve_requests(c);
	if (round.last)
		dmr_run_request(c, round.last);
	answer_requests(c, &round);
	end_round(c);
	mutex_unlock(&c->live);
	return true;
}

void dmr_worker(struct work_struct *work)
{
	struct dmr_target *c = container_of(work, struct dmr_target, worker);
	unsigned int noio = memalloc_noio_save();
	bool bios, requests;

	do {
		bios = run_bios(c);
		requests = run_requests(c);
		cond_resched();
	} while (bios || requests);
	memalloc_noio_restore(noio);
}

/* --------------------------------------------------------------- autosave */

int dmr_save_soft(struct dmr_target *c)
{
	struct dmr_soft_state soft;
	int r;

	/* Nothing else was written that is still to be flushed. */
	dmr_flush_mark(c, DMR_SPARE);
	if (!c->soft_dirty || c->read_only)
		return 0;
	dmr_metadata_get_soft(c->md, &soft);
	soft.read_errors = c->count.read_errors;
	soft.write_errors = c->count.write_errors;
	soft.salvaged = c->count.salvaged;
	soft.lost = c->count.lost;
	soft.scrub_sector = c->count.scrub;
	r = dmr_metadata_save_soft(c->md, &soft);
	if (r == -EIO && c->mode == DMR_RW) {
		dmr_metadata_mend(c->md);
		r = dmr_metadata_save_soft(c->md, &soft);
		if (r == -EIO)
			dmr_metadata_lost(c);
	}
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
