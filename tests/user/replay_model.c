// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random logs, replayed, against an array with one entry a block: those in which
 * each block changes once, in any order or in that of the sectors, and those in which
 * changes overlap, everywhere or in one place; of short records, and of some that are
 * longer than an entry of the map can be; with all the memory there is, and without.
 */
#include <stdio.h>

#include <linux/errno.h>

#include "dm-remap-v4-replay.h"
#include "shim/options.h"
#include "shim/shim.h"

#define SHORT_BLOCK	8u		/* sectors */
#define LONG_BLOCK	16384u		/* the longest record takes eight entries */
#define BLOCKS		16384u		/* of main */
#define PLACES		65536u		/* blocks of the spare */
#define LONGEST		16u		/* record, blocks */
#define GROUPS		(BLOCKS / LONGEST)	/* a power of two */
#define RECORDS		6000u		/* more than the first room for them */
#define SPARE_START	256u		/* blocks */

enum log { ANY_ORDER, ASCENDING, OVERLAPPING, FREED_BEHIND, LOGS };

struct cell {
	enum dmr_kind kind;
	sector_t spare;
};

static struct cell model[BLOCKS];
static struct dmr_map map;
static struct dmr_space space;
static struct rng rng;
static sector_t block;			/* length of one, in this run */
static u64 nr_records, nr_overlapping, nr_cut, nr_without_memory, nr_given_up;

/* Before this record of a run one of the next allocations fails, or all. */
static u32 fail_at, nr_replayed;

static void lack_memory(void)
{
	if (rng_one_in(&rng, 4))
		shim_no_memory(true);
	else
		shim_fail_alloc(1 + rng_below(&rng, 12));
}

/* What could not be done for that has no result, and leaves nothing behind. */
static bool given_up(int error)
{
	bool failed = shim_alloc_failed();

	shim_no_memory(false);
	shim_fail_alloc(0);
	nr_without_memory += failed;
	nr_given_up += failed && error == -ENOMEM;
	return failed && error == -ENOMEM;
}

static u16 any_kind(void)
{
	static const u16 kinds[] = { DMR_REC_REMAP, DMR_REC_PENDING, DMR_REC_FREE };

	return kinds[rng_below(&rng, ARRAY_SIZE(kinds))];
}

/*
 * A remap gets the place @next, behind which the next one begins. Returns as
 * dmr_replay_records(), what can't fail but for memory.
 */
static int replay_one(struct dmr_replay *r, u16 kind, u32 at, u32 len, u32 *next)
{
	static const enum dmr_kind kinds[] = {
		[DMR_REC_REMAP] = DMR_REMAP, [DMR_REC_PENDING] = DMR_PENDING,
		[DMR_REC_FREE] = DMR_LINEAR,
	};
	struct dmr_record rec = { .main = at * block, .sectors = len * block, .kind = kind };
	u32 i;
	int error;

	if (kind == DMR_REC_REMAP) {
		rec.spare = (SPARE_START + *next) * block;
		*next += len;
	}
	if (nr_replayed++ == fail_at)
		lack_memory();
	error = dmr_replay_records(r, &rec, 1);
	if (error)
		return error;
	for (i = 0; i < len; i++) {
		nr_overlapping += model[at + i].kind != DMR_LINEAR;
		model[at + i].kind = kinds[kind];
		model[at + i].spare = kind == DMR_REC_REMAP ? rec.spare + i * block : 0;
	}
	nr_records++;
	return 0;
}

/*
 * Each block of main once at most: the step, which is odd, meets all groups. @gap:
 * so many blocks at the beginning of each are left.
 */
static int replay_disjoint(struct dmr_replay *r, u32 gap)
{
	u32 step = 2 * rng_below(&rng, GROUPS / 2) + 1, i, next = 0;
	bool wraps = rng_one_in(&rng, 2);	/* as free space does */
	int error = 0;

	for (i = 0; i < GROUPS && !error; i++) {
		if (wraps && i % (GROUPS / 2) == 0)
			next = i ? 0 : PLACES / 2;
		next += rng_below(&rng, 2);
		error = replay_one(r, any_kind(), i * step % GROUPS * LONGEST + gap,
				   1 + rng_below(&rng, LONGEST - gap), &next);
	}
	return error;
}

/* Neighbours, which mostly continue each other: extents that need many entries. */
static int replay_ascending(struct dmr_replay *r)
{
	u16 kind = any_kind();
	u32 at, len, next = 0;
	int error = 0;

	for (at = 0; at < BLOCKS && !error; at += len) {
		len = min(1 + (u32)rng_below(&rng, LONGEST), BLOCKS - at);
		if (rng_one_in(&rng, 16))
			kind = any_kind();
		next += rng_one_in(&rng, 16);
		error = replay_one(r, kind, at, len, &next);
	}
	return error;
}

static int replay_overlapping(struct dmr_replay *r)
{
	u32 i, len, next = 0;
	int error = 0;

	for (i = 0; i < RECORDS && !error; i++) {
		len = 1 + rng_below(&rng, LONGEST);
		next += rng_below(&rng, 2);
		error = replay_one(r, any_kind(), rng_below(&rng, BLOCKS - len), len, &next);
	}
	return error;
}

/*
 * One group is freed as a whole: all that overlaps is a change to nothing, which
 * comes first by sector, and what was there before it in the log.
 */
static int replay_freed_behind(struct dmr_replay *r)
{
	int error = replay_disjoint(r, 1);

	return error ?: replay_one(r, DMR_REC_FREE, rng_below(&rng, GROUPS) * LONGEST, LONGEST, NULL);
}

static int replay(struct dmr_replay *r, enum log log)
{
	switch (log) {
	case ANY_ORDER:
		return replay_disjoint(r, 0);
	case ASCENDING:
		return replay_ascending(r);
	case OVERLAPPING:
		return replay_overlapping(r);
	default:
		return replay_freed_behind(r);
	}
}

/* Neighbours that map to neighbours are one extent. */
static bool continues(u32 i)
{
	const struct cell *before = &model[i - 1], *cell = &model[i];

	return before->kind == cell->kind &&
	       (cell->kind != DMR_REMAP || before->spare + block == cell->spare);
}

/*
 * By kind, how often an extent goes on in another entry. If it was @packed that is
 * only where the two would not fit into one.
 */
static void count_cuts(u64 cuts[], bool packed)
{
	struct dmr_extent ex = {};
	sector_t last;
	u32 at;

	for (at = 0; at < BLOCKS; at += ex.len / block) {
		last = ex.len;
		dmr_map_lookup(&map, at * block, (BLOCKS - at) * block, &ex);
		check(ex.len >= block, "block %u: an extent of %llu sectors", at, ex.len);
		if (!at || ex.kind == DMR_LINEAR || !continues(at))
			continue;
		check(!packed || last + ex.len > DMR_MAX_ENTRY_LEN,
		      "block %u: entries of %llu and %llu sectors could be one", at, last, ex.len);
		cuts[ex.kind]++;
		nr_cut++;
	}
}

static void check_numbers(bool packed)
{
	u64 nr[DMR_REMAP + DMR_PENDING + 1] = {}, sectors[ARRAY_SIZE(nr)] = {}, cuts[ARRAY_SIZE(nr)] = {};
	u32 i;

	for (i = 0; i < BLOCKS; i++) {
		nr[model[i].kind] += !i || !continues(i);
		sectors[model[i].kind] += block;
	}
	check(map.remap_sectors == sectors[DMR_REMAP] && map.pending_sectors == sectors[DMR_PENDING],
	      "%llu and %llu sectors, not %llu and %llu", map.remap_sectors, map.pending_sectors,
	      sectors[DMR_REMAP], sectors[DMR_PENDING]);
	/* An extent that is cut where a leaf ends counts as two. */
	count_cuts(cuts, packed);
	check(map.nr_remap >= nr[DMR_REMAP] && map.nr_remap <= nr[DMR_REMAP] + cuts[DMR_REMAP] &&
	      map.nr_pending >= nr[DMR_PENDING] && map.nr_pending <= nr[DMR_PENDING] + cuts[DMR_PENDING],
	      "%llu and %llu extents, not %llu and %llu, cut %llu and %llu times", map.nr_remap,
	      map.nr_pending, nr[DMR_REMAP], nr[DMR_PENDING], cuts[DMR_REMAP], cuts[DMR_PENDING]);
}

/* The map counts what goes as it had counted it when it came. */
static void check_freed(void)
{
	sector_t at;

	for (at = 0; at < BLOCKS * block; at += DMR_MAX_ENTRY_LEN) {
		check(!dmr_map_reserve(&map, 4), "no memory");
		dmr_map_set(&map, at, DMR_MAX_ENTRY_LEN, DMR_LINEAR, 0);
	}
	check(dmr_map_empty(&map) && !map.nr_remap && !map.nr_pending,
	      "%llu and %llu extents of %llu and %llu sectors are left", map.nr_remap,
	      map.nr_pending, map.remap_sectors, map.pending_sectors);
}

static void check_all(void)
{
	struct dmr_extent ex;
	sector_t used = 0, at;
	u32 i;

	for (i = 0; i < BLOCKS; i++) {
		dmr_map_lookup(&map, i * block, block, &ex);
		check(ex.kind == model[i].kind && ex.spare == model[i].spare && ex.len == block,
		      "block %u: %u at %llu, not %u at %llu", i, ex.kind, ex.spare,
		      model[i].kind, model[i].spare);
		if (ex.kind != DMR_REMAP)
			continue;
		used += block;
		check(dmr_space_take(&space, ex.spare, block) == -EBUSY, "a place in use is free");
	}
	check(space.used == used, "%llu sectors in use, not %llu", space.used, used);
	check(dmr_space_alloc(&space, block, block, &at) == block, "nothing is free");
}

/* Two remaps of one place: -EBUSY, if there is memory to find out. */
static int replay_same(struct dmr_replay *r)
{
	struct dmr_record same[] = {
		{ .main = 0, .sectors = block, .kind = DMR_REC_REMAP },
		{ .main = block, .sectors = block, .kind = DMR_REC_REMAP },
	};

	same[0].spare = same[1].spare = (SPARE_START + PLACES - 1) * block;
	return dmr_replay_records(r, same, ARRAY_SIZE(same));
}

static void run(enum log log, bool fails)
{
	struct dmr_replay r = {
		.map = &map, .space = &space, .main_sectors = BLOCKS * block, .block = block,
	};
	bool twice = rng_one_in(&rng, 8);
	int error;

	memset(model, 0, sizeof(model));
	check(!dmr_map_init(&map), "no memory");
	check(!dmr_space_init(&space, SPARE_START * block, (SPARE_START + PLACES) * block), "no memory");
	nr_replayed = 0;
	fail_at = fails ? rng_below(&rng, RECORDS) : U32_MAX;
	error = replay(&r, log);
	if (fails && nr_replayed <= fail_at)
		lack_memory();
	if (!error && twice)
		error = replay_same(&r);
	if (!error)
		error = dmr_replay_finish(&r);
	if (!given_up(error)) {
		check(error == (twice ? -EBUSY : 0), "places shared, or not: %d", error);
		dmr_map_loaded(&map, BLOCKS * block);
		if (!twice) {
			check_all();
			/* Made one by one, those on both sides of a leaf's border may stay two. */
			check_numbers((log == ANY_ORDER || log == ASCENDING) && !fails);
			check_freed();
		}
	}
	dmr_replay_exit(&r);
	dmr_space_exit(&space);
	dmr_map_exit(&map);
}

/* Extents that overlap, wherever they do, leave nothing in the map. */
static void fill_overlapping(void)
{
	static struct dmr_entry e[1000];
	static u32 order[ARRAY_SIZE(e)];
	u32 twice = 1 + rng_below(&rng, ARRAY_SIZE(e) - 1), i;
	sector_t end = ARRAY_SIZE(e) * 2 * block;
	struct dmr_extent ex;

	for (i = 0; i < ARRAY_SIZE(e); i++) {
		e[i] = dmr_make_entry(i * 2 * block, block, DMR_PENDING, 0);
		order[i] = i;
	}
	e[twice] = e[twice - 1];
	check(!dmr_map_init(&map), "no memory");
	check(dmr_map_fill(&map, e, order, ARRAY_SIZE(e)) == -EEXIST, "an overlap is not seen");
	dmr_map_lookup(&map, 0, end, &ex);
	check(dmr_map_empty(&map) && ex.kind == DMR_LINEAR && ex.len == end,
	      "what overlaps was not taken, but %u of %llu sectors", ex.kind, ex.len);
	dmr_map_exit(&map);
}

int main(int argc, char **argv)
{
	struct options o = { .seed = 1, .count = 240 };
	u64 i;

	parse_options(argc, argv, &o, NULL);
	rng.state = o.seed;
	for (i = 0; i < o.count; i++) {
		block = i / LOGS % 2 ? LONG_BLOCK : SHORT_BLOCK;
		run(i % LOGS, i / (2 * LOGS) % 2);
		fill_overlapping();
	}
	check(o.count < 100 || (nr_given_up && nr_given_up < nr_without_memory),
	      "%llu of %llu runs without memory gave up", nr_given_up, nr_without_memory);
	printf("records=%llu overlapping=%llu cut=%llu without_memory=%llu given_up=%llu\n",
	       nr_records, nr_overlapping, nr_cut, nr_without_memory, nr_given_up);
	return 0;
}
