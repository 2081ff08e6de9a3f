// SPDX-License-Identifier: GPL-2.0-only
#include <linux/bitops.h>
#include <linux/errno.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "dm-remap-v4-replay.h"

static bool ascending(const struct dmr_entry *x, u32 nr)
{
	u32 i;

	for (i = 1; i < nr; i++)
		if (x[i - 1].start_len > x[i].start_len)
			return false;
	return true;
}

/*
 * The order of @nr entries by where they begin, by one digit after the other: for
 * a million this takes a tenth of what sort() does. NULL without memory; to be
 * freed as *@mem.
 */
#define DIGIT_BITS	14
#define DIGITS		BIT(DIGIT_BITS)

static unsigned int digit_at(const struct dmr_entry *x, unsigned int low)
{
	return x->start_len >> low & (DIGITS - 1);
}

static u32 *sorted(const struct dmr_entry *x, u32 nr, u32 **mem)
{
	unsigned int low = 0, end = 0, digit;
	u32 *order, *room, *first, sum, n, i;
	u64 differ = 0;

	if (!ascending(x, nr)) {
		for (i = 0; i < nr; i++)
			differ |= x[i].start_len ^ x[0].start_len;
		low = __ffs64(differ);
		end = fls64(differ);
	}
	order = kvmalloc(sizeof(*order) * (2 * (size_t)nr + (low < end ? DIGITS : 0)),
			 GFP_NOIO | __GFP_NOWARN);
	*mem = order;
	if (!order)
		return NULL;
	room = order + nr;
	first = room + nr;

	for (i = 0; i < nr; i++)
		order[i] = i;
	for (; low < end; low += DIGIT_BITS) {
		/* Where those begin that have a value as this digit. */
		memset(first, 0, sizeof(*first) * DIGITS);
		for (i = 0; i < nr; i++)
			first[digit_at(&x[i], low)]++;
		for (sum = 0, digit = 0; digit < DIGITS; digit++, sum += n) {
			n = first[digit];
			first[digit] = sum;
		}
		for (i = 0; i < nr; i++)
			room[first[digit_at(&x[order[i]], low)]++] = order[i];
		swap(order, room);
		cond_resched();
	}
	return order;
}

/* ---------------------------------------------------------------- changes */

#define FIRST_CHANGES	4096U
#define MAX_CHANGES	1048576U	/* 16 MiB, and half as much to sort them */

/* May these be made in any order? @order is that of their sectors. */
static bool disjoint(const struct dmr_entry *x, const u32 *order, u32 nr)
{
	sector_t end = 0;
	u32 i;

	for (i = 0; i < nr; i++) {
		if (dmr_entry_start(&x[order[i]]) < end)
			return false;
		end = dmr_entry_end(&x[order[i]]);
	}
	return true;
}

static int make_one_by_one(struct dmr_replay *r, const u32 *order)
{
	int error;
	u32 i;

	for (i = 0; i < r->nr; i++) {
		const struct dmr_entry *x = &r->change[order ? order[i] : i];

		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		error = dmr_map_reserve(r->map, 4);
		if (error)
			return error;
		dmr_map_set(r->map, dmr_entry_start(x), dmr_entry_len(x),
			    dmr_entry_kind(x), dmr_entry_spare(x));
	}
	return 0;
}

/*
 * Make the changes kept so far. The map takes them by far best in the order of
 * their sectors, and all at once if it has none yet, but of changes to one sector
 * the last counts. *@all: they were made so, and it has nothing else.
 */
static int make_changes(struct dmr_replay *r, bool *all)
{
	u32 *mem, *order = sorted(r->change, r->nr, &mem);
	int error = -EEXIST;

	if (order && dmr_map_empty(r->map))
		error = dmr_map_fill(r->map, r->change, order, r->nr);
	*all = !error;
	if (error == -EEXIST) {
		if (order && !disjoint(r->change, order, r->nr))
			order = NULL;
		error = make_one_by_one(r, order);
	}
	kvfree(mem);
	return error;
}

/* Make room for one more change, where there is none. */
static noinline int make_room(struct dmr_replay *r)
{
	u32 room = r->room ? min(8 * r->room, MAX_CHANGES) : FIRST_CHANGES;
	struct dmr_entry *more = NULL;
	int error;
	bool all;

	if (room > r->room)
		more = kvmalloc_array(room, sizeof(*more), GFP_NOIO | __GFP_NOWARN);
	if (!more) {
		error = r->nr ? make_changes(r, &all) : -ENOMEM;
		r->nr = 0;
		return error;
	}
	if (r->nr)
		memcpy(more, r->change, r->nr * sizeof(*more));
	kvfree(r->change);
	r->change = more;
	r->room = room;
	return 0;
}

static bool on_main(const struct dmr_replay *r, const struct dmr_record *rec)
{
	return rec->main < r->main_sectors && rec->sectors <= r->main_sectors - rec->main;
}

static bool on_spare(const struct dmr_replay *r, const struct dmr_record *rec)
{
	return rec->spare >= r->space->start && rec->spare < r->space->end &&
	       rec->sectors <= r->space->end - rec->spare;
}

static __always_inline int keep_change(struct dmr_replay *r, struct dmr_entry x)
{
	int error = r->nr == r->room ? make_room(r) : 0;

	if (!error)
		r->change[r->nr++] = x;
	return error;
}

static __always_inline int keep_changes(struct dmr_replay *r, const struct dmr_record *rec,
					enum dmr_kind kind)
{
	u64 main = rec->main, spare = rec->spare;
	u32 len = rec->sectors;
	const u32 n = DMR_MAX_ENTRY_LEN;
	int error;

	for (; unlikely(len > n); main += n, spare += n, len -= n) {
		error = keep_change(r, dmr_make_entry(main, n, kind, spare));
		if (error)
			return error;
	}
	return keep_change(r, dmr_make_entry(main, len, kind, spare));
}

/* Do the places of the remaps ascend, as they were given out? */
static void note_order(struct dmr_replay *r, const struct dmr_record *rec)
{
	r->any_order |= rec->spare < r->places_end;
	r->places_end = rec->spare + rec->sectors;
}

static __always_inline int replay_record(struct dmr_replay *r, const struct dmr_record *rec)
{
	enum dmr_kind kind;

	if (!rec->sectors || (rec->main | rec->spare | rec->sectors) & (r->block - 1))
		return -EINVAL;
	if (likely(rec->kind == DMR_REC_REMAP)) {
		if (!on_main(r, rec) || !on_spare(r, rec))
			return -EINVAL;
		note_order(r, rec);
		return keep_changes(r, rec, DMR_REMAP);
	}
	switch (rec->kind) {
	case DMR_REC_PENDING:
	case DMR_REC_FREE:
		if (!on_main(r, rec) || rec->spare)
			return -EINVAL;
		kind = rec->kind == DMR_REC_FREE ? DMR_LINEAR : DMR_PENDING;
		break;
	case DMR_REC_BAD_SPARE:
		if (rec->main || !on_spare(r, rec))
			return -EINVAL;
		/* May be recorded again, in part or whole. */
		dmr_space_refill(r->space);
		return dmr_space_take_rest(r->space, rec->spare, rec->sectors);
	default:
		return -EINVAL;
	}
	return keep_changes(r, rec, kind);
}

int dmr_replay_records(void *replay, const struct dmr_record *rec, unsigned int nr)
{
	const struct dmr_record *end = rec + nr;
	int error = 0;

	for (; rec < end && !error; rec++)
		error = replay_record(replay, rec);
	return error;
}

/* ----------------------------------------------------------------- places */

/* What touches is taken as one, or free space would fall into many pieces first. */
struct taking {
	struct dmr_space *space;
	sector_t start, end;
};

static int take_run(const struct taking *t)
{
	if (t->start == t->end)
		return 0;
	cond_resched();
	dmr_space_refill(t->space);
	return dmr_space_take(t->space, t->start, t->end - t->start);
}

static int take_next(struct taking *t, sector_t start, sector_t len)
{
	int error = 0;

	if (start != t->end) {
		error = take_run(t);
		t->start = start;
	}
	t->end = start + len;
	return error;
}

/*
 * Those of the changes kept, which are all that the map has, and ascend: free space
 * stays in few pieces if they are taken in the order of the log.
 */
static int take_ascending(struct dmr_replay *r)
{
	struct taking t = { .space = r->space };
	int error = 0;
	u32 i;

	for (i = 0; i < r->nr && !error; i++) {
		const struct dmr_entry *x = &r->change[i];

		if (dmr_entry_kind(x) == DMR_REMAP)
			error = take_next(&t, dmr_entry_spare(x), dmr_entry_len(x));
	}
	return error ?: take_run(&t);
}

struct places {
	u32 nr;
	struct dmr_entry *place;	/* by sector of the spare; NULL: count them */
};

static void note_place(void *context, const struct dmr_extent *ex)
{
	struct places *p = context;

	if (ex->kind != DMR_REMAP)
		return;
	if (p->place)
		p->place[p->nr] = dmr_make_entry(ex->spare, ex->len, DMR_LINEAR, 0);
	p->nr++;
}

static int take_sorted(struct dmr_replay *r, const struct places *p, const u32 *order)
{
	struct taking t = { .space = r->space };
	int error = 0;
	u32 i;

	for (i = 0; i < p->nr && !error; i++) {
		const struct dmr_entry *x = &p->place[order[i]];

		error = take_next(&t, dmr_entry_start(x), dmr_entry_len(x));
	}
	return error ?: take_run(&t);
}

/* Those of the map, in whatever order they come. */
static int take_places(struct dmr_replay *r)
{
	struct places p = {};
	u32 *mem = NULL, *order;
	int error = -ENOMEM;

	dmr_map_walk(r->map, note_place, &p);
	if (!p.nr)
		return 0;
	p.place = kvmalloc_array(p.nr, sizeof(*p.place), GFP_NOIO);
	p.nr = 0;
	if (p.place) {
		dmr_map_walk(r->map, note_place, &p);
		order = sorted(p.place, p.nr, &mem);
		if (order)
			error = take_sorted(r, &p, order);
	}
	kvfree(mem);
	kvfree(p.place);
	return error;
}

void dmr_replay_exit(struct dmr_replay *r)
{
	kvfree(r->change);
	r->change = NULL;
	r->nr = 0;
	r->room = 0;
}

int dmr_replay_finish(struct dmr_replay *r)
{
	bool all = false;
	int error = r->nr ? make_changes(r, &all) : 0;
	bool in_order = !error && all && !r->any_order;

	if (in_order)
		error = take_ascending(r);
	dmr_replay_exit(r);
	return error || in_order ? error : take_places(r);
}
