// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-bufio, as unkind as the real one may be:
 *
 * - any dirty buffer may be written at any time, also while it is held;
 * - a wave is written in any order;
 * - a buffer that could not be written is clean, and stays in the cache as if
 *   it had been; the first error of all is what the next wave returns;
 * - forgetting does nothing to buffers that are dirty or held;
 * - a buffer that could not be read may be found again with its error;
 * - the cache is small, and what is new in it is rubbish.
 */
#include <stdlib.h>

#include <linux/dm-bufio.h>

#include "bufio.h"
#include "disk.h"

struct dm_buffer {
	struct dm_bufio_client *client;
	u64 block;
	u32 index;		/* in client->cached */
	u32 held;
	bool dirty;
	int read_error, write_error;
	u64 data[DISK_BLOCK / sizeof(u64)];	/* aligned, as pages are */
};

struct dm_bufio_client {
	struct disk *disk;
	struct bufio_kindness kind;
	struct rng rng;
	struct dm_buffer **at;		/* by block */
	struct dm_buffer **cached;	/* all of them */
	u32 nr, room;
	int error;			/* the first since the last wave */
	unsigned int flushes;
	enum bufio_bug bug;
	unsigned int bug_at;
};

struct dm_bufio_client *
dm_bufio_client_create(struct block_device *bdev, unsigned int block_size,
		       unsigned int reserved_buffers, unsigned int aux_size,
		       void (*alloc_callback)(struct dm_buffer *),
		       void (*write_callback)(struct dm_buffer *),
		       unsigned int flags)
{
	struct dm_bufio_client *c = calloc(1, sizeof(*c));

	check(block_size == DISK_BLOCK && !aux_size && !alloc_callback && !write_callback && !flags,
	      "a kind of client that the shim does not know");
	check(c, "no memory");
	c->disk = (struct disk *)bdev;
	c->kind.buffers = max(64u, reserved_buffers);
	c->at = calloc(c->disk->blocks, sizeof(*c->at));
	check(c->at, "no memory");
	return c;
}

struct block_device *bufio_bdev(const struct dm_bufio_client *c)
{
	return disk_bdev(c->disk);
}

void bufio_set(struct dm_bufio_client *c, const struct bufio_kindness *k, u64 seed)
{
	c->kind = *k;
	c->rng.state = seed;
}

void bufio_begin(struct dm_bufio_client *c, enum bufio_bug bug, unsigned int at)
{
	c->flushes = 0;
	c->bug = bug;
	c->bug_at = at;
}

unsigned int bufio_flushes(const struct dm_bufio_client *c)
{
	return c->flushes;
}

static void drop(struct dm_buffer *b)
{
	struct dm_bufio_client *c = b->client;

	check(!b->held && !b->dirty, "drops a buffer in use");
	c->at[b->block] = NULL;
	c->cached[b->index] = c->cached[--c->nr];
	c->cached[b->index]->index = b->index;
	free(b);
}

void dm_bufio_client_destroy(struct dm_bufio_client *c)
{
	while (c->nr) {
		check(!c->cached[0]->held, "block %llu is still held", c->cached[0]->block);
		c->cached[0]->dirty = false;
		drop(c->cached[0]);
	}
	free(c->cached);
	free(c->at);
	free(c);
}

static void write_out(struct dm_buffer *b)
{
	struct dm_bufio_client *c = b->client;

	b->dirty = false;
	b->write_error = disk_write(c->disk, b->block, b->data);
	if (b->write_error && !c->error)
		c->error = b->write_error;
}

static struct dm_buffer *any_buffer(struct dm_bufio_client *c)
{
	return c->nr ? c->cached[rng_below(&c->rng, c->nr)] : NULL;
}

static void be_unkind(struct dm_bufio_client *c)
{
	struct dm_buffer *b;

	if (!c->kind.early || !rng_one_in(&c->rng, c->kind.early))
		return;
	b = any_buffer(c);
	if (b && b->dirty)
		write_out(b);
}

static void make_room(struct dm_bufio_client *c)
{
	u32 start, i;

	while (c->nr >= c->kind.buffers) {
		start = rng_below(&c->rng, c->nr);
		for (i = 0; i < c->nr; i++)
			if (!c->cached[(start + i) % c->nr]->held)
				break;
		check(i < c->nr, "more buffers held than the cache has");
		i = (start + i) % c->nr;
		if (c->cached[i]->dirty)
			write_out(c->cached[i]);
		drop(c->cached[i]);
	}
}

static struct dm_buffer *add(struct dm_bufio_client *c, u64 block)
{
	struct dm_buffer *b = malloc(sizeof(*b));

	check(block < c->disk->blocks, "block %llu, beyond the disk", block);
	make_room(c);
	if (c->nr == c->room) {
		c->room = c->room ? 2 * c->room : 64;
		c->cached = realloc(c->cached, c->room * sizeof(*c->cached));
	}
	check(b && c->cached, "no memory");
	*b = (struct dm_buffer){ .client = c, .block = block, .index = c->nr };
	c->cached[c->nr++] = b;
	c->at[block] = b;
	return b;
}

static struct dm_buffer *find(struct dm_bufio_client *c, u64 block)
{
	return block < c->disk->blocks ? c->at[block] : NULL;
}

static struct dm_buffer *load(struct dm_bufio_client *c, u64 block)
{
	struct dm_buffer *b = find(c, block);

	if (!b) {
		b = add(c, block);
		b->read_error = disk_read(c->disk, block, b->data);
	}
	return b;
}

void *dm_bufio_read(struct dm_bufio_client *c, sector_t block, struct dm_buffer **bp)
{
	struct dm_buffer *b;
	int r;

	be_unkind(c);
	if (block >= c->disk->blocks)
		return ERR_PTR(-EIO);
	b = load(c, block);
	b->held++;
	*bp = b;
	r = b->read_error;
	if (!r)
		return b->data;
	dm_bufio_release(b);
	return ERR_PTR(r);
}

void *dm_bufio_get(struct dm_bufio_client *c, sector_t block, struct dm_buffer **bp)
{
	if (!find(c, block))
		return NULL;
	return dm_bufio_read(c, block, bp);
}

void *dm_bufio_new(struct dm_bufio_client *c, sector_t block, struct dm_buffer **bp)
{
	struct dm_buffer *b;

	be_unkind(c);
	b = find(c, block);
	if (!b) {
		b = add(c, block);
		memset(b->data, rng_next(&c->rng), DISK_BLOCK);
	}
	b->held++;
	*bp = b;
	if (!b->read_error)
		return b->data;
	/* The real one does the same: an error that nobody has met yet. */
	dm_bufio_release(b);
	return ERR_PTR(-EIO);
}

void dm_bufio_prefetch(struct dm_bufio_client *c, sector_t block, unsigned int n_blocks)
{
	for (; n_blocks && block < c->disk->blocks; n_blocks--, block++) {
		struct dm_buffer *b = load(c, block);

		/* Released while it was still being read, or after that? */
		if (b->read_error && !b->held && !b->dirty && rng_one_in(&c->rng, 2))
			drop(b);
	}
}

void dm_bufio_release(struct dm_buffer *b)
{
	struct dm_bufio_client *c = b->client;

	check(b->held, "releases block %llu, which is not held", b->block);
	if (!--b->held && (b->read_error || b->write_error) && !b->dirty)
		drop(b);
	be_unkind(c);
}

void dm_bufio_mark_buffer_dirty(struct dm_buffer *b)
{
	check(b->held, "dirties block %llu, which is not held", b->block);
	b->dirty = true;
	be_unkind(b->client);
}

void dm_bufio_write_dirty_buffers_async(struct dm_bufio_client *c)
{
	u32 nr = 0, i;
	struct dm_buffer **list = calloc(c->nr + 1, sizeof(*list));

	check(list, "no memory");
	for (i = 0; i < c->nr; i++) {
		u32 other = rng_below(&c->rng, nr + 1);

		if (!c->cached[i]->dirty)
			continue;
		list[nr++] = list[other];
		list[other] = c->cached[i];
	}
	for (i = 0; i < nr; i++)
		write_out(list[i]);
	free(list);
}

static bool bug_now(const struct dm_bufio_client *c, enum bufio_bug bug)
{
	return c->bug == bug && c->flushes == c->bug_at;
}

int dm_bufio_issue_flush(struct dm_bufio_client *c)
{
	bool skip = bug_now(c, BUFIO_NO_FLUSH);

	c->flushes++;
	return skip ? 0 : disk_flush(c->disk);
}

int dm_bufio_write_dirty_buffers(struct dm_bufio_client *c)
{
	int error, r;

	if (bug_now(c, BUFIO_LATE_WRITE)) {
		c->flushes++;
		return 0;
	}
	dm_bufio_write_dirty_buffers_async(c);
	error = c->error;
	c->error = 0;
	r = dm_bufio_issue_flush(c);
	return error ? error : r;
}

static void forget(struct dm_buffer *b)
{
	if (b && !b->held && !b->dirty)
		drop(b);
}

void dm_bufio_forget(struct dm_bufio_client *c, sector_t block)
{
	forget(find(c, block));
}

void dm_bufio_forget_buffers(struct dm_bufio_client *c, sector_t block, sector_t n_blocks)
{
	u32 i;

	for (i = c->nr; i--; )
		if (c->cached[i]->block - block < n_blocks)
			forget(c->cached[i]);
}

sector_t dm_bufio_get_device_size(struct dm_bufio_client *c)
{
	return c->disk->blocks;
}

unsigned int dm_bufio_get_block_size(struct dm_bufio_client *c)
{
	return DISK_BLOCK;
}

sector_t dm_bufio_get_block_number(struct dm_buffer *b)
{
	return b->block;
}

void *dm_bufio_get_block_data(struct dm_buffer *b)
{
	return b->data;
}

struct dm_bufio_client *dm_bufio_get_client(struct dm_buffer *b)
{
	return b->client;
}
