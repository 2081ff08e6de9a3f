/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The records of the log, one after the other, become the map and the free
 * space: the load, before any bio is mapped. Nothing on the spare is believed
 * that does not fit the two devices.
 */
#ifndef DM_REMAP_V4_REPLAY_H
#define DM_REMAP_V4_REPLAY_H

#include "dm-remap-v4-map.h"
#include "dm-remap-v4-metadata.h"
#include "dm-remap-v4-space.h"

struct dmr_replay {
	struct dmr_map *map;
	struct dmr_space *space;
	sector_t main_sectors;
	sector_t block;		/* logical block of the stack, sectors */
};

/*
 * Check a record against the devices and replay it. A dmr_record_fn, with a
 * struct dmr_replay. -EINVAL for a record that can't be, -ENOMEM, or
 * -EINTR for who waits is being killed.
 */
int dmr_replay_record(void *replay, const struct dmr_record *rec);

/*
 * Behind the last record: take the places of all remaps. -EBUSY if two share
 * one, or -ENOMEM.
 */
int dmr_replay_finish(struct dmr_replay *r);

#endif
