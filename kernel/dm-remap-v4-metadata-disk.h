/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The blocks of metadata as they are on the spare: docs/on-disk-format.md has every
 * byte.
 */
#ifndef DM_REMAP_V4_METADATA_DISK_H
#define DM_REMAP_V4_METADATA_DISK_H

#include <linux/build_bug.h>
#include <linux/types.h>
#include <linux/uuid.h>
#include <asm/byteorder.h>

#define HEADER_MAGIC	0x444D5234	/* "4RMD" */
#define INFO_MAGIC	0x494D5234	/* "4RMI" */
#define LOG_MAGIC	0x4C4D5234	/* "4RML" */
#define V3_MAGIC	"DMREMAP3"
#define FORMAT_VERSION	4
#define V42_STRUCT_SIZE	84288
#define MAX_SEQUENCE	0x8000000000000000ull	/* of any block; from 1 */

#define BLOCK_SIZE_BYTES	4096
#define BLOCK_SECTORS		8
#define MIB_SECTORS		2048
#define RECORDS_PER_BLOCK	118
#define NR_SEGMENTS		12
#define FIRST_SEGMENT_BLOCKS	16
#define SLOT_HEADER		0	/* blocks within a slot */
#define SLOT_INFO		1
#define SLOT_SHADOW		2
#define SHADOW_BIT		2	/* in a mask, beside the bit of copy 0 */
#define SLOT_LOG		3
#define FLAG_NEEDS_CHECK	1

struct disk_record {
	__le64 main;
	__le64 spare;
	__le32 sectors;
	__le16 kind;
	__le16 errors;
	__le64 time;
} __packed;

/* What every kind of block begins with. */
struct disk_prefix {
	__le32 magic;
	__le32 version;
	__le64 sequence;
	__le64 time;
	__le32 crc;
	u8 copy;
	u8 copies;		/* header only */
	__le16 reserved0;
	__le32 block_size;	/* header only */
	__le32 spacing;		/* header only, sectors */
	uuid_t uuid;
} __packed;

struct disk_header {
	struct disk_prefix p;
	__le64 main_sectors;
	__le64 spare_sectors;
	__le32 compat;
	__le32 ro_compat;
	__le32 incompat;
	__le32 flags;
	__le64 generation;
	__le64 cursor;
	__le32 nr_records;
	__le32 log_blocks;
	__le32 logical_block_size;
	__le32 log_crc;
	__le64 segment[NR_SEGMENTS];
	u8 reserved1[0x130 - 0xd8];
	struct disk_record record[RECORDS_PER_BLOCK];
	u8 reserved2[16];
} __packed;

struct disk_log {
	struct disk_prefix p;
	__le64 generation;
	__le32 index;
	u8 reserved1[0x130 - 0x44];
	struct disk_record record[RECORDS_PER_BLOCK];
	u8 reserved2[16];
} __packed;

struct disk_info {
	struct disk_prefix p;
	char main_id[128];
	char name[128];
	__le64 read_errors;
	__le64 write_errors;
	__le64 salvaged;
	__le64 lost;
	__le64 scrub_sector;
	u8 reserved[BLOCK_SIZE_BYTES - 0x160];
} __packed;

static_assert(sizeof(struct disk_record) == 32);
static_assert(sizeof(struct disk_header) == BLOCK_SIZE_BYTES);
static_assert(sizeof(struct disk_log) == BLOCK_SIZE_BYTES);
static_assert(sizeof(struct disk_info) == BLOCK_SIZE_BYTES);
static_assert(offsetof(struct disk_header, p.crc) == 0x18);
static_assert(offsetof(struct disk_prefix, block_size) % 32 == 0);
static_assert(offsetof(struct disk_header, record) == 0x130);
static_assert(offsetof(struct disk_log, record) == 0x130);
static_assert(offsetof(struct disk_info, read_errors) == 0x138);

#endif
