/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The map in memory: which sectors of the main device live elsewhere.
 *
 * A sorted array of extents in two levels. A directory holds, for each leaf,
 * the lowest sector it is responsible for (its separator) and a pointer to the
 * leaf; a leaf is one 4 KiB page of extents. No extent crosses a separator.
 *
 * Readers hold rcu_read_lock_sched() and take no lock. There is one writer at a
 * time (the target's worker, or the load before any bio is mapped). It copies
 * the leaf it changes and publishes the copy with rcu_assign_pointer(), paired
 * with rcu_dereference_sched() in the lookup. A change that touches several leaves is
 * not atomic for readers; the target holds the sectors concerned meanwhile
 * (dm-remap-v4-hold.h), so nobody asks for them. During the load there are no
 * readers, and nothing waits for any.
 */
#ifndef DM_REMAP_V4_MAP_H
#define DM_REMAP_V4_MAP_H

#include <linux/mempool.h>
#include <linux/types.h>

enum dmr_kind {
	DMR_LINEAR = 0,		/* lives on the main device */
	DMR_REMAP = 1,		/* lives on the spare */
	DMR_PENDING = 2,	/* was unreadable, waits to be written */
};

/* The packed form holds 48 bits of sector: devices up to 128 PiB. */
#define DMR_MAP_MAX_SECTOR	((1ULL << 48) - 1)

/* What is known of the sectors from the one asked for onward. */
struct dmr_extent {
	enum dmr_kind kind;
	sector_t len;		/* sectors for which this holds */
	sector_t spare;		/* DMR_REMAP: where the first of them lives */
};

/*
 * An extent, or a change to the map, in 16 bytes. Its length fits 16 bits; a
 * longer one is stored as several, cut at a multiple of any logical block size.
 */
struct dmr_entry {
	u64 start_len;		/* main sector << 16 | sectors */
	u64 spare_kind;		/* spare sector << 16 | enum dmr_kind */
};

#define DMR_MAX_ENTRY_LEN	32768

static inline sector_t dmr_entry_start(const struct dmr_entry *e)
{
	return e->start_len >> 16;
}

static inline sector_t dmr_entry_len(const struct dmr_entry *e)
{
	return e->start_len & 0xffff;
}

static inline sector_t dmr_entry_end(const struct dmr_entry *e)
{
	return dmr_entry_start(e) + dmr_entry_len(e);
}

static inline enum dmr_kind dmr_entry_kind(const struct dmr_entry *e)
{
	return e->spare_kind & 0xffff;
}

static inline sector_t dmr_entry_spare(const struct dmr_entry *e)
{
	return e->spare_kind >> 16;
}

static inline struct dmr_entry dmr_make_entry(sector_t start, sector_t len,
					      enum dmr_kind kind, sector_t spare)
{
	return (struct dmr_entry){
		.start_len = (u64)start << 16 | len,
		.spare_kind = (u64)(kind == DMR_REMAP ? spare : 0) << 16 | kind,
	};
}

struct dmr_dir;

struct dmr_map {
	struct dmr_dir __rcu *dir;	/* replaced by the writer only */
	struct dmr_dir *unused;		/* writer: room for the next split */
	unsigned int shift;		/* sector to bucket; constant with readers */
	bool loading;			/* writer: there are no readers yet */
	mempool_t leaves;

	/* Written by the writer only, read without a lock: READ_ONCE. */
	u64 nr_remap;			/* extents of either kind */
	u64 nr_pending;
	u64 remap_sectors;
	u64 pending_sectors;
};

int dmr_map_init(struct dmr_map *map);
void dmr_map_exit(struct dmr_map *map);

/* Forget everything, to be loaded again. No reader may be around. */
void dmr_map_clear(struct dmr_map *map);

/* From now on there may be readers, of sectors below @sectors. */
void dmr_map_loaded(struct dmr_map *map, sector_t sectors);

/* By sectors: how many extents there are depends on how they are cut. */
static inline bool dmr_map_empty(const struct dmr_map *map)
{
	return !(READ_ONCE(map->remap_sectors) | READ_ONCE(map->pending_sectors));
}

/*
 * What is known of any of the @len (> 0) sectors from @sector on: the first
 * extent among them, NULL if there is none. It lives as long as the lock is
 * held. Reader side.
 */
const struct dmr_entry *dmr_map_find(struct dmr_map *map, sector_t sector,
				     sector_t len);

/* The same as dmr_map_lookup(), from what dmr_map_find() gave. */
void dmr_map_extent(const struct dmr_entry *e, sector_t sector, sector_t max,
		    struct dmr_extent *ex);

/*
 * What becomes of @max (> 0) sectors from @sector on, up to the first place
 * where the answer changes. Reader side.
 */
void dmr_map_lookup(struct dmr_map *map, sector_t sector, sector_t max,
		    struct dmr_extent *ex);

/*
 * Make room for @nr changes, so that dmr_map_set() can't fail for lack of it.
 * May sleep, allocates with GFP_NOIO. Writer side.
 */
int dmr_map_reserve(struct dmr_map *map, unsigned int nr);

/*
 * @len sectors from @sector on are now @kind, whatever they were. May sleep.
 * Writer side, behind dmr_map_reserve().
 */
void dmr_map_set(struct dmr_map *map, sector_t sector, sector_t len,
		 enum dmr_kind kind, sector_t spare);

/*
 * The map, which has no extents and is being loaded, takes @nr of them, packed.
 * @order is that of their sectors; changes to DMR_LINEAR are none. -EEXIST if any
 * overlap, and the map has none then; -ENOMEM, or -EINTR for who waits is being
 * killed.
 */
int dmr_map_fill(struct dmr_map *map, const struct dmr_entry *e,
		 const u32 *order, u32 nr);

/*
 * Call @fn with each extent, in their order; no longer than 65535 sectors, longer
 * ones come as several. May sleep. Writer side.
 */
void dmr_map_walk(struct dmr_map *map,
		  void (*fn)(void *context, const struct dmr_extent *ex),
		  void *context);

#endif
