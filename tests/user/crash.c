// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>

#include <linux/string.h>

#include "crash.h"

struct walk {
	struct crash_state state;
	const struct disk *d;
	struct rng *rng;
	void (*look)(const struct crash_state *s, void *context);
	void *context;
	u64 stable_hash;
	u8 fate[CRASH_MAX_WRITES];
};

/* Put into the state's disk what @fate leaves of the writes. */
static void apply(struct walk *w)
{
	struct page **now = w->state.disk->now;
	u32 i;

	w->state.hash = w->stable_hash;
	for (i = 0; i < w->d->nr_pending; i++) {
		const struct pending_write *p = &w->d->pending[i];
		u8 mask = w->fate[i] & p->stored;
		struct page *before = now[p->block];

		if (!mask)
			continue;
		/* A block may be written more than once between two flushes. */
		w->state.hash ^= page_hash(p->block, before);
		if (mask == WHOLE_BLOCK) {
			now[p->block] = p->page;
			page_get(p->page);
		} else {
			now[p->block] = page_join(p->page, before, mask);
		}
		if (before != w->d->stable[p->block])
			page_put(before);
		w->state.hash ^= page_hash(p->block, now[p->block]);
	}
}

static void undo(struct walk *w)
{
	struct page **now = w->state.disk->now;
	u32 i;

	for (i = 0; i < w->d->nr_pending; i++) {
		u64 block = w->d->pending[i].block;

		if (now[block] != w->d->stable[block])
			page_put(now[block]);
		now[block] = w->d->stable[block];
	}
}

static void look(struct walk *w)
{
	apply(w);
	w->look(&w->state, w->context);
	undo(w);
}

static void random_subset(struct walk *w)
{
	u32 i;

	for (i = 0; i < w->d->nr_pending; i++)
		w->fate[i] = rng_one_in(w->rng, 2) ? WHOLE_BLOCK : 0;
}

static void subsets(struct walk *w, u32 sample)
{
	u32 nr = w->d->nr_pending, i;
	u64 subset;

	if (nr > CRASH_ALL_SUBSETS) {
		memset(w->fate, 0, nr);
		look(w);
		memset(w->fate, WHOLE_BLOCK, nr);
		look(w);
		while (sample--) {
			random_subset(w);
			look(w);
		}
		return;
	}
	for (subset = 0; subset < 1ull << nr; subset++) {
		for (i = 0; i < nr; i++)
			w->fate[i] = subset >> i & 1 ? WHOLE_BLOCK : 0;
		look(w);
	}
}

static void torn(struct walk *w, u32 times)
{
	u32 i, place;

	for (; times; times--)
		for (i = 0; i < w->d->nr_pending; i++)
			for (place = 1; place < BLOCK_PIECES; place++) {
				u8 front = (1u << place) - 1;

				random_subset(w);
				w->fate[i] = front;
				look(w);
				w->fate[i] = ~front;
				look(w);
			}
}

static void wild(struct walk *w, u32 times)
{
	u32 i;

	for (; times && w->d->nr_pending; times--) {
		random_subset(w);
		for (i = 0; i < w->d->nr_pending; i++)
			if (rng_one_in(w->rng, 2))
				w->fate[i] = rng_next(w->rng);
		look(w);
	}
}

void crash_states(const struct disk *d, const struct crash_plan *plan, struct rng *rng,
		  void (*look)(const struct crash_state *s, void *context), void *context)
{
	/* Owns no page but those that apply() puts there and undo() removes. */
	struct disk *view = disk_new(d->blocks * BLOCK_PIECES, 0);
	struct walk w = { .d = d, .rng = rng, .look = look, .context = context };
	u64 block;

	check(d->nr_pending <= CRASH_MAX_WRITES, "%u writes without a flush", d->nr_pending);
	memcpy(view->now, d->stable, d->blocks * sizeof(*view->now));
	w.state = (struct crash_state){ .disk = view, .fate = w.fate, .origin = d };
	for (block = 0; block < d->blocks; block++)
		w.stable_hash ^= page_hash(block, d->stable[block]);
	subsets(&w, plan->subsets);
	torn(&w, plan->torn);
	wild(&w, plan->wild);
	memset(view->now, 0, d->blocks * sizeof(*view->now));
	disk_free(view);
}
