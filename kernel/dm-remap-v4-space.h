/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Free space on the spare: which sectors behind the metadata region are
 * neither data, nor log, nor known to be bad.
 *
 * Everything here belongs to the target's worker (or to the load, before it
 * runs); there are no locks. Only the two counters are read elsewhere.
 *
 * Allocation goes onward from a cursor and wraps at the end, so that a place
 * just given back is the last to be used again.
 */
#ifndef DM_REMAP_V4_SPACE_H
#define DM_REMAP_V4_SPACE_H

#include <linux/rbtree.h>
#include <linux/types.h>

#define DMR_SPACE_RESERVE	32

struct dmr_free_extent;

struct dmr_space {
	struct rb_root free;	/* of dmr_free_extent, by start, never adjacent */
	/* Memory for further extents, so that a failed write needn't wait for it. */
	struct dmr_free_extent *reserve[DMR_SPACE_RESERVE];
	unsigned int nr_reserve;
	sector_t start, end;	/* the area that is given out; constant */
	sector_t cursor;	/* allocation goes on here */
	u64 total;		/* end - start */
	u64 used;		/* WRITE_ONCE by the worker, READ_ONCE by status */
};

/* All of [@start, @end) is free. */
int dmr_space_init(struct dmr_space *sp, sector_t start, sector_t end);
void dmr_space_exit(struct dmr_space *sp);

/* Fill the reserve, as far as there is memory. May sleep. */
void dmr_space_refill(struct dmr_space *sp);

/*
 * Take up to @len sectors that follow each other, a multiple of @unit.
 * Returns how many, 0 if there is not even one @unit; *@at is the first.
 */
sector_t dmr_space_alloc(struct dmr_space *sp, sector_t len, sector_t unit,
			 sector_t *at);

/* Take exactly [@at, @at + @len). -EBUSY if any of it is not free, or -ENOMEM. */
int dmr_space_take(struct dmr_space *sp, sector_t at, sector_t len);

/* Take what is still free of it. -ENOMEM: nothing of it was taken. */
int dmr_space_take_rest(struct dmr_space *sp, sector_t at, sector_t len);

/*
 * Give [@at, @at + @len) back. If there is no memory to remember it, the
 * space is found again by the next load; nothing else is lost.
 */
void dmr_space_free(struct dmr_space *sp, sector_t at, sector_t len);

#endif
