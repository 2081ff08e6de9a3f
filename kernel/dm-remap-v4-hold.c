// SPDX-License-Identifier: GPL-2.0-only
/*
 * Holding sectors; see dm-remap-v4-hold.h.
 */
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/slab.h>

#include "dm-remap-v4-hold.h"

bool dmr_hold_lookup(struct dmr_hold *h, sector_t sector, sector_t *len)
{
	/* Pairs with the release in dmr_hold_release(): map first, then this. */
	const struct dmr_held *held = smp_load_acquire(&h->set);
	unsigned int first = 0, end;
	const struct dmr_range *r;

	if (!held)
		return false;
	/* The first range that ends behind @sector. */
	for (end = held->nr; first < end; ) {
		unsigned int mid = first + (end - first) / 2;

		if (held->range[mid].end <= sector)
			first = mid + 1;
		else
			end = mid;
	}
	if (first == held->nr)
		return false;
	r = &held->range[first];
	if (r->start > sector) {
		*len = min(*len, r->start - sector);
		return false;
	}
	*len = min(*len, r->end - sector);
	return true;
}

static bool add(struct dmr_held *held, unsigned int room, sector_t start,
		sector_t len)
{
	unsigned int i = held->nr;
	sector_t end = start + len;

	if (held->nr == room)
		return false;
	while (i && held->range[i - 1].start >= start)
		i--;
	if ((i && held->range[i - 1].end > start) ||
	    (i < held->nr && held->range[i].start < end))
		return false;
	memmove(&held->range[i + 1], &held->range[i],
		(held->nr - i) * sizeof(held->range[0]));
	held->range[i].start = start;
	held->range[i].end = end;
	held->nr++;
	return true;
}

bool dmr_hold_add(struct dmr_hold *h, sector_t start, sector_t len)
{
	return add(h->buf[h->filling], DMR_MAX_HELD, start, len);
}

static long inflight(const struct dmr_hold *h, unsigned int epoch)
{
	long sum = 0;
	int cpu;

	/*
	 * Nobody counts up in an old epoch any more, so a sum that reads some
	 * CPUs early is too high, never too low.
	 */
	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(h->inflight, cpu)->nr[epoch]);
	return sum;
}

void dmr_hold_acquire(struct dmr_hold *h)
{
	unsigned int old = h->epoch;

	/* Pairs with dmr_hold_lookup(): the ranges are filled in before. */
	smp_store_release(&h->set, h->buf[h->filling]);
	/* Pairs with dmr_hold_epoch(): the set first, then the epoch. */
	smp_store_release(&h->epoch, !old);
	WRITE_ONCE(h->draining, true);
	synchronize_rcu_expedited();
	while (inflight(h, old))
		wait_event_timeout(h->drained, !inflight(h, old), HZ / 50 + 1);
	/* Pairs with dmr_hold_uncount(): the counts first, then what they did. */
	smp_mb();
	WRITE_ONCE(h->draining, false);
}

bool dmr_hold_extend(struct dmr_hold *h, sector_t start, sector_t len)
{
	struct dmr_held *more = h->buf[!h->filling];

	*more = *h->buf[h->filling];
	if (!add(more, ARRAY_SIZE(more->range), start, len))
		return false;
	h->filling = !h->filling;
	dmr_hold_acquire(h);
	return true;
}

void dmr_hold_release(struct dmr_hold *h)
{
	/* Pairs with dmr_hold_lookup(): who gets through sees the map as it is. */
	smp_store_release(&h->set, NULL);
	h->filling = !h->filling;
	h->buf[h->filling]->nr = 0;
}

int dmr_hold_init(struct dmr_hold *h)
{
	memset(h, 0, sizeof(*h));
	init_waitqueue_head(&h->drained);
	h->inflight = alloc_percpu(struct dmr_inflight);
	h->buf[0] = kzalloc(sizeof(*h->buf[0]), GFP_KERNEL);
	h->buf[1] = kzalloc(sizeof(*h->buf[1]), GFP_KERNEL);
	if (h->inflight && h->buf[0] && h->buf[1])
		return 0;
	dmr_hold_exit(h);
	return -ENOMEM;
}

void dmr_hold_exit(struct dmr_hold *h)
{
	kfree(h->buf[0]);
	kfree(h->buf[1]);
	free_percpu(h->inflight);
	h->buf[0] = NULL;
	h->buf[1] = NULL;
	h->inflight = NULL;
}
