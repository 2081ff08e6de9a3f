// SPDX-License-Identifier: GPL-2.0-only
#include "header.h"

#include <stdio.h>
#include <string.h>

#define HEADER_MAGIC 0x444D5234
#define INFO_MAGIC 0x494D5234
#define VERSION 4
#define MAX_SEQUENCE (1ull << 63)
#define MAX_COPIES 8
#define MIN_SHIFT 15
#define MAX_SHIFT 24
#define SHADOW (2 * BLOCK)
/* Byte 0, seven further copies at each spacing, and the shadow. */
#define MAX_HEADERS (1 + (MAX_COPIES - 1) * (MAX_SHIFT - MIN_SHIFT + 1) + 1)

struct header {
	unsigned char uuid[16];
	uint64_t sequence, main_sectors, spare_sectors;
	uint32_t copy, copies, spacing, ro_compat, incompat;
};

struct look {
	read_block_fn read;
	void *context;
	uint64_t size;
	struct header headers[MAX_HEADERS];
	unsigned int nr;
	bool unreadable;
};

static uint32_t le32(const unsigned char *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t le64(const unsigned char *p)
{
	return le32(p) | (uint64_t)le32(p + 4) << 32;
}

/* CRC-32/ISO-HDLC over a block, its own field as zero. */
static uint32_t block_crc(const unsigned char *block)
{
	uint32_t crc = ~0u;

	for (int at = 0; at < BLOCK; at++) {
		crc ^= at >= 0x18 && at < 0x1C ? 0 : block[at];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
	}
	return ~crc;
}

static bool read_block(struct look *look, uint64_t offset, unsigned char *block)
{
	if (look->size < BLOCK || offset > look->size - BLOCK)
		return false;
	if (look->read(look->context, offset, block))
		return true;
	look->unreadable = true;
	return false;
}

static bool decode(const unsigned char *b, struct header *h)
{
	uint64_t bytes;

	if (le32(b) != HEADER_MAGIC || le32(b + 0x04) != VERSION || le32(b + 0x20) != BLOCK ||
	    le32(b + 0x18) != block_crc(b))
		return false;
	h->sequence = le64(b + 0x08);
	h->copy = b[0x1C];
	h->copies = b[0x1D];
	h->spacing = le32(b + 0x24);
	memcpy(h->uuid, b + 0x28, sizeof(h->uuid));
	h->main_sectors = le64(b + 0x38);
	h->spare_sectors = le64(b + 0x40);
	h->ro_compat = le32(b + 0x4C);
	h->incompat = le32(b + 0x50);
	bytes = (uint64_t)h->spacing * SECTOR;
	return h->sequence && h->sequence <= MAX_SEQUENCE && h->copies >= 1 &&
	       h->copies <= MAX_COPIES && h->copy < h->copies &&
	       bytes >= 1ull << MIN_SHIFT && bytes <= 1ull << MAX_SHIFT && !(bytes & (bytes - 1));
}

static bool fits(const struct header *h, uint64_t offset)
{
	return offset == SHADOW ? h->copies == 1 :
				  (uint64_t)h->copy * h->spacing * SECTOR == offset;
}

/* Take the header at this place, if there is one. Where spacing is given, only of that. */
static bool take(struct look *look, uint64_t offset, uint64_t spacing)
{
	unsigned char block[BLOCK];
	struct header *h = &look->headers[look->nr];

	if (!read_block(look, offset, block) || !decode(block, h) || !fits(h, offset) ||
	    (spacing && (uint64_t)h->spacing * SECTOR != spacing))
		return false;
	look->nr++;
	return true;
}

/*
 * Behind byte 0. Where that tells the spacing no other is looked at: further on may
 * lie what an earlier geometry left.
 */
static void take_others(struct look *look, uint64_t spacing)
{
	for (uint64_t copy = 1; copy < MAX_COPIES; copy++)
		take(look, copy * spacing, spacing);
}

static bool same_uuid(const struct header *a, const struct header *b)
{
	return !memcmp(a->uuid, b->uuid, sizeof(a->uuid));
}

static void uuid_text(const unsigned char *uuid, char *text)
{
	for (int at = 0; at < 16; at++)
		text += sprintf(text, at == 4 || at == 6 || at == 8 || at == 10 ? "-%02x" : "%02x",
				uuid[at]);
}

static unsigned int count_of(const struct look *look, const struct header *h)
{
	unsigned int nr = 0;

	for (unsigned int i = 0; i < look->nr; i++)
		nr += same_uuid(&look->headers[i], h);
	return nr;
}

/* The newest header of the uuid that is wanted, or that most copies have. */
static enum looked choose(const struct look *look, const char *wanted, struct header *chosen)
{
	unsigned int most = 0;
	bool rivals = false;

	for (unsigned int i = 0; i < look->nr; i++) {
		const struct header *h = &look->headers[i];
		unsigned int count = count_of(look, h);
		char text[UUID_TEXT];

		uuid_text(h->uuid, text);
		if (wanted && strcmp(wanted, text))
			continue;
		if (count > most) {
			most = count;
			rivals = false;
			*chosen = *h;
		} else if (count == most && !same_uuid(h, chosen)) {
			rivals = true;
		} else if (same_uuid(h, chosen) && h->sequence > chosen->sequence) {
			*chosen = *h;
		}
	}
	return !most ? LOOKED_NOTHING : rivals ? LOOKED_RIVALS : LOOKED_SPARE;
}

/* Whether a copy has a header, or the shadow that stands in for it. */
static bool has_copy(const struct look *look, const struct header *of, uint32_t copy)
{
	for (unsigned int i = 0; i < look->nr; i++)
		if (same_uuid(&look->headers[i], of) && look->headers[i].copy == copy)
			return true;
	return false;
}

/* The newest info block that belongs to the header. */
static void take_identity(struct look *look, const struct header *h, char *identity)
{
	uint64_t newest = 0;

	for (uint32_t copy = 0; copy < h->copies; copy++) {
		unsigned char b[BLOCK];

		if (!read_block(look, (uint64_t)copy * h->spacing * SECTOR + BLOCK, b) ||
		    le32(b) != INFO_MAGIC || le32(b + 0x04) != VERSION || b[0x1C] != copy ||
		    le32(b + 0x18) != block_crc(b) || memcmp(b + 0x28, h->uuid, sizeof(h->uuid)) ||
		    le64(b + 0x08) <= newest || le64(b + 0x08) > MAX_SEQUENCE)
			continue;
		newest = le64(b + 0x08);
		memcpy(identity, b + 0x38, IDENTITY_TEXT - 1);
	}
}

enum looked spare_look(read_block_fn read, void *context, uint64_t size, bool deep,
		       const char *wanted, struct spare *spare)
{
	struct look look = { .read = read, .context = context, .size = size };
	struct header chosen;
	enum looked found;

	*spare = (struct spare){ .first = take(&look, 0, 0) };
	if (spare->first)
		take_others(&look, (uint64_t)look.headers[0].spacing * SECTOR);
	else if (deep)
		for (int shift = MIN_SHIFT; shift <= MAX_SHIFT; shift++)
			take_others(&look, 1ull << shift);
	else
		return look.unreadable ? LOOKED_UNREADABLE : LOOKED_NOTHING;
	take(&look, SHADOW, 0);
	found = choose(&look, wanted, &chosen);
	if (found != LOOKED_SPARE)
		return found == LOOKED_NOTHING && look.unreadable ? LOOKED_UNREADABLE : found;
	uuid_text(chosen.uuid, spare->uuid);
	spare->sequence = chosen.sequence;
	spare->main_sectors = chosen.main_sectors;
	spare->spare_sectors = chosen.spare_sectors;
	spare->copies = chosen.copies;
	spare->spacing = chosen.spacing;
	spare->ro_compat = chosen.ro_compat;
	spare->incompat = chosen.incompat;
	for (uint32_t copy = 0; copy < chosen.copies; copy++)
		spare->valid += has_copy(&look, &chosen, copy);
	take_identity(&look, &chosen, spare->main_id);
	return LOOKED_SPARE;
}
