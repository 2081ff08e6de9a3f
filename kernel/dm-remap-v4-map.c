// SPDX-License-Identifier: GPL-2.0-only
/*
 * The map in memory; see dm-remap-v4-map.h for the rules of access.
 */
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "dm-remap-v4-map.h"

/*
 * An extent in 16 bytes. Its length fits 16 bits; a longer one is stored as
 * several, cut at a multiple of any logical block size.
 */
struct dmr_entry {
	u64 start_len;		/* main sector << 16 | sectors */
	u64 spare_kind;		/* spare sector << 16 | enum dmr_kind */
};

#define DMR_MAX_ENTRY_LEN	32768
#define DMR_LEAF_SIZE		4096
#define DMR_LEAF_ENTRIES \
	((DMR_LEAF_SIZE - sizeof(struct rcu_head) - sizeof(u64) - sizeof(void *)) / \
	 sizeof(struct dmr_entry))

struct dmr_leaf {
	struct rcu_head rcu;
	mempool_t *pool;	/* constant; where the RCU callback returns it */
	u32 nr;			/* constant once published, as the entries */
	u32 unused;
	struct dmr_entry e[DMR_LEAF_ENTRIES];
};

struct dmr_slot {
	sector_t separator;		/* constant once the dir is published */
	struct dmr_leaf __rcu *leaf;
};

struct dmr_dir {
	u32 nr;				/* constant once published */
	u32 room;
	struct dmr_slot slot[];
};

/* Enough for one change to be published while older leaves wait for RCU. */
#define DMR_MIN_LEAVES	16

static sector_t entry_start(const struct dmr_entry *e)
{
	return e->start_len >> 16;
}

static sector_t entry_len(const struct dmr_entry *e)
{
	return e->start_len & 0xffff;
}

static sector_t entry_end(const struct dmr_entry *e)
{
	return entry_start(e) + entry_len(e);
}

static enum dmr_kind entry_kind(const struct dmr_entry *e)
{
	return e->spare_kind & 0xffff;
}

static sector_t entry_spare(const struct dmr_entry *e)
{
	return e->spare_kind >> 16;
}

static struct dmr_entry make_entry(sector_t start, sector_t len,
				   enum dmr_kind kind, sector_t spare)
{
	return (struct dmr_entry){
		.start_len = (u64)start << 16 | len,
		.spare_kind = (u64)(kind == DMR_REMAP ? spare : 0) << 16 | kind,
	};
}

/* ---------------------------------------------------------------- readers */

/* The leaf responsible for @sector: the last separator not above it. */
static u32 find_slot(const struct dmr_dir *dir, sector_t sector)
{
	u32 lo = 0, hi = dir->nr;

	while (hi - lo > 1) {
		u32 mid = lo + (hi - lo) / 2;

		if (dir->slot[mid].separator <= sector)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* The first entry that ends behind @sector. */
static u32 find_entry(const struct dmr_leaf *leaf, sector_t sector)
{
	u32 lo = 0, hi = leaf->nr;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (entry_end(&leaf->e[mid]) <= sector)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void dmr_map_lookup(struct dmr_map *map, sector_t sector, sector_t max,
		    struct dmr_extent *ex)
{
	const struct dmr_dir *dir = rcu_dereference(map->dir);
	const struct dmr_leaf *leaf;
	const struct dmr_entry *e;
	u32 s = find_slot(dir, sector), i;

	ex->kind = DMR_LINEAR;
	ex->len = max;
	ex->spare = 0;

	leaf = rcu_dereference(dir->slot[s].leaf);
	i = find_entry(leaf, sector);

	/* The next extent may be in a later leaf, behind leaves that are empty. */
	while (i == leaf->nr) {
		if (++s == dir->nr || dir->slot[s].separator >= sector + max)
			return;
		leaf = rcu_dereference(dir->slot[s].leaf);
		i = 0;
	}

	e = &leaf->e[i];
	if (entry_start(e) > sector) {
		ex->len = min_t(sector_t, max, entry_start(e) - sector);
		return;
	}
	ex->kind = entry_kind(e);
	ex->len = min_t(sector_t, max, entry_end(e) - sector);
	if (ex->kind == DMR_REMAP)
		ex->spare = entry_spare(e) + (sector - entry_start(e));
}

/* ----------------------------------------------------------------- writer */

static struct dmr_dir *writer_dir(struct dmr_map *map)
{
	/* One writer: nobody else replaces it. */
	return rcu_dereference_protected(map->dir, true);
}

static struct dmr_leaf *writer_leaf(struct dmr_dir *dir, u32 s)
{
	return rcu_dereference_protected(dir->slot[s].leaf, true);
}

/*
 * Never fails: an element comes back when a grace period ends. Each split keeps
 * one for good, so after many of them without memory it waits for the allocator.
 */
static struct dmr_leaf *alloc_leaf(struct dmr_map *map)
{
	struct dmr_leaf *leaf = mempool_alloc(&map->leaves, GFP_NOIO);

	leaf->pool = &map->leaves;
	leaf->nr = 0;
	return leaf;
}

static void free_leaf_rcu(struct rcu_head *head)
{
	struct dmr_leaf *leaf = container_of(head, struct dmr_leaf, rcu);

	mempool_free(leaf, leaf->pool);
}

static struct dmr_dir *alloc_dir(u32 room)
{
	struct dmr_dir *dir = kvmalloc(struct_size(dir, slot, room), GFP_NOIO);

	if (dir) {
		dir->nr = 0;
		dir->room = room;
	}
	return dir;
}

static void wait_for_readers(struct dmr_map *map)
{
	if (!map->loading)
		synchronize_rcu();
}

/* Counts extents as a reader sees them: cut ones that continue are one. */
static bool continues(const struct dmr_entry *a, const struct dmr_entry *b)
{
	return entry_end(a) == entry_start(b) && entry_kind(a) == entry_kind(b) &&
	       (entry_kind(a) != DMR_REMAP ||
		entry_spare(a) + entry_len(a) == entry_spare(b));
}

static void account(struct dmr_map *map, const struct dmr_leaf *leaf, int sign)
{
	u64 remap = 0, pending = 0, remap_sectors = 0, pending_sectors = 0;
	u32 i;

	for (i = 0; i < leaf->nr; i++) {
		const struct dmr_entry *e = &leaf->e[i];
		bool first = !i || !continues(e - 1, e);

		if (entry_kind(e) == DMR_REMAP) {
			remap += first;
			remap_sectors += entry_len(e);
		} else {
			pending += first;
			pending_sectors += entry_len(e);
		}
	}
	WRITE_ONCE(map->nr_remap, map->nr_remap + sign * remap);
	WRITE_ONCE(map->nr_pending, map->nr_pending + sign * pending);
	WRITE_ONCE(map->remap_sectors, map->remap_sectors + sign * remap_sectors);
	WRITE_ONCE(map->pending_sectors,
		   map->pending_sectors + sign * pending_sectors);
}

/* Put a new entry behind the others of @leaf, merged if it continues them. */
static void append(struct dmr_leaf *leaf, struct dmr_entry e)
{
	struct dmr_entry *last = leaf->nr ? &leaf->e[leaf->nr - 1] : NULL;

	if (last && continues(last, &e) &&
	    entry_len(last) + entry_len(&e) <= DMR_MAX_ENTRY_LEN)
		last->start_len += entry_len(&e);
	else
		leaf->e[leaf->nr++] = e;
}

/*
 * Split the leaf in slot @s in two. The directory is copied into the unused
 * one, which dmr_map_reserve() made large enough; the old one becomes the
 * unused one after a grace period.
 */
static void split_leaf(struct dmr_map *map, u32 s)
{
	struct dmr_dir *old = writer_dir(map), *new = map->unused;
	struct dmr_leaf *leaf = writer_leaf(old, s);
	struct dmr_leaf *left = alloc_leaf(map), *right = alloc_leaf(map);
	u32 half = leaf->nr / 2;

	left->nr = half;
	memcpy(left->e, leaf->e, half * sizeof(leaf->e[0]));
	right->nr = leaf->nr - half;
	memcpy(right->e, leaf->e + half, right->nr * sizeof(leaf->e[0]));

	memcpy(new->slot, old->slot, (s + 1) * sizeof(old->slot[0]));
	memcpy(new->slot + s + 2, old->slot + s + 1,
	       (old->nr - s - 1) * sizeof(old->slot[0]));
	new->nr = old->nr + 1;
	RCU_INIT_POINTER(new->slot[s].leaf, left);
	new->slot[s + 1].separator = entry_start(&right->e[0]);
	RCU_INIT_POINTER(new->slot[s + 1].leaf, right);

	account(map, leaf, -1);
	account(map, left, 1);
	account(map, right, 1);

	/* Publishes both leaves and every slot at once. */
	rcu_assign_pointer(map->dir, new);
	wait_for_readers(map);
	map->unused = old;
	mempool_free(leaf, &map->leaves);
}

/* [@start, @end), which lies within slot @s, becomes @kind. */
static void set_in_slot(struct dmr_map *map, u32 s, sector_t start, sector_t end,
			enum dmr_kind kind, sector_t spare)
{
	struct dmr_dir *dir = writer_dir(map);
	struct dmr_leaf *old = writer_leaf(dir, s), *new = alloc_leaf(map);
	bool placed = kind == DMR_LINEAR;
	u32 i;

	for (i = 0; i < old->nr; i++) {
		const struct dmr_entry *e = &old->e[i];
		sector_t e_start = entry_start(e), e_end = entry_end(e);

		/* What sticks out in front stays ... */
		if (e_start < start)
			append(new, make_entry(e_start, min(e_end, start) - e_start,
					       entry_kind(e), entry_spare(e)));
		if (!placed && e_end > start) {
			append(new, make_entry(start, end - start, kind, spare));
			placed = true;
		}
		/* ... and so does what sticks out behind. */
		if (e_end > end) {
			sector_t from = max(e_start, end);

			append(new, make_entry(from, e_end - from, entry_kind(e),
					       entry_spare(e) + (from - e_start)));
		}
	}
	if (!placed)
		append(new, make_entry(start, end - start, kind, spare));

	account(map, old, -1);
	account(map, new, 1);
	rcu_assign_pointer(dir->slot[s].leaf, new);
	if (map->loading)
		mempool_free(old, &map->leaves);
	else
		call_rcu(&old->rcu, free_leaf_rcu);
}

void dmr_map_set(struct dmr_map *map, sector_t sector, sector_t len,
		 enum dmr_kind kind, sector_t spare)
{
	while (len) {
		struct dmr_dir *dir = writer_dir(map);
		u32 s = find_slot(dir, sector);
		/* One change adds at most two entries to a leaf it doesn't cover. */
		sector_t n = min_t(sector_t, len, DMR_MAX_ENTRY_LEN);

		bool whole = false;

		if (s + 1 < dir->nr) {
			sector_t next = dir->slot[s + 1].separator;

			n = min(n, next - sector);
			whole = sector == dir->slot[s].separator &&
				sector + n == next;
		}
		if (!whole && writer_leaf(dir, s)->nr + 2 > DMR_LEAF_ENTRIES) {
			split_leaf(map, s);
			continue;
		}

		set_in_slot(map, s, sector, sector + n, kind, spare);
		sector += n;
		spare += n;
		len -= n;
	}
}

int dmr_map_reserve(struct dmr_map *map, unsigned int nr)
{
	struct dmr_dir *dir = writer_dir(map), *a, *b;
	u32 room = dir->nr + nr;

	if (min(dir->room, map->unused->room) >= room)
		return 0;

	room += room / 2;
	a = alloc_dir(room);
	b = alloc_dir(room);
	if (!a || !b) {
		kvfree(a);
		kvfree(b);
		return -ENOMEM;
	}
	memcpy(a->slot, dir->slot, dir->nr * sizeof(dir->slot[0]));
	a->nr = dir->nr;
	rcu_assign_pointer(map->dir, a);
	wait_for_readers(map);
	kvfree(dir);
	kvfree(map->unused);
	map->unused = b;
	return 0;
}

static void free_leaves(struct dmr_map *map)
{
	struct dmr_dir *dir = writer_dir(map);
	u32 s;

	for (s = 0; s < dir->nr; s++)
		mempool_free(writer_leaf(dir, s), &map->leaves);
	dir->nr = 0;
}

static void add_first_leaf(struct dmr_map *map)
{
	struct dmr_dir *dir = writer_dir(map);

	dir->slot[0].separator = 0;
	RCU_INIT_POINTER(dir->slot[0].leaf, alloc_leaf(map));
	dir->nr = 1;
}

void dmr_map_clear(struct dmr_map *map)
{
	map->loading = true;
	free_leaves(map);
	add_first_leaf(map);
	WRITE_ONCE(map->nr_remap, 0);
	WRITE_ONCE(map->nr_pending, 0);
	WRITE_ONCE(map->remap_sectors, 0);
	WRITE_ONCE(map->pending_sectors, 0);
}

void dmr_map_loaded(struct dmr_map *map)
{
	map->loading = false;
}

int dmr_map_init(struct dmr_map *map)
{
	struct dmr_dir *dir;
	int r;

	BUILD_BUG_ON(sizeof(struct dmr_leaf) > DMR_LEAF_SIZE);
	memset(map, 0, sizeof(*map));
	map->loading = true;
	r = mempool_init_kmalloc_pool(&map->leaves, DMR_MIN_LEAVES, DMR_LEAF_SIZE);
	if (r)
		return r;
	dir = alloc_dir(16);
	map->unused = alloc_dir(16);
	if (!dir || !map->unused) {
		kvfree(dir);
		kvfree(map->unused);
		map->unused = NULL;
		mempool_exit(&map->leaves);
		return -ENOMEM;
	}
	RCU_INIT_POINTER(map->dir, dir);
	add_first_leaf(map);
	return 0;
}

void dmr_map_exit(struct dmr_map *map)
{
	/* Leaves on their way through call_rcu() belong to the pool. */
	rcu_barrier();
	free_leaves(map);
	kvfree(writer_dir(map));
	kvfree(map->unused);
	mempool_exit(&map->leaves);
}
