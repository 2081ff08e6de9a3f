// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-remap-v4-metadata*.c on simulated disks, for tests in Python
 * (tests/user_metadata.py). Structures stay on this side: numbers cross, in
 * arrays of u64 where there are several.
 */
#include <stdlib.h>

#include <linux/slab.h>

#include "crash.h"
#include "dm-remap-v4-metadata.h"
#include "shim/bufio.h"
#include "shim/disk.h"

#define RECORD_NUMBERS	6	/* main, spare, sectors, kind, errors, time */
#define SOFT_NUMBERS	5

struct user_metadata {
	struct dm_bufio_client *client;
	struct dmr_metadata *md;
	struct dmr_space space;
	u64 main_sectors;
	u64 *records;		/* RECORD_NUMBERS each */
	u64 nr, room;
};

static void quiet(char level, const char *line)
{
}

static void keep_one(struct user_metadata *m, const struct dmr_record *rec)
{
	u64 *to;

	if (m->nr == m->room) {
		m->room = m->room ? 2 * m->room : 256;
		m->records = realloc(m->records, m->room * RECORD_NUMBERS * sizeof(u64));
		check(m->records, "no memory");
	}
	to = &m->records[m->nr++ * RECORD_NUMBERS];
	to[0] = rec->main;
	to[1] = rec->spare;
	to[2] = rec->sectors;
	to[3] = rec->kind;
	to[4] = rec->errors;
	to[5] = rec->time;
}

static int keep(void *context, const struct dmr_record *rec, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		keep_one(context, &rec[i]);
	return 0;
}

void user_close(struct user_metadata *m)
{
	if (m->md)
		dmr_metadata_close(m->md);
	dmr_space_exit(&m->space);
	dm_bufio_client_destroy(m->client);
	free(m->records);
	free(m);
}

/* NULL: refused, @error says why. @uuid may be NULL: any. */
struct user_metadata *user_open(struct disk *d, u64 main_sectors, u32 block_size, u32 copies,
				u32 spacing, const u8 *uuid, bool read_only, u32 early,
				u32 buffers, u64 seed, struct dmr_unsure unsure, const char **error)
{
	struct user_metadata *m = calloc(1, sizeof(*m));
	const struct bufio_kindness kind = { .early = early, .buffers = buffers };
	struct dmr_meta_params params = {
		.main_sectors = main_sectors, .spare_sectors = d->blocks * BLOCK_PIECES,
		.block_size = block_size, .copies = copies, .spacing = spacing,
		.uuid_known = uuid, .read_only = read_only, .unsure = unsure,
	};

	check(m, "no memory");
	shim_log_to = quiet;
	m->main_sectors = main_sectors;
	m->client = dm_bufio_client_create(disk_bdev(d), DMR_META_BLOCK, DMR_META_BUFFERS,
					   0, NULL, NULL, 0);
	bufio_set(m->client, &kind, seed);
	params.bufio = m->client;
	params.bdev = bufio_bdev(m->client);
	if (uuid)
		memcpy(params.uuid.b, uuid, UUID_SIZE);
	m->md = dmr_metadata_open(&params, &m->space, keep, m, error);
	if (m->md)
		return m;
	user_close(m);
	return NULL;
}

/* The records that the open found. */
const u64 *user_records(const struct user_metadata *m, u64 *nr)
{
	*nr = m->nr;
	return m->records;
}

int user_commit(struct user_metadata *m, const u64 *numbers, u32 nr, u32 *done)
{
	struct dmr_record *rec = calloc(nr + 1, sizeof(*rec));
	u32 i;
	int r;

	check(rec, "no memory");
	for (i = 0; i < nr; i++, numbers += RECORD_NUMBERS)
		rec[i] = (struct dmr_record){
			.main = numbers[0], .spare = numbers[1], .sectors = numbers[2],
			.kind = numbers[3], .errors = numbers[4], .time = numbers[5],
		};
	r = dmr_metadata_commit(m->md, rec, nr, done);
	free(rec);
	return r;
}

/*
 * Compact: what main sectors below @keep have is still so; in the second pass, that
 * writes, below @then.
 */
struct user_live {
	u64 keep[2], first;
	u64 main_sectors;
	u32 passes;
	bool impossible;	/* it was asked about what is behind the main device */
};

static sector_t still(void *context, const struct dmr_record *rec, sector_t offset, bool *so)
{
	struct user_live *l = context;

	/* Each pass begins with the same record. */
	if (!offset && rec->main == l->first)
		l->passes++;
	l->impossible |= rec->main >= l->main_sectors || rec->sectors > l->main_sectors - rec->main;
	*so = rec->main + offset < l->keep[l->passes > 1];
	return 1;
}

int user_compact(struct user_metadata *m, u64 first, u64 keep, u64 then)
{
	struct user_live live = {
		.keep = { keep, then }, .first = first, .main_sectors = m->main_sectors,
	};
	const struct dmr_live l = { .context = &live, .still = still };
	int r = dmr_metadata_compact(m->md, &l);

	return live.impossible ? -ERANGE : r;
}

int user_mend(struct user_metadata *m)
{
	return dmr_metadata_mend(m->md);
}

int user_check(struct user_metadata *m)
{
	return dmr_metadata_check(m->md);
}

bool user_in_doubt(struct user_metadata *m)
{
	return dmr_metadata_in_doubt(m->md);
}

bool user_uncertain(struct user_metadata *m)
{
	return dmr_metadata_uncertain(m->md);
}

void user_believe(struct user_metadata *m)
{
	dmr_metadata_believe(m->md);
}

struct dmr_unsure user_unsure(struct user_metadata *m)
{
	return dmr_metadata_unsure(m->md);
}

void user_set_needs_check(struct user_metadata *m, bool needs_check)
{
	dmr_metadata_set_needs_check(m->md, needs_check);
}

int user_save_soft(struct user_metadata *m, const u64 number[SOFT_NUMBERS])
{
	struct dmr_soft_state soft = {
		number[0], number[1], number[2], number[3], number[4],
	};

	return dmr_metadata_save_soft(m->md, &soft);
}

void user_get_soft(struct user_metadata *m, u64 number[SOFT_NUMBERS])
{
	struct dmr_soft_state soft;

	dmr_metadata_get_soft(m->md, &soft);
	number[0] = soft.read_errors;
	number[1] = soft.write_errors;
	number[2] = soft.salvaged;
	number[3] = soft.lost;
	number[4] = soft.scrub_sector;
}

/* In the order of Status in user_metadata.py. */
void user_status(struct user_metadata *m, u8 uuid[UUID_SIZE], u64 number[12])
{
	struct dmr_meta_status st;

	dmr_metadata_status(m->md, &st);
	memcpy(uuid, st.uuid.b, UUID_SIZE);
	number[0] = st.sequence;
	number[1] = st.copies;
	number[2] = st.valid;
	number[3] = st.spacing;
	number[4] = st.log_blocks;
	number[5] = st.commits;
	number[6] = st.block_writes;
	number[7] = st.flushes;
	number[8] = st.needs_check;
	number[9] = st.formatted;
	number[10] = st.chosen;
	number[11] = st.good;
}

/* --------------------------------------------------------------- the disk */

/* Replace a block behind everybody's back. */
void user_poke(struct disk *d, u64 block, const u8 *data)
{
	disk_put(d, block, page_new(data));
}

/* Flushes do nothing from now on, or do their work again. */
void user_lie(struct disk *d, bool lies)
{
	d->lies = lies;
}

void user_counts(const struct disk *d, u64 *writes, u64 *flushes, u64 *pending)
{
	u64 i;

	*writes = *flushes = 0;
	for (i = 0; i < d->nr_log; i++)
		++*(d->log[i].op == DISK_WRITE ? writes : flushes);
	*pending = d->nr_pending;
}

static void keep_state(const struct crash_state *s, void *context)
{
	struct disk **cut = context;

	if (*cut)
		disk_free(*cut);
	*cut = disk_clone(s->disk);
}

/* What a power cut might leave now: a new disk. */
struct disk *user_cut(const struct disk *d, u64 seed)
{
	const struct crash_plan plan = { .wild = 1 };
	struct rng rng = { seed };
	struct disk *cut = NULL;

	crash_states(d, &plan, &rng, keep_state, &cut);
	return cut;
}
