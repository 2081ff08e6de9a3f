// SPDX-License-Identifier: GPL-2.0-only
/*
 * Single blocks of metadata: which are valid, and how they are read, dirtied and
 * flushed.
 */
#include <linux/crc32.h>
#include <linux/dm-bufio.h>

#include "dm-remap-v4-metadata-internal.h"

u32 dmr_md_block_crc(const void *block)
{
	const u8 *p = block;
	const size_t at = offsetof(struct disk_prefix, crc);
	static const u8 zero[4];
	u32 crc = crc32_le(~0, p, at);

	crc = crc32_le(crc, zero, sizeof(zero));
	return ~crc32_le(crc, p + at + 4, BLOCK_SIZE_BYTES - at - 4);
}

bool dmr_md_block_known(const struct disk_prefix *p, u32 magic)
{
	u64 sequence = le64_to_cpu(p->sequence);

	return le32_to_cpu(p->magic) == magic &&
	       le32_to_cpu(p->version) == FORMAT_VERSION &&
	       sequence && sequence <= MAX_SEQUENCE;
}

bool dmr_md_block_valid(const struct disk_prefix *p, u32 magic)
{
	return dmr_md_block_known(p, magic) && le32_to_cpu(p->crc) == dmr_md_block_crc(p);
}

bool dmr_md_header_fits(const struct disk_header *h, u8 copy, u32 spacing)
{
	return dmr_md_block_valid(&h->p, HEADER_MAGIC) && h->p.copy == copy &&
	       h->p.copies && h->p.copies <= DMR_MAX_COPIES &&
	       copy < h->p.copies &&
	       le32_to_cpu(h->p.block_size) == BLOCK_SIZE_BYTES &&
	       le32_to_cpu(h->p.spacing) == spacing;
}

/* Read a block into @to, which may be on the heap only (DMA is dm-bufio's). */
int dmr_md_read_block(struct dmr_metadata *md, u64 block, void *to)
{
	struct dm_buffer *b;
	void *data = dm_bufio_read(md->bufio, block, &b);

	if (IS_ERR(data))
		return PTR_ERR(data);
	memcpy(to, data, BLOCK_SIZE_BYTES);
	dm_bufio_release(b);
	return 0;
}

/* Put @image, as copy @copy, into the cache; the next flush writes it. */
int dmr_md_dirty_block(struct dmr_metadata *md, u64 block, const void *image,
		       u8 copy)
{
	struct dm_buffer *b;
	struct disk_prefix *p = dm_bufio_new(md->bufio, block, &b);

	if (IS_ERR(p))
		return PTR_ERR(p);
	memcpy(p, image, BLOCK_SIZE_BYTES);
	p->copy = copy;
	p->crc = cpu_to_le32(dmr_md_block_crc(p));
	dm_bufio_mark_buffer_dirty(b);
	dm_bufio_release(b);
	md->block_writes++;
	return 0;
}

/* Flush the spare, after writing what is dirty if @write. */
int dmr_md_flush_spare(struct dmr_metadata *md, bool write)
{
	if (md->params.flush)
		return md->params.flush(md->params.flush_context, write);
	return write ? dm_bufio_write_dirty_buffers(md->bufio) :
		       dm_bufio_issue_flush(md->bufio);
}

/* What failed was written again, since a block and a flush have one error. Was it a block? */
void dmr_md_blame(struct dmr_metadata *md, bool block)
{
	if (md->params.blame)
		md->params.blame(md->params.flush_context, block);
}

int dmr_md_write_and_flush(struct dmr_metadata *md)
{
	md->flushes++;
	return dmr_md_flush_spare(md, true);
}
