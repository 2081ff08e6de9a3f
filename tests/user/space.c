// SPDX-License-Identifier: GPL-2.0-only
/*
 * The free space of a spare against an array of flags. The source is included,
 * to look at its tree too.
 */
#include <stdio.h>

#include "dm-remap-v4-space.c"
#include "shim/options.h"
#include "shim/shim.h"

#define MAX_SECTORS	16384

static const sector_t start = 2048;	/* as of a spare with five copies */
static sector_t end;
static struct dmr_space space;
static bool taken[2048 + MAX_SECTORS];
static struct rng rng;
static u64 nr_allocs, nr_frees, nr_takes, nr_checks, nr_failed;

static sector_t run_length(sector_t at)
{
	sector_t n = 0;

	while (at + n < end && !taken[at + n])
		n++;
	return n;
}

static void check_all(void)
{
	struct rb_node *n;
	sector_t at = start, used = 0, i;

	for (n = rb_first(&space.free); n; n = rb_next(n)) {
		const __typeof__(*to_extent(n)) *x = to_extent(n);

		check(x->start < x->end && x->end <= end, "impossible extent");
		check(at == start || x->start > at, "free extents that are one");
		for (; at < x->start; at++)
			check(taken[at], "%llu should be free", at);
		check(run_length(at) == x->end - x->start, "free from %llu: not as it should be", at);
		at = x->end;
	}
	for (; at < end; at++)
		check(taken[at], "%llu should be free", at);
	for (i = start; i < end; i++)
		used += taken[i];
	check(space.used == used && space.total == end - start, "used %llu, not %llu", space.used, used);
	nr_checks++;
}

/*
 * What dmr_space_alloc() must find: the first run from the cursor on that has a
 * unit, then from the start, where the run with the cursor counts whole.
 */
static sector_t expected(sector_t len, sector_t unit, sector_t *found)
{
	sector_t at = space.cursor, n, r;
	bool wrapped = false;

	for (;;) {
		while (at < end && taken[at])
			at++;
		if (at == end && wrapped)
			return 0;
		if (at == end) {
			wrapped = true;
			at = start;
			continue;
		}
		r = run_length(at);
		n = min(len, r);
		n -= n % unit;
		if (n) {
			*found = at;
			return n;
		}
		at += r;
	}
}

static void maybe_fail(void)
{
	shim_no_memory(rng_one_in(&rng, 8));
}

static bool failed(void)
{
	bool f = shim_alloc_failed();

	shim_no_memory(false);
	nr_failed += f;
	return f;
}

static void alloc(sector_t longest)
{
	static const sector_t units[] = { 1, 8, 16 };
	sector_t unit = units[rng_below(&rng, 3)], at = 0, want_at = 0, want, got, i;
	sector_t len = unit * (1 + rng_below(&rng, longest / unit)), cursor = space.cursor;

	/* Log segments are taken whole or not at all. */
	if (rng_one_in(&rng, 4))
		unit = len;
	want = expected(len, unit, &want_at);
	maybe_fail();
	got = dmr_space_alloc(&space, len, unit, &at);
	if (failed() && !got) {
		check(space.cursor == cursor, "failed, and moved the cursor");
		return;
	}
	check(got == want && (!got || at == want_at), "%llu by %llu: %llu at %llu, not %llu at %llu",
	      len, unit, got, at, want, want_at);
	check(!got || space.cursor == at + got, "cursor %llu", space.cursor);
	for (i = 0; i < got; i++)
		taken[at + i] = true;
	nr_allocs++;
}

static void take(sector_t longest)
{
	sector_t at = rng_below(&rng, end + 100), len = 1 + rng_below(&rng, longest), i;
	bool free = at >= start && at + len <= end && run_length(at) >= len;
	int r;

	maybe_fail();
	r = dmr_space_take(&space, at, len);
	if (failed() && r == -ENOMEM)
		return;
	check(r == (free ? 0 : -EBUSY), "take %llu + %llu: %d", at, len, r);
	for (i = 0; free && i < len; i++)
		taken[at + i] = true;
	nr_takes++;
}

static void take_rest(sector_t longest)
{
	sector_t at = start + rng_below(&rng, end - start), i;
	sector_t len = 1 + rng_below(&rng, min(longest, end - at));
	int r;

	maybe_fail();
	r = dmr_space_take_rest(&space, at, len);
	if (failed() && r == -ENOMEM)
		return;
	check(!r, "take the rest of %llu + %llu: %d", at, len, r);
	for (i = 0; i < len; i++)
		taken[at + i] = true;
	nr_takes++;
}

static void give_back(sector_t longest)
{
	sector_t at = start + rng_below(&rng, end - start), len, i;
	u64 used = space.used;

	while (at < end && !taken[at])
		at++;
	for (len = 0; len < longest && at + len < end && taken[at + len]; len++)
		;
	if (!len)
		return;
	len = 1 + rng_below(&rng, len);
	maybe_fail();
	dmr_space_free(&space, at, len);
	nr_frees++;
	/* Without memory it stays used until the next load. */
	if (failed() && space.used == used)
		return;
	for (i = 0; i < len; i++)
		taken[at + i] = false;
}

static void run(sector_t sectors, sector_t longest, u64 count)
{
	u64 i;

	end = start + sectors;
	memset(taken, 0, sizeof(taken));
	shim_no_memory(true);
	check(dmr_space_init(&space, start, end) == -ENOMEM, "init without memory");
	shim_no_memory(false);
	check(!dmr_space_init(&space, start, end), "init");
	check_all();
	for (i = 0; i < count; i++) {
		/* Fills up and empties in turns. */
		unsigned int filling = i / 5000 % 2 ? 3 : 6;
		u64 what = rng_below(&rng, 10);

		if (what < filling)
			alloc(longest);
		else if (what == 9)
			rng_one_in(&rng, 2) ? take(longest) : take_rest(longest);
		else
			give_back(longest);
		if (rng_one_in(&rng, 200))
			dmr_space_refill(&space);
		if (rng_one_in(&rng, 2000))
			check_all();
	}
	check_all();
	dmr_space_exit(&space);
}

int main(int argc, char **argv)
{
	struct options o = { .seed = 1, .count = 1000000 };

	parse_options(argc, argv, &o, NULL);
	rng.state = o.seed;
	run(512, 40, o.count / 2);
	run(4096, 64, o.count / 4);
	run(MAX_SECTORS, 600, o.count / 4);
	printf("allocs=%llu takes=%llu frees=%llu checks=%llu failed_allocations=%llu\n",
	       nr_allocs, nr_takes, nr_frees, nr_checks, nr_failed);
	return 0;
}
