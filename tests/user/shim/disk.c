// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>

#include <linux/errno.h>
#include <linux/string.h>

#include "disk.h"

#define PIECE (DISK_BLOCK / BLOCK_PIECES)

/* ------------------------------------------------------------------ pages */

static u64 pages;

static u64 hash_piece(const u8 *p)
{
	u64 words[PIECE / 8], hash = 0, any = 0;
	unsigned int i;

	memcpy(words, p, PIECE);
	for (i = 0; i < PIECE / 8; i++) {
		any |= words[i];
		hash = (hash ^ words[i]) * 0x9fb21c651e98df25;
		hash ^= hash >> 32;
	}
	return any ? hash | 1 : 0;
}

struct page *page_new(const void *data)
{
	struct page *p = malloc(sizeof(*p));
	unsigned int i;

	check(p, "no memory");
	p->refs = 1;
	p->serial = ++pages;
	memcpy(p->data, data, DISK_BLOCK);
	for (i = 0; i < BLOCK_PIECES; i++)
		p->hash[i] = hash_piece(p->data + i * PIECE);
	return p;
}

struct page *page_join(const struct page *over, const struct page *under, u8 mask)
{
	struct page *p = calloc(1, sizeof(*p));
	unsigned int i;

	check(p, "no memory");
	p->refs = 1;
	p->serial = ++pages;
	for (i = 0; i < BLOCK_PIECES; i++) {
		const struct page *from = mask & 1u << i ? over : under;

		if (!from)
			continue;
		p->hash[i] = from->hash[i];
		memcpy(p->data + i * PIECE, from->data + i * PIECE, PIECE);
	}
	return p;
}

void page_get(struct page *p)
{
	if (p)
		p->refs++;
}

void page_put(struct page *p)
{
	if (p && !--p->refs)
		free(p);
}

u64 page_hash(u64 block, const struct page *p)
{
	u64 hash = 0;
	unsigned int i;

	for (i = 0; p && i < BLOCK_PIECES; i++) {
		struct rng r = { p->hash[i] + (block * BLOCK_PIECES + i) * 0x9e3779b97f4a7c15 };

		if (p->hash[i])
			hash ^= rng_next(&r);
	}
	return hash;
}

/* ------------------------------------------------------------------- disks */

static void replace(struct page **at, struct page *p)
{
	page_get(p);
	page_put(*at);
	*at = p;
}

struct disk *disk_new(u64 sectors, u64 seed)
{
	struct disk *d = calloc(1, sizeof(*d));

	check(d, "no memory");
	d->blocks = sectors / BLOCK_PIECES;
	d->now = calloc(d->blocks, sizeof(*d->now));
	d->stable = calloc(d->blocks, sizeof(*d->stable));
	check(d->now && d->stable, "no memory");
	d->rng.state = seed;
	return d;
}

static struct disk *disk_with(const struct disk *d, struct page *const *content)
{
	struct disk *c = disk_new(d->blocks * BLOCK_PIECES, d->rng.state);
	u64 i;

	for (i = 0; i < d->blocks; i++)
		if (content[i]) {
			replace(&c->now[i], content[i]);
			replace(&c->stable[i], content[i]);
		}
	return c;
}

struct disk *disk_clone(const struct disk *d)
{
	return disk_with(d, d->now);
}

struct disk *disk_cut_off(const struct disk *d)
{
	return disk_with(d, d->stable);
}

void disk_free(struct disk *d)
{
	u64 i;

	for (i = 0; i < d->blocks; i++) {
		page_put(d->now[i]);
		page_put(d->stable[i]);
	}
	for (i = 0; i < d->nr_pending; i++)
		page_put(d->pending[i].page);
	free(d->pending);
	free(d->log);
	free(d->now);
	free(d->stable);
	free(d);
}

void disk_put(struct disk *d, u64 block, struct page *page)
{
	replace(&d->now[block], page);
	replace(&d->stable[block], page);
	page_put(page);
}

static void add_fault(struct disk *d, struct disk_fault fault)
{
	unsigned int i;

	for (i = 0; i < DISK_MAX_FAULTS; i++)
		if (!d->fault[i].times) {
			d->fault[i] = fault;
			return;
		}
	die("too many faults");
}

void disk_fail(struct disk *d, unsigned int ops, u64 first, u64 last, u64 times)
{
	add_fault(d, (struct disk_fault){ ops, first, last, times, 0, 0 });
}

void disk_fail_after(struct disk *d, unsigned int ops, u64 first, u64 last, u64 times, u64 after)
{
	add_fault(d, (struct disk_fault){ ops, first, last, times, after, 0 });
}

void disk_fail_later(struct disk *d, u64 after, unsigned int ops, u64 first, u64 last, u64 times)
{
	add_fault(d, (struct disk_fault){ ops, first, last, times, 0, d->nr_log + after });
}

void disk_heal(struct disk *d)
{
	memset(d->fault, 0, sizeof(d->fault));
}

bool disk_is_faulty(const struct disk *d)
{
	unsigned int i;

	for (i = 0; i < DISK_MAX_FAULTS; i++)
		if (d->fault[i].times)
			return true;
	return false;
}

bool disk_is_stable(const struct disk *d)
{
	u64 i;

	for (i = 0; i < d->blocks; i++)
		if (d->now[i] != d->stable[i])
			return false;
	return true;
}

u64 disk_page(const struct disk *d, u64 block, const u8 **data)
{
	const struct page *p = block < d->blocks ? d->now[block] : NULL;

	*data = p ? p->data : NULL;
	return p ? p->serial : 0;
}

/* The kinds of operations that fail there, with this one; 0: it works. */
static unsigned int fails(struct disk *d, unsigned int op, u64 block)
{
	unsigned int i;

	for (i = 0; i < DISK_MAX_FAULTS; i++) {
		struct disk_fault *f = &d->fault[i];

		if (f->times && f->from <= d->nr_log && f->ops & op &&
		    (op == DISK_FLUSH || (f->first <= block && block <= f->last))) {
			if (f->after) {
				f->after--;
				continue;
			}
			f->times--;
			return f->ops;
		}
	}
	return 0;
}

static void note(struct disk *d, u8 op, bool failed, u64 block)
{
	if (d->nr_log == d->room_log) {
		d->room_log = d->room_log ? 2 * d->room_log : 256;
		d->log = realloc(d->log, d->room_log * sizeof(*d->log));
		check(d->log, "no memory");
	}
	d->log[d->nr_log++] = (struct disk_log){ op, failed, block };
}

int disk_read(struct disk *d, u64 block, void *to)
{
	if (block >= d->blocks || fails(d, DISK_READ, block))
		return -EIO;
	if (d->now[block])
		memcpy(to, d->now[block]->data, DISK_BLOCK);
	else
		memset(to, 0, DISK_BLOCK);
	return 0;
}

/* What comes before the bad sector; often nothing, or all of it and no answer in time. */
static u8 stored_of_failed(struct disk *d)
{
	switch (rng_below(&d->rng, 4)) {
	case 0:
		return 0;
	case 1:
		return WHOLE_BLOCK;
	default:
		return (1u << rng_below(&d->rng, BLOCK_PIECES)) - 1;
	}
}

int disk_write(struct disk *d, u64 block, const void *from)
{
	struct pending_write *w;
	struct page *part;
	unsigned int failed;

	check(block < d->blocks, "write of block %llu, beyond the disk", block);
	if (d->nr_pending == d->room_pending) {
		d->room_pending = d->room_pending ? 2 * d->room_pending : 64;
		d->pending = realloc(d->pending, d->room_pending * sizeof(*d->pending));
		check(d->pending, "no memory");
	}
	failed = fails(d, DISK_WRITE, block);
	note(d, DISK_WRITE, failed, block);
	d->nr_failed_writes += failed != 0;
	w = &d->pending[d->nr_pending++];
	w->block = block;
	w->page = page_new(from);
	w->stored = failed & DISK_AWAY ? 0 : failed ? stored_of_failed(d) : WHOLE_BLOCK;
	part = page_join(w->page, d->now[block], w->stored);
	replace(&d->now[block], part);
	page_put(part);
	return failed ? -EIO : 0;
}

/*
 * Nothing of the cache was stored, nor will be: some disks do that when a flush fails.
 * @readable: as long as there is power it can be read all the same.
 */
static void drop_pending(struct disk *d, bool readable)
{
	for (; d->nr_pending; d->nr_pending--) {
		struct pending_write *w = &d->pending[d->nr_pending - 1];

		if (!readable)
			replace(&d->now[w->block], d->stable[w->block]);
		page_put(w->page);
	}
}

int disk_flush(struct disk *d)
{
	u32 i;

	if (d->before_flush)
		d->before_flush(d, d->context);
	if (fails(d, DISK_FLUSH, 0)) {
		note(d, DISK_FLUSH, true, 0);
		if (rng_one_in(&d->rng, 2))
			drop_pending(d, rng_one_in(&d->rng, 2));
		return -EIO;
	}
	note(d, DISK_FLUSH, false, 0);
	if (d->lies)
		return 0;
	for (i = 0; i < d->nr_pending; i++) {
		replace(&d->stable[d->pending[i].block], d->now[d->pending[i].block]);
		page_put(d->pending[i].page);
	}
	d->nr_pending = 0;
	return 0;
}
