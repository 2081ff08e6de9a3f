/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading a device onward, in large pieces of which the next is always on its
 * way: for the load, which looks once at each block of the log. What this can't
 * read is for the caller to read block by block.
 *
 * It goes past dm-bufio: nothing may be dirty there, and nobody may write to what
 * is read. One caller at a time, in process context.
 */
#ifndef DM_REMAP_V4_READAHEAD_H
#define DM_REMAP_V4_READAHEAD_H

#include <linux/blkdev.h>
#include <linux/types.h>

#define DMR_PIECE_SECTORS	512U

struct dmr_readahead;

/* For so many places that are read side by side. NULL if there is no memory. */
struct dmr_readahead *dmr_readahead_new(struct block_device *bdev,
					unsigned int streams);

/* Waits for what is on its way. */
void dmr_readahead_free(struct dmr_readahead *ra);

/*
 * Begin to read the next piece of a stream: at most DMR_PIECE_SECTORS, and less if
 * there is no memory. The piece before the last is forgotten. May sleep, allocates
 * with GFP_NOIO.
 */
void dmr_readahead_start(struct dmr_readahead *ra, unsigned int stream,
			 sector_t start, sector_t len);

/*
 * What a sector of one of the last two pieces holds, and those behind it up to a
 * multiple of 4 KiB from the start of the piece. NULL if it is in none, or if the
 * piece could not be read. May sleep.
 */
const void *dmr_readahead_data(struct dmr_readahead *ra, unsigned int stream,
			       sector_t sector);

#endif
