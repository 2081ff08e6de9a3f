// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the worker does on request: move blocks to the spare and back, repair,
 * sync. The asker (a message) waits. Requests that move blocks share rounds, and
 * commits, with each other.
 *
 * On a disk that dies each bad block takes seconds. So a request is done in parts, of
 * about a second then: bios that fail meanwhile, and other requests, come between. A
 * suspend, and the asker, if it is killed, wait for the block at hand.
 */
#include <linux/blkdev.h>
#include <linux/highmem.h>

#include "dm-remap-v4.h"

static void refuse(struct dmr_request *req, int error, const char *why)
{
	req->result = error;
	req->why = why;
}

bool dmr_request_stopped(struct dmr_request *req)
{
	if (!READ_ONCE(req->stop))
		return false;
	refuse(req, -EINTR, "interrupted; what was done by then is done");
	return true;
}

/* Who is killed takes back what is not being served, and waits for the part that is. */
static void take_back(struct dmr_target *c, struct dmr_request *req)
{
	unsigned long flags;
	bool queued;

	spin_lock_irqsave(&c->lock, flags);
	queued = req->queued;
	if (queued)
		list_del(&req->list);
	req->queued = false;
	WRITE_ONCE(req->stop, true);
	spin_unlock_irqrestore(&c->lock, flags);
	if (queued && dmr_request_stopped(req))
		complete(&req->done);
}

static void wait_for_answers(struct dmr_target *c, struct dmr_request *req,
			     unsigned int nr)
{
	unsigned int i, j;

	for (i = 0; i < nr; i++) {
		if (!wait_for_completion_killable(&req[i].done))
			continue;
		for (j = i; j < nr; j++)
			take_back(c, &req[j]);
		wait_for_completion(&req[i].done);
	}
}

void dmr_ask(struct dmr_target *c, struct dmr_request *req, unsigned int nr)
{
	unsigned long flags;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		req[i].result = 0;
		req[i].why = NULL;
		req[i].stop = false;
		req[i].queued = true;
		req[i].next = req[i].sector;
		req[i].by_blocks = 0;
		req[i].before = 0;
		req[i].moved = 0;
		req[i].pending = 0;
		req[i].in_txn = false;
		init_completion(&req[i].done);
	}
	/* Together, so that they share a round and its commit. */
	spin_lock_irqsave(&c->lock, flags);
	for (i = 0; i < nr; i++)
		list_add_tail(&req[i].list, &c->requests);
	spin_unlock_irqrestore(&c->lock, flags);
	queue_work(c->wq, &c->worker);
	wait_for_answers(c, req, nr);
}

static bool writable(struct dmr_target *c, struct dmr_request *req)
{
	if (c->read_only)
		refuse(req, -EROFS, "the device is read-only");
	else if (c->mode != DMR_RW)
		refuse(req, -EROFS, "the metadata can't be written, send repair first");
	else if (c->breaker)
		refuse(req, -EIO, "the main device failed everywhere, mend it and send rearm");
	else
		return true;
	return false;
}

void dmr_request_failed(struct dmr_request *req, int error)
{
	refuse(req, error, error == -ENOSPC ? "no place is left on the spare" :
					      "the change could not be made durable");
}

/* Sectors that @sector.. have in state @kind, out of @len. */
static sector_t sectors_in(struct dmr_target *c, sector_t sector, sector_t len,
			   enum dmr_kind kind)
{
	struct dmr_extent ex;
	sector_t sum = 0;

	for (; len; sector += ex.len, len -= ex.len) {
		dmr_lookup(c, sector, len, &ex);
		if (ex.kind == kind)
			sum += ex.len;
	}
	return sum;
}

/* If it is enough for a commit. What comes after that is of this request as well. */
static void commit_meanwhile(struct dmr_target *c, struct dmr_request *req)
{
	if (dmr_txn_worth(c)) {
		dmr_round_commit(c);
		req->in_txn = true;
	}
}

static sector_t end_of(const struct dmr_request *req)
{
	return req->sector + req->len;
}

bool dmr_request_goes_on(const struct dmr_request *req)
{
	return !req->result && req->next < end_of(req);
}

/* Is the next part of it to be done now? If not it goes on in the next round, or has ended. */
static bool may_go_on(struct dmr_target *c, struct dmr_request *req)
{
	if (!dmr_request_goes_on(req))
		return false;
	if (dmr_request_stopped(req))
		return false;
	if (READ_ONCE(c->suspended))
		refuse(req, -EBUSY, "the device is to be suspended, resume it and send this again");
	else
		return !dmr_round_is_long(c);
	return false;
}

/* ------------------------------------------------------ to the spare: remap */

/* Records from @from on were asked for. Those that name no failure say so. */
static void asked_for(struct dmr_txn *txn, unsigned int from)
{
	for (; from < txn->nr; from++)
		if (txn->rec[from].kind != DMR_REC_BAD_SPARE)
			txn->rec[from].errors = 0;
}

/* Was the block at @sector noted as pending just now? */
static bool was_noted(const struct dmr_txn *txn, sector_t sector)
{
	const struct dmr_record *last = txn->nr ? &txn->rec[txn->nr - 1] : NULL;

	return last && last->kind == DMR_REC_PENDING &&
	       sector - last->main < last->sectors;
}

/*
 * Read a linear piece, at most the bounce buffer. If that can't be had as a whole it
 * is read by blocks: where one is bad each larger piece would fail for it once more.
 * False if there is nothing to be written; a block that is lost was noted.
 */
static bool read_piece(struct dmr_target *c, struct dmr_request *req,
		       const struct dmr_data *data, sector_t len)
{
	bool piece = len > c->block;
	blk_status_t status;

	if (piece)
		status = dmr_data_io(c, data, 0, len, REQ_OP_READ, c->main->bdev, req->next);
	else
		status = dmr_read_run(c, data, 0, req->next, len);
	if (!status)
		return true;
	if (piece && dmr_may_be_medium(REQ_OP_READ, status))
		req->by_blocks = req->next + len;
	else if (status != BLK_STS_MEDIUM)
		refuse(req, -EIO, "the main device can't be read just now");
	else if (!was_noted(c->txn, req->next))
		refuse(req, -EIO, "the main device failed everywhere");
	else
		req->next += len;
	return false;
}

/* Records that would be taken back are not merged with earlier ones. */
static void move_piece(struct dmr_target *c, struct dmr_request *req, sector_t len)
{
	struct dmr_data data = dmr_bounce(c, 0);
	unsigned int savepoint;
	blk_status_t status;

	if (!read_piece(c, req, &data, len))
		return;
	savepoint = c->txn->nr;
	if (len > c->block)
		c->txn->merge_from = savepoint;
	status = dmr_write_to_spare(c, &data, 0, req->next, len);
	if (status) {
		dmr_txn_rollback(c, savepoint, c->txn->nr);
		refuse(req, status == BLK_STS_NOSPC ? -ENOSPC : -EIO,
		       status == BLK_STS_NOSPC ? "no place is left on the spare" :
						 "the spare can't be written");
		return;
	}
	asked_for(c->txn, savepoint);
	req->next += len;
}

static void do_remap(struct dmr_target *c, struct dmr_request *req)
{
	struct dmr_extent ex;
	sector_t most;

	/* Pieces that were moved before another fails are moved. */
	while (may_go_on(c, req)) {
		dmr_lookup(c, req->next, end_of(req) - req->next, &ex);
		most = req->next < req->by_blocks ? c->block : DMR_BOUNCE_SECTORS;
		if (ex.kind == DMR_LINEAR)
			move_piece(c, req, min(ex.len, most));
		else
			req->next += ex.len;
		commit_meanwhile(c, req);
	}
}

/* What is pending for want of a commit has no record. */
static bool is_recorded(struct dmr_target *c, sector_t sector, const struct dmr_extent *ex)
{
	return ex->kind == DMR_PENDING && !c->in_doubt &&
	       !dmr_txn_is_spoilt(c, sector, ex->len);
}

static void note_pending(struct dmr_target *c, struct dmr_request *req,
			 sector_t sector, sector_t len)
{
	if (dmr_txn_room(c)) {
		refuse(req, -ENOMEM, "out of memory");
		return;
	}
	dmr_txn_add(c, DMR_REC_PENDING, sector, 0, len);
	asked_for(c->txn, c->txn->nr - 1);
}

/* Known to be bad: not worth an attempt that may take seconds a block. */
static void do_pending(struct dmr_target *c, struct dmr_request *req)
{
	struct dmr_extent ex;

	for (; may_go_on(c, req); req->next += ex.len) {
		dmr_lookup(c, req->next, end_of(req) - req->next, &ex);
		if (ex.kind == DMR_REMAP || is_recorded(c, req->next, &ex))
			continue;
		note_pending(c, req, req->next, ex.len);
		commit_meanwhile(c, req);
	}
}

/* One block to a place of the asker's choice, at once. */
static void do_test_remap(struct dmr_target *c, struct dmr_request *req)
{
	struct dmr_data data = dmr_bounce(c, 0);
	unsigned int before = c->txn->nr;
	struct dmr_extent ex;
	blk_status_t status;
	int r;

	req->next = end_of(req);
	dmr_lookup(c, req->sector, c->block, &ex);
	if (ex.kind == DMR_REMAP) {
		if (ex.spare != req->spare)
			refuse(req, -EEXIST, "the block lives at another place of the spare");
		return;
	}
	if (ex.kind == DMR_PENDING) {
		if (!is_recorded(c, req->sector, &ex))
			note_pending(c, req, req->sector, c->block);
		return;
	}
	r = dmr_space_take(&c->space, req->spare, c->block);
	if (r) {
		refuse(req, r, r == -ENOMEM ? "out of memory" :
		       "that place on the spare is in use, bad, or not for data");
		return;
	}
	status = dmr_read_run(c, &data, 0, req->sector, c->block);
	if (status) {
		dmr_space_free(&c->space, req->spare, c->block);
		if (status != BLK_STS_MEDIUM || c->txn->nr == before)
			refuse(req, -EIO, "the main device can't be read just now");
		return;
	}
	status = dmr_data_io(c, &data, 0, c->block, REQ_OP_WRITE,
			     c->spare->bdev, req->spare);
	if (status) {
		dmr_space_free(&c->space, req->spare, c->block);
		refuse(req, -EIO, "that place on the spare can't be written");
		return;
	}
	if (dmr_txn_room(c)) {
		dmr_space_free(&c->space, req->spare, c->block);
		refuse(req, -ENOMEM, "out of memory");
		return;
	}
	dmr_txn_add(c, DMR_REC_REMAP, req->sector, req->spare, c->block);
	asked_for(c->txn, c->txn->nr - 1);
}

/* ---------------------------------------------------------- and back: unmap */

/* Do the first @len sectors of both bounce buffers agree? */
bool dmr_same_data(struct dmr_target *c, sector_t len)
{
	unsigned int left = len << SECTOR_SHIFT, i, n;

	for (i = 0; left; i++, left -= n) {
		void *a = kmap_local_page(c->bounce[0]->bi_io_vec[i].bv_page);
		void *b = kmap_local_page(c->bounce[1]->bi_io_vec[i].bv_page);
		bool same;

		n = min_t(unsigned int, left, PAGE_SIZE);
		same = !memcmp(a, b, n);
		kunmap_local(b);
		kunmap_local(a);
		if (!same)
			return false;
	}
	return true;
}

/* Copy a remapped piece back to main, flush, and read it again. Or why not? */
static const char *copy_back(struct dmr_target *c, sector_t sector, sector_t spare,
			     sector_t len)
{
	struct dmr_data data = dmr_bounce(c, 0), check = dmr_bounce(c, 1);

	if (dmr_data_io(c, &data, 0, len, REQ_OP_READ, c->spare->bdev, spare))
		return "the spare can't be read there";
	dmr_flush_mark(c, DMR_MAIN);
	if (dmr_data_io(c, &data, 0, len, REQ_OP_WRITE, c->main->bdev, sector) ||
	    dmr_flush_main(c) ||
	    dmr_data_io(c, &check, 0, len, REQ_OP_READ, c->main->bdev, sector) ||
	    !dmr_same_data(c, len))
		return "the main device still fails there";
	return NULL;
}

static void do_unmap(struct dmr_target *c, struct dmr_request *req)
{
	struct dmr_extent ex;
	const char *why;
	sector_t n;

	for (; may_go_on(c, req); req->next += n) {
		dmr_lookup(c, req->next, end_of(req) - req->next, &ex);
		n = min_t(sector_t, ex.len, DMR_BOUNCE_SECTORS);
		if (ex.kind == DMR_LINEAR)
			continue;
		if (ex.kind == DMR_PENDING) {
			/* What main has there may be older than what was lost. */
			refuse(req, -ENODATA, "a block there is pending, writing it heals it");
			break;
		}
		/* With a flush. */
		c->round->slow = true;
		why = copy_back(c, req->next, ex.spare, n);
		if (why) {
			refuse(req, -EIO, why);
			break;
		}
		if (dmr_txn_room(c)) {
			refuse(req, -ENOMEM, "out of memory");
			break;
		}
		dmr_txn_add(c, DMR_REC_FREE, req->next, 0, n);
		commit_meanwhile(c, req);
	}
}

/* ------------------------------------------------------------------- others */

static void do_sync(struct dmr_target *c, struct dmr_request *req)
{
	if (c->read_only) {
		refuse(req, -EROFS, "the device is read-only");
		return;
	}
	c->soft_dirty = true;
	/* The commit may have counted sectors that are lost. */
	if (dmr_save_soft(c) || dmr_txn_sync(c) || c->txn->nr_spoilt ||
	    (c->soft_dirty && dmr_save_soft(c)))
		refuse(req, -EIO, "the metadata can't be written");
}

static void do_restore(struct dmr_target *c, struct dmr_request *req)
{
	req->moved = dmr_metadata_check(c->md);
	dmr_metadata_changed(c);
}

static void do_repair(struct dmr_target *c, struct dmr_request *req)
{
	int r;

	dmr_metadata_check(c->md);
	if (req->anyway)
		dmr_metadata_believe(c->md);
	r = dmr_metadata_mend(c->md);
	if (r == -ESTALE) {
		refuse(req, r, "newer metadata came back, resume the device anew");
	} else if (r == -ENODATA) {
		refuse(req, -EIO,
		       "copies that can't be read may be newer: resume the device when they can, or send repair anyway");
	} else if (r < 0) {
		refuse(req, r, "a copy of the metadata can't be written");
	} else {
		req->moved = r;
		dmr_metadata_set_needs_check(c->md, false);
		if (dmr_metadata_mend(c->md) < 0)
			refuse(req, -EIO, "a copy of the metadata can't be written");
	}
	dmr_metadata_changed(c);
	if (c->mode == DMR_RO && !c->read_only && !dmr_metadata_in_doubt(c->md) &&
	    c->meta.valid >= c->meta.copies / 2 + 1)
		dmr_set_mode(c, DMR_RW, "a majority of the copies is whole again");
	/* What could not be recorded before. */
	dmr_txn_commit(c);
	if (!req->result && c->txn->nr_spoilt)
		refuse(req, -EIO, "a copy of the metadata can't be written");
}

static void clear_stats(struct dmr_target *c)
{
	WRITE_ONCE(c->count.read_errors, 0);
	WRITE_ONCE(c->count.write_errors, 0);
	WRITE_ONCE(c->count.salvaged, 0);
	WRITE_ONCE(c->count.lost, 0);
	WRITE_ONCE(c->count.deferred, 0);
	WRITE_ONCE(c->count.rounds, 0);
	c->soft_dirty = true;
}

static void keep_scrub(struct dmr_target *c, struct dmr_request *req)
{
	if (c->read_only) {
		refuse(req, -EROFS, "the device is read-only");
		return;
	}
	WRITE_ONCE(c->count.scrub, req->sector);
	c->soft_dirty = true;
}

bool dmr_moves_blocks(const struct dmr_request *req)
{
	return req->op == DMR_REQ_REMAP || req->op == DMR_REQ_TEST_REMAP ||
	       req->op == DMR_REQ_PENDING || req->op == DMR_REQ_UNMAP;
}

static bool live(struct dmr_target *c, struct dmr_request *req)
{
	if (!c->md)
		refuse(req, -EBUSY, "the device is suspended, resume it first");
	return c->md;
}

void dmr_serve_request(struct dmr_target *c, struct dmr_request *req)
{
	req->before = sectors_in(c, req->sector, req->len, DMR_REMAP);
	if (!live(c, req) || !writable(c, req) || !may_go_on(c, req))
		return;
	c->txn->merge_from = c->txn->nr;
	/* If a commit comes on the way, it is this one's as well. */
	req->in_txn = true;
	if (req->op == DMR_REQ_REMAP)
		do_remap(c, req);
	else if (req->op == DMR_REQ_TEST_REMAP)
		do_test_remap(c, req);
	else if (req->op == DMR_REQ_PENDING)
		do_pending(c, req);
	else
		do_unmap(c, req);
}

void dmr_count_moved(struct dmr_target *c, struct dmr_request *req)
{
	sector_t now = sectors_in(c, req->sector, req->len, DMR_REMAP);
	sector_t moved = now > req->before ? now - req->before : req->before - now;

	req->moved += moved;
	if (req->op == DMR_REQ_REMAP)
		dmr_add(&c->count.salvaged, moved);
	req->pending = sectors_in(c, req->sector, req->len, DMR_PENDING);
}

void dmr_run_request(struct dmr_target *c, struct dmr_request *req)
{
	if (!live(c, req))
		return;
	switch (req->op) {
	case DMR_REQ_SYNC:
		do_sync(c, req);
		break;
	case DMR_REQ_RESTORE:
		do_restore(c, req);
		break;
	case DMR_REQ_REPAIR:
		do_repair(c, req);
		break;
	case DMR_REQ_REARM:
		dmr_breaker_reset(c);
		break;
	case DMR_REQ_CLEAR_STATS:
		clear_stats(c);
		break;
	case DMR_REQ_SCRUB:
		keep_scrub(c, req);
		break;
	default:
		refuse(req, -EINVAL, "it moves blocks");
	}
}
