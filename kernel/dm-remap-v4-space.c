// SPDX-License-Identifier: GPL-2.0-only
/*
 * Free space on the spare; see dm-remap-v4-space.h.
 */
#include <linux/errno.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/slab.h>

#include "dm-remap-v4-space.h"

struct dmr_free_extent {
	struct rb_node node;
	sector_t start;
	sector_t end;
};

static struct dmr_free_extent *to_extent(struct rb_node *node)
{
	return node ? rb_entry(node, struct dmr_free_extent, node) : NULL;
}

/* The first free extent that ends behind @at. */
static struct dmr_free_extent *find(struct dmr_space *sp, sector_t at)
{
	struct rb_node *n = sp->free.rb_node;
	struct dmr_free_extent *best = NULL;

	while (n) {
		struct dmr_free_extent *x = to_extent(n);

		if (x->end > at) {
			best = x;
			n = n->rb_left;
		} else {
			n = n->rb_right;
		}
	}
	return best;
}

static int insert(struct dmr_space *sp, sector_t start, sector_t end)
{
	struct dmr_free_extent *x = kmalloc(sizeof(*x), GFP_NOWAIT | __GFP_NOWARN);
	struct rb_node **link = &sp->free.rb_node, *parent = NULL;

	if (!x && sp->nr_reserve)
		x = sp->reserve[--sp->nr_reserve];
	if (!x)
		return -ENOMEM;
	x->start = start;
	x->end = end;
	while (*link) {
		parent = *link;
		link = start < to_extent(parent)->start ? &parent->rb_left :
							  &parent->rb_right;
	}
	rb_link_node(&x->node, parent, link);
	rb_insert_color(&x->node, &sp->free);
	return 0;
}

static void drop(struct dmr_space *sp, struct dmr_free_extent *x)
{
	rb_erase(&x->node, &sp->free);
	kfree(x);
}

void dmr_space_refill(struct dmr_space *sp)
{
	struct dmr_free_extent *x;

	while (sp->nr_reserve < DMR_SPACE_RESERVE) {
		x = kmalloc(sizeof(*x), GFP_NOIO | __GFP_NORETRY | __GFP_NOWARN);
		if (!x)
			break;
		sp->reserve[sp->nr_reserve++] = x;
	}
}

static void add_used(struct dmr_space *sp, s64 sectors)
{
	WRITE_ONCE(sp->used, sp->used + sectors);
}

/* Take [@at, @at + @len) out of @x, which holds all of it. */
static int carve(struct dmr_space *sp, struct dmr_free_extent *x, sector_t at,
		 sector_t len)
{
	sector_t end = x->end;

	if (at > x->start && at + len < end) {
		int r = insert(sp, at + len, end);

		if (r)
			return r;
		x->end = at;
	} else if (at > x->start) {
		x->end = at;
	} else if (at + len < end) {
		x->start = at + len;
	} else {
		drop(sp, x);
	}
	add_used(sp, len);
	return 0;
}

sector_t dmr_space_alloc(struct dmr_space *sp, sector_t len, sector_t unit,
			 sector_t *at)
{
	struct dmr_free_extent *x, *first;
	sector_t from = sp->cursor, n;
	bool wrapped = false;
	u64 rest;

	first = find(sp, from);
	x = first;
	for (;;) {
		if (!x) {
			if (wrapped)
				return 0;
			wrapped = true;
			from = sp->start;
			x = find(sp, from);
			if (!x)
				return 0;
		}
		*at = max(x->start, from);
		n = min(len, x->end - *at);
		div64_u64_rem(n, unit, &rest);
		n -= rest;
		if (n)
			break;
		if (wrapped && x == first)
			return 0;
		x = to_extent(rb_next(&x->node));
	}
	if (carve(sp, x, *at, n))
		return 0;
	sp->cursor = *at + n;
	return n;
}

int dmr_space_take(struct dmr_space *sp, sector_t at, sector_t len)
{
	struct dmr_free_extent *x = find(sp, at);

	if (!x || x->start > at || x->end - at < len)
		return -EBUSY;
	return carve(sp, x, at, len);
}

int dmr_space_take_rest(struct dmr_space *sp, sector_t at, sector_t len)
{
	sector_t end = at + len, n;
	struct dmr_free_extent *x;
	int r;

	while ((x = find(sp, at)) && x->start < end) {
		at = max(at, x->start);
		n = min(x->end, end) - at;
		r = carve(sp, x, at, n);
		if (r)
			return r;
		at += n;
	}
	return 0;
}

void dmr_space_free(struct dmr_space *sp, sector_t at, sector_t len)
{
	sector_t end = at + len;
	struct dmr_free_extent *next = find(sp, at), *prev = NULL;

	add_used(sp, -(s64)len);

	if (next)
		prev = to_extent(rb_prev(&next->node));
	else
		prev = to_extent(rb_last(&sp->free));

	if (prev && prev->end == at) {
		prev->end = end;
		if (next && next->start == end) {
			prev->end = next->end;
			drop(sp, next);
		}
	} else if (next && next->start == end) {
		next->start = at;
	} else if (insert(sp, at, end)) {
		/* Not remembered as free, so it counts as used. */
		add_used(sp, len);
	}
}

int dmr_space_init(struct dmr_space *sp, sector_t start, sector_t end)
{
	sp->free = RB_ROOT;
	sp->start = start;
	sp->end = end;
	sp->cursor = start;
	WRITE_ONCE(sp->total, end - start);
	WRITE_ONCE(sp->used, 0);
	sp->nr_reserve = 0;
	dmr_space_refill(sp);
	return insert(sp, start, end);
}

void dmr_space_exit(struct dmr_space *sp)
{
	struct rb_node *n;

	while ((n = rb_first(&sp->free)))
		drop(sp, to_extent(n));
	while (sp->nr_reserve)
		kfree(sp->reserve[--sp->nr_reserve]);
}
