// SPDX-License-Identifier: GPL-2.0-only
/*
 * The map in memory; see dm-remap-v4-map.h for the rules of access.
 */
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "dm-remap-v4-map.h"

#define DMR_LEAF_SIZE		4096
#define DMR_LEAF_ENTRIES \
	((DMR_LEAF_SIZE - sizeof(struct rcu_head) - sizeof(u64) - sizeof(void *)) / \
	 sizeof(struct dmr_entry) - 1)

/*
 * Behind the last entry there is always another, which begins where the next
 * leaf does; all that follow it are larger than any. So a search needs no end.
 */
struct dmr_leaf {
	struct rcu_head rcu;
	mempool_t *pool;	/* constant; where the RCU callback returns it */
	u32 nr;			/* constant once published, as the entries */
	u32 unused;
	struct dmr_entry e[DMR_LEAF_ENTRIES + 1];
};

#define DMR_PACKED_ENTRIES	240U	/* after the load: some room is left */

struct dmr_slot {
	sector_t separator;		/* constant once the dir is published */
	struct dmr_leaf __rcu *leaf;
};

/*
 * The main device in equal parts. Where extents are spread evenly, each is the
 * business of one or two leaves, and there is next to nothing to search. During
 * the load there is one bucket.
 */
#define DMR_ONE_BUCKET	63	/* as the shift */
#define DMR_BUCKETS	4096

struct dmr_dir {
	u32 nr;				/* constant once published, all of it */
	u32 room;
	u32 first[DMR_BUCKETS + 1];	/* the slot of a bucket's first sector */
	struct dmr_slot slot[];
};

/* Enough for one change to be published while older leaves wait for RCU. */
#define DMR_MIN_LEAVES	16

/* ---------------------------------------------------------------- readers */

/* The leaf responsible for @sector: the last separator not above it. */
static __always_inline u32 find_slot(const struct dmr_map *map,
				     const struct dmr_dir *dir, sector_t sector)
{
	u32 lo = dir->first[sector >> map->shift];
	u32 hi = dir->first[(sector >> map->shift) + 1] + 1;

	while (hi - lo > 1) {
		u32 mid = lo + (hi - lo) / 2;

		if (dir->slot[mid].separator <= sector)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static __always_inline struct dmr_entry *
step(struct dmr_entry *e, unsigned int n, u64 key)
{
	return e[n].start_len <= key ? e + n : e;
}

/* The first entry that ends behind @sector. */
static __always_inline struct dmr_entry *
find_entry(struct dmr_leaf *leaf, sector_t sector)
{
	struct dmr_entry *e = leaf->e - 1;
	u64 key = sector << 16 | 0xffff;

	BUILD_BUG_ON(DMR_LEAF_ENTRIES < 128 || DMR_LEAF_ENTRIES > 255);
	/* The last that begins at @sector or before; 127 are left at most. */
	e = step(e, DMR_LEAF_ENTRIES - 127, key);
	e = step(e, 64, key);
	e = step(e, 32, key);
	e = step(e, 16, key);
	e = step(e, 8, key);
	e = step(e, 4, key);
	e = step(e, 2, key);
	e = step(e, 1, key);
	if (e < leaf->e || dmr_entry_end(e) <= sector)
		e++;
	return e;
}

const struct dmr_entry *dmr_map_find(struct dmr_map *map, sector_t sector,
				     sector_t len)
{
	const struct dmr_dir *dir = rcu_dereference_sched(map->dir);
	u32 s = find_slot(map, dir, sector);
	struct dmr_leaf *leaf = rcu_dereference_sched(dir->slot[s].leaf);
	const struct dmr_entry *e = find_entry(leaf, sector);

	/* The next extent may be in a later leaf, behind leaves that are empty. */
	while (likely(dmr_entry_start(e) < sector + len)) {
		if (likely(e != &leaf->e[leaf->nr]))
			return e;
		leaf = rcu_dereference_sched(dir->slot[++s].leaf);
		e = leaf->e;
	}
	return NULL;
}

void dmr_map_extent(const struct dmr_entry *e, sector_t sector, sector_t max,
		    struct dmr_extent *ex)
{
	ex->kind = DMR_LINEAR;
	ex->len = max;
	ex->spare = 0;
	if (!e)
		return;
	if (dmr_entry_start(e) > sector) {
		ex->len = min_t(sector_t, max, dmr_entry_start(e) - sector);
		return;
	}
	ex->kind = dmr_entry_kind(e);
	ex->len = min_t(sector_t, max, dmr_entry_end(e) - sector);
	if (ex->kind == DMR_REMAP)
		ex->spare = dmr_entry_spare(e) + (sector - dmr_entry_start(e));
}

void dmr_map_lookup(struct dmr_map *map, sector_t sector, sector_t max,
		    struct dmr_extent *ex)
{
	dmr_map_extent(dmr_map_find(map, sector, max), sector, max, ex);
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
	/* What can't fail may wait for ever, with memory that our bios hold. */
	struct dmr_dir *dir = kvmalloc(struct_size(dir, slot, room),
				       GFP_NOIO | __GFP_RETRY_MAYFAIL);

	if (dir) {
		dir->nr = 0;
		dir->room = room;
	}
	return dir;
}

static void wait_for_readers(struct dmr_map *map)
{
	/* Sectors are held meanwhile, and bios wait for that. */
	if (!map->loading)
		synchronize_rcu_expedited();
}

/* Counts extents as a reader sees them: cut ones that continue are one. */
static __always_inline bool continues(const struct dmr_entry *a, const struct dmr_entry *b)
{
	return dmr_entry_end(a) == dmr_entry_start(b) && dmr_entry_kind(a) == dmr_entry_kind(b) &&
	       (dmr_entry_kind(a) != DMR_REMAP ||
		dmr_entry_spare(a) + dmr_entry_len(a) == dmr_entry_spare(b));
}

static void account(struct dmr_map *map, const struct dmr_leaf *leaf, int sign)
{
	u64 remap = 0, pending = 0, remap_sectors = 0, pending_sectors = 0;
	u32 i;

	for (i = 0; i < leaf->nr; i++) {
		const struct dmr_entry *e = &leaf->e[i];
		bool first = !i || !continues(e - 1, e);

		if (dmr_entry_kind(e) == DMR_REMAP) {
			remap += first;
			remap_sectors += dmr_entry_len(e);
		} else {
			pending += first;
			pending_sectors += dmr_entry_len(e);
		}
	}
	WRITE_ONCE(map->nr_remap, map->nr_remap + sign * remap);
	WRITE_ONCE(map->nr_pending, map->nr_pending + sign * pending);
	WRITE_ONCE(map->remap_sectors, map->remap_sectors + sign * remap_sectors);
	WRITE_ONCE(map->pending_sectors,
		   map->pending_sectors + sign * pending_sectors);
}

/* The same of one entry more, which is the @first of an extent or continues one. */
static __always_inline void count_new(struct dmr_map *map, const struct dmr_entry *e, bool first)
{
	if (dmr_entry_kind(e) == DMR_REMAP) {
		WRITE_ONCE(map->nr_remap, map->nr_remap + first);
		WRITE_ONCE(map->remap_sectors, map->remap_sectors + dmr_entry_len(e));
	} else {
		WRITE_ONCE(map->nr_pending, map->nr_pending + first);
		WRITE_ONCE(map->pending_sectors, map->pending_sectors + dmr_entry_len(e));
	}
}

/* Put a new entry behind the others of @leaf, merged if it continues them. */
static __always_inline void append(struct dmr_leaf *leaf, struct dmr_entry e)
{
	struct dmr_entry *last = leaf->nr ? &leaf->e[leaf->nr - 1] : NULL;

	if (last && continues(last, &e) &&
	    dmr_entry_len(last) + dmr_entry_len(&e) <= DMR_MAX_ENTRY_LEN)
		last->start_len += dmr_entry_len(&e);
	else
		leaf->e[leaf->nr++] = e;
}

/* Where the leaf behind slot @s begins, or larger than any sector. */
static sector_t next_separator(const struct dmr_dir *dir, u32 s)
{
	return s + 1 < dir->nr ? dir->slot[s + 1].separator : DMR_MAP_MAX_SECTOR;
}

/* @leaf has all its entries; sectors from @next on are another's. */
static void close_leaf(struct dmr_leaf *leaf, sector_t next)
{
	memset(&leaf->e[leaf->nr], 0xff,
	       (DMR_LEAF_ENTRIES + 1 - leaf->nr) * sizeof(leaf->e[0]));
	leaf->e[leaf->nr].start_len = next << 16;
}

/*
 * Split the leaf in slot @s in two, in place: there are no readers yet. The load
 * comes in the order of sectors, if it can: what is behind all others is packed
 * at once.
 */
static void split_while_loading(struct dmr_map *map, u32 s)
{
	struct dmr_dir *dir = writer_dir(map);
	struct dmr_leaf *left = writer_leaf(dir, s), *right = alloc_leaf(map);
	struct dmr_slot *slot = &dir->slot[s + 1];

	account(map, left, -1);
	right->nr = s + 1 < dir->nr ? left->nr / 2 : left->nr - DMR_PACKED_ENTRIES;
	left->nr -= right->nr;
	memcpy(right->e, left->e + left->nr, right->nr * sizeof(left->e[0]));
	close_leaf(right, next_separator(dir, s));
	memmove(slot + 1, slot, (dir->nr - s - 1) * sizeof(*slot));
	slot->separator = dmr_entry_start(&right->e[0]);
	RCU_INIT_POINTER(slot->leaf, right);
	close_leaf(left, slot->separator);
	dir->first[1] = dir->nr++;
	account(map, left, 1);
	account(map, right, 1);
}

/*
 * The same where there are readers. The directory is copied into the unused
 * one, which dmr_map_reserve() made large enough; the old one becomes the
 * unused one after a grace period.
 */
static void split_leaf(struct dmr_map *map, u32 s)
{
	struct dmr_dir *old = writer_dir(map), *new = map->unused;
	struct dmr_leaf *leaf = writer_leaf(old, s);
	struct dmr_leaf *left = alloc_leaf(map), *right = alloc_leaf(map);
	u32 half = leaf->nr / 2, b;

	left->nr = half;
	memcpy(left->e, leaf->e, half * sizeof(leaf->e[0]));
	right->nr = leaf->nr - half;
	memcpy(right->e, leaf->e + half, right->nr * sizeof(leaf->e[0]));

	memcpy(new->slot, old->slot, (s + 1) * sizeof(old->slot[0]));
	memcpy(new->slot + s + 2, old->slot + s + 1,
	       (old->nr - s - 1) * sizeof(old->slot[0]));
	new->nr = old->nr + 1;
	RCU_INIT_POINTER(new->slot[s].leaf, left);
	new->slot[s + 1].separator = dmr_entry_start(&right->e[0]);
	RCU_INIT_POINTER(new->slot[s + 1].leaf, right);
	close_leaf(left, new->slot[s + 1].separator);
	close_leaf(right, next_separator(old, s));
	for (b = 0; b <= DMR_BUCKETS; b++) {
		u32 first = old->first[b];

		if (first > s || (first == s && (sector_t)b << map->shift >=
						new->slot[s + 1].separator))
			first++;
		new->first[b] = first;
	}

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
		sector_t e_start = dmr_entry_start(e), e_end = dmr_entry_end(e);

		/* What sticks out in front stays ... */
		if (e_start < start)
			append(new, dmr_make_entry(e_start, min(e_end, start) - e_start,
						   dmr_entry_kind(e),
						   dmr_entry_spare(e)));
		if (!placed && e_end > start) {
			append(new, dmr_make_entry(start, end - start, kind, spare));
			placed = true;
		}
		/* ... and so does what sticks out behind. */
		if (e_end > end) {
			sector_t from = max(e_start, end);

			append(new, dmr_make_entry(from, e_end - from, dmr_entry_kind(e),
						   dmr_entry_spare(e) + (from - e_start)));
		}
	}
	if (!placed)
		append(new, dmr_make_entry(start, end - start, kind, spare));
	close_leaf(new, next_separator(dir, s));

	account(map, old, -1);
	account(map, new, 1);
	rcu_assign_pointer(dir->slot[s].leaf, new);
	if (map->loading)
		mempool_free(old, &map->leaves);
	else
		call_rcu(&old->rcu, free_leaf_rcu);
}

/*
 * Put a new extent among the others of its leaf, in place, or behind the one that
 * it continues. False if it takes more than that.
 */
static bool load(struct dmr_map *map, sector_t sector, sector_t len,
		 enum dmr_kind kind, sector_t spare)
{
	struct dmr_dir *dir = writer_dir(map);
	u32 last = dir->nr - 1;
	bool behind = sector >= dir->slot[last].separator, more;
	struct dmr_leaf *leaf = writer_leaf(dir, behind ? last : find_slot(map, dir, sector));
	struct dmr_entry *e = find_entry(leaf, sector);
	struct dmr_entry new = dmr_make_entry(sector, len, kind, spare);

	/* Behind the last entry is one where the next leaf begins. */
	if (kind == DMR_LINEAR || len > DMR_MAX_ENTRY_LEN ||
	    leaf->nr == DMR_LEAF_ENTRIES || dmr_entry_start(e) < sector + len ||
	    continues(&new, e))
		return false;

	more = e != leaf->e && continues(e - 1, &new);
	if (more && dmr_entry_len(e - 1) + len <= DMR_MAX_ENTRY_LEN) {
		e[-1].start_len += len;
	} else {
		memmove(e + 1, e, (leaf->nr + 1 - (e - leaf->e)) * sizeof(*e));
		*e = new;
		leaf->nr++;
	}
	count_new(map, &new, !more);
	return true;
}

void dmr_map_set(struct dmr_map *map, sector_t sector, sector_t len,
		 enum dmr_kind kind, sector_t spare)
{
	if (map->loading && load(map, sector, len, kind, spare))
		return;
	while (len) {
		struct dmr_dir *dir = writer_dir(map);
		u32 s = find_slot(map, dir, sector);
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
			if (map->loading)
				split_while_loading(map, s);
			else
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
	memcpy(a->first, dir->first, sizeof(a->first));
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
	struct dmr_leaf *leaf = alloc_leaf(map);

	close_leaf(leaf, DMR_MAP_MAX_SECTOR);
	map->shift = DMR_ONE_BUCKET;
	memset(dir->first, 0, sizeof(dir->first));
	dir->slot[0].separator = 0;
	RCU_INIT_POINTER(dir->slot[0].leaf, leaf);
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

void dmr_map_walk(struct dmr_map *map,
		  void (*fn)(void *context, const struct dmr_extent *ex),
		  void *context)
{
	struct dmr_dir *dir = writer_dir(map);
	u32 s, i;

	for (s = 0; s < dir->nr; s++) {
		const struct dmr_leaf *leaf = writer_leaf(dir, s);

		for (i = 0; i < leaf->nr; i++) {
			struct dmr_extent ex = {
				.kind = dmr_entry_kind(&leaf->e[i]),
				.len = dmr_entry_len(&leaf->e[i]),
				.spare = dmr_entry_spare(&leaf->e[i]),
			};

			fn(context, &ex);
		}
		cond_resched();
	}
}

/* A leaf for entries behind all others, from @start on. */
static struct dmr_leaf *add_leaf(struct dmr_map *map, sector_t start)
{
	struct dmr_dir *dir = writer_dir(map);
	struct dmr_leaf *leaf = alloc_leaf(map);

	close_leaf(writer_leaf(dir, dir->nr - 1), start);
	dir->slot[dir->nr].separator = start;
	RCU_INIT_POINTER(dir->slot[dir->nr].leaf, leaf);
	dir->first[1] = dir->nr++;
	return leaf;
}

int dmr_map_fill(struct dmr_map *map, const struct dmr_entry *e,
		 const u32 *order, u32 nr)
{
	int r = dmr_map_reserve(map, nr / DMR_PACKED_ENTRIES + 1);
	struct dmr_entry *last = NULL;	/* of @leaf */
	struct dmr_leaf *leaf;
	sector_t end = 0;		/* of what came before */
	u32 i;

	if (r)
		return r;
	dmr_map_clear(map);
	leaf = writer_leaf(writer_dir(map), 0);
	for (i = 0; i < nr; i++) {
		const struct dmr_entry next = e[order[i]];
		sector_t start = dmr_entry_start(&next);
		bool more = start == end && last && continues(last, &next);

		if (start < end) {
			dmr_map_clear(map);
			return -EEXIST;
		}
		end = dmr_entry_end(&next);
		if (dmr_entry_kind(&next) == DMR_LINEAR)
			continue;
		if (more && dmr_entry_len(last) + dmr_entry_len(&next) <= DMR_MAX_ENTRY_LEN) {
			last->start_len += dmr_entry_len(&next);
			count_new(map, &next, false);
			continue;
		}
		if (leaf->nr == DMR_PACKED_ENTRIES) {
			cond_resched();
			if (fatal_signal_pending(current)) {
				r = -EINTR;
				break;
			}
			leaf = add_leaf(map, start);
			more = false;
		}
		last = &leaf->e[leaf->nr++];
		*last = next;
		count_new(map, &next, !more);
	}
	close_leaf(leaf, DMR_MAP_MAX_SECTOR);
	return r;
}

/* Leaves that the load left half empty become one. */
static void pack(struct dmr_map *map)
{
	struct dmr_dir *dir = writer_dir(map);
	struct dmr_leaf *to = writer_leaf(dir, 0), *from;
	u32 s, kept = 0, n;

	for (s = 1; s < dir->nr; s++) {
		from = writer_leaf(dir, s);
		if (to->nr < DMR_PACKED_ENTRIES) {
			account(map, to, -1);
			account(map, from, -1);
			for (n = 0; n < from->nr && to->nr < DMR_PACKED_ENTRIES; n++)
				append(to, from->e[n]);
			from->nr -= n;
			memmove(from->e, from->e + n, from->nr * sizeof(from->e[0]));
			account(map, to, 1);
			account(map, from, 1);
		}
		if (!from->nr) {
			mempool_free(from, &map->leaves);
			continue;
		}
		kept++;
		dir->slot[kept].separator = dmr_entry_start(&from->e[0]);
		RCU_INIT_POINTER(dir->slot[kept].leaf, from);
		close_leaf(to, dir->slot[kept].separator);
		to = from;
	}
	close_leaf(to, DMR_MAP_MAX_SECTOR);
	dir->nr = kept + 1;
}

void dmr_map_loaded(struct dmr_map *map, sector_t sectors)
{
	struct dmr_dir *dir = writer_dir(map);
	u32 b, s = 0;

	pack(map);
	map->shift = 0;
	while ((sectors - 1) >> map->shift >= DMR_BUCKETS)
		map->shift++;
	for (b = 0; b <= DMR_BUCKETS; b++) {
		while (s + 1 < dir->nr &&
		       dir->slot[s + 1].separator <= (sector_t)b << map->shift)
			s++;
		dir->first[b] = s;
	}
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
