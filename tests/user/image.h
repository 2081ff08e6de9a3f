/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Images of a spare from a short description, which may be any bytes: one of
 * some whole images, and what is then changed in it.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include "replay.h"
#include "shim/disk.h"

#define IMAGE_SECTORS		(REPLAY_BLOCKS * REPLAY_BLOCK)	/* of main and spare */
#define IMAGES			9	/* whole ones */
#define IMAGE_MAX_CHANGES	16

enum image_op {
	IMAGE_NUMBER,		/* a number in a block is replaced */
	IMAGE_ADD,		/* ... is added to */
	IMAGE_ZERO,		/* the block is zero */
	IMAGE_NOISE,		/* from some place on it is rubbish */
	IMAGE_TAKE,		/* it becomes any block of any of the images */
	IMAGE_LOG_CRC,		/* headers agree with the log again */
	IMAGE_OPS
};

#define IMAGE_SEAL		0x80	/* the CRC is made right after that */
#define IMAGE_EVERYWHERE	0x40	/* in every copy */

/* A description is one byte, which image to begin with, and any number of these. */
struct image_change {
	u8 op;			/* enum image_op, and flags */
	u8 size;		/* of the number: 1, 2, 4 or 8 bytes */
	u8 block, copy;		/* which of those that the image has */
	__le16 offset;
	__le64 value;
} __attribute__((packed));

void image_make_all(void);
void image_free_all(void);
struct disk *image_from(const u8 *description, size_t len);

/*
 * Load it as the target does, and if it loads, mend and use it: what was there must
 * still be there. Anything wrong ends the program.
 */
void image_try(const u8 *description, size_t len, struct rng *rng);

extern u64 image_loaded, image_refused;

#endif
