// SPDX-License-Identifier: GPL-2.0-only
/*
 * Flushes. When one fails, nobody knows what the device has lost of all that was
 * written to it before, whoever wrote it, and the next flush may well succeed. So
 * the worker and the applications, who share both devices, have to hear of each
 * other's that fail:
 *
 *   an application's fails    what the worker has written since dmr_flush_mark()
 *                             may be gone: its next flush fails as well
 *   the worker's fails        what applications have written may be gone, and was
 *                             acknowledged: the next flush of theirs fails as well
 *
 * That is certain only if no flush of the one kind ends unseen while one of the
 * other is under way. So while the worker flushes a device, applications' flushes
 * of that device wait, and before it begins it waits for those that are under way.
 *
 * A REQ_FUA write is a write with a flush behind it where the device has a cache and
 * can't do better, and one error for both. It waits as flushes do, its error is
 * counted as theirs, and the worker, which finds out whether it was that of a block,
 * never sends one.
 *
 * So is dm_bufio_write_dirty_buffers(): blocks, then a flush, and one error. There
 * the gate stays closed until it is known what it was, see dmr_flush_settle().
 */
#include <linux/blkdev.h>
#include <linux/dm-bufio.h>

#include "dm-remap-v4.h"

/* Readers end in interrupts, where tiny SRCU's count is not safe. */
#ifdef CONFIG_TINY_SRCU
#error "dm-remap-v4 needs tree SRCU: a kernel with CONFIG_SMP or CONFIG_PREEMPTION"
#endif

/* Two parts of one disk have one cache. */
static struct dmr_flushes *flushes_of(struct dmr_target *c, enum dmr_device dev)
{
	return &c->flushes[c->one_disk ? DMR_MAIN : dev];
}

int dmr_flush_init(struct dmr_target *c)
{
	unsigned int i;

	c->one_disk = c->main->bdev->bd_disk == c->spare->bdev->bd_disk;
	c->two_disks = !c->one_disk && queue_is_mq(bdev_get_queue(c->main->bdev)) &&
		       queue_is_mq(bdev_get_queue(c->spare->bdev));
	for (i = 0; i < ARRAY_SIZE(c->flushes); i++) {
		if (init_srcu_struct(&c->flushes[i].under_way))
			return -ENOMEM;
		c->flushes[i].made = true;
	}
	return 0;
}

void dmr_flush_exit(struct dmr_target *c)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(c->flushes); i++)
		if (c->flushes[i].made)
			cleanup_srcu_struct(&c->flushes[i].under_way);
}

/* ------------------------------------------------------------ applications' */

/*
 * From here to dmr_flush_ended() it is a reader: __srcu_read_lock(), as
 * srcu_down_read() of later kernels, may be undone in another context.
 */
static bool get_under_way(struct dmr_target *c, struct dmr_flushes *f, struct dmr_bio *pb)
{
	int idx = __srcu_read_lock(&f->under_way);

	__release(&f->under_way);	/* for sparse: not on return */
	pb->ticket = dmr_ticket(DMR_TICKET_FLUSH, f - c->flushes, idx, 0);
	/*
	 * Who does not see this is waited for by the worker, which sets it before
	 * its grace period; who comes later does see it.
	 */
	return !READ_ONCE(f->aside);
}

static void end_under_way(struct dmr_flushes *f, int idx)
{
	__acquire(&f->under_way);
	__srcu_read_unlock(&f->under_way, idx);
}

/*
 * Of a flush and a write with data core forgets the flush's error, and goes on with the
 * write, which is REQ_FUA most likely: then that one tells. Under the target's lock.
 */
static void tell(struct dmr_target *c)
{
	WRITE_ONCE(c->tell_fua, true);
}

void dmr_flush_ended(struct dmr_target *c, unsigned int ticket, blk_status_t error)
{
	struct dmr_flushes *f = &c->flushes[dmr_ticket_dev(ticket, DMR_TICKET_FLUSH)];
	unsigned long flags;

	/* Before the grace period can end, behind which the worker looks at it. */
	if (error) {
		atomic_inc(&f->failed);
		spin_lock_irqsave(&c->lock, flags);
		tell(c);
		spin_unlock_irqrestore(&c->lock, flags);
	}
	end_under_way(f, dmr_ticket_side(ticket));
}

bool dmr_flush_tells_fua(struct dmr_target *c)
{
	unsigned long flags;
	bool tells;

	/* Set before the flush ended behind which this write was sent. */
	if (likely(!READ_ONCE(c->tell_fua)))
		return false;
	spin_lock_irqsave(&c->lock, flags);
	tells = c->tell_fua;
	WRITE_ONCE(c->tell_fua, false);
	spin_unlock_irqrestore(&c->lock, flags);
	return tells;
}

/* The worker is at it, or has lost something. False: that is over, try again. */
static bool kept_aside(struct dmr_target *c, struct dmr_flushes *f, struct bio *bio)
{
	bool wait, lost = false;
	unsigned long flags;

	spin_lock_irqsave(&c->lock, flags);
	wait = f->closed;
	if (wait) {
		bio_list_add(&f->waiting, bio);
	} else {
		lost = f->lost;
		f->lost = false;
		WRITE_ONCE(f->aside, false);
		if (lost)
			tell(c);
	}
	spin_unlock_irqrestore(&c->lock, flags);
	if (lost)
		bio_io_error(bio);
	return wait || lost;
}

/* Empty: core sends the data apart. One to each device. */
int dmr_map_flush(struct dmr_target *c, struct bio *bio)
{
	enum dmr_device dev = dm_bio_get_target_bio_nr(bio);
	struct dmr_flushes *f = flushes_of(c, dev);
	struct dmr_bio *pb = dmr_bio(bio);

	bio_set_dev(bio, (dev == DMR_MAIN ? c->main : c->spare)->bdev);
	while (!get_under_way(c, f, pb)) {
		dmr_flush_ended(c, pb->ticket, BLK_STS_OK);
		pb->ticket = DMR_TICKET_NONE;
		if (kept_aside(c, f, bio))
			return DM_MAPIO_SUBMITTED;
	}
	return DM_MAPIO_REMAPPED;
}

/* Of a device that is a stack of others nobody knows what REQ_FUA becomes there. */
static bool fua_flushes(struct block_device *bdev)
{
	return bdev_write_cache(bdev) &&
	       !(queue_is_mq(bdev_get_queue(bdev)) && bdev_fua(bdev));
}

bool dmr_map_fua(struct dmr_target *c, struct bio *bio)
{
	enum dmr_device dev = bio->bi_bdev == c->spare->bdev ? DMR_SPARE : DMR_MAIN;
	struct dmr_flushes *f = flushes_of(c, dev);
	struct dmr_bio *pb = dmr_bio(bio);
	unsigned int epoch = pb->ticket;
	unsigned long flags;
	bool wait;
	int idx;

	if (!fua_flushes(bio->bi_bdev)) {
		pb->ticket = dmr_ticket(DMR_TICKET_FUA_ALONE, 0, 0, epoch);
		return true;
	}
	idx = __srcu_read_lock(&f->under_way);
	__release(&f->under_way);	/* for sparse: not on return */
	pb->ticket = dmr_ticket(DMR_TICKET_FUA, dev, idx, epoch);
	/* As in get_under_way(). */
	if (likely(!READ_ONCE(f->aside)))
		return true;
	/*
	 * Who closes the gate behind this waits for us. It may be open, and the next
	 * flush have to tell of one that was lost: that is not for a write.
	 */
	spin_lock_irqsave(&c->lock, flags);
	wait = f->closed;
	if (wait) {
		pb->ticket = epoch;
		end_under_way(f, idx);
		bio_list_add(&f->waiting_fua, bio);
	}
	spin_unlock_irqrestore(&c->lock, flags);
	return !wait;
}

enum dmr_device dmr_fua_ended(struct dmr_target *c, unsigned int ticket,
			      blk_status_t error)
{
	enum dmr_device dev = dmr_ticket_dev(ticket, DMR_TICKET_FUA);
	struct dmr_flushes *f = flushes_of(c, dev);

	/* As in dmr_flush_ended(). What would have to wait has not been begun. */
	if (error && error != BLK_STS_AGAIN)
		atomic_inc(&f->failed);
	end_under_way(f, dmr_ticket_side(ticket));
	return dev;
}

/* ------------------------------------------------------------ the worker's */

void dmr_flush_mark(struct dmr_target *c, enum dmr_device dev)
{
	struct dmr_flushes *f = flushes_of(c, dev);
	struct dmr_flush_marks *m = &c->marks[dev];

	/*
	 * Acquire: before what the worker writes from here on. A flush that takes
	 * some of that with it fails, and is counted, later than this, and before
	 * the gate is closed: who flushes sees it. One that failed earlier may be
	 * counted late, and is then taken for such a one, to be safe.
	 */
	m->data = atomic_read_acquire(&f->failed);
	m->blocks = m->data;
	m->data_safe = false;
}

static void close_gate(struct dmr_target *c, struct dmr_flushes *f)
{
	spin_lock_irq(&c->lock);
	f->closed = true;
	WRITE_ONCE(f->aside, true);
	spin_unlock_irq(&c->lock);
	synchronize_srcu_expedited(&f->under_way);
}

static void open_gate(struct dmr_target *c, struct dmr_flushes *f, bool lost)
{
	struct bio_list waiting, fua;
	struct bio *bio;

	spin_lock_irq(&c->lock);
	waiting = f->waiting;
	bio_list_init(&f->waiting);
	fua = f->waiting_fua;
	bio_list_init(&f->waiting_fua);
	f->closed = false;
	/* All that wait have to tell. If there are none the next that comes. */
	lost = lost || f->lost;
	f->lost = lost && bio_list_empty(&waiting);
	WRITE_ONCE(f->aside, f->lost);
	if (lost && !f->lost)
		tell(c);
	spin_unlock_irq(&c->lock);

	while ((bio = bio_list_pop(&waiting))) {
		if (lost)
			bio_io_error(bio);
		else if (dmr_map_flush(c, bio) == DM_MAPIO_REMAPPED)
			submit_bio_noacct(bio);
	}
	while ((bio = bio_list_pop(&fua)))
		if (dmr_map_fua(c, bio))
			submit_bio_noacct(bio);
}

/* One that failed, if it is @lost, is counted before the gate opens. */
static void count_and_open(struct dmr_target *c, struct dmr_flushes *f, bool lost)
{
	if (lost)
		atomic_inc(&f->failed);
	open_gate(c, f, lost);
}

int dmr_flushes_failed(struct dmr_target *c, enum dmr_device dev)
{
	/* As in dmr_flush_mark(). */
	return atomic_read_acquire(&flushes_of(c, dev)->failed);
}

int dmr_flush_device(struct dmr_target *c, enum dmr_device dev)
{
	struct block_device *bdev = (dev == DMR_MAIN ? c->main : c->spare)->bdev;
	struct dmr_flushes *f = flushes_of(c, dev);
	int r;

	if (!bdev_write_cache(bdev))
		return 0;
	close_gate(c, f);
	r = blkdev_issue_flush(bdev);
	count_and_open(c, f, r);
	return r;
}

int dmr_flush_main(struct dmr_target *c)
{
	struct dmr_flushes *f = flushes_of(c, DMR_MAIN);
	bool others;
	int r;

	close_gate(c, f);
	r = blkdev_issue_flush(c->main->bdev);
	others = atomic_read(&f->failed) != c->marks[DMR_MAIN].data;
	count_and_open(c, f, r);
	return r ?: others ? -EREMOTEIO : 0;
}

/* The data: well, and with no flush that failed since it was written? */
static int flush_data(struct dmr_target *c, struct dmr_flushes *f,
		      struct dmr_flush_marks *m, bool *lost)
{
	int r = dm_bufio_issue_flush(c->bufio);

	*lost = r;
	/* No more is written before dmr_flush_settle(): once is enough. */
	if (!r && !m->data_safe && (atomic_read(&f->failed) != m->data ||
				    m->lost || m->undecided))
		r = -EREMOTEIO;
	m->data_safe |= !r;
	return r;
}

/*
 * The blocks, and a flush. If that fails but another flush doesn't, it may have been a
 * block, which fails again when the metadata write it once more.
 */
static int flush_blocks(struct dmr_target *c, struct dmr_flushes *f,
			struct dmr_flush_marks *m, bool *lost)
{
	int r = dm_bufio_write_dirty_buffers(c->bufio);
	int failed = atomic_read(&f->failed);	/* the gate is closed */

	*lost = false;
	if (r && bdev_write_cache(c->spare->bdev)) {
		*lost = dm_bufio_issue_flush(c->bufio);
		m->undecided = !*lost;
		m->shut = true;
	}
	if (!r && failed != m->blocks)
		r = -EREMOTEIO;
	m->blocks = failed;
	return r;
}

int dmr_flush_spare(void *context, bool write)
{
	struct dmr_target *c = context;
	struct dmr_flushes *f = flushes_of(c, DMR_SPARE);
	struct dmr_flush_marks *m = &c->marks[DMR_SPARE];
	bool lost;
	int r;

	if (!m->shut)
		close_gate(c, f);
	r = write ? flush_blocks(c, f, m, &lost) : flush_data(c, f, m, &lost);
	if (!m->shut)
		count_and_open(c, f, lost);
	else
		m->lost |= lost;
	return r;
}

/* If all could be written when it was tried again it was the flush. */
void dmr_flush_blame(void *context, bool block)
{
	struct dmr_target *c = context;
	struct dmr_flush_marks *m = &c->marks[DMR_SPARE];

	m->lost |= m->undecided && !block;
	m->undecided = false;
}

/*
 * No record waits any more, and what is written from here on is for the next commit:
 * also a mark.
 */
void dmr_flush_settle(struct dmr_target *c)
{
	struct dmr_flush_marks *m = &c->marks[DMR_SPARE];
	bool shut = m->shut, lost = m->lost || m->undecided;

	m->shut = false;
	m->lost = false;
	m->undecided = false;
	if (shut)
		count_and_open(c, flushes_of(c, DMR_SPARE), lost);
	dmr_flush_mark(c, DMR_SPARE);
}

void dmr_flush_lost(struct dmr_target *c, enum dmr_device dev)
{
	struct dmr_flushes *f = flushes_of(c, dev);

	spin_lock_irq(&c->lock);
	f->lost = true;
	WRITE_ONCE(f->aside, true);
	spin_unlock_irq(&c->lock);
}
