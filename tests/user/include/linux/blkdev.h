/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_BLKDEV_H
#define SHIM_BLKDEV_H

#include <linux/slab.h>
#include <linux/types.h>

#define SECTOR_SHIFT	9
#define SECTOR_SIZE	(1 << SECTOR_SHIFT)

struct block_device;	/* a struct disk; see shim/disk.h */

#endif
