// SPDX-License-Identifier: GPL-2.0-only
/*
 * The map against an array with one entry a cell, of a sector or of many: an
 * extent may be longer than an entry can be. Random changes, lookups,
 * failed allocations. The source is included, to look at its structure too.
 */
#include <stdio.h>

#include "dm-remap-v4-map.c"
#include "shim/options.h"
#include "shim/shim.h"

#define MAX_CELLS	(256 * 1024)
#define RECORD		32768	/* sectors at a time, as the load and the commits do */

struct cell {
	u8 kind;
	sector_t spare;
};

/* One kind of device and of load. */
struct phase {
	const char *name;
	sector_t base;		/* of the sectors used */
	u32 cell;		/* sectors */
	u32 cells;
	u32 longest;		/* change, cells */
	unsigned int clearing;	/* of 16 changes, those to DMR_LINEAR */
};

static const struct phase phases[] = {
	{ "small", 0, 1, 4096, 64, 5 },
	{ "many extents", 0, 1, MAX_CELLS, 6, 3 },
	{ "emptied again", 0, 1, MAX_CELLS, 200, 12 },
	{ "long extents", 12345, 1, MAX_CELLS, 100000, 5 },
	{ "extents of many entries", 0, 20000, 8192, 40, 3 },
	{ "one a cell", 8, 100000, 4096, 1, 1 },
	{ "end of the largest device", DMR_MAP_MAX_SECTOR - 65536, 1, 65536, 32, 4 },
};

static struct dmr_map map;
static struct cell model[MAX_CELLS];
static struct rng rng;
static u64 nr_sets, nr_lookups, nr_checks, nr_failed, most_leaves;

static u64 sectors_of(const struct phase *p)
{
	return (u64)p->cells * p->cell;
}

static bool follows(const struct phase *p, const struct cell *a)
{
	return a[0].kind == a[1].kind &&
	       (a[0].kind != DMR_REMAP || a[0].spare + p->cell == a[1].spare);
}

static void lookup(const struct phase *p, u64 at, sector_t max)
{
	const struct cell *c = &model[at / p->cell];
	sector_t spare = c->kind == DMR_REMAP ? c->spare + at % p->cell : 0;
	struct dmr_extent ex;
	u64 i;

	rcu_read_lock();
	dmr_map_lookup(&map, p->base + at, max, &ex);
	rcu_read_unlock();
	nr_lookups++;
	check(ex.len && ex.len <= max, "%llu + %llu: length %llu", at, max, ex.len);
	check(ex.kind == c->kind, "%llu: kind %u, not %u", at, ex.kind, c->kind);
	check(ex.spare == spare, "%llu: spare %llu, not %llu", at, ex.spare, spare);
	for (i = at / p->cell; i < (at + ex.len - 1) / p->cell; i++)
		check(follows(p, &model[i]), "%llu: length %llu", at, ex.len);
	/* A gap ends where it must; an extent may be stored in several parts. */
	if (ex.len < max && c->kind == DMR_LINEAR)
		check(model[(at + ex.len) / p->cell].kind != DMR_LINEAR,
		      "%llu: gap cut at %llu", at, ex.len);
}

/* The entries of one leaf, against each other and the model. */
static void check_leaf(const struct phase *p, const struct dmr_leaf *leaf,
		       sector_t from, sector_t to, u64 counted[2], u64 sectors[2])
{
	sector_t at = from;
	u32 i;

	check(leaf->nr <= DMR_LEAF_ENTRIES, "%u entries in a leaf", leaf->nr);
	for (i = 0; i < leaf->nr; i++) {
		const struct dmr_entry *e = &leaf->e[i];
		sector_t s = dmr_entry_start(e), n, within;

		check(s >= at && dmr_entry_end(e) <= to, "entry out of its leaf's bounds");
		check(dmr_entry_len(e) && dmr_entry_len(e) <= DMR_MAX_ENTRY_LEN, "entry length");
		check(dmr_entry_kind(e) == DMR_REMAP || dmr_entry_kind(e) == DMR_PENDING, "kind");
		check(s >= p->base && dmr_entry_end(e) <= p->base + sectors_of(p), "entry beyond");
		for (n = 0; n < dmr_entry_len(e); n += p->cell - within) {
			const struct cell *c = &model[(s - p->base + n) / p->cell];

			within = (s - p->base + n) % p->cell;
			check(c->kind == dmr_entry_kind(e) &&
			      (c->kind != DMR_REMAP ||
			       c->spare + within == dmr_entry_spare(e) + n),
			      "sector %llu differs from the model", s + n);
		}
		if (i && continues(e - 1, e))
			check(dmr_entry_len(e - 1) + dmr_entry_len(e) > DMR_MAX_ENTRY_LEN,
			      "two entries that are one");
		else
			counted[dmr_entry_kind(e) == DMR_PENDING]++;
		sectors[dmr_entry_kind(e) == DMR_PENDING] += dmr_entry_len(e);
		at = dmr_entry_end(e);
	}
}

/* What lets a search of the directory and of a leaf do without an end. */
static void check_searches(struct dmr_dir *dir)
{
	u32 s, i, b, first;

	for (s = 0; s < dir->nr; s++) {
		const struct dmr_leaf *leaf = writer_leaf(dir, s);
		const struct dmr_entry *end = &leaf->e[leaf->nr];

		check(dmr_entry_start(end) == next_separator(dir, s) && !dmr_entry_len(end),
		      "leaf %u has no end", s);
		for (i = leaf->nr + 1; i <= DMR_LEAF_ENTRIES; i++)
			check(leaf->e[i].start_len == ~0ULL, "leaf %u goes on", s);
	}
	for (b = 0; b <= DMR_BUCKETS && !map.loading; b++) {
		sector_t at = (sector_t)b << map.shift;

		first = dir->first[b];
		check(first < dir->nr && dir->slot[first].separator <= at &&
		      (first + 1 == dir->nr || next_separator(dir, first) > at),
		      "bucket %u begins elsewhere", b);
	}
	if (map.loading)
		check(!dir->first[0] && dir->first[1] == dir->nr - 1, "not one bucket");
}

static void check_all(const struct phase *p)
{
	struct dmr_dir *dir = writer_dir(&map);
	u64 counted[2] = {}, sectors[2] = {}, expected[2] = {};
	u32 s, i;

	check(dir->nr && dir->nr <= dir->room, "%u leaves in room for %u", dir->nr, dir->room);
	check(dir->slot[0].separator == 0, "sectors below the first leaf");
	check_searches(dir);
	for (s = 0; s < dir->nr; s++) {
		sector_t from = dir->slot[s].separator, to = DMR_MAP_MAX_SECTOR + 1;

		if (s + 1 < dir->nr)
			to = dir->slot[s + 1].separator;
		check(from < to, "separators out of order");
		check_leaf(p, writer_leaf(dir, s), from, to, counted, sectors);
	}
	for (i = 0; i < p->cells; i++)
		if (model[i].kind != DMR_LINEAR)
			expected[model[i].kind == DMR_PENDING] += p->cell;
	check(sectors[0] == expected[0] && sectors[1] == expected[1], "sectors are missing");
	check(map.remap_sectors == sectors[0] && map.pending_sectors == sectors[1],
	      "counts %llu and %llu of sectors", map.remap_sectors, map.pending_sectors);
	check(map.nr_remap == counted[0] && map.nr_pending == counted[1],
	      "counts %llu and %llu of extents", map.nr_remap, map.nr_pending);
	check(dmr_map_empty(&map) == !(expected[0] | expected[1]), "empty or not");
	most_leaves = max(most_leaves, (u64)dir->nr);
	nr_checks++;
}

/* All of it by lookups from place to place, as `list` does. */
static void walk(const struct phase *p)
{
	struct dmr_extent ex;
	u64 at;

	for (at = 0; at < sectors_of(p); at += ex.len) {
		sector_t max = sectors_of(p) - at;

		lookup(p, at, max);
		dmr_map_lookup(&map, p->base + at, max, &ex);
	}
}

/* Four a record, as the target asks for; where that allocates, it fails first. */
static void reserve(void)
{
	struct dmr_dir *dir = map.dir, *unused = map.unused;
	long n;
	int r;

	for (n = 1; min(dir->room, unused->room) < dir->nr + 4 && n <= 2; n++) {
		shim_fail_alloc(n);
		r = dmr_map_reserve(&map, 4);
		check(r == -ENOMEM && shim_alloc_failed(), "reserve: %d", r);
		check(map.dir == dir && map.unused == unused, "failed, and changed something");
		nr_failed++;
	}
	shim_fail_alloc(0);
	r = dmr_map_reserve(&map, 4);
	check(!r && map.dir->room >= map.dir->nr + 4, "reserve: %d, no room", r);
}

static void set(const struct phase *p)
{
	u32 at = rng_below(&rng, p->cells), i;
	u32 len = 1 + rng_below(&rng, 1 + rng_below(&rng, p->longest));
	enum dmr_kind kind = rng_below(&rng, 16) < p->clearing ? DMR_LINEAR :
			     rng_one_in(&rng, 3) ? DMR_PENDING : DMR_REMAP;
	sector_t spare = rng_next(&rng) & (DMR_MAP_MAX_SECTOR >> 1);
	u64 done, n;

	len = min(len, p->cells - at);
	/* Often the neighbour's continuation: such are merged. */
	if (at && model[at - 1].kind == DMR_REMAP && !rng_one_in(&rng, 3))
		spare = model[at - 1].spare + p->cell;

	for (done = 0; done < (u64)len * p->cell; done += n) {
		n = p->cell == 1 ? len : min((u64)len * p->cell - done, (u64)RECORD);
		reserve();
		/* Even without memory a change succeeds, out of the pool. */
		if (rng_one_in(&rng, 8))
			shim_fail_alloc(1);
		dmr_map_set(&map, p->base + (u64)at * p->cell + done, n, kind,
			    kind == DMR_REMAP ? spare + done : spare);
		shim_fail_alloc(0);
	}
	for (i = 0; i < len; i++)
		model[at + i] = (struct cell){
			kind, kind == DMR_REMAP ? spare + (u64)i * p->cell : 0
		};
	nr_sets++;
}

/* Each allocation of dmr_map_init() fails once. */
static void init(void)
{
	long n;
	int r;

	for (n = 1; ; n++) {
		shim_fail_alloc(n);
		r = dmr_map_init(&map);
		if (!r)
			break;
		check(r == -ENOMEM && shim_alloc_failed(), "init: %d", r);
		nr_failed++;
	}
	check(n > 10, "allocations of init were not reached");
	shim_fail_alloc(0);
}

static void run(const struct phase *p, u64 count)
{
	u64 all = sectors_of(p), i;

	memset(model, 0, sizeof(model));
	init();
	check_all(p);
	for (i = 0; i < count; i++) {
		u64 at = rng_next(&rng) % all;

		if (rng_one_in(&rng, 20000))
			dmr_map_loaded(&map, p->base + all);
		if (rng_below(&rng, 5) < 2)
			set(p);
		else
			lookup(p, at, 1 + rng_below(&rng, rng_one_in(&rng, 50) ?
						    min(all - at, (u64)U32_MAX) :
						    min(all - at, 100 * (u64)p->cell)));
		if (rng_one_in(&rng, 20000))
			check_all(p);
		if (rng_one_in(&rng, 50000))
			walk(p);
		if (rng_one_in(&rng, 100000)) {
			rcu_barrier();
			dmr_map_clear(&map);
			memset(model, 0, sizeof(model));
		}
	}
	check_all(p);
	walk(p);
	dmr_map_exit(&map);
}

int main(int argc, char **argv)
{
	struct options o = { .seed = 1, .count = 1000000 };
	size_t i;

	parse_options(argc, argv, &o, NULL);
	rng.state = o.seed;
	for (i = 0; i < ARRAY_SIZE(phases); i++)
		run(&phases[i], o.count / ARRAY_SIZE(phases));
	printf("sets=%llu lookups=%llu checks=%llu failed_allocations=%llu leaves=%llu\n",
	       nr_sets, nr_lookups, nr_checks, nr_failed, most_leaves);
	return 0;
}
