/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A disk with a volatile write cache, in blocks of 4 KiB that can tear between
 * sectors of 512 bytes. Content is kept in pages that never change and are
 * shared, so a copy of a disk, or a state after a power cut, costs pointers.
 */
#ifndef SHIM_DISK_H
#define SHIM_DISK_H

#include <linux/blkdev.h>

#include "shim.h"

#define DISK_BLOCK	4096
#define BLOCK_PIECES	8	/* sectors in a block */
#define WHOLE_BLOCK	0xff	/* mask of all of them */

struct page {
	u32 refs;
	u64 serial;			/* no two pages have the same */
	u64 hash[BLOCK_PIECES];		/* of each sector; 0 if it is zero */
	u8 data[DISK_BLOCK];
};

/* A write since the last flush. */
struct pending_write {
	u64 block;
	struct page *page;
	u8 stored;			/* mask of sectors: some, if it failed */
};

enum disk_op {
	DISK_READ = 1,
	DISK_WRITE = 2,
	DISK_FLUSH = 4,
	DISK_AWAY = 8,		/* with a write: it never gets there, nothing is stored */
};

#define DISK_MAX_FAULTS	40

struct disk_fault {
	unsigned int ops;		/* mask of enum disk_op */
	u64 first, last;		/* block */
	u64 times;			/* 0: no fault any more */
	u64 after;			/* so many succeed first */
	u64 from;			/* of the log: none before so many writes and flushes */
};

/* All that ever was done, for tests that count and look. */
struct disk_log {
	u8 op;
	u8 failed;
	u64 block;
};

struct disk {
	u64 blocks;
	struct page **now;		/* what a read returns; NULL is zero */
	struct page **stable;		/* what a power cut can't take */
	struct pending_write *pending;
	u32 nr_pending, room_pending;
	struct disk_log *log;
	u64 nr_log, room_log;
	struct disk_fault fault[DISK_MAX_FAULTS];
	u64 nr_failed_writes;
	bool lies;			/* a flush does nothing */
	struct rng rng;			/* how much a failed write stores */

	/* Called before a flush: everything pending may still be lost. */
	void (*before_flush)(struct disk *d, void *context);
	void *context;
};

struct disk *disk_new(u64 sectors, u64 seed);
struct disk *disk_clone(const struct disk *d);	/* what @d would read now, all stable */
struct disk *disk_cut_off(const struct disk *d);	/* nothing of its cache is left */
void disk_free(struct disk *d);

static inline struct block_device *disk_bdev(struct disk *d)
{
	return (struct block_device *)d;
}

int disk_read(struct disk *d, u64 block, void *to);
int disk_write(struct disk *d, u64 block, const void *from);
int disk_flush(struct disk *d);

/* The next @times operations on the blocks fail with EIO. */
void disk_fail(struct disk *d, unsigned int ops, u64 first, u64 last, u64 times);
/* The same, but @after of them succeed first. */
void disk_fail_after(struct disk *d, unsigned int ops, u64 first, u64 last, u64 times, u64 after);
/* The same, but not before @after more writes and flushes of any kind. */
void disk_fail_later(struct disk *d, u64 after, unsigned int ops, u64 first, u64 last, u64 times);
void disk_heal(struct disk *d);
bool disk_is_faulty(const struct disk *d);
bool disk_is_stable(const struct disk *d);	/* would a power cut change nothing? */

/* Replace content behind everybody's back, stable at once. Takes over @page. */
void disk_put(struct disk *d, u64 block, struct page *page);

/* What a block holds, for readers that keep what they have seen: the serial of its page, or 0 (zeros). */
u64 disk_page(const struct disk *d, u64 block, const u8 **data);

struct page *page_new(const void *data);
/* The sectors of @mask from @over (NULL: zero), the others from @under. */
struct page *page_join(const struct page *over, const struct page *under, u8 mask);
void page_get(struct page *p);
void page_put(struct page *p);
/* Of a block's content at its place; 0 if all zero. */
u64 page_hash(u64 block, const struct page *p);

#endif
