// SPDX-License-Identifier: GPL-2.0-only
/* What a commit costs, whatever the table holds. */
#include <stdio.h>

#include "dm-remap-v4-metadata.h"
#include "shim/bufio.h"
#include "shim/disk.h"
#include "shim/options.h"

#define SECTORS		(1u << 23)	/* of main and spare */
#define BLOCK_SECTORS	8
#define RECORDS		118		/* in a header */

static struct dmr_metadata *md;
static struct disk *disk;
static u64 extents;

static int nothing(void *context, const struct dmr_record *rec, unsigned int nr)
{
	return 0;
}

static void commit(u32 nr)
{
	static struct dmr_record rec[RECORDS];
	unsigned int done;
	u32 i;

	for (i = 0; i < nr; i++, extents++)
		rec[i] = (struct dmr_record){
			.main = extents * BLOCK_SECTORS % SECTORS, .sectors = BLOCK_SECTORS,
			.kind = DMR_REC_PENDING,
		};
	check(!dmr_metadata_commit(md, rec, nr, &done), "can't be committed");
}

static void count(u64 *writes, u64 *flushes)
{
	u64 i;

	*writes = *flushes = 0;
	for (i = 0; i < disk->nr_log; i++)
		++*(disk->log[i].op == DISK_WRITE ? writes : flushes);
}

/* The next commits of one record, as many as fill one header. */
static void measure(u64 size)
{
	u64 writes, flushes, before[2], least = U64_MAX, most = 0, all = 0;
	u32 i;

	while (extents < size)
		commit(size - extents > RECORDS ? RECORDS : size - extents);
	for (i = 0; i < RECORDS; i++) {
		count(&before[0], &before[1]);
		commit(1);
		count(&writes, &flushes);
		writes -= before[0];
		check(flushes - before[1] == 3, "%llu flushes", flushes - before[1]);
		least = min(least, writes);
		most = max(most, writes);
		all += writes;
	}
	printf("extents=%llu flushes=3 least_writes=%llu most_writes=%llu all_writes=%llu of_commits=%u\n",
	       size, least, most, all, RECORDS);
}

int main(int argc, char **argv)
{
	static const u64 sizes[] = { 10, 10000, 1000000 };
	struct dmr_meta_params p = {
		.main_sectors = SECTORS, .spare_sectors = SECTORS, .block_size = BLOCK_SECTORS * SECTOR_SIZE,
	};
	struct options o = {};
	struct dmr_space space;
	const char *error;
	u32 i;

	parse_options(argc, argv, &o, NULL);
	disk = disk_new(SECTORS, 1);
	p.bufio = dm_bufio_client_create(disk_bdev(disk), DMR_META_BLOCK, DMR_META_BUFFERS, 0, NULL, NULL, 0);
	p.bdev = bufio_bdev(p.bufio);
	md = dmr_metadata_open(&p, &space, nothing, NULL, &error);
	check(md && dmr_metadata_mend(md) >= 0, "refused: %s", error);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		measure(sizes[i]);
	dmr_metadata_close(md);
	dmr_space_exit(&space);
	dm_bufio_client_destroy(p.bufio);
	disk_free(disk);
	return 0;
}
