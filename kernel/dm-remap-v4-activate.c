// SPDX-License-Identifier: GPL-2.0-only
/*
 * Going live and back: the spare is claimed and its metadata read when the
 * device is resumed, and let go when it is suspended. No bio is in flight in
 * either function.
 */
#include <linux/dm-bufio.h>
#include <linux/list.h>

#include "dm-remap-v4-replay.h"
#include "dm-remap-v4.h"

#define DM_MSG_PREFIX "remap-v4"

/*
 * Spares in use, so that two devices never write one spare. An old and a new
 * table of one device share it: the old lets go in postsuspend, the new takes
 * it in preresume. Protected by claim_lock.
 */
static LIST_HEAD(claims);
static DEFINE_MUTEX(claim_lock);

static bool same_device(struct dmr_target *a, struct dmr_target *b)
{
	return dm_table_get_md(a->ti->table) == dm_table_get_md(b->ti->table);
}

static int claim_spare(struct dmr_target *c)
{
	struct dmr_target *other, *left = NULL;
	int r = 0;

	mutex_lock(&claim_lock);
	list_for_each_entry(other, &claims, claimed) {
		if (other->spare->bdev->bd_dev != c->spare->bdev->bd_dev)
			continue;
		if (other->ti->table != c->ti->table && same_device(other, c)) {
			left = other;
			continue;
		}
		DMERR("%s: the spare %s is in use by %s", c->name,
		      c->spare->name, other->name);
		r = -EBUSY;
	}
	if (!r && !left)
		list_add(&c->claimed, &claims);
	mutex_unlock(&claim_lock);
	if (r || !left)
		return r;
	/*
	 * Left over from a table whose resume failed at a later target. Core
	 * keeps that table, and us alone, until this resume is over.
	 */
	dmr_deactivate(left);
	return claim_spare(c);
}

static void release_spare(struct dmr_target *c)
{
	mutex_lock(&claim_lock);
	list_del_init(&c->claimed);
	mutex_unlock(&claim_lock);
}

static int wanted_uuid(struct dmr_target *c, struct dmr_meta_params *p)
{
	static const char prefix[] = "DMREMAP-";

	if (strncmp(c->uuid, prefix, strlen(prefix)))
		return 0;
	p->uuid_known = true;
	return uuid_parse(c->uuid + strlen(prefix), &p->uuid);
}

static void tell_loaded(struct dmr_target *c)
{
	const struct dmr_meta_status *m = &c->meta;

	if (m->formatted) {
		DMINFO("%s: formatted the spare, uuid %pU", c->name, &m->uuid);
		return;
	}
	DMINFO("%s: Selected metadata copy %d: seq=%llu, valid_copies=%u/%u",
	       c->name, m->chosen, m->sequence, m->valid, m->copies);
	if (m->valid < m->copies)
		DMWARN("%s: of these are damaged, stale or can't be read: %*pbl", c->name,
		       (int)m->copies, &(unsigned long){ ~m->good & ((1UL << m->copies) - 1) });
	DMINFO("%s: Restored %llu remap entries from persistent metadata",
	       c->name, c->map.nr_remap);
}

#define MOST_TOLD	8

/* Some of them; the message list has all. */
static void tell_remaps(struct dmr_target *c)
{
	struct dmr_extent ex;
	unsigned int nr = 0;
	sector_t sector;

	if (!c->map.nr_remap)
		return;
	for (sector = 0; sector < c->main_sectors; sector += ex.len) {
		dmr_lookup(c, sector, min_t(sector_t, c->main_sectors - sector,
					    DMR_LOOK_SECTORS), &ex);
		if (ex.kind != DMR_REMAP)
			continue;
		if (nr++ == MOST_TOLD) {
			DMINFO("%s: and more, the message list has them all", c->name);
			return;
		}
		DMINFO("%s: Restored remap: sector %llu -> %llu, length %llu", c->name,
		       (unsigned long long)sector, (unsigned long long)ex.spare,
		       (unsigned long long)ex.len);
	}
}

/* Also of a device that was suspended: what it lost meanwhile is told. */
static void note_loaded(struct dmr_target *c)
{
	struct dmr_meta_status before = dmr_meta(c);

	dmr_metadata_loaded(c);
	tell_loaded(c);
	if (c->meta.valid < before.valid)
		dmr_event(c, DMR_EV_COPY_LOST, 0, 0);
	else if (before.copies && c->meta.valid > before.valid)
		dmr_event(c, DMR_EV_COPY_MENDED, 0, 0);
}

/* Make what was found durable in every copy that can be written. */
static void mend_loaded(struct dmr_target *c)
{
	int r = dmr_metadata_mend(c->md);

	if (r == -ENODATA)
		DMWARN("%s: newer metadata may be in copies that can't be read; writes are refused",
		       c->name);
	else if (r == -ESTALE)
		DMWARN("%s: newer metadata came back; writes are refused, resume the device anew",
		       c->name);
	else if (r < 0 && dmr_metadata_uncertain(c->md))
		DMWARN("%s: the metadata found can't be made durable; writes are refused", c->name);
	else if (r < 0)
		DMWARN("%s: a copy of the metadata could not be mended", c->name);
	else if (r > 0)
		DMINFO("%s: mended %d copies of the metadata", c->name, r);
	dmr_metadata_changed(c);
}

static int load_metadata(struct dmr_target *c)
{
	bool again = dmr_meta(c).copies || c->mode == DMR_FAIL;
	struct dmr_meta_params params = {
		.bufio = c->bufio,
		.bdev = c->spare->bdev,
		.main_sectors = c->main_sectors,
		.spare_sectors = c->spare_sectors,
		.block_size = c->block << SECTOR_SHIFT,
		.copies = c->copies,
		.spacing = c->spacing,
		.read_only = c->read_only,
		.unsure = c->unsure,
		.flush = dmr_flush_spare,
		.blame = dmr_flush_blame,
		.flush_context = c,
	};
	struct dmr_replay replay = {
		.map = &c->map,
		.space = &c->space,
		.main_sectors = c->main_sectors,
		.block = c->block,
	};
	struct dmr_soft_state soft;
	const char *error = NULL;
	enum dmr_mode mode;
	int r;

	if (wanted_uuid(c, &params)) {
		DMERR("%s: the DM uuid does not end in a uuid", c->name);
		return -EINVAL;
	}
	c->md = dmr_metadata_open(&params, &c->space, dmr_replay_records, &replay, &error);
	r = c->md ? dmr_replay_finish(&replay) : 0;
	dmr_replay_exit(&replay);
	if (r) {
		error = r == -ENOMEM ? "Out of memory" :
			r == -EINTR ? "Interrupted" :
				      "Two remaps share a place on the spare";
		dmr_metadata_close(c->md);
		c->md = NULL;
	}
	if (!c->md) {
		DMERR("%s: %s", c->name, error);
		return -EINVAL;
	}

	note_loaded(c);
	if (!c->read_only)
		mend_loaded(c);
	WRITE_ONCE(c->uncertain, !c->read_only && dmr_metadata_uncertain(c->md));
	mode = c->read_only || c->uncertain ||
	       c->meta.valid < c->meta.copies / 2 + 1 ? DMR_RO : DMR_RW;
	/* What the table says is no news. */
	if (c->read_only && !again)
		WRITE_ONCE(c->mode, mode);
	else
		dmr_set_mode(c, mode, "so it was found when it was resumed");

	dmr_metadata_get_soft(c->md, &soft);
	WRITE_ONCE(c->count.read_errors, soft.read_errors);
	WRITE_ONCE(c->count.write_errors, soft.write_errors);
	WRITE_ONCE(c->count.salvaged, soft.salvaged);
	WRITE_ONCE(c->count.lost, soft.lost);
	WRITE_ONCE(c->count.scrub,
		   soft.scrub_sector < c->main_sectors ? soft.scrub_sector : 0);
	return 0;
}

static void unload_metadata(struct dmr_target *c)
{
	if (c->md) {
		c->unsure = dmr_metadata_unsure(c->md);
		dmr_metadata_close(c->md);
	}
	c->md = NULL;
	dmr_space_exit(&c->space);
	dmr_map_clear(&c->map);
}

int dmr_activate(struct dmr_target *c)
{
	int r = dm_copy_name_and_uuid(dm_table_get_md(c->ti->table), c->name, c->uuid);

	if (r)
		return r;
	r = claim_spare(c);
	if (r)
		return r;
	/* As soon as it is live a message may set the worker to work. */
	mutex_lock(&c->live);
	r = load_metadata(c);
	dmr_flush_settle(c);
	if (!r) {
		/* Before there are readers: then it waits for none. */
		dmr_txn_refill(c);
		dmr_map_loaded(&c->map, c->main_sectors);
		dmr_breaker_reset(c);
		c->in_doubt = false;
		r = dmr_txn_resume(c);
	}
	if (r) {
		dmr_set_mode(c, DMR_FAIL, "its metadata can't be loaded");
		unload_metadata(c);
	} else {
		WRITE_ONCE(c->divert, !dmr_map_empty(&c->map) || c->uncertain);
		tell_remaps(c);
	}
	mutex_unlock(&c->live);
	if (r) {
		release_spare(c);
		return r;
	}
	dmr_sysfs_add(c);
	queue_delayed_work(c->wq, &c->autosave, READ_ONCE(dmr_autosave_interval) * HZ);
	return 0;
}

void dmr_deactivate(struct dmr_target *c)
{
	if (!c->md)
		return;
	cancel_delayed_work_sync(&c->autosave);
	flush_workqueue(c->wq);
	dmr_sysfs_remove(c);
	/* Messages may still come, and find the device suspended. */
	mutex_lock(&c->live);
	/* Where it could not be recorded before. */
	if (dmr_meta(c).needs_check || c->txn->nr_spoilt)
		dmr_metadata_mend(c->md);
	dmr_metadata_changed(c);
	dmr_flush_mark(c, DMR_SPARE);
	dmr_txn_commit(c);
	if (c->txn->nr_spoilt)
		DMERR("%s: that a probe spoilt %u blocks of main can't be recorded",
		      c->name, c->txn->nr_spoilt);
	dmr_save_soft(c);
	unload_metadata(c);
	mutex_unlock(&c->live);
	release_spare(c);
	/* Behind a reload the table's events reach nobody; its uevents follow. */
	if (delayed_work_pending(&c->event_work))
		dm_table_event(c->ti->table);
}
