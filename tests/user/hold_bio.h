/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way of a bio past held sectors, as dmr_route_bio() and dmr_end_io() of
 * dm-remap-v4-real-main.c go it, and the worker's way of moving a block. Blocks
 * stand for sectors, an array for the map, and two flags for the I/O.
 */
#ifndef HOLD_BIO_H
#define HOLD_BIO_H

#include "dm-remap-v4-hold.h"
#include "shim/shim.h"

#define NR_BLOCKS	8

static struct dmr_hold hold;
static bool divert;
static u32 place[NR_BLOCKS];		/* the map: 0 main, 1 spare */
static u32 nr_moved;			/* the worker's: blocks on the spare */

/* Told by the threads about themselves, without ordering anything. */
static u32 moving[NR_BLOCKS];		/* the worker copies this block */

#define peek(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define poke(x, v)	__atomic_store_n(&(x), v, __ATOMIC_RELAXED)

/* I/O to @at, where the map said that @block was when the bio was counted. */
static void check_io(u32 block, u32 at)
{
	check(!peek(moving[block]), "I/O to block %u while it is moved", block);
	check(peek(place[block]) == at, "I/O to a place where block %u is no more", block);
}

/* False: the block is held, and the bio goes to the worker. */
static bool map_bio(u32 block, u32 *at, unsigned int *epoch)
{
	sector_t len = 1;
	bool pass = true;

	*at = 0;
	rcu_read_lock();
	*epoch = dmr_hold_epoch(&hold);	/* before divert */
	if (READ_ONCE(divert)) {
		pass = !dmr_hold_lookup(&hold, block, &len);
		*at = READ_ONCE(place[block]);
	}
	if (pass)
		dmr_hold_count(&hold, *epoch);
	rcu_read_unlock();
	return pass;
}

static void move(u32 block)
{
	u32 to = !place[block];

	poke(moving[block], 1);
	WRITE_ONCE(place[block], to);
	nr_moved += to ? 1 : -1;
	explore_point();
	poke(moving[block], 0);
}

/* As in dm-remap-v4-recover.c. */
static void hold_begin(void)
{
	WRITE_ONCE(divert, true);
	dmr_hold_acquire(&hold);
}

static void hold_end(void)
{
	dmr_hold_release(&hold);
	if (!nr_moved)
		WRITE_ONCE(divert, false);
}

#endif
