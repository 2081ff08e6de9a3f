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

/*
 * The target is used with what was found here, unless that is uncertain: what is written then
 * is where this says, so no other boot may find anything else.
 */
static void use_what_was_found(struct lab *lab, const struct replay *found)
{
	struct dmr_meta_status st;

	if (dmr_metadata_uncertain(lab->md))
		return;
	check(lab_is_allowed(&lab->allowed, found->hash) >= 0, "what is used is not what was acknowledged");
	lab->allowed = (struct lab_allowed){ .state = { found->hash } };
	dmr_metadata_status(lab->md, &st);
	/* Others may still say the opposite. */
	lab->good = dmr_metadata_in_doubt(lab->md) ? lab->good & st.good : st.good;
	lab->uses++;
}

bool lab_open(struct lab *lab)
{
	/* Some faults pass, and what is in a cache only may be lost. */
	bool stable = disk_is_stable(lab->disk), faulty = disk_is_faulty(lab->disk) || !stable;
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
	/* What can't be read now may come true until it has been mended; or if the shadow is lost. */
	if (!stable)
		lab->soft[0].read_errors = 0;
	if (faulty)
		lab->soft[1] = lab->cut_soft;
	else if (lab->setup.copies > 1)
		allow_only_acked(lab);
	lab_check_data(lab->disk, &lab->acked);
	take_places(lab);
	now_good(lab);
	if (lab_mend(lab))
		return true;
	use_what_was_found(lab, &lab->acked);
	return false;
}

static void shut(struct lab *lab)
{
	if (lab->md)
		dmr_metadata_close(lab->md);
	lab->md = NULL;
	dmr_space_exit(&lab->space);
	if (lab->client)
		dm_bufio_client_destroy(lab->client);
	lab->client = NULL;
}

/* For so many reads and writes, which store nothing. */
static void keep_away(struct lab *lab, u64 times)
{
	u64 slot = lab->setup.spacing / REPLAY_BLOCK, copy;

	for (copy = 0; copy < lab->setup.copies; copy++)
		if (lab->away & 1u << copy)
			disk_fail(lab->disk, DISK_READ | DISK_WRITE | DISK_AWAY, copy * slot,
				  (copy + 1) * slot - 1, times);
}

static bool is_majority(const struct lab *lab, u8 copies)
{
	return __builtin_popcount(copies) > lab->setup.copies / 2;
}

/*
 * Can a boot with these copies alone tell what is newest? A majority of whole headers is
 * there, and in it one of the @sound, which have all that was acknowledged.
 */
static bool finds_the_newest(const struct lab *lab, u8 sound, u8 there)
{
	return sound & there && is_majority(lab, lab_whole_headers(lab, lab->disk, there));
}

/* Some copies can't be reached for a whole boot, and come back as they were. */
static void send_away(struct lab *lab)
{
	u8 all = (1u << lab->setup.copies) - 1, away = rng_next(&lab->rng) & all;

	if (!finds_the_newest(lab, lab->cut_sound, all & ~away) || rng_one_in(&lab->rng, 2))
		away = 0;
	lab->away = away;
	keep_away(lab, U64_MAX);
}

void lab_heal(struct lab *lab)
{
	disk_heal(lab->disk);
	keep_away(lab, U64_MAX);
}

/* The power is off; what is kept of the disk is the disk now. */
static void take_cut(struct lab *lab)
{
	shut(lab);
	disk_free(lab->disk);
	lab->disk = lab->cut;
	lab->cut = NULL;
	lab->setup.unsure = (struct dmr_unsure){};
	lab->disk->before_flush = lab_before_flush;
	lab->disk->context = lab;
	lab->allowed = lab->cut_allowed;
	lab->good = lab->cut_sound;
	lab->failed_writes = 0;
	/* The last save may have come after the cut, or be in copies that are away. */
	lab->soft[0].read_errors = 0;
	lab->soft[1] = lab->cut_soft;
}

/* Mend, with the flag changed and unchanged, as `repair` does and what can't commit. */
static void try_to_mend(struct lab *lab)
{
	u32 tries;

	for (tries = 1 + rng_below(&lab->rng, 3); tries; tries--) {
		dmr_metadata_mend(lab->md);
		dmr_metadata_set_needs_check(lab->md, rng_one_in(&lab->rng, 2));
		if (rng_one_in(&lab->rng, 3))
			dmr_metadata_check(lab->md);
	}
}

/* What is there can't be written, here or there, for a while or the whole boot; or not flushed. */
static void fail_to_mend(struct lab *lab)
{
	u64 slot = lab->setup.spacing / REPLAY_BLOCK, copy;
	u8 copies = rng_next(&lab->rng) | rng_next(&lab->rng);

	if (rng_one_in(&lab->rng, 3))
		disk_fail(lab->disk, DISK_FLUSH, 0, 0, rng_one_in(&lab->rng, 2) ? 1 + rng_below(&lab->rng, 6) : U64_MAX);
	if (rng_one_in(&lab->rng, 3))
		return;
	if (rng_one_in(&lab->rng, 2)) {
		disk_fail(lab->disk, DISK_WRITE | DISK_AWAY, 0, U64_MAX, U64_MAX);
		return;
	}
	for (copy = 0; copy < lab->setup.copies; copy++)
		if (copies & 1u << copy)
			disk_fail(lab->disk, DISK_WRITE | (rng_one_in(&lab->rng, 2) ? DISK_AWAY : 0),
				  copy * slot, (copy + 1) * slot - 1,
				  rng_one_in(&lab->rng, 3) ? 1 + rng_below(&lab->rng, 12) : U64_MAX);
}

/* What is in the spare's cache stays there, other than when the machine is off. */
static void suspend(struct lab *lab)
{
	if (lab->md)
		lab->setup.unsure = dmr_metadata_unsure(lab->md);
	shut(lab);
	disk_heal(lab->disk);
	lab->good = lab_whole_headers(lab, lab->disk, lab->good);
	lab->failed_writes = lab->disk->nr_failed_writes;
}

static void end_boot(struct lab *lab)
{
	if (!lab->cut && rng_one_in(&lab->rng, 3)) {
		suspend(lab);
		return;
	}
	if (!lab->cut) {
		if (rng_one_in(&lab->rng, 2))
			disk_flush(lab->disk);
		lab->cut = disk_cut_off(lab->disk);
		lab->cut_allowed = lab->allowed;
		lab->cut_sound = lab_whole_headers(lab, lab->cut, lab->good);
	}
	take_cut(lab);
}

/*
 * A boot with any copies, or none, that is cut off while it mends, or ends
 * without a commit. It may find what is old or was denied, but could not commit then;
 * whatever it does must not matter once the others are back.
 */
static void boot_and_fail(struct lab *lab)
{
	u8 all = (1u << lab->setup.copies) - 1, away = rng_next(&lab->rng) & all;
	static struct replay found;
	const char *error;
	bool settled, right;

	settled = finds_the_newest(lab, lab->good, all & ~away);
	lab->away = away;
	keep_away(lab, rng_one_in(&lab->rng, 3) ? 1 + rng_below(&lab->rng, 12) : U64_MAX);
	lab->minorities += !is_majority(lab, all & ~away);
	fail_to_mend(lab);
	lab->client = lab_client(lab->disk);
	bufio_set(lab->client, &lab->setup.kind, rng_next(&lab->rng));
	lab->md = lab_open_metadata(lab->client, &lab->setup, false, &lab->space, &found, &error);
	right = lab->md && lab_is_allowed(&lab->allowed, found.hash) >= 0;
	check(lab->md || !settled, "a boot with a majority: refused: %s", error);
	check(right || !settled, "a boot with a majority: not what was acknowledged");
	lab->want_cut = rng_one_in(&lab->rng, 2);
	lab->cut_sound = lab->good;
	if (lab->md) {
		dmr_metadata_mend(lab->md);
		use_what_was_found(lab, &found);
		try_to_mend(lab);
		use_what_was_found(lab, &found);
	}
	check(!lab->md || right || dmr_metadata_in_doubt(lab->md), "a boot that found what is old could commit");
	/* Copies come back while it runs. */
	if (lab->md && rng_one_in(&lab->rng, 3)) {
		lab->away &= rng_next(&lab->rng);
		lab_heal(lab);
		try_to_mend(lab);
		use_what_was_found(lab, &found);
	}
	lab->want_cut = false;
	end_boot(lab);
}

static void boot(struct lab *lab)
{
	u32 boots = rng_one_in(&lab->rng, 2) ? rng_below(&lab->rng, 6) : 0;
	bool faulty;

	for (; boots && !disk_is_faulty(lab->disk); boots--)
		boot_and_fail(lab);
	faulty = disk_is_faulty(lab->disk);
	lab->cut_sound = lab->good;
	send_away(lab);
	if (lab_open(lab))
		return;
	check(faulty, "no majority after a power cut");
	lab_heal(lab);
	if (lab_mend(lab))
		return;
	check(dmr_metadata_mend(lab->md) == -ESTALE, "the copies can be read again, and can't be mended");
	/* What is newer than what was loaded may have been acknowledged: it is to be loaded again. */
	shut(lab);
	check(lab_open(lab), "no majority, and all can be read");
}

void lab_reboot(struct lab *lab)
{
	lab->want_cut = false;
	if (!lab->cut)
		return;
	take_cut(lab);
	lab->reboots++;
	boot(lab);
}

void lab_resume(struct lab *lab)
{
	struct dmr_meta_status st;

	/* Copies may have dropped out on the way. */
	dmr_metadata_status(lab->md, &st);
	lab->good &= st.good;
	lab->want_cut = false;
	if (lab->cut)
		disk_free(lab->cut);
	lab->cut = NULL;
	suspend(lab);
	/* The last save may not be what is found, in doubt as it is. */
	lab->cut_soft = lab->soft[1];
	lab->soft[0].read_errors = 0;
	lab->resumes++;
	boot(lab);
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
	/* Else the target takes the records back, which may be on disk. */
	check(r != -EREMOTEIO || !dmr_metadata_in_doubt(lab->md), "a commit in doubt is said to be none");
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
	/* As the target does, denied or not. */
	if (r == -EIO && rng_one_in(&lab->rng, 2)) {
		lab_mend(lab);
		r = dmr_metadata_in_doubt(lab->md) ? dmr_metadata_commit(lab->md, rec + done, nr - done, &i) : 0;
		check(r != -EREMOTEIO, "a commit in doubt is said to be none");
	}
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
	disk_free(lab->disk);
	free(lab->seen);
}
