// SPDX-License-Identifier: GPL-2.0-only
/* What the laboratory thinks of a state. */
#include <stdio.h>
#include <stdlib.h>

#include <linux/crc32.h>

#include "lab_judge.h"
#include "opinion.h"

static const struct dmr_meta_params as_asked = {
	.main_sectors = LAB_SECTORS,
	.spare_sectors = LAB_SECTORS,
	.block_size = REPLAY_BLOCK * SECTOR_SIZE,
};

static u64 soft_number(const struct dmr_soft_state *soft)
{
	return soft->read_errors;	/* each save has its own there */
}

struct dmr_metadata *lab_open_metadata(struct dm_bufio_client *client, const struct lab_setup *setup,
				       bool read_only, struct dmr_space *space,
				       struct replay *r, const char **error)
{
	struct dmr_meta_params params = as_asked;

	params.bufio = client;
	params.bdev = bufio_bdev(client);
	params.read_only = read_only;
	params.unsure = setup->unsure;
	params.copies = read_only ? 0 : setup->copies;
	params.spacing = read_only ? 0 : setup->spacing;
	memset(space, 0, sizeof(*space));
	replay_init(r);
	return dmr_metadata_open(&params, space, replay_records, r, error);
}

struct dm_bufio_client *lab_client(struct disk *disk)
{
	return dm_bufio_client_create(disk_bdev(disk), DMR_META_BLOCK, DMR_META_BUFFERS,
				      0, NULL, NULL, 0);
}

/* What is in the metadata of @disk, without writing to it. False: refused. */
static bool look_at(struct disk *disk, struct replay *r, struct dmr_soft_state *soft,
		    struct verdict *v, const char **error)
{
	static const struct lab_setup as_found;
	struct dm_bufio_client *client = lab_client(disk);
	struct dmr_space space;
	struct dmr_metadata *md = lab_open_metadata(client, &as_found, true, &space, r, error);

	*v = verdict_of(md, r);
	if (md) {
		dmr_metadata_get_soft(md, soft);
		dmr_metadata_close(md);
	}
	dmr_space_exit(&space);
	dm_bufio_client_destroy(client);
	check(!disk->nr_log, "a read-only open wrote");
	return md;
}

/* Index of @state among those allowed, or -1. */
int lab_is_allowed(const struct lab_allowed *a, u64 state)
{
	unsigned int i;

	for (i = a->first; i <= a->nr; i++)
		if (a->state[i] == state)
			return i;
	return -1;
}

/* Each sector of data begins with the block of main that it is of. */
void lab_check_data(const struct disk *disk, const struct replay *r)
{
	u32 block, i;

	for (block = 0; block < REPLAY_BLOCKS; block++) {
		const struct page *p = disk->now[r->spare[block]];

		if (r->kind[block] != DMR_REC_REMAP)
			continue;
		for (i = 0; i < BLOCK_PIECES; i++)
			check(p && *(u64 *)(p->data + i * SECTOR_SIZE) == block + 1,
			      "block %u is mapped to %u, and its data is not there",
			      block, r->spare[block]);
	}
}

static struct lab_seen *find_seen(struct lab *lab, u64 key)
{
	u64 at;

	if (2 * lab->distinct >= lab->room) {
		struct lab_seen *old = lab->seen;
		u64 nr = lab->room, i;

		lab->room = lab->room ? 2 * lab->room : 1 << 16;
		lab->seen = calloc(lab->room, sizeof(*lab->seen));
		check(lab->seen, "no memory");
		for (i = 0; i < nr; i++)
			if (old[i].key)
				*find_seen(lab, old[i].key) = old[i];
		free(old);
	}
	for (at = key % lab->room; lab->seen[at].key && lab->seen[at].key != key; )
		at = (at + 1) % lab->room;
	return &lab->seen[at];
}

static void tell_fate(const struct crash_state *s)
{
	u32 i;

	for (i = 0; i < s->origin->nr_pending; i++)
		fprintf(stderr, "  write to block %llu: sectors 0x%02x kept\n",
			s->origin->pending[i].block, s->fate[i] & s->origin->pending[i].stored);
}

/* Nothing was promised yet, but that the spare can be used. */
static void check_can_be_formatted(struct lab *lab, const struct disk *disk)
{
	struct disk *d = disk_clone(disk);
	struct dm_bufio_client *client = lab_client(d);
	static struct replay r;
	struct dmr_metadata *md;
	struct dmr_space space;
	const char *error;

	md = lab_open_metadata(client, &lab->setup, false, &space, &r, &error);
	check(md, "a cut while the spare was formatted: %s", error);
	dmr_metadata_close(md);
	dmr_space_exit(&space);
	dm_bufio_client_destroy(client);
	disk_free(d);
}

static void judge(struct lab *lab, const struct crash_state *s, const struct lab_seen *found,
		  const char *error, const char *circumstance)
{
	/* Soft state that could not be saved may be there all the same. */
	bool soft = found->soft >= soft_number(&lab->soft[0]) && found->soft <= soft_number(&lab->soft[1]);

	if (found->refused && !lab->formatted) {
		check_can_be_formatted(lab, s->disk);
		return;
	}
	if (!found->refused && lab_is_allowed(&lab->allowed, found->state) >= 0 && soft)
		return;
	tell_fate(s);
	check(!found->refused, "commit %llu%s: refused: %s", lab->commits, circumstance,
	      error ? error : "again");
	check(!soft, "commit %llu%s: not what was acknowledged", lab->commits, circumstance);
	die("commit %llu%s: soft state %llu, not %llu to %llu", lab->commits, circumstance,
	    found->soft, soft_number(&lab->soft[0]), soft_number(&lab->soft[1]));
}

/* ------------------------------------------------------- one copy that survives */

static bool is_metadata(const struct page *p)
{
	static const u8 magic[] = { 0x34, 0x52, 0x4d };

	return p && !memcmp(p->data, magic, sizeof(magic));
}

static u8 copy_of(const struct page *p)
{
	return p->data[0x1c];
}

static bool torn(const struct crash_state *s, u8 copy)
{
	u32 i;

	for (i = 0; i < s->origin->nr_pending; i++) {
		const struct pending_write *w = &s->origin->pending[i];
		u8 kept = s->fate[i] & w->stored;

		if (is_metadata(w->page) && copy_of(w->page) == copy && kept && kept != WHOLE_BLOCK)
			return true;
	}
	return false;
}

/*
 * The good copies that are whole, of which any one is enough. Not while a copy is
 * dropping out: which ones are good is then known only when the commit returns.
 */
static u8 sound_copies(const struct lab *lab, const struct crash_state *s)
{
	u8 copy, sound = 0;

	if (lab->disk->nr_failed_writes != lab->failed_writes)
		return 0;
	for (copy = 0; copy < lab->setup.copies; copy++)
		if (lab->good & 1u << copy && !torn(s, copy))
			sound |= 1u << copy;
	return sound;
}

/* A copy that drops out in a commit knows nothing of what comes behind it there. */
static u8 good_now(const struct lab *lab)
{
	struct dmr_meta_status st = { .good = lab->good };

	if (lab->md)
		dmr_metadata_status(lab->md, &st);
	return lab->good & st.good;
}

static bool whole_block(const struct page *p)
{
	static const u8 zero[4];
	u32 crc;

	if (!is_metadata(p))
		return false;
	crc = crc32_le(~0, p->data, 0x18);
	crc = crc32_le(crc, zero, sizeof(zero));
	crc = ~crc32_le(crc, p->data + 0x1c, DISK_BLOCK - 0x1c);
	return !memcmp(p->data + 0x18, &crc, sizeof(crc));
}

u8 lab_whole_headers(const struct lab *lab, const struct disk *d, u8 copies)
{
	u64 slot = lab->setup.spacing / REPLAY_BLOCK;
	u8 copy, whole = 0;

	for (copy = 0; copy < lab->setup.copies; copy++)
		if (copies & 1u << copy && whole_block(d->now[copy * slot]))
			whole |= 1u << copy;
	return whole;
}

/* To boot from it later. */
static void keep_cut(struct lab *lab, struct disk *cut, u8 sound)
{
	lab->cut_sound = sound;
	if (lab->cut)
		disk_free(lab->cut);
	lab->cut = cut;
	lab->cut_allowed = lab->allowed;
	lab->cut_soft = lab->soft[1];
}

/* The slots of all copies but one can't be read, for a while or for ever. */
static void make_unreadable(struct lab *lab, struct disk *d, u8 copy)
{
	u64 slot = lab->setup.spacing / REPLAY_BLOCK;
	u64 times = rng_one_in(&lab->rng, 2) ? U64_MAX : 1 + rng_below(&lab->rng, 20);

	if (copy)
		disk_fail(d, DISK_READ, 0, copy * slot - 1, times);
	disk_fail(d, DISK_READ, (copy + 1) * slot, lab->setup.copies * slot - 1, times);
}

/* The block is gone: zero, or rubbish. */
static void destroy(struct lab *lab, struct disk *d, u64 block)
{
	u8 rubbish[DISK_BLOCK];

	memset(rubbish, rng_next(&lab->rng), sizeof(rubbish));
	disk_put(d, block, rng_one_in(&lab->rng, 2) ? NULL : page_new(rubbish));
}

void lab_destroy_others(struct lab *lab, struct disk *d, u64 first, u8 copy, u32 one_in)
{
	u64 block;

	for (block = first; block < d->blocks; block++)
		if (is_metadata(d->now[block]) && copy_of(d->now[block]) != copy &&
		    rng_one_in(&lab->rng, one_in))
			destroy(lab, d, block);
}

/* Every other copy may be destroyed, or not be readable. */
static void look_at_one_copy(struct lab *lab, const struct crash_state *s, struct replay *r)
{
	struct disk *d = disk_clone(s->disk);
	u8 copy = rng_below(&lab->rng, lab->setup.copies);
	u64 region = (u64)lab->setup.copies * lab->setup.spacing / REPLAY_BLOCK;
	bool unreadable = rng_one_in(&lab->rng, 2);
	struct lab_seen found = {};
	struct dmr_soft_state soft;
	struct verdict v;
	const char *error = NULL;

	if (sound_copies(lab, s) & 1u << copy) {
		lab_destroy_others(lab, d, unreadable ? region : 0, copy, 1);
		if (unreadable)
			make_unreadable(lab, d, copy);
		found.refused = !look_at(d, r, &soft, &v, &error);
		found.state = r->hash;
		found.soft = soft_number(&soft);
		judge(lab, s, &found, error, ", with one good copy left");
		lab->damaged++;
		if (lab->want_cut && rng_one_in(&lab->rng, 10)) {
			keep_cut(lab, d, 0);
			return;
		}
	}
	disk_free(d);
}

/*
 * Any majority is enough, also while copies drop out, if one of it had all that was
 * acknowledged and was not being written just now; of a single copy either header.
 */
static void look_at_a_majority(struct lab *lab, const struct crash_state *s, struct replay *r)
{
	u64 slot = lab->setup.spacing / REPLAY_BLOCK;
	u32 copies = lab->setup.copies, copy;
	u8 sound = lab_whole_headers(lab, s->disk, good_now(lab)), there = rng_next(&lab->rng) & ((1u << copies) - 1);
	struct lab_seen found = {};
	struct dmr_soft_state soft;
	struct verdict v;
	struct disk *d;
	const char *error = NULL;

	if (copies == 1 ? !whole_block(s->disk->now[0]) || !whole_block(s->disk->now[2]) :
			  !(there & sound) || __builtin_popcount(there) <= copies / 2)
		return;
	d = disk_clone(s->disk);
	if (copies == 1)
		disk_fail(d, DISK_READ, there ? 0 : 2, there ? 0 : 2, U64_MAX);
	for (copy = 0; copies > 1 && copy < copies; copy++)
		if (!(there & 1u << copy))
			disk_fail(d, DISK_READ, copy * slot, (copy + 1) * slot - 1, U64_MAX);
	found.refused = !look_at(d, r, &soft, &v, &error);
	found.state = r->hash;
	/* It may have been saved in the others only. */
	found.soft = soft_number(&lab->soft[0]);
	judge(lab, s, &found, error, copies == 1 ? ", with one header left" : ", with a majority left");
	lab->subsets++;
	disk_free(d);
}

/* ------------------------------------------------------------- every flush */

static void ask(struct lab *lab, const struct crash_state *s, const struct verdict *v)
{
	if (opinion_agrees(s->disk, &as_asked, v, &lab->rng))
		return;
	tell_fate(s);
	die("commit %llu: the other reader does not agree", lab->commits);
}

static void look(const struct crash_state *s, void *context)
{
	struct lab *lab = context;
	struct lab_seen *found = find_seen(lab, s->hash | 1);
	struct dmr_soft_state soft = {};
	struct verdict v;
	static struct replay r;
	const char *error = NULL;

	lab->looks++;
	if (!found->key) {
		found->refused = !look_at(s->disk, &r, &soft, &v, &error);
		found->key = s->hash | 1;
		found->state = r.hash;
		found->soft = soft_number(&soft);
		lab->distinct++;
		if (!found->refused)
			lab_check_data(s->disk, &r);
		ask(lab, s, &v);
	}
	judge(lab, s, found, error, "");
	if (lab->formatted && lab->setup.copies > 1 && rng_one_in(&lab->rng, 8))
		look_at_one_copy(lab, s, &r);
	if (lab->formatted && rng_one_in(&lab->rng, 8))
		look_at_a_majority(lab, s, &r);
	if (lab->want_cut && !found->refused && (!lab->cut || rng_one_in(&lab->rng, 50)))
		keep_cut(lab, disk_clone(s->disk), lab_whole_headers(lab, s->disk, good_now(lab)));
}

void lab_before_flush(struct disk *d, void *context)
{
	struct lab *lab = context;

	if (lab->setup.early_ack && lab->client && bufio_flushes(lab->client) == 3)
		lab->allowed.first = lab->allowed.nr;
	crash_states(d, &lab->setup.plan, &lab->rng, look, lab);
}
