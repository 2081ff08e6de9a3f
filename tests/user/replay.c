// SPDX-License-Identifier: GPL-2.0-only
#include <zlib.h>

#include "replay.h"
#include "shim/shim.h"

static u64 part(u64 a, u64 b, u64 c)
{
	struct rng r = { a << 48 ^ b << 24 ^ c };

	return rng_next(&r);
}

static void set_main(struct replay *r, u32 block, u8 kind, u32 spare)
{
	if (r->kind[block])
		r->hash ^= part(r->kind[block], block, r->spare[block]);
	r->kind[block] = kind;
	r->spare[block] = spare;
	if (kind)
		r->hash ^= part(kind, block, spare);
}

void replay_init(struct replay *r)
{
	memset(r, 0, sizeof(*r));
}

int replay_record(struct replay *r, const struct dmr_record *rec)
{
	u64 main = rec->main / REPLAY_BLOCK, spare = rec->spare / REPLAY_BLOCK;
	u64 nr = rec->sectors / REPLAY_BLOCK, i;

	if (!nr || main + nr > REPLAY_BLOCKS || spare + nr > REPLAY_BLOCKS ||
	    (rec->main | rec->spare | rec->sectors) % REPLAY_BLOCK)
		return -EINVAL;
	r->nr++;
	r->crc = crc32_z(r->crc, (const u8 *)rec, sizeof(*rec));
	for (i = 0; i < nr; i++) {
		switch (rec->kind) {
		case DMR_REC_REMAP:
		case DMR_REC_PENDING:
			set_main(r, main + i, rec->kind, rec->spare ? spare + i : 0);
			break;
		case DMR_REC_FREE:
			set_main(r, main + i, 0, 0);
			break;
		case DMR_REC_BAD_SPARE:
			if (!r->bad[spare + i])
				r->hash ^= part(rec->kind, 0, spare + i);
			r->bad[spare + i] = true;
			break;
		default:
			return -EINVAL;
		}
	}
	return 0;
}

int replay_records(void *replay, const struct dmr_record *rec, unsigned int nr)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < nr && !r; i++)
		r = replay_record(replay, &rec[i]);
	return r;
}

static bool is_so(const struct replay *r, const struct dmr_record *rec, u32 i)
{
	u32 main = rec->main / REPLAY_BLOCK + i, spare = rec->spare / REPLAY_BLOCK + i;

	switch (rec->kind) {
	case DMR_REC_REMAP:
		return r->kind[main] == DMR_REC_REMAP && r->spare[main] == spare;
	case DMR_REC_BAD_SPARE:
		return r->bad[spare];
	default:
		return r->kind[main] == rec->kind;
	}
}

static sector_t still_so(void *context, const struct dmr_record *rec, sector_t offset, bool *so)
{
	const struct replay *r = context;
	u32 first = offset / REPLAY_BLOCK, i;

	*so = is_so(r, rec, first);
	for (i = first; i < rec->sectors / REPLAY_BLOCK && is_so(r, rec, i) == *so; i++)
		;
	return (sector_t)(i - first) * REPLAY_BLOCK;
}

struct dmr_live replay_live(struct replay *r)
{
	struct dmr_live live = { .context = r, .still = still_so };
	u32 i;

	for (i = 0; i < REPLAY_BLOCKS; i++)
		live.extents += r->kind[i] && (!i || r->kind[i - 1] != r->kind[i] ||
					       r->spare[i - 1] + 1 != r->spare[i]);
	return live;
}
