// SPDX-License-Identifier: GPL-2.0-only
/*
 * The breaker: is it a block that fails, or the device? A good device answers
 * at least one of some places spread over it. Reading is tried while a failure
 * is looked into, and writing before a run of failed writes is believed, since
 * a worn-out disk may read well and refuse every write.
 *
 * The worker's, like everything here.
 */
#include <linux/highmem.h>

#include "dm-remap-v4.h"

#define DM_MSG_PREFIX "remap-v4"

#define PROBES		5
#define READ_RUN	8	/* failed writes in a row between two probes by reading */
#define WRITE_RUN	8	/* sectors of the medium, before the first by writing; then twice as many */
#define MAX_PHYSICAL	8	/* logical blocks; who says more means a stripe */
#define NOT_ONE		((sector_t)-1)

/*
 * Of the target, not of main: what lies behind it may be others', and isn't held. Nor, but
 * for a tiny one, its ends, where partition tables and the like are: a block that is
 * written may be spoilt.
 */
static sector_t probe_place(const struct dmr_target *c, unsigned int i)
{
	return round_down(div_u64((c->ti->len - c->block) * (2 * i + 1), 2 * PROBES),
			  c->block);
}

/*
 * The block of main to try for place @i: the first there that main itself answers
 * for, and that isn't the one which failed, as long as the next place is further on.
 */
static bool block_to_try(struct dmr_target *c, unsigned int i, sector_t failed,
			 sector_t *at)
{
	sector_t end = i + 1 < PROBES ? probe_place(c, i + 1) :
			round_down(c->ti->len - div_u64(c->ti->len, 4 * PROBES), c->block);
	struct dmr_extent ex;

	for (*at = probe_place(c, i); *at < end; *at += ex.len) {
		dmr_lookup(c, *at, min_t(sector_t, end - *at, DMR_LOOK_SECTORS), &ex);
		if (ex.kind != DMR_LINEAR)
			continue;
		if (*at != failed)
			return true;
		ex.len = c->block;
	}
	return false;
}

static bool probe(struct dmr_target *c, unsigned int buffer, enum req_op op,
		  sector_t at)
{
	struct dmr_data data = dmr_bounce(c, buffer);

	return !dmr_data_io(c, &data, 0, c->block, op, c->main->bdev, at);
}

static void trip(struct dmr_target *c, const char *why)
{
	WRITE_ONCE(c->breaker, true);
	DMERR("%s: %s, no more remapping; mend it and send the message rearm",
	      c->name, why);
	dmr_event(c, DMR_EV_BREAKER, 0, 0);
}

/* False only if that failed wherever it was tried. */
static bool reads_anywhere(struct dmr_target *c, sector_t failed)
{
	unsigned int i, tried = 0;
	sector_t at;

	for (i = 0; i < PROBES; i++) {
		if (!block_to_try(c, i, failed, &at))
			continue;
		if (probe(c, 1, REQ_OP_READ, at))
			return true;
		tried++;
	}
	return !tried;
}

void dmr_breaker_written(struct dmr_target *c)
{
	/* A bad sector of the medium is as many bad blocks. */
	unsigned int blocks = bdev_physical_block_size(c->main->bdev) /
			      ((unsigned int)c->block << SECTOR_SHIFT);

	c->write_run = 0;
	c->write_probe_at = WRITE_RUN * clamp(blocks, 1U, (unsigned int)MAX_PHYSICAL);
}

void dmr_breaker_reset(struct dmr_target *c)
{
	WRITE_ONCE(c->breaker, false);
	dmr_breaker_written(c);
}

bool dmr_breaker_believes(struct dmr_target *c, enum req_op op, sector_t failed)
{
	if (c->breaker)
		return false;
	/* What becomes pending is lost: for reads ask each time. */
	if ((op_is_write(op) && c->write_run++ % READ_RUN) || reads_anywhere(c, failed))
		return true;
	trip(c, "the main device fails everywhere");
	return false;
}

bool dmr_spare_answers(struct dmr_target *c)
{
	sector_t step = round_down(div_u64(c->spare_sectors - c->block, PROBES - 1),
				   c->block);
	struct dmr_data data = dmr_bounce(c, 1);
	unsigned int i;

	for (i = 0; i < PROBES; i++)
		if (!dmr_data_io(c, &data, 0, c->block, REQ_OP_READ,
				 c->spare->bdev, step * i))
			return true;
	return false;
}

/*
 * A block of a good place was read but could not be written back. If main gives
 * its data no more it is in the buffer only: keep it on the spare.
 */
static void keep(struct dmr_target *c, sector_t at)
{
	struct dmr_data data = dmr_bounce(c, 1);

	if (probe(c, 0, REQ_OP_READ, at) && dmr_same_data(c, c->block))
		return;
	dmr_txn_spoilt(c, at);
	if (dmr_write_to_spare(c, &data, 0, at, c->block))
		DMERR("%s: sector %llu of the main device was lost in a probe",
		      c->name, (unsigned long long)at);
}

/* Write back what is there; false only if that failed wherever it was tried. */
static bool writes_anywhere(struct dmr_target *c)
{
	unsigned int i, tried = 0;
	sector_t at;

	if (!dmr_txn_room_for_spoilt(c, PROBES))
		return true;
	for (i = 0; i < PROBES; i++) {
		if (!block_to_try(c, i, NOT_ONE, &at) ||
		    !dmr_hold_extend(&c->hold, at, c->block) ||
		    !probe(c, 1, REQ_OP_READ, at))
			continue;
		if (probe(c, 1, REQ_OP_WRITE, at))
			return true;
		keep(c, at);
		tried++;
	}
	return !tried;
}

bool dmr_breaker_believes_writes(struct dmr_target *c)
{
	if (c->breaker)
		return false;
	if (c->write_run < c->write_probe_at)
		return true;
	c->write_probe_at = 2 * c->write_run;
	if (writes_anywhere(c))
		return true;
	trip(c, "the main device can't be written anywhere");
	return false;
}
