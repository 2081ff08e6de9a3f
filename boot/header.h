/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the headers of a spare tell, by docs/on-disk-format.md. The log and the
 * records are the kernel's business; here it is only found out whose spare it is.
 */
#ifndef DMR_HEADER_H
#define DMR_HEADER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BLOCK 4096
#define SECTOR 512
#define UUID_TEXT 37
#define IDENTITY_TEXT 129

struct spare {
	char uuid[UUID_TEXT];
	uint64_t sequence;	/* of the newest header */
	uint64_t main_sectors, spare_sectors;
	uint32_t copies, spacing;	/* spacing in sectors */
	uint32_t ro_compat, incompat;
	uint32_t valid;		/* copies that have a valid header, old ones too */
	bool first;		/* the header at byte 0 is one of the valid ones */
	char main_id[IDENTITY_TEXT];	/* as it was recorded; empty if not known */
};

enum looked {
	LOOKED_NOTHING,		/* no valid header */
	LOOKED_SPARE,
	LOOKED_RIVALS,		/* as many copies of one uuid as of another */
	LOOKED_UNREADABLE,	/* no valid header, and some place could not be read */
};

/*
 * Read block number at of something; false if it cannot be read whole. The
 * callback is the only way to the device, so images in memory do as well.
 */
typedef bool (*read_block_fn)(void *context, uint64_t offset, unsigned char *block);

/*
 * Look for a spare in size bytes. With deep, a place is looked at for every
 * geometry there may be; without it, only if the header at byte 0 is valid. If
 * wanted is not NULL, headers of another uuid do not count.
 */
enum looked spare_look(read_block_fn read, void *context, uint64_t size, bool deep,
		       const char *wanted, struct spare *spare);

#endif
