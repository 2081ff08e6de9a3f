// SPDX-License-Identifier: GPL-2.0-only
/*
 * The transaction: records that wait for the next commit, the commit itself,
 * and what it makes visible. The worker's, like everything here.
 *
 *   request   dmr_txn_room(), dmr_txn_add(); or dmr_txn_rollback()
 *   commit    dmr_metadata_commit(): waves and flushes, in the metadata
 *   publish   in the map, each record that is durable
 *
 * What one bio needs is committed as a whole or given back as a whole: no
 * commit comes between its records.
 */
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "dm-remap-v4.h"

#define DM_MSG_PREFIX "remap-v4"

/* One step adds at most so many records. */
#define STEP_RECORDS	4

/* A bio that needs more than so many fails, as it would without us. */
#define MAX_RECORDS	131072

struct dmr_txn *dmr_txn_create(void)
{
	struct dmr_txn *txn = kvzalloc(sizeof(*txn), GFP_KERNEL);

	if (txn) {
		txn->rec = txn->first;
		txn->max = DMR_TXN_RECORDS;
	}
	return txn;
}

static void forget_all(struct dmr_txn *txn)
{
	if (txn->rec != txn->first)
		kvfree(txn->rec);
	txn->rec = txn->first;
	txn->max = DMR_TXN_RECORDS;
	txn->nr = 0;
	txn->merge_from = 0;
	txn->refused = false;
}

void dmr_txn_destroy(struct dmr_txn *txn)
{
	if (txn)
		forget_all(txn);
	kvfree(txn);
}

int dmr_txn_room(struct dmr_target *c)
{
	struct dmr_txn *txn = c->txn;
	unsigned int max = 2 * txn->max;
	struct dmr_record *rec;

	if (txn->nr + STEP_RECORDS <= txn->max)
		return 0;
	if (max > MAX_RECORDS)
		return -ENOMEM;
	/* Not for ever: what memory there is may wait for this bio. */
	rec = kvmalloc_array(max, sizeof(*rec),
			     GFP_NOIO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (!rec)
		return -ENOMEM;
	memcpy(rec, txn->rec, txn->nr * sizeof(*rec));
	if (txn->rec != txn->first)
		kvfree(txn->rec);
	txn->rec = rec;
	txn->max = max;
	return 0;
}

static struct dmr_record new_record(enum dmr_record_kind kind, sector_t main,
				    sector_t spare, sector_t len)
{
	return (struct dmr_record){
		.main = main,
		.spare = spare,
		.sectors = len,
		.kind = kind,
		.errors = 1,
		.time = ktime_get_real_seconds(),
	};
}

void dmr_txn_add(struct dmr_target *c, enum dmr_record_kind kind, sector_t main,
		 sector_t spare, sector_t len)
{
	struct dmr_txn *txn = c->txn;
	struct dmr_record *last = txn->nr ? &txn->rec[txn->nr - 1] : NULL;

	/* No load would take it, nor any other record of that spare. */
	if (WARN_ON_ONCE(!dmr_whole_blocks(c, main | spare, len)))
		txn->refused = true;
	if (txn->nr > txn->merge_from && last->kind == kind &&
	    last->sectors + len <= DMR_MAX_RECORD_SECTORS &&
	    (kind == DMR_REC_BAD_SPARE || last->main + last->sectors == main) &&
	    (kind == DMR_REC_PENDING || kind == DMR_REC_FREE ||
	     last->spare + last->sectors == spare)) {
		last->sectors += len;
		return;
	}
	if (WARN_ON_ONCE(txn->nr == txn->max))
		return;
	txn->rec[txn->nr++] = new_record(kind, main, spare, len);
}

void dmr_txn_spoilt(struct dmr_target *c, sector_t at)
{
	struct dmr_txn *txn = c->txn;

	if (!WARN_ON_ONCE(txn->nr_spoilt == ARRAY_SIZE(txn->spoilt)))
		txn->spoilt[txn->nr_spoilt++] = at;
}

void dmr_txn_rollback(struct dmr_target *c, unsigned int from, unsigned int to)
{
	struct dmr_txn *txn = c->txn;
	unsigned int i;

	for (i = from; i < to; i++)
		if (txn->rec[i].kind == DMR_REC_REMAP)
			dmr_space_free(&c->space, txn->rec[i].spare,
				       txn->rec[i].sectors);
	memmove(&txn->rec[from], &txn->rec[to],
		(txn->nr - to) * sizeof(txn->rec[0]));
	txn->nr -= to - from;
}

/* ---------------------------------------------------------------- publish */

static void free_spare_of(struct dmr_target *c, sector_t main, sector_t len)
{
	struct dmr_extent ex;

	for (; len; main += ex.len, len -= ex.len) {
		dmr_lookup(c, main, len, &ex);
		if (ex.kind != DMR_REMAP)
			continue;
		dmr_space_free(&c->space, ex.spare, ex.len);
		c->full_told = 0;
	}
}

/* That they are not to be read from main is on disk, or what was written there again. */
static void forget_spoilt(struct dmr_txn *txn, sector_t sector, sector_t len)
{
	unsigned int i;

	for (i = txn->nr_spoilt; i-- > 0;)
		if (txn->spoilt[i] - sector < len)
			txn->spoilt[i] = txn->spoilt[--txn->nr_spoilt];
}

/* Told once, be it recorded or not. */
static void make_pending(struct dmr_target *c, sector_t sector, sector_t len)
{
	struct dmr_extent ex;
	sector_t done;

	for (done = 0; done < len; done += ex.len) {
		dmr_lookup(c, sector + done, len - done, &ex);
		if (ex.kind != DMR_PENDING)
			dmr_event(c, DMR_EV_PENDING, sector + done, ex.len);
	}
	dmr_map_set(&c->map, sector, len, DMR_PENDING, 0);
}

static void publish(struct dmr_target *c, const struct dmr_record *r)
{
	if (r->kind != DMR_REC_BAD_SPARE)
		forget_spoilt(c->txn, r->main, r->sectors);
	switch (r->kind) {
	case DMR_REC_REMAP:
		/* The old place, if any, has a bad-spare record of its own. */
		dmr_map_set(&c->map, r->main, r->sectors, DMR_REMAP, r->spare);
		dmr_event(c, DMR_EV_REMAP, r->main, r->sectors);
		break;
	case DMR_REC_PENDING:
		make_pending(c, r->main, r->sectors);
		dmr_add(&c->count.lost, r->sectors);
		break;
	case DMR_REC_FREE:
		free_spare_of(c, r->main, r->sectors);
		dmr_map_set(&c->map, r->main, r->sectors, DMR_LINEAR, 0);
		dmr_event(c, DMR_EV_UNMAP, r->main, r->sectors);
		break;
	}
}

void dmr_tell_full(struct dmr_target *c)
{
	if (c->full_told == c->space.used + 1)
		return;
	c->full_told = c->space.used + 1;
	DMERR("%s: no place is left on the spare, errors go to the caller", c->name);
	dmr_event(c, DMR_EV_SPARE_FULL, 0, 0);
}

static void tell_fill(struct dmr_target *c)
{
	u64 used = c->space.used, total = c->space.total;

	if (total - used < c->block)
		dmr_tell_full(c);
	if (used >= total - div_u64(total, 10)) {
		if (!c->nearly_full_told)
			dmr_event(c, DMR_EV_SPARE_NEARLY_FULL, 0, total - used);
		c->nearly_full_told = true;
	} else {
		c->nearly_full_told = false;
	}
}

struct dmr_meta_status dmr_meta(struct dmr_target *c)
{
	struct dmr_meta_status meta;
	unsigned long flags;

	spin_lock_irqsave(&c->lock, flags);
	meta = c->meta;
	spin_unlock_irqrestore(&c->lock, flags);
	return meta;
}

void dmr_metadata_loaded(struct dmr_target *c)
{
	struct dmr_meta_status now;
	unsigned long flags;

	dmr_metadata_status(c->md, &now);
	spin_lock_irqsave(&c->lock, flags);
	c->meta = now;
	spin_unlock_irqrestore(&c->lock, flags);
}

void dmr_metadata_changed(struct dmr_target *c)
{
	u32 before = dmr_meta(c).valid;
	struct dmr_meta_status now;

	dmr_flush_settle(c);
	dmr_metadata_loaded(c);
	now = dmr_meta(c);
	if (c->uncertain)
		WRITE_ONCE(c->uncertain, dmr_metadata_uncertain(c->md));

	if (now.valid < before) {
		DMWARN("%s: a copy of the metadata can't be written, %u of %u are left",
		       c->name, now.valid, now.copies);
		dmr_event(c, DMR_EV_COPY_LOST, 0, 0);
	} else if (now.valid > before) {
		DMINFO("%s: %u of %u copies of the metadata are good", c->name,
		       now.valid, now.copies);
		dmr_event(c, DMR_EV_COPY_MENDED, 0, 0);
	}
}

/*
 * No majority of copies can be written. That is recorded in those that can, and
 * whatever may stand in one that could not is denied.
 */
void dmr_metadata_lost(struct dmr_target *c)
{
	dmr_metadata_set_needs_check(c->md, true);
	dmr_metadata_mend(c->md);
	dmr_set_mode(c, DMR_RO, "the metadata can't be written");
}

/* ----------------------------------------------------------------- commit */

static sector_t still_so(void *context, const struct dmr_record *rec,
			 sector_t offset, bool *so)
{
	struct dmr_target *c = context;
	struct dmr_extent ex;

	dmr_lookup(c, rec->main + offset, rec->sectors - offset, &ex);
	if (rec->kind == DMR_REC_REMAP)
		*so = ex.kind == DMR_REMAP && ex.spare == rec->spare + offset;
	else
		*so = ex.kind == DMR_PENDING;
	return ex.len;
}

/* Win room in the log, if there is any to be won. */
static int compact(struct dmr_target *c, unsigned int nr, bool full)
{
	struct dmr_live live = {
		.context = c,
		.extents = c->map.nr_remap + c->map.nr_pending,
		.still = still_so,
	};
	u64 used = c->space.used;
	int r;

	/* What is pending only because it is in doubt is on disk what it was. */
	if (c->in_doubt ||
	    !dmr_metadata_worth_compacting(c->md, &live, nr, full))
		return -ENOSPC;
	r = dmr_metadata_compact(c->md, &live);
	if (c->space.used < used)
		c->full_told = 0;
	return r;
}

/*
 * A failed commit is undone on disk, and tried once more if that went well. Else
 * @doubt: a header on disk may name these records, now or once its copy is back.
 */
static int commit_or_mend(struct dmr_target *c, const struct dmr_record *rec,
			  unsigned int nr, unsigned int *done, bool *doubt)
{
	bool before = dmr_metadata_in_doubt(c->md);
	unsigned int again = 0;
	int r = compact(c, nr, false);

	/* If the log can't be compacted it may still grow. */
	if (r != -EIO && r != -EREMOTEIO)
		r = dmr_metadata_commit(c->md, rec, nr, done);
	if (r == -ENOSPC) {
		r = compact(c, nr, true);
		if (!r)
			r = dmr_metadata_commit(c->md, rec, nr, done);
	}
	if (r == -EIO) {
		dmr_metadata_mend(c->md);
		before = before && dmr_metadata_in_doubt(c->md);
		r = dmr_metadata_commit(c->md, rec + *done, nr - *done, &again);
		*done += again;
	}
	if (r == -EIO)
		dmr_metadata_lost(c);
	*doubt = r == -EIO && !before && dmr_metadata_in_doubt(c->md);
	dmr_metadata_changed(c);
	return r;
}

/*
 * After a crash these records might come true, so nothing may be acknowledged
 * there meanwhile: not reading from, nor writing to, the old place.
 */
static void block_in_doubt(struct dmr_target *c, const struct dmr_record *rec,
			   unsigned int nr)
{
	c->in_doubt |= nr;
	for (; nr--; rec++)
		if (rec->kind != DMR_REC_BAD_SPARE)
			make_pending(c, rec->main, rec->sectors);
}

/* A change can split a leaf at each end, a long one at each cut. */
#define SPLITS	4

bool dmr_txn_room_for_spoilt(struct dmr_target *c, unsigned int nr)
{
	nr += c->txn->nr_spoilt;
	return nr <= ARRAY_SIZE(c->txn->spoilt) &&
	       !dmr_map_reserve(&c->map, SPLITS * nr);
}

static bool may_record(struct dmr_target *c)
{
	struct dmr_meta_status meta = dmr_meta(c);

	return !c->read_only && !c->uncertain && meta.valid > meta.copies / 2;
}

/*
 * What a probe has spoilt and no record that is durable speaks of can't be read
 * either: nobody has written what main gives there now, and what went to the spare
 * may be lost with a flush. If it can't be recorded, on disk it is what it was, and
 * the next commit tries again.
 */
static void record_spoilt(struct dmr_target *c)
{
	unsigned int i, nr = 0, done = 0;
	struct dmr_record rec[DMR_MAX_EXTRA];
	struct dmr_txn *txn = c->txn;
	struct dmr_extent ex;
	bool doubt;

	/* Without room they are pending already: there was some when they were probed. */
	if (!dmr_txn_room_for_spoilt(c, 0))
		return;
	for (i = txn->nr_spoilt; i-- > 0;) {
		dmr_lookup(c, txn->spoilt[i], c->block, &ex);
		/* A load has found a commit that failed; it may be the last to find it. */
		if (ex.kind != DMR_REMAP)
			rec[nr++] = new_record(DMR_REC_PENDING, txn->spoilt[i],
					       0, c->block);
		else if (!dmr_metadata_in_doubt(c->md))
			forget_spoilt(txn, txn->spoilt[i], c->block);
	}
	if (nr && may_record(c))
		commit_or_mend(c, rec, nr, &done, &doubt);
	for (i = 0; i < done; i++)
		publish(c, &rec[i]);
	for (; i < nr; i++)
		make_pending(c, rec[i].main, c->block);
	c->soft_dirty |= done;
}

bool dmr_txn_is_spoilt(const struct dmr_target *c, sector_t sector, sector_t len)
{
	const struct dmr_txn *txn = c->txn;
	unsigned int i;

	for (i = 0; i < txn->nr_spoilt; i++)
		if (txn->spoilt[i] - sector < len)
			return true;
	return false;
}

int dmr_txn_resume(struct dmr_target *c)
{
	struct dmr_txn *txn = c->txn;
	struct dmr_extent ex;
	unsigned int i;

	if (!txn->nr_spoilt)
		return 0;
	if (!dmr_txn_room_for_spoilt(c, 0))
		return -ENOMEM;
	for (i = dmr_metadata_in_doubt(c->md) ? 0 : txn->nr_spoilt; i-- > 0;) {
		dmr_lookup(c, txn->spoilt[i], c->block, &ex);
		if (ex.kind != DMR_LINEAR)
			forget_spoilt(txn, txn->spoilt[i], c->block);
	}
	dmr_flush_mark(c, DMR_SPARE);
	record_spoilt(c);
	return 0;
}

void dmr_txn_refill(struct dmr_target *c)
{
	/* In vain if there is no memory: then the commit will ask for it. */
	dmr_map_reserve(&c->map, SPLITS * DMR_TXN_RECORDS);
	dmr_space_refill(&c->space);
}

/*
 * All records do not fit. What a probe has spoilt and had to save lives nowhere else
 * but on the spare: these alone, from @from on, may fit.
 */
static unsigned int commit_spoilt(struct dmr_target *c, unsigned int from, bool *doubt)
{
	struct dmr_txn *txn = c->txn;
	unsigned int i, nr = from, done = 0;

	for (i = from; i < txn->nr; i++) {
		const struct dmr_record *rec = &txn->rec[i];

		if (rec->kind != DMR_REC_REMAP)
			continue;
		if (dmr_txn_is_spoilt(c, rec->main, rec->sectors))
			txn->rec[nr++] = *rec;
		else
			dmr_space_free(&c->space, rec->spare, rec->sectors);
	}
	txn->nr = nr;
	if (nr > from && dmr_txn_room_for_spoilt(c, 0))
		commit_or_mend(c, txn->rec + from, nr - from, &done, doubt);
	return done;
}

int dmr_txn_sync(struct dmr_target *c)
{
	struct dmr_txn *txn = c->txn;
	unsigned int done = 0, i;
	bool doubt = false;
	int r;

	r = dmr_map_reserve(&c->map, SPLITS * (txn->nr + txn->nr_spoilt));
	if (txn->refused)
		r = -EINVAL;
	if (!r)
		r = commit_or_mend(c, txn->rec, txn->nr, &done, &doubt);
	if (r == -ENOSPC || r == -ENOMEM)
		done += commit_spoilt(c, done, &doubt);
	for (i = 0; i < done; i++)
		publish(c, &txn->rec[i]);
	/* What was durable before a failure stays; the rest is undone. */
	if (doubt)
		block_in_doubt(c, txn->rec + done, txn->nr - done);
	else if (r)
		dmr_txn_rollback(c, done, txn->nr);
	record_spoilt(c);
	forget_all(txn);
	tell_fill(c);
	return r;
}

int dmr_txn_commit(struct dmr_target *c)
{
	if (c->txn->nr)
		return dmr_txn_sync(c);
	/* Nor are there any metadata while the device is suspended. */
	if (c->txn->nr_spoilt && c->md)
		record_spoilt(c);
	return 0;
}
