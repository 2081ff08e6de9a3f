/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Holding sectors: while the worker moves a block nobody else may touch it,
 * on either device.
 *
 * A held range turns new bios away in the map function (they are deferred to
 * the worker). Those that were mapped before are waited for: each bio is
 * counted in the epoch in which it was mapped, per CPU, so the path of a bio
 * writes no shared cache line. dmr_hold_acquire() publishes the ranges, begins
 * a new epoch, waits for an RCU grace period (every map call that may have
 * missed the ranges has counted its bio by then) and then until the count of
 * the old epoch is zero.
 */
#ifndef DM_REMAP_V4_HOLD_H
#define DM_REMAP_V4_HOLD_H

#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/types.h>
#include <linux/wait.h>

#define DMR_MAX_HELD	512
#define DMR_MAX_EXTRA	16	/* of dmr_hold_extend(), beyond those */

struct dmr_range {
	sector_t start;
	sector_t end;
};

struct dmr_held {
	unsigned int nr;
	struct dmr_range range[DMR_MAX_HELD + DMR_MAX_EXTRA];	/* sorted, not overlapping */
};

struct dmr_inflight {
	long nr[2];	/* by epoch; may be negative on one CPU, never in sum */
};

struct dmr_hold {
	/*
	 * NULL: nothing held. Store-release by the worker, load-acquire in
	 * dmr_hold_lookup() and dmr_hold_any().
	 */
	struct dmr_held *set;
	/*
	 * 0 or 1. Store-release by the worker, after set; load-acquire in
	 * dmr_hold_epoch().
	 */
	unsigned int epoch;
	struct dmr_inflight __percpu *inflight;
	wait_queue_head_t drained;
	bool draining;		/* the worker waits; WRITE_ONCE */

	/*
	 * The worker's own. Two, because readers may still look at the one
	 * replaced last; the grace period of the next acquire ends that.
	 */
	struct dmr_held *buf[2];
	unsigned int filling;
};

int dmr_hold_init(struct dmr_hold *h);
void dmr_hold_exit(struct dmr_hold *h);

/* Add a range to the set that will be held. False: overlaps, or no room. */
bool dmr_hold_add(struct dmr_hold *h, sector_t start, sector_t len);
void dmr_hold_acquire(struct dmr_hold *h);

/* Hold one more range, behind dmr_hold_acquire(). False: overlaps, or no room. */
bool dmr_hold_extend(struct dmr_hold *h, sector_t start, sector_t len);

/* What was published in the map before this is seen by whoever gets through. */
void dmr_hold_release(struct dmr_hold *h);

/* Is anything? */
static inline bool dmr_hold_any(const struct dmr_hold *h)
{
	/* Pairs with the release in dmr_hold_release(): map first, then this. */
	return smp_load_acquire(&h->set);
}

/*
 * Is @sector held? *@len is cut to the sectors for which the answer is the
 * same. Under rcu_read_lock_sched().
 */
bool dmr_hold_lookup(struct dmr_hold *h, sector_t sector, sector_t *len);

/*
 * The epoch to count a bio in. To be read before anything that says whether
 * sectors are held: who sees the new epoch then sees the new set as well, and
 * who missed the set counts in the epoch that is waited for.
 */
static inline unsigned int dmr_hold_epoch(struct dmr_hold *h)
{
	/* Pairs with the release in dmr_hold_acquire(). */
	return smp_load_acquire(&h->epoch);
}

/* Count a bio; under the same rcu_read_lock_sched() as the lookup that let it pass. */
static inline void dmr_hold_count(struct dmr_hold *h, unsigned int epoch)
{
	this_cpu_inc(h->inflight->nr[epoch]);
}

/* Its I/O is over. True: somebody waits for that, see dmr_hold_wake(). */
static inline bool dmr_hold_uncount(struct dmr_hold *h, unsigned int epoch)
{
	/* What it did is done before it counts as done; pairs with the worker's. */
	smp_wmb();
	this_cpu_dec(h->inflight->nr[epoch]);
	/* A wake-up missed for want of a barrier costs the worker one tick. */
	return READ_ONCE(h->draining);
}

static inline void dmr_hold_wake(struct dmr_hold *h)
{
	wake_up(&h->drained);
}

#endif
