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

/* Begins as zeros but for what is constant. */
struct dmr_replay {
	struct dmr_map *map;
	struct dmr_space *space;
	sector_t main_sectors;
	sector_t block;		/* logical block of the stack, sectors */

	struct dmr_entry *change;	/* to the map, in the order of the log */
	u32 nr, room;
	sector_t places_end;		/* on the spare, of the last remap */
	bool any_order;			/* the places of the remaps don't ascend */
};

/*
 * Check records against the devices and keep them for the map. A dmr_records_fn,
 * with a struct dmr_replay. -EINVAL for a record that can't be, -ENOMEM, or
 * -EINTR for who waits is being killed.
 */
int dmr_replay_records(void *replay, const struct dmr_record *rec, unsigned int nr);

/*
 * Behind the last record: the map is whole, and the places of all remaps are
 * taken. -EBUSY if two share one, -ENOMEM, or -EINTR.
 */
int dmr_replay_finish(struct dmr_replay *r);

/* Forget what was kept, where there will be no dmr_replay_finish(). */
void dmr_replay_exit(struct dmr_replay *r);

#endif
