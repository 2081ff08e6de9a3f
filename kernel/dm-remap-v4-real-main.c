// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-remap-v4: keeps a disk with bad sectors in service by redirecting them to
 * a spare device. docs/target.md is the page for users.
 *
 * This file has the constructor and the two ends of every bio: map, where most
 * go straight to the main device, and end_io, where those that fail leave for
 * the worker (dm-remap-v4-recover.c).
 */
#include <linux/blk-integrity.h>
#include <linux/dm-bufio.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "dm-remap-v4.h"

#define DM_MSG_PREFIX "remap-v4"

#define MIN_CLONES 16

bool dmr_autosave_enabled = true;
module_param_named(dm_remap_autosave_enabled, dmr_autosave_enabled, bool, 0644);
MODULE_PARM_DESC(dm_remap_autosave_enabled,
		 "Save error counters and statistics from time to time");

unsigned int dmr_autosave_interval = 60;

static int set_interval(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 1, 3600);
}

static const struct kernel_param_ops interval_ops = {
	.set = set_interval,
	.get = param_get_uint,
};
module_param_cb(dm_remap_autosave_interval, &interval_ops,
		&dmr_autosave_interval, 0644);
MODULE_PARM_DESC(dm_remap_autosave_interval,
		 "Seconds between two of these, 1 to 3600");

/* --------------------------------------------------------------- a bio, in */

static void defer_bio(struct dmr_target *c, struct bio *bio)
{
	unsigned long flags;

	spin_lock_irqsave(&c->lock, flags);
	bio_list_add(&c->deferred, bio);
	/* Under it: once the worker has this bio, all may be over and the target gone. */
	queue_work(c->wq, &c->worker);
	spin_unlock_irqrestore(&c->lock, flags);
}

/*
 * A bio that was not held may go. Count it, under the same lock as the lookup,
 * and keep what end_io and the worker need if it fails.
 */
static __always_inline void admit(struct dmr_target *c, struct bio *bio,
				  struct dmr_bio *pb, unsigned int epoch)
{
	pb->iter = bio->bi_iter;
	pb->ticket = epoch;
	dmr_hold_count(&c->hold, epoch);
}

/* Only the first @len sectors of @bio. False if it must not be split for that. */
static bool take_part(struct bio *bio, sector_t len, bool may_split)
{
	if (len == bio_sectors(bio))
		return true;
	if (may_split)
		dm_accept_partial_bio(bio, len);
	return may_split;
}

/* @e is what dmr_map_find() says of the first @len sectors, which are not held. */
static enum dmr_route route(struct dmr_target *c, struct bio *bio,
			    struct dmr_bio *pb, unsigned int epoch,
			    const struct dmr_entry *e, sector_t len, bool may_split)
{
	struct dmr_extent ex;

	dmr_map_extent(e, bio->bi_iter.bi_sector, len, &ex);
	if (!take_part(bio, ex.len, may_split))
		return DMR_DEFER;
	if (ex.kind == DMR_LINEAR) {
		admit(c, bio, pb, epoch);
		return DMR_TO_MAIN;
	}
	if (bio_op(bio) == REQ_OP_DISCARD)
		return DMR_IGNORE;
	if (ex.kind == DMR_PENDING)
		return bio_op(bio) == REQ_OP_READ ? DMR_LOST : DMR_DEFER;
	admit(c, bio, pb, epoch);
	bio->bi_iter.bi_sector = ex.spare;
	return DMR_TO_SPARE;
}

enum dmr_route dmr_route_bio(struct dmr_target *c, struct bio *bio, bool may_split)
{
	unsigned int epoch = dmr_hold_epoch(&c->hold);	/* before the set */
	sector_t sector = bio->bi_iter.bi_sector, len = bio_sectors(bio);
	const struct dmr_entry *e;

	/* Before the map: who isn't held sees the map as it is since. */
	if (dmr_hold_lookup(&c->hold, sector, &len)) {
		take_part(bio, len, may_split);	/* if not, all of it waits */
		return DMR_DEFER;
	}
	e = dmr_map_find(&c->map, sector, len);
	return route(c, bio, dmr_bio(bio), epoch, e, len, may_split);
}

bool dmr_follow_route(struct dmr_target *c, struct bio *bio, enum dmr_route route)
{
	switch (route) {
	case DMR_TO_MAIN:
		bio_set_dev(bio, c->main->bdev);
		return true;
	case DMR_TO_SPARE:
		bio_set_dev(bio, c->spare->bdev);
		return true;
	case DMR_LOST:
		bio->bi_status = BLK_STS_MEDIUM;
		bio_endio(bio);
		return false;
	case DMR_IGNORE:
		bio_endio(bio);
		return false;
	case DMR_REFUSE:
		bio_io_error(bio);
		return false;
	case DMR_DEFER:
		break;
	}
	return false;
}

/* Core doesn't let discards and the like be accepted in part. */
static bool may_split(const struct bio *bio)
{
	return bio_op(bio) == REQ_OP_READ || bio_op(bio) == REQ_OP_WRITE;
}

/*
 * Something is remapped, pending or held. Most likely nothing is held, and
 * there is nothing about @bio: then this is as short as it can be.
 */
static noinline enum dmr_route look_up(struct dmr_target *c, struct bio *bio,
				       struct dmr_bio *pb, unsigned int epoch)
{
	bool held = dmr_hold_any(&c->hold);	/* before the map */
	const struct dmr_entry *e;

	if (unlikely(READ_ONCE(c->uncertain)) && op_is_write(bio->bi_opf)) {
		pb->ticket = DMR_TICKET_NONE;
		return DMR_REFUSE;
	}
	if (unlikely(held)) {
		pb->ticket = DMR_TICKET_NONE;
		return dmr_route_bio(c, bio, may_split(bio));
	}
	e = dmr_map_find(&c->map, bio->bi_iter.bi_sector, bio_sectors(bio));
	if (likely(!e)) {
		admit(c, bio, pb, epoch);
		return DMR_TO_MAIN;
	}
	pb->ticket = DMR_TICKET_NONE;
	return route(c, bio, pb, epoch, e, bio_sectors(bio), may_split(bio));
}

/* It goes nowhere just now: it ends here, or waits for the worker. */
static noinline int keep(struct dmr_target *c, struct bio *bio,
			 struct dmr_bio *pb, enum dmr_route way)
{
	dmr_follow_route(c, bio, way);
	if (way == DMR_DEFER) {
		if (bio->bi_opf & REQ_FUA)
			pb->ticket = DMR_TICKET_NONE_FUA;
		pb->iter = bio->bi_iter;
		pb->error = BLK_STS_OK;
		pb->suspect = 0;
		pb->served_once = false;
		if (bio->bi_opf & REQ_NOWAIT)
			bio_wouldblock_error(bio);
		else if (bio->bi_opf & REQ_RAHEAD)
			bio_io_error(bio);	/* as core's do; never looked into */
		else
			defer_bio(c, bio);
	}
	return DM_MAPIO_SUBMITTED;
}

static __always_inline int map_data(struct dm_target *ti, struct dmr_target *c,
				    struct bio *bio)
{
	enum dmr_route way = DMR_TO_MAIN;
	unsigned int epoch;
	struct dmr_bio *pb;

	bio->bi_iter.bi_sector = dm_target_offset(ti, bio->bi_iter.bi_sector);
	pb = dmr_bio(bio);
	rcu_read_lock_sched();
	epoch = dmr_hold_epoch(&c->hold);	/* before divert */
	if (likely(!READ_ONCE(c->divert)))
		admit(c, bio, pb, epoch);
	else
		way = look_up(c, bio, pb, epoch);
	rcu_read_unlock_sched();

	if (unlikely(way != DMR_TO_MAIN && way != DMR_TO_SPARE))
		return keep(c, bio, pb, way);
	bio_set_dev(bio, (way == DMR_TO_MAIN ? c->main : c->spare)->bdev);
	return DM_MAPIO_REMAPPED;
}

/* A flush, or a write that may have one behind it. */
static noinline int map_flushing(struct dm_target *ti, struct dmr_target *c,
				 struct bio *bio)
{
	int r;

	if (bio->bi_opf & REQ_PREFLUSH)
		return dmr_map_flush(c, bio);
	if (dmr_flush_tells_fua(c)) {
		dmr_bio(bio)->ticket = DMR_TICKET_NONE;
		bio_io_error(bio);
		return DM_MAPIO_SUBMITTED;
	}
	r = map_data(ti, c, bio);
	return r == DM_MAPIO_REMAPPED && !dmr_map_fua(c, bio) ? DM_MAPIO_SUBMITTED : r;
}

static int dmr_map_bio(struct dm_target *ti, struct bio *bio)
{
	struct dmr_target *c = ti->private;

	if (unlikely(bio->bi_opf & (REQ_PREFLUSH | REQ_FUA | REQ_POLLED))) {
		/* Else its sender would have to ask for its end, and may be waiting for ours. */
		bio->bi_opf &= ~REQ_POLLED;
		if (bio->bi_opf & (REQ_PREFLUSH | REQ_FUA))
			return map_flushing(ti, c, bio);
	}
	return map_data(ti, c, bio);
}

/* -------------------------------------------------------------- a bio, out */

/*
 * Errors that may be the medium's. Whatever else went wrong (transport,
 * timeout, reservation, resources) would go wrong for the neighbours as well.
 */
bool dmr_may_be_medium(enum req_op op, blk_status_t status)
{
	return status == BLK_STS_MEDIUM || status == BLK_STS_IOERR ||
	       (op == REQ_OP_WRITE && status == BLK_STS_TARGET);
}

static bool worth_saving(const struct bio *bio, blk_status_t status)
{
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		return !(bio->bi_opf & REQ_RAHEAD) &&
		       dmr_may_be_medium(REQ_OP_READ, status);
	case REQ_OP_WRITE:
	case REQ_OP_WRITE_ZEROES:
		return dmr_may_be_medium(bio_op(bio), status);
	default:
		return false;
	}
}

/*
 * Zeroes and discards may be cut anywhere, at a limit that another target brings
 * to the table. What is no whole number of blocks can't be mapped by blocks.
 */
bool dmr_whole_blocks(const struct dmr_target *c, sector_t sector, sector_t len)
{
	return !((sector | len) & (c->block - 1));
}

/*
 * The worker waits for bios to end, or this one failed: @suspect says of which
 * device, + 1, that may be a flush, or 0.
 */
static noinline int end_slowly(struct dmr_target *c, struct bio *bio,
			       blk_status_t *error, u8 suspect, bool fua)
{
	struct dmr_bio *pb = dmr_bio(bio);

	dmr_hold_wake(&c->hold);
	if (!*error || !worth_saving(bio, *error) || READ_ONCE(c->mode) != DMR_RW ||
	    READ_ONCE(c->breaker))
		return DM_ENDIO_DONE;
	if (!dmr_whole_blocks(c, pb->iter.bi_sector, pb->iter.bi_size >> SECTOR_SHIFT)) {
		/* As in serve(): what was cut within a block comes as data then. */
		*error = BLK_STS_NOTSUPP;
		return DM_ENDIO_DONE;
	}

	/*
	 * It comes here once more, when the worker is done with it. What the queue's
	 * accounting was to be told has been told by now, and the queue may be gone then.
	 */
	bio_clear_flag(bio, BIO_QOS_THROTTLED);
	bio_clear_flag(bio, BIO_QOS_MERGED);
	pb->ticket = fua ? DMR_TICKET_NONE_FUA : DMR_TICKET_NONE;
	pb->error = *error;
	pb->suspect = suspect;
	pb->served_once = false;
	defer_bio(c, bio);
	return DM_ENDIO_INCOMPLETE;
}

/* A flush, a write that is REQ_FUA, or finished by ourselves. */
static noinline int end_other(struct dmr_target *c, struct bio *bio,
			      blk_status_t *error)
{
	unsigned int ticket = dmr_bio(bio)->ticket;
	u8 suspect;

	if (ticket < DMR_TICKET_FUA) {
		if (ticket >= DMR_TICKET_FLUSH)
			dmr_flush_ended(c, ticket, *error);
		return DM_ENDIO_DONE;
	}
	suspect = ticket < DMR_TICKET_FUA_ALONE ? dmr_fua_ended(c, ticket, *error) + 1 : 0;
	if (dmr_hold_uncount(&c->hold, dmr_ticket_epoch(ticket)) || *error)
		return end_slowly(c, bio, error, suspect, true);
	return DM_ENDIO_DONE;
}

static int dmr_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct dmr_target *c = ti->private;
	unsigned int ticket = dmr_bio(bio)->ticket;

	if (unlikely(ticket >= DMR_TICKET_NONE))
		return end_other(c, bio, error);

	/* Its I/O is over, also if the worker looks into it next. */
	if (unlikely(dmr_hold_uncount(&c->hold, ticket) || *error))
		return end_slowly(c, bio, error, 0, false);
	return DM_ENDIO_DONE;
}

/* ------------------------------------------------------------- constructor */

static int parse_features(struct dmr_target *c, struct dm_arg_set *as)
{
	static const struct dm_arg args[] = {
		{ 0, 5, "Invalid number of feature arguments" },
		{ 1, DMR_MAX_COPIES, "Feature 'copies' takes a number from 1 to 8" },
		{ DMR_MIN_SPACING, DMR_MAX_SPACING,
		  "Feature 'spacing' takes a number of sectors from 64 to 32768" },
	};
	struct dm_target *ti = c->ti;
	unsigned int nr;

	if (!as->argc)
		return 0;
	if (dm_read_arg_group(&args[0], as, &nr, &ti->error))
		return -EINVAL;
	if (as->argc != nr) {
		ti->error = "The number of feature arguments does not fit them";
		return -EINVAL;
	}
	while (as->argc) {
		const char *word = dm_shift_arg(as);

		if (!strcasecmp(word, "relocate_weak")) {
			c->relocate_weak = true;
		} else if (!strcasecmp(word, "copies")) {
			if (dm_read_arg(&args[1], as, &c->copies, &ti->error))
				return -EINVAL;
		} else if (!strcasecmp(word, "spacing")) {
			if (dm_read_arg(&args[2], as, &c->spacing, &ti->error))
				return -EINVAL;
			if (!is_power_of_2(c->spacing)) {
				ti->error = "Feature 'spacing' must be a power of two";
				return -EINVAL;
			}
		} else {
			ti->error = "Unknown feature argument";
			DMERR("unknown feature argument '%s'", word);
			return -EINVAL;
		}
	}
	return 0;
}

static int get_devices(struct dmr_target *c, struct dm_arg_set *as)
{
	struct dm_target *ti = c->ti;
	int r;

	r = dm_get_device(ti, dm_shift_arg(as), dm_table_get_mode(ti->table), &c->main);
	if (r) {
		ti->error = "Can't open the main device";
		return r;
	}
	r = dm_get_device(ti, dm_shift_arg(as), dm_table_get_mode(ti->table), &c->spare);
	if (r) {
		ti->error = "Can't open the spare device";
		return r;
	}
	if (c->main->bdev == c->spare->bdev) {
		ti->error = "Main and spare are the same device";
		return -EINVAL;
	}
	if (bdev_is_zoned(c->main->bdev) || bdev_is_zoned(c->spare->bdev)) {
		ti->error = "Zoned devices are not supported";
		return -EINVAL;
	}
	if (bdev_get_integrity(c->main->bdev) || bdev_get_integrity(c->spare->bdev)) {
		ti->error = "Devices with an integrity profile are not supported";
		return -EINVAL;
	}
	c->main_sectors = bdev_nr_sectors(c->main->bdev);
	c->spare_sectors = bdev_nr_sectors(c->spare->bdev);
	if (ti->len > c->main_sectors) {
		ti->error = "The target is longer than the main device";
		return -EINVAL;
	}
	if (c->main_sectors > DMR_MAP_MAX_SECTOR ||
	    c->spare_sectors > DMR_MAP_MAX_SECTOR) {
		ti->error = "A device is larger than 128 PiB";
		return -EINVAL;
	}
	c->block = max(bdev_logical_block_size(c->main->bdev),
		       bdev_logical_block_size(c->spare->bdev)) >> SECTOR_SHIFT;
	/* Newer kernels know of larger ones; the metadata does not. */
	if (c->block > DMR_META_BLOCK >> SECTOR_SHIFT) {
		ti->error = "Logical blocks of more than 4096 bytes are not supported";
		return -EINVAL;
	}
	return 0;
}

struct bounce {
	struct bio bio;
	struct bio_vec vec[DMR_BOUNCE_PAGES];
};

static struct bio *alloc_bounce(void)
{
	struct bounce *bounce = kmalloc(sizeof(*bounce), GFP_KERNEL);
	struct bio *bio;
	unsigned int i;

	if (!bounce)
		return NULL;
	bio = &bounce->bio;
	bio_init(bio, NULL, bounce->vec, DMR_BOUNCE_PAGES, 0);
	for (i = 0; i < DMR_BOUNCE_PAGES; i++) {
		struct page *page = alloc_page(GFP_KERNEL);

		if (!page) {
			bio_free_pages(bio);
			kfree(bounce);
			return NULL;
		}
		__bio_add_page(bio, page, PAGE_SIZE, 0);
	}
	return bio;
}

static void free_bounce(struct bio *bio)
{
	if (bio) {
		bio_free_pages(bio);
		bio_uninit(bio);
		kfree(container_of(bio, struct bounce, bio));
	}
}

static void destroy(struct dmr_target *c)
{
	free_bounce(c->bounce[1]);
	free_bounce(c->bounce[0]);
	dmr_txn_destroy(c->txn);
	if (c->wq)
		destroy_workqueue(c->wq);
	if (c->bufio)
		dm_bufio_client_destroy(c->bufio);
	bioset_exit(&c->bs);
	if (c->map.unused)
		dmr_map_exit(&c->map);
	dmr_hold_exit(&c->hold);
	dmr_flush_exit(c);
	if (c->spare)
		dm_put_device(c->ti, c->spare);
	if (c->main)
		dm_put_device(c->ti, c->main);
	kfree(c);
}

static int allocate(struct dmr_target *c)
{
	struct dm_target *ti = c->ti;

	ti->error = "Out of memory";
	if (dmr_flush_init(c) || dmr_hold_init(&c->hold) || dmr_map_init(&c->map) ||
	    bioset_init(&c->bs, MIN_CLONES, 0, 0))
		return -ENOMEM;
	c->bufio = dm_bufio_client_create(c->spare->bdev, DMR_META_BLOCK,
					  DMR_META_BUFFERS, 0, NULL, NULL, 0);
	if (IS_ERR(c->bufio)) {
		int r = PTR_ERR(c->bufio);

		ti->error = "Can't have dm-bufio for the spare device";
		c->bufio = NULL;
		return r;
	}
	c->wq = alloc_ordered_workqueue("dm-remap-v4", WQ_MEM_RECLAIM);
	c->txn = dmr_txn_create();
	c->bounce[0] = alloc_bounce();
	c->bounce[1] = alloc_bounce();
	if (!c->wq || !c->txn || !c->bounce[0] || !c->bounce[1])
		return -ENOMEM;
	ti->error = NULL;
	return 0;
}

/*
 * Zeroes are cut at the lower limit of the two devices, wherever that is: some
 * disks take 65535 sectors. Within a block it must not be.
 */
static bool zeroes_by_blocks(const struct dmr_target *c)
{
	return dmr_whole_blocks(c, bdev_write_zeroes_sectors(c->main->bdev),
				bdev_write_zeroes_sectors(c->spare->bdev));
}

/* <main_dev> <spare_dev> [<#feature args> <arg>...] */
static int dmr_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct dm_arg_set as = { .argc = argc, .argv = argv };
	struct dmr_target *c;
	int r;

	if (argc < 2) {
		ti->error = "Usage: <main device> <spare device> [<#feature args> <arg>...]";
		return -EINVAL;
	}
	c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c) {
		ti->error = "Out of memory";
		return -ENOMEM;
	}
	c->ti = ti;
	spin_lock_init(&c->lock);
	mutex_init(&c->live);
	bio_list_init(&c->deferred);
	INIT_LIST_HEAD(&c->requests);
	INIT_LIST_HEAD(&c->claimed);
	INIT_WORK(&c->worker, dmr_worker);
	INIT_DELAYED_WORK(&c->autosave, dmr_autosave);
	INIT_DELAYED_WORK(&c->event_work, dmr_event_work);
	init_completion(&c->kobj_released);
	c->next_events = jiffies;
	c->suspended = true;

	r = get_devices(c, &as);
	if (!r)
		r = parse_features(c, &as);
	if (!r)
		r = allocate(c);
	if (r) {
		destroy(c);
		return r;
	}
	/* One bit by two names and of two types, by kernel. */
	c->read_only = !((__force unsigned int)dm_table_get_mode(ti->table) &
			 (__force unsigned int)FMODE_WRITE);

	ti->private = c;
	ti->per_io_data_size = sizeof(struct dmr_bio);
	ti->num_flush_bios = DMR_NR_DEVICES;
	ti->num_discard_bios = 1;
	ti->discards_supported = bdev_max_discard_sectors(c->main->bdev);
	/* Without them core offers no such requests: zeroes come as data. */
	ti->num_write_zeroes_bios = zeroes_by_blocks(c);
	/* Secure erase stays 0: old data would remain on the other device. */
	return 0;
}

/* -------------------------------------------------------------- life cycle */

/*
 * Everything from disk is read here, not in the constructor: on a reload the
 * old table still serves, and commits, while the new one is built.
 */
static int dmr_preresume(struct dm_target *ti)
{
	struct dmr_target *c = ti->private;
	unsigned int noio;
	int r;

	if (c->md)
		return 0;	/* resumed without having been suspended */
	/* The device takes no bio until this returns: reclaim must not wait for it. */
	noio = memalloc_noio_save();
	r = dmr_activate(c);
	memalloc_noio_restore(noio);
	return r;
}

/* Before core keeps all I/O back: till then, and no longer, a message may go on. */
static void dmr_presuspend(struct dm_target *ti)
{
	struct dmr_target *c = ti->private;

	WRITE_ONCE(c->suspended, true);
}

/* All targets of the table are live; or a suspend has failed. */
static void dmr_resume(struct dm_target *ti)
{
	struct dmr_target *c = ti->private;

	WRITE_ONCE(c->suspended, false);
}

static void dmr_postsuspend(struct dm_target *ti)
{
	/* Reclaim must not wait for this device now, see dmr_preresume(). */
	unsigned int noio = memalloc_noio_save();

	dmr_deactivate(ti->private);
	memalloc_noio_restore(noio);
}

static void dmr_dtr(struct dm_target *ti)
{
	struct dmr_target *c = ti->private;

	/* There was no suspend if a later target of the table failed to resume. */
	dmr_postsuspend(ti);
	/* What was noted is told, at least in the log; nothing is noted any more. */
	flush_delayed_work(&c->event_work);
	destroy(c);
}

/* ------------------------------------------------------------ the rest */

static void dmr_status(struct dm_target *ti, status_type_t type,
		       unsigned int status_flags, char *result, unsigned int maxlen)
{
	struct dmr_target *c = ti->private;
	unsigned int sz = 0, nr;

	switch (type) {
	case STATUSTYPE_INFO:
		dmr_emit_status(c, result, maxlen);
		break;
	case STATUSTYPE_TABLE:
		nr = (c->copies ? 2 : 0) + (c->spacing ? 2 : 0) + c->relocate_weak;
		DMEMIT("%s %s", c->main->name, c->spare->name);
		if (nr)
			DMEMIT(" %u", nr);
		if (c->copies)
			DMEMIT(" copies %u", c->copies);
		if (c->spacing)
			DMEMIT(" spacing %u", c->spacing);
		if (c->relocate_weak)
			DMEMIT(" relocate_weak");
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",main_device=%s,spare_device=%s,copies=%u,spacing=%u,relocate_weak=%c;",
		       c->main->name, c->spare->name, c->copies, c->spacing,
		       c->relocate_weak ? 'y' : 'n');
		break;
	}
}

static int dmr_iterate_devices(struct dm_target *ti,
			       iterate_devices_callout_fn fn, void *data)
{
	struct dmr_target *c = ti->private;
	int r = fn(ti, c->main, 0, ti->len, data);

	/* Core refuses a part of a block at the end, which nothing is put into. */
	return r ?: fn(ti, c->spare, 0, round_down(c->spare_sectors, c->block), data);
}

static struct target_type dmr_target_type = {
	.name = "dm-remap-v4",
	.version = { 1, 0, 0 },
	.features = DM_TARGET_NOWAIT,
	.module = THIS_MODULE,
	.ctr = dmr_ctr,
	.dtr = dmr_dtr,
	.map = dmr_map_bio,
	.end_io = dmr_end_io,
	.preresume = dmr_preresume,
	.resume = dmr_resume,
	.presuspend = dmr_presuspend,
	.presuspend_undo = dmr_resume,
	.postsuspend = dmr_postsuspend,
	.status = dmr_status,
	.message = dmr_message,
	.iterate_devices = dmr_iterate_devices,
};

static int __init dmr_init(void)
{
	int r = dmr_sysfs_init();

	if (r)
		return r;
	r = dm_register_target(&dmr_target_type);
	if (r)
		dmr_sysfs_exit();
	return r;
}

static void __exit dmr_exit(void)
{
	dm_unregister_target(&dmr_target_type);
	dmr_sysfs_exit();
}

module_init(dmr_init);
module_exit(dmr_exit);

MODULE_DESCRIPTION("device-mapper target that redirects bad sectors to a spare");
MODULE_AUTHOR("dm-remap maintainers");
MODULE_ALIAS("dm-dm-remap-v4");
MODULE_LICENSE("GPL");
