/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Another reader of the same disks, the Python codec (tests/second_opinion.py),
 * which must find what the kernel's code found.
 */
#ifndef OPINION_H
#define OPINION_H

#include "dm-remap-v4-metadata.h"
#include "replay.h"
#include "shim/disk.h"

/* What the kernel's code made of a disk. */
struct verdict {
	u64 refused;
	u64 sequence, good;		/* good: a bit for each copy */
	u64 records, records_crc;
	u64 read_errors;
};

/* What the reader is told beforehand. */
struct asked {
	u64 main_sectors, block_size;
	u64 uuid_known;
	u8 uuid[16];
};

/* Set by the other reader. False: it does not agree. */
extern bool (*second_opinion)(const struct disk *d, const struct asked *a,
			      const struct verdict *v);
/* It is asked about one in so many disks. */
extern u64 opinion_one_in;
extern u64 nr_opinions;

/* @md NULL: refused. Only good if each record went through replay_record(). */
struct verdict verdict_of(struct dmr_metadata *md, const struct replay *r);
bool opinion_agrees(const struct disk *d, const struct dmr_meta_params *p,
		    const struct verdict *v, struct rng *rng);

#endif
