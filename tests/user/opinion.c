// SPDX-License-Identifier: GPL-2.0-only
#include <linux/string.h>

#include "opinion.h"

bool (*second_opinion)(const struct disk *d, const struct asked *a, const struct verdict *v);
u64 opinion_one_in = 1;
u64 nr_opinions;

struct verdict verdict_of(struct dmr_metadata *md, const struct replay *r)
{
	struct dmr_meta_status st;
	struct dmr_soft_state soft;

	if (!md)
		return (struct verdict){ .refused = true };
	dmr_metadata_status(md, &st);
	dmr_metadata_get_soft(md, &soft);
	return (struct verdict){
		.sequence = st.sequence, .good = st.good, .records = r->nr,
		.records_crc = r->crc, .read_errors = soft.read_errors,
	};
}

bool opinion_agrees(const struct disk *d, const struct dmr_meta_params *p,
		    const struct verdict *v, struct rng *rng)
{
	struct asked a = {
		.main_sectors = p->main_sectors, .block_size = p->block_size,
		.uuid_known = p->uuid_known,
	};

	if (!second_opinion || !rng_one_in(rng, opinion_one_in))
		return true;
	memcpy(a.uuid, p->uuid.b, sizeof(a.uuid));
	nr_opinions++;
	return second_opinion(d, &a, v);
}
