// SPDX-License-Identifier: GPL-2.0-only
#include "foreign.h"

#include <string.h>

#define MAGIC(kind, offset, bytes) { kind, offset, bytes, sizeof(bytes) - 1 }
/* At the end of a page, whatever its size is. */
#define SWAP(page)                                                                                 \
	MAGIC("swap", (page) - 10, "SWAP-SPACE"), MAGIC("swap", (page) - 10, "SWAPSPACE2"),        \
		MAGIC("swap", (page) - 10, "S1SUSPEND\0")
#define EXT 0x438

/* None of them crosses the end of a block. */
static const struct magic {
	const char *kind;
	uint64_t offset;
	const char *bytes;
	size_t length;
} magics[] = {
	MAGIC("ext2/3/4", EXT, "\x53\xef"),
	MAGIC("xfs", 0, "XFSB"),
	MAGIC("btrfs", 0x10040, "_BHRfS_M"),
	MAGIC("f2fs", 0x400, "\x10\x20\xf5\xf2"),
	MAGIC("squashfs", 0, "hsqs"),
	MAGIC("erofs", 0x400, "\xe2\xe1\xf5\xe0"),
	MAGIC("iso9660", 0x8001, "CD001"),
	MAGIC("ntfs", 3, "NTFS    "),
	MAGIC("exfat", 3, "EXFAT   "),
	MAGIC("vfat", 0x36, "FAT1"),
	MAGIC("vfat", 0x52, "FAT32   "),
	MAGIC("LUKS", 0, "LUKS\xba\xbe"),
	MAGIC("LUKS2 (second header)", 0x4000, "SKUL\xba\xbe"),
	MAGIC("bcache", 0x1018,
	      "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
	MAGIC("md raid 1.1", 0, "\xfc\x4e\x2b\xa9"),
	MAGIC("md raid 1.2", 0x1000, "\xfc\x4e\x2b\xa9"),
	MAGIC("GPT", 512, "EFI PART"),
	MAGIC("GPT", 4096, "EFI PART"),
	MAGIC("LVM physical volume", 0, "LABELONE"),
	MAGIC("LVM physical volume", 512, "LABELONE"),
	MAGIC("LVM physical volume", 1024, "LABELONE"),
	MAGIC("LVM physical volume", 1536, "LABELONE"),
	SWAP(4096), SWAP(8192), SWAP(16384), SWAP(65536),
	MAGIC("MBR partition table", 510, "\x55\xaa"),
};

/* A block that was a header or a mark of ours, be it damaged. */
static bool was_ours(const unsigned char *block)
{
	return !memcmp(block, "4RMD", 4) || !memcmp(block, "dm-remap: ", 10);
}

static bool counts(const struct magic *magic, const struct spare *spare, const unsigned char *block)
{
	if (magic->offset >= (uint64_t)spare->copies * spare->spacing * SECTOR)
		return false;
	if (magic->offset >= BLOCK)
		return true;
	/* Of ext it is two bytes that any record may hold; mke2fs leaves nothing of what was. */
	return !spare->first && (magic->offset != EXT || !was_ours(block));
}

const char *foreign_in(read_block_fn read, void *context, const struct spare *spare)
{
	unsigned char block[BLOCK];
	uint64_t have = 1;	/* of which byte on it is the block */

	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
		const struct magic *magic = &magics[i];
		uint64_t start = magic->offset / BLOCK * BLOCK;

		if (start != have && !read(context, start, block)) {
			have = 1;
			continue;
		}
		have = start;
		if (!memcmp(block + magic->offset % BLOCK, magic->bytes, magic->length) &&
		    counts(magic, spare, block))
			return magic->kind;
	}
	return NULL;
}
