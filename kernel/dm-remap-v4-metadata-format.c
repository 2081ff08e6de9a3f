// SPDX-License-Identifier: GPL-2.0-only
/*
 * A spare without a valid header: formatted if it is blank, else the reason why not.
 */
#include <linux/ktime.h>
#include <linux/random.h>
#include <linux/string.h>

#include "dm-remap-v4-metadata-internal.h"

/* Is the whole region zero? A region that can't be read is not. */
static bool region_zero(struct dmr_metadata *md, void *scratch)
{
	u64 block, nr = region_sectors(md->copies, md->spacing) / BLOCK_SECTORS;

	for (block = 0; block < nr; block++)
		if (dmr_md_read_block(md, block, scratch) ||
		    memchr_inv(scratch, 0, BLOCK_SIZE_BYTES))
			return false;
	return true;
}

void dmr_md_init_info(struct dmr_metadata *md, const uuid_t *uuid)
{
	struct disk_prefix *p = &md->info->p;

	memset(md->info, 0, sizeof(*md->info));
	p->magic = cpu_to_le32(INFO_MAGIC);
	p->version = cpu_to_le32(FORMAT_VERSION);
	p->sequence = cpu_to_le64(1);
	p->time = cpu_to_le64(ktime_get_real_seconds());
	p->uuid = *uuid;
}

static const char *format(struct dmr_metadata *md)
{
	struct disk_header *h = md->hdr;

	if (md->params.read_only)
		return "The spare is empty and opened read-only";
	memset(h, 0, sizeof(*h));
	h->p.magic = cpu_to_le32(HEADER_MAGIC);
	h->p.version = cpu_to_le32(FORMAT_VERSION);
	h->p.sequence = cpu_to_le64(1);
	h->p.time = cpu_to_le64(ktime_get_real_seconds());
	h->p.copies = md->copies;
	h->p.block_size = cpu_to_le32(BLOCK_SIZE_BYTES);
	h->p.spacing = cpu_to_le32(md->spacing);
	if (md->params.uuid_known)
		h->p.uuid = md->params.uuid;
	else
		generate_random_uuid(h->p.uuid.b);
	h->main_sectors = cpu_to_le64(md->params.main_sectors);
	h->spare_sectors = cpu_to_le64(md->params.spare_sectors);
	h->generation = cpu_to_le64(1);
	h->cursor = cpu_to_le64(data_start(md->copies, md->spacing));
	h->logical_block_size = cpu_to_le32(md->params.block_size);
	h->segment[0] = cpu_to_le64(SLOT_LOG * BLOCK_SECTORS);
	dmr_md_init_info(md, &h->p.uuid);
	md->sequence = 1;
	md->durable = 1;
	md->formatted = true;
	md->certain = true;

	memcpy(md->segment, h->segment, sizeof(md->segment));
	if (dmr_space_init(md->space, data_start(md->copies, md->spacing),
			   md->params.spare_sectors))
		return "Out of memory";
	md->good = all_copies(md);
	md->whole = md->good;
	md->header_ok = md->good;
	md->info_ok = md->good;
	/* The headers first, or a cut would leave what is neither blank nor ours. */
	if (dmr_md_write_waves(md, h, WRITE_HEADER) || dmr_md_write_waves(md, h, WRITE_INFO))
		return "The spare could not be formatted: writing the metadata failed";
	return NULL;
}

/* There is no valid header: say what there is instead, or format it. */
const char *dmr_md_load_other(struct dmr_metadata *md, void *scratch)
{
	const struct disk_prefix *p = scratch;

	md->copies = md->params.copies ?: DMR_DEFAULT_COPIES;
	md->spacing = md->params.spacing ?: DMR_DEFAULT_SPACING;
	if (data_start(md->copies, md->spacing) >= md->params.spare_sectors)
		return "The spare is too small: the metadata alone fills it";
	if (region_zero(md, scratch))
		return format(md);
	if (dmr_md_read_block(md, 0, scratch))
		return "The metadata of the spare can't be read";
	if (!memcmp(scratch, V3_MAGIC, 8))
		return "The spare holds dm-remap v3.0 metadata; import it with dmremapctl";
	if (le32_to_cpu(p->magic) != HEADER_MAGIC)
		return "The spare is not blank; use another one or dmremapctl create --format";
	if (le32_to_cpu(p->block_size) == V42_STRUCT_SIZE)
		return "The spare holds dm-remap v4.2 metadata; import it with dmremapctl";
	return "The metadata is damaged in every copy; look with dmremapctl inspect";
}
