// SPDX-License-Identifier: GPL-2.0-only
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>

#include "dm-remap-v4-replay.h"

int dmr_replay_record(void *replay, const struct dmr_record *rec)
{
	struct dmr_replay *r = replay;
	u64 main = rec->main, spare = rec->spare, len = rec->sectors, n;
	bool on_main = rec->kind != DMR_REC_BAD_SPARE;
	bool on_spare = rec->kind == DMR_REC_REMAP || rec->kind == DMR_REC_BAD_SPARE;
	enum dmr_kind kind;

	if (!len || len & (r->block - 1) || (main | spare) & (r->block - 1))
		return -EINVAL;
	if (on_main && (main >= r->main_sectors || len > r->main_sectors - main))
		return -EINVAL;
	if (on_spare && (spare < r->space->start || spare >= r->space->end ||
			 len > r->space->end - spare))
		return -EINVAL;
	if ((!on_main && main) || (!on_spare && spare))
		return -EINVAL;

	switch (rec->kind) {
	case DMR_REC_BAD_SPARE:
		/* May be recorded again, in part or whole. */
		dmr_space_refill(r->space);
		return dmr_space_take_rest(r->space, spare, len);
	case DMR_REC_REMAP:
		kind = DMR_REMAP;
		break;
	case DMR_REC_PENDING:
		kind = DMR_PENDING;
		break;
	case DMR_REC_FREE:
		kind = DMR_LINEAR;
		break;
	default:
		return -EINVAL;
	}
	for (; len; main += n, spare += n, len -= n) {
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		n = min_t(u64, len, DMR_MAX_RECORD_SECTORS);
		if (dmr_map_reserve(r->map, 4))
			return -ENOMEM;
		dmr_map_set(r->map, main, n, kind, spare);
	}
	return 0;
}

int dmr_replay_finish(struct dmr_replay *r)
{
	sector_t sector = 0;
	struct dmr_extent ex;
	int error;

	for (; sector < r->main_sectors; sector += ex.len) {
		rcu_read_lock();
		dmr_map_lookup(r->map, sector, r->main_sectors - sector, &ex);
		rcu_read_unlock();
		cond_resched();
		if (ex.kind != DMR_REMAP)
			continue;
		dmr_space_refill(r->space);
		error = dmr_space_take(r->space, ex.spare, ex.len);
		if (error)
			return error;
	}
	return 0;
}
