// SPDX-License-Identifier: GPL-2.0-only
/* The metadata, used as the target uses it. */
#include <stdlib.h>

#include "lab_judge.h"

static void allow_only_acked(struct lab *lab)
{
	lab->allowed = (struct lab_allowed){ .state = { lab->acked.hash } };
}

static void now_good(struct lab *lab)
{
	struct dmr_meta_status st;

	dmr_metadata_status(lab->md, &st);
	lab->good = st.good;
	lab->log_blocks = max(lab->log_blocks, st.log_blocks);
	lab->failed_writes = lab->disk->nr_failed_writes;
}

/* Places of the spare that the state names are not free. */
static void take_places(struct lab *lab)
{
	u32 i;

	for (i = 0; i < REPLAY_BLOCKS; i++) {
		if (lab->acked.kind[i] == DMR_REC_REMAP)
			check(!dmr_space_take(&lab->space, (u64)lab->acked.spare[i] * REPLAY_BLOCK,
					      REPLAY_BLOCK), "block %u is in two places", i);
		if (lab->acked.bad[i])
			check(!dmr_space_take(&lab->space, (u64)i * REPLAY_BLOCK, REPLAY_BLOCK),
			      "bad spare block %u is in use", i);
	}
}

bool lab_open(struct lab *lab)
{
	bool faulty = disk_is_faulty(lab->disk);	/* some faults pass */
	const char *error;

	lab->client = lab_client(lab->disk);
	bufio_set(lab->client, &lab->setup.kind, rng_next(&lab->rng));
	lab->md = lab_open_metadata(lab->client, &lab->setup, false, &lab->space, &lab->acked, &error);
	check(lab->md, "boot: refused: %s", error);
	check(!lab->formatted || lab_is_allowed(&lab->allowed, lab->acked.hash) >= 0,
	      "boot: not what was acknowledged");
	lab->formatted = true;
	dmr_metadata_get_soft(lab->md, &lab->soft[0]);
	lab->soft[1] = lab->soft[0];
	/* What can't be read now may come true until it has been mended. */
	if (faulty)
		lab->soft[1] = lab->cut_soft;
	else
		allow_only_acked(lab);
	lab_check_data(lab->disk, &lab->acked);
	take_places(lab);
	now_good(lab);
	return lab_mend(lab);
}

static void shut(struct lab *lab)
{
	dmr_metadata_close(lab->md);
	dmr_space_exit(&lab->space);
	dm_bufio_client_destroy(lab->client);
	lab->client = NULL;
	disk_free(lab->disk);
}

static void keep_away(struct lab *lab)
{
	u64 slot = lab->setup.spacing / REPLAY_BLOCK, copy = __builtin_ctz(lab->away | 256);

	if (lab->away)
		disk_fail(lab->disk, DISK_READ | DISK_WRITE, copy * slot, (copy + 1) * slot - 1, U64_MAX);
}

/* Some copy can't be reached for a whole boot, and comes back as it was. */
static void send_away(struct lab *lab)
{
	u8 bit = 1u << rng_below(&lab->rng, lab->setup.copies);

	lab->away = lab->setup.copies > 2 && lab->cut_sound & ~bit && rng_one_in(&lab->rng, 3) ? bit : 0;
	keep_away(lab);
}

void lab_heal(struct lab *lab)
{
	disk_heal(lab->disk);
	keep_away(lab);
}

void lab_reboot(struct lab *lab)
{
	struct disk *disk = lab->cut;
	bool faulty;

	lab->want_cut = false;
	if (!disk)
		return;
	faulty = disk_is_faulty(disk);
	lab->cut = NULL;
	shut(lab);
	lab->disk = disk;
	disk->before_flush = lab_before_flush;
	disk->context = lab;
	lab->allowed = lab->cut_allowed;
	lab->reboots++;
	send_away(lab);
	if (lab_open(lab))
		return;
	check(faulty, "no majority after a power cut");
	lab_heal(lab);
	check(lab_mend(lab), "the copies can be read again, and can't be mended");
}

bool lab_mend(struct lab *lab)
{
	if ((dmr_metadata_mend(lab->md) < 0 && !lab->away) || dmr_metadata_in_doubt(lab->md))
		return false;
	allow_only_acked(lab);
	now_good(lab);
	return true;
}

void lab_repair(struct lab *lab)
{
	u8 copy = rng_below(&lab->rng, lab->setup.copies);

	if (lab->disk->nr_pending || !(lab->good & 1u << copy) || lab->away)
		return;
	lab_destroy_others(lab, lab->disk, 0, copy, 2);
	lab->good = 1u << copy;
	dmr_metadata_check(lab->md);
	now_good(lab);
	check(lab->good & 1u << copy, "a copy that was not touched is not good");
	check(lab_mend(lab) && lab->good == (1u << lab->setup.copies) - 1, "not repaired");
	lab->repairs++;
}

static void acknowledge(struct lab *lab, const struct dmr_record *rec, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		check(!replay_record(&lab->acked, &rec[i]), "an impossible record");
}

static void plant_bug(struct lab *lab, bool compacts)
{
	bool here = lab->setup.bug_compacts == compacts;

	bufio_begin(lab->client, here ? lab->setup.bug : BUFIO_RIGHT, lab->setup.bug_at);
}

unsigned int lab_commit(struct lab *lab, const struct dmr_record *rec, unsigned int nr)
{
	static struct replay after;
	unsigned int done, i;
	int r;

	check(nr <= LAB_MAX_RECORDS, "%u records", nr);
	allow_only_acked(lab);
	after = lab->acked;
	for (i = 0; i < nr; i++) {
		check(!replay_record(&after, &rec[i]), "an impossible record");
		lab->allowed.state[++lab->allowed.nr] = after.hash;
	}
	lab->commits++;
	plant_bug(lab, false);
	r = dmr_metadata_commit(lab->md, rec, nr, &done);
	bufio_begin(lab->client, BUFIO_RIGHT, 0);
	check(r ? done < nr : done == nr, "commit: %d, %u of %u", r, done, nr);
	acknowledge(lab, rec, done);
	if (!r) {
		allow_only_acked(lab);
		now_good(lab);
		return nr;
	}
	lab->failed_commits++;
	lab->allowed.first = done;
	if (!dmr_metadata_in_doubt(lab->md))
		allow_only_acked(lab);
	return done;
}

int lab_compact(struct lab *lab, unsigned int nr, bool full)
{
	struct dmr_live live = replay_live(&lab->acked);
	int r;

	if (dmr_metadata_in_doubt(lab->md) ||
	    !dmr_metadata_worth_compacting(lab->md, &live, nr, full))
		return 0;
	plant_bug(lab, true);
	r = dmr_metadata_compact(lab->md, &live);
	bufio_begin(lab->client, BUFIO_RIGHT, 0);
	if (!r) {
		now_good(lab);
		lab->compactions++;
	}
	return r;
}

void lab_save_soft(struct lab *lab)
{
	struct dmr_soft_state *next = &lab->soft[1];

	next->read_errors++;
	if (!dmr_metadata_save_soft(lab->md, next)) {
		lab->soft[0] = *next;
		now_good(lab);
	}
}

void lab_init(struct lab *lab, const struct lab_setup *setup)
{
	memset(lab, 0, sizeof(*lab));
	lab->setup = *setup;
	lab->rng.state = setup->seed;
	lab->disk = disk_new(LAB_SECTORS, setup->seed);
	lab->disk->before_flush = lab_before_flush;
	lab->disk->context = lab;
	check(lab_open(lab), "a fresh spare has no majority");
}

void lab_exit(struct lab *lab)
{
	if (lab->cut)
		disk_free(lab->cut);
	shut(lab);
	free(lab->seen);
}
