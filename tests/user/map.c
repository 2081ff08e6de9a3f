// SPDX-License-Identifier: GPL-2.0-only
/*
 * The map against an array with one entry a sector: random changes, lookups,
 * failed allocations. The source is included, to look at its structure too.
 */
#include <stdio.h>

#include "dm-remap-v4-map.c"
#include "shim/options.h"
#include "shim/shim.h"

#define MAX_SECTORS	(256 * 1024)

struct cell {
	u8 kind;
	sector_t spare;
};

/* One kind of device and of load. */
struct phase {
	const char *name;
	sector_t base;		/* of the sectors used */
	u32 sectors;
	u32 longest;		/* change */
	unsigned int clearing;	/* of 16 changes, those to DMR_LINEAR */
};

static const struct phase phases[] = {
	{ "small", 0, 4096, 64, 5 },
	{ "many extents", 0, MAX_SECTORS, 6, 3 },
	{ "emptied again", 0, MAX_SECTORS, 200, 12 },
	{ "long extents", 12345, MAX_SECTORS, 100000, 5 },
	{ "end of the largest device", DMR_MAP_MAX_SECTOR - 65536, 65536, 32, 4 },
};

static struct dmr_map map;
static struct cell model[MAX_SECTORS];
static struct rng rng;
static u64 nr_sets, nr_lookups, nr_checks, nr_failed, most_leaves;

static bool follows(const struct cell *a)
{
	return a[0].kind == a[1].kind &&
	       (a[0].kind != DMR_REMAP || a[0].spare + 1 == a[1].spare);
}

static void lookup(const struct phase *p, u32 at, sector_t max)
{
	const struct cell *c = &model[at];
	struct dmr_extent ex;
	u32 i;

	rcu_read_lock();
	dmr_map_lookup(&map, p->base + at, max, &ex);
	rcu_read_unlock();
	nr_lookups++;
	check(ex.len && ex.len <= max, "%u + %llu: length %llu", at, max, ex.len);
	check(ex.kind == c->kind, "%u: kind %u, not %u", at, ex.kind, c->kind);
	check(ex.spare == (c->kind == DMR_REMAP ? c->spare : 0),
	      "%u: spare %llu, not %llu", at, ex.spare, c->spare);
	for (i = 1; i < ex.len; i++)
		check(follows(&c[i - 1]), "%u: length %llu, not %u", at, ex.len, i);
	/* A gap ends where it must; an extent may be stored in several parts. */
	if (ex.len < max && c->kind == DMR_LINEAR)
		check(c[ex.len].kind != DMR_LINEAR, "%u: gap cut at %llu", at, ex.len);
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
		sector_t s = entry_start(e), n;

		check(s >= at && entry_end(e) <= to, "entry out of its leaf's bounds");
		check(entry_len(e) && entry_len(e) <= DMR_MAX_ENTRY_LEN, "entry length");
		check(entry_kind(e) == DMR_REMAP || entry_kind(e) == DMR_PENDING, "kind");
		check(s >= p->base && entry_end(e) <= p->base + p->sectors, "entry beyond");
		for (n = 0; n < entry_len(e); n++) {
			const struct cell *c = &model[s - p->base + n];

			check(c->kind == entry_kind(e) &&
			      (c->kind != DMR_REMAP || c->spare == entry_spare(e) + n),
			      "sector %llu differs from the model", s + n);
		}
		if (i && continues(e - 1, e))
			check(entry_len(e - 1) + entry_len(e) > DMR_MAX_ENTRY_LEN,
			      "two entries that are one");
		else
			counted[entry_kind(e) == DMR_PENDING]++;
		sectors[entry_kind(e) == DMR_PENDING] += entry_len(e);
		at = entry_end(e);
	}
}

static void check_all(const struct phase *p)
{
	struct dmr_dir *dir = writer_dir(&map);
	u64 counted[2] = {}, sectors[2] = {}, expected[2] = {};
	u32 s, i;

	check(dir->nr && dir->nr <= dir->room, "%u leaves in room for %u", dir->nr, dir->room);
	check(dir->slot[0].separator == 0, "sectors below the first leaf");
	for (s = 0; s < dir->nr; s++) {
		sector_t from = dir->slot[s].separator, to = DMR_MAP_MAX_SECTOR + 1;

		if (s + 1 < dir->nr)
			to = dir->slot[s + 1].separator;
		check(from < to, "separators out of order");
		check_leaf(p, writer_leaf(dir, s), from, to, counted, sectors);
	}
	for (i = 0; i < p->sectors; i++)
		if (model[i].kind != DMR_LINEAR)
			expected[model[i].kind == DMR_PENDING]++;
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
	u32 at;

	for (at = 0; at < p->sectors; at += ex.len) {
		sector_t max = p->sectors - at;

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
	u32 at = rng_below(&rng, p->sectors), i;
	u32 len = 1 + rng_below(&rng, 1 + rng_below(&rng, p->longest));
	enum dmr_kind kind = rng_below(&rng, 16) < p->clearing ? DMR_LINEAR :
			     rng_one_in(&rng, 3) ? DMR_PENDING : DMR_REMAP;
	sector_t spare = rng_next(&rng) & (DMR_MAP_MAX_SECTOR >> 1);

	len = min(len, p->sectors - at);
	/* Often the neighbour's continuation: such are merged. */
	if (at && model[at - 1].kind == DMR_REMAP && !rng_one_in(&rng, 3))
		spare = model[at - 1].spare + 1;

	reserve();
	/* Even without memory a change succeeds, out of the pool. */
	if (rng_one_in(&rng, 8))
		shim_fail_alloc(1);
	dmr_map_set(&map, p->base + at, len, kind, spare);
	shim_fail_alloc(0);
	for (i = 0; i < len; i++)
		model[at + i] = (struct cell){ kind, kind == DMR_REMAP ? spare + i : 0 };
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
	u64 i;

	memset(model, 0, sizeof(model));
	init();
	check_all(p);
	for (i = 0; i < count; i++) {
		u32 at = rng_below(&rng, p->sectors);

		if (rng_one_in(&rng, 20000))
			dmr_map_loaded(&map);
		if (rng_below(&rng, 5) < 2)
			set(p);
		else
			lookup(p, at, 1 + rng_below(&rng, rng_one_in(&rng, 50) ?
						    p->sectors - at :
						    min(p->sectors - at, 100u)));
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
