// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads for the crash laboratory (lab.h):
 *
 *     crashlab [--seed N] [--count PERCENT] [workload...] [bug]
 *
 * All workloads, unless some are named. A bug is planted in what lies below or above the kernel's code, and must be
 * found: the program then ends with 1.
 */
#include <stdio.h>

#include "lab.h"
#include "opinion.h"
#include "shim/options.h"

struct workload {
	const char *name;
	u32 copies, spacing;
	u32 commits, burst;		/* how many, and records in the largest */
	u32 unmap, pending, bad;	/* of 64 records */
	u32 soft, fault, reboot, full, repair;	/* of 64 commits */
	u32 degraded;			/* of 64 that lost a copy: go on without it */
	struct bufio_kindness kind;
	struct crash_plan plan;
};

static const struct workload workloads[] = {
	{ .name = "single-remaps", .copies = 5, .spacing = 256, .commits = 60, .burst = 1,
	  .soft = 4, .reboot = 3, .kind = { 0, 64 }, .plan = { 0, 3, 30 } },
	{ .name = "single-remaps-small-cache", .copies = 5, .spacing = 256, .commits = 60,
	  .burst = 1, .unmap = 8, .soft = 4, .reboot = 3, .kind = { 3, 2 }, .plan = { 0, 3, 30 } },
	{ .name = "bursts", .copies = 5, .spacing = 256, .commits = 14, .burst = 300, .unmap = 10,
	  .pending = 6, .bad = 1, .soft = 4, .reboot = 4, .kind = { 4, 8 }, .plan = { 0, 1, 20 } },
	{ .name = "unmap", .copies = 5, .spacing = 128, .commits = 40, .burst = 12, .unmap = 30,
	  .pending = 10, .bad = 2, .soft = 8, .reboot = 6, .kind = { 6, 64 }, .plan = { 0, 2, 30 } },
	{ .name = "growth", .copies = 5, .spacing = 64, .commits = 14, .burst = 200, .unmap = 28,
	  .pending = 6, .kind = { 8, 16 }, .plan = { 0, 1, 10 } },
	{ .name = "compaction", .copies = 5, .spacing = 64, .commits = 60, .burst = 60, .unmap = 40,
	  .pending = 8, .bad = 1, .reboot = 6, .full = 24, .kind = { 6, 16 }, .plan = { 60, 1, 10 } },
	{ .name = "failing-copies", .copies = 5, .spacing = 128, .commits = 60, .burst = 40,
	  .unmap = 20, .pending = 8, .soft = 6, .fault = 24, .reboot = 4, .full = 16, .kind = { 5, 16 },
	  .plan = { 0, 1, 30 } },
	{ .name = "one-copy", .copies = 1, .spacing = 256, .commits = 30, .burst = 20, .unmap = 20,
	  .fault = 8, .reboot = 6, .full = 16, .kind = { 4, 16 }, .plan = { 0, 8, 60 } },
	{ .name = "two-copies", .copies = 2, .spacing = 256, .commits = 40, .burst = 20, .unmap = 20,
	  .soft = 8, .fault = 8, .reboot = 6, .kind = { 4, 16 }, .plan = { 0, 8, 60 } },
	{ .name = "three-copies-failing", .copies = 3, .spacing = 64, .commits = 24, .burst = 60,
	  .unmap = 24, .soft = 4, .fault = 20, .reboot = 4, .full = 16, .kind = { 4, 16 }, .plan = { 0, 4, 40 } },
	{ .name = "segments-failing", .copies = 3, .spacing = 64, .commits = 24, .burst = 200,
	  .unmap = 28, .pending = 8, .fault = 32, .reboot = 6, .full = 12, .kind = { 6, 16 },
	  .plan = { 40, 1, 10 } },
	{ .name = "copies-come-and-go", .copies = 3, .spacing = 64, .commits = 60, .burst = 120,
	  .unmap = 24, .pending = 4, .bad = 1, .soft = 6, .fault = 32, .reboot = 20, .full = 20,
	  .kind = { 4, 16 }, .plan = { 20, 1, 10 } },
	{ .name = "two-copies-failing", .copies = 2, .spacing = 128, .commits = 60, .burst = 60,
	  .unmap = 24, .soft = 6, .fault = 32, .reboot = 16, .full = 12, .kind = { 4, 16 },
	  .plan = { 30, 2, 20 } },
	{ .name = "four-copies-far-apart", .copies = 4, .spacing = 1024, .commits = 40, .burst = 10,
	  .unmap = 20, .soft = 8, .fault = 8, .reboot = 8, .kind = { 4, 16 }, .plan = { 0, 1, 20 } },
	{ .name = "six-copies", .copies = 6, .spacing = 128, .commits = 30, .burst = 10, .unmap = 20,
	  .soft = 4, .fault = 8, .reboot = 6, .kind = { 4, 16 }, .plan = { 0, 1, 20 } },
	{ .name = "seven-copies", .copies = 7, .spacing = 512, .commits = 30, .burst = 10, .unmap = 20,
	  .soft = 4, .fault = 8, .reboot = 6, .kind = { 4, 16 }, .plan = { 40, 1, 20 } },
	{ .name = "eight-copies", .copies = 8, .spacing = 64, .commits = 40, .burst = 8, .unmap = 24,
	  .soft = 4, .fault = 6, .reboot = 4, .kind = { 4, 16 }, .plan = { 100, 1, 40 } },
	/* Boots with any copies away, single blocks failing: fewer states of each flush. */
	{ .name = "away-one", .copies = 1, .spacing = 64, .commits = 300, .burst = 30, .unmap = 20,
	  .soft = 4, .fault = 24, .reboot = 20, .full = 8, .kind = { 4, 16 }, .plan = { 8, 0, 6 } },
	{ .name = "away-two", .copies = 2, .spacing = 64, .commits = 200, .burst = 30, .unmap = 20,
	  .soft = 4, .fault = 24, .reboot = 24, .full = 8, .kind = { 4, 16 }, .plan = { 8, 0, 6 } },
	{ .name = "away-three", .copies = 3, .spacing = 64, .commits = 200, .burst = 30, .unmap = 20,
	  .soft = 4, .fault = 24, .reboot = 24, .full = 8, .kind = { 4, 16 }, .plan = { 8, 0, 6 } },
	{ .name = "away-four", .copies = 4, .spacing = 64, .commits = 150, .burst = 30, .unmap = 20,
	  .fault = 24, .reboot = 24, .full = 8, .kind = { 4, 16 }, .plan = { 8, 0, 6 } },
	{ .name = "away-five", .copies = 5, .spacing = 64, .commits = 150, .burst = 30, .unmap = 24,
	  .fault = 24, .reboot = 24, .full = 12, .kind = { 4, 16 }, .plan = { 8, 0, 6 } },
	{ .name = "away-six", .copies = 6, .spacing = 64, .commits = 100, .burst = 10, .unmap = 20,
	  .fault = 24, .reboot = 24, .kind = { 4, 16 }, .plan = { 8, 0, 6 } },
	{ .name = "away-eight", .copies = 8, .spacing = 64, .commits = 100, .burst = 10, .unmap = 20,
	  .fault = 24, .reboot = 24, .kind = { 4, 16 }, .plan = { 8, 0, 6 } },
	/* Copies that dropped out are written anew only when a commit fails. */
	{ .name = "degraded-three", .copies = 3, .spacing = 64, .commits = 200, .burst = 20, .unmap = 20,
	  .soft = 20, .fault = 24, .reboot = 8, .full = 8, .degraded = 56, .kind = { 4, 16 }, .plan = { 8, 0, 6 } },
	{ .name = "degraded-five", .copies = 5, .spacing = 64, .commits = 200, .burst = 20, .unmap = 20,
	  .soft = 20, .fault = 32, .reboot = 8, .full = 8, .degraded = 60, .kind = { 4, 16 }, .plan = { 8, 0, 6 } },
	{ .name = "repair", .copies = 5, .spacing = 64, .commits = 20, .burst = 60, .unmap = 20,
	  .soft = 4, .reboot = 4, .repair = 24, .kind = { 4, 16 }, .plan = { 20, 1, 20 } },
};

struct bug {
	const char *name;
	enum bufio_bug bufio;
	unsigned int at;
	bool early_ack, compacts;
};

static const struct bug bugs[] = {
	{ "data-not-flushed", BUFIO_NO_FLUSH, .at = 0 },
	{ "first-wave-not-flushed", BUFIO_NO_FLUSH, .at = 1 },
	{ "second-wave-not-flushed", BUFIO_NO_FLUSH, .at = 2 },
	{ "both-waves-at-once", BUFIO_LATE_WRITE, .at = 1 },
	{ "acknowledged-after-one-wave", .early_ack = true },
	{ "new-log-not-flushed", BUFIO_NO_FLUSH, .at = 1, .compacts = true },
};

static struct dmr_record batch[LAB_MAX_RECORDS];

/* Data as lab.c knows it, where the record that comes next points. */
static void write_data(struct lab *lab, u64 main, u64 spare)
{
	u64 word[DISK_BLOCK / sizeof(u64)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(word); i++)
		word[i] = main + 1;
	check(!disk_write(lab->disk, spare, word), "data could not be written");
}

static struct dmr_record make_record(struct lab *lab, const struct workload *w)
{
	u32 what = rng_below(&lab->rng, 64), nr = 1 + rng_below(&lab->rng, 3), i;
	u64 main = rng_below(&lab->rng, REPLAY_BLOCKS - nr);
	struct dmr_record r = {
		.main = main * REPLAY_BLOCK, .sectors = nr * REPLAY_BLOCK,
		.kind = DMR_REC_FREE, .time = shim_clock,
	};
	sector_t at, got;

	if (what < w->unmap)
		return r;
	if (what < w->unmap + w->pending) {
		r.kind = DMR_REC_PENDING;
		return r;
	}
	got = dmr_space_alloc(&lab->space, r.sectors, REPLAY_BLOCK, &at);
	if (!got)
		return r;	/* a full spare: nothing but unmapping */
	r.spare = at;
	r.sectors = got;
	if (what < w->unmap + w->pending + w->bad) {
		r.kind = DMR_REC_BAD_SPARE;
		r.main = 0;
		return r;
	}
	r.kind = DMR_REC_REMAP;
	for (i = 0; i < got / REPLAY_BLOCK; i++)
		write_data(lab, main + i, at / REPLAY_BLOCK + i);
	return r;
}

/* Places that the state names no more. */
static void give_back(struct lab *lab, const struct replay *before, u32 nr, u32 done)
{
	u32 i, j;

	for (i = 0; i < REPLAY_BLOCKS; i++)
		if (before->spare[i] && before->spare[i] != lab->acked.spare[i])
			dmr_space_free(&lab->space, (u64)before->spare[i] * REPLAY_BLOCK, REPLAY_BLOCK);
	for (i = 0; i < nr; i++) {
		const struct dmr_record *r = &batch[i];

		if (i >= done && r->spare)
			dmr_space_free(&lab->space, r->spare, r->sectors);
		if (i >= done || r->kind != DMR_REC_REMAP)
			continue;
		/* A later record of the same commit may have replaced it. */
		for (j = 0; j < r->sectors; j += REPLAY_BLOCK)
			if (lab->acked.spare[(r->main + j) / REPLAY_BLOCK] != (r->spare + j) / REPLAY_BLOCK)
				dmr_space_free(&lab->space, r->spare + j, REPLAY_BLOCK);
	}
}

/*
 * Some copies fail, for some operations or until they are healed; or a flush does;
 * or places behind the slots, where the next log segment may lie.
 */
static void plant_faults(struct lab *lab)
{
	u32 slot = lab->setup.spacing / REPLAY_BLOCK, nr, copy;
	u64 times = rng_one_in(&lab->rng, 3) ? U64_MAX : 1 + rng_below(&lab->rng, 4);
	u64 cursor = lab->space.cursor / REPLAY_BLOCK, first;
	unsigned int ops = rng_one_in(&lab->rng, 3) ? DISK_READ | DISK_WRITE : DISK_WRITE;

	if (rng_one_in(&lab->rng, 8)) {
		disk_fail(lab->disk, DISK_FLUSH, 0, 0, 1 + rng_below(&lab->rng, 3));
		return;
	}
	if (rng_one_in(&lab->rng, 3)) {
		first = rng_below(&lab->rng, 2) ? cursor : lab->space.start / REPLAY_BLOCK;
		first += rng_below(&lab->rng, 80);
		disk_fail(lab->disk, ops, first, first + rng_below(&lab->rng, 40), times);
		if (rng_one_in(&lab->rng, 2))
			return;
	}
	/* All of the spare, somewhere on the way. */
	if (rng_one_in(&lab->rng, 4)) {
		disk_fail_later(lab->disk, rng_below(&lab->rng, 12), DISK_READ | DISK_WRITE | DISK_FLUSH,
				0, U64_MAX, times);
		return;
	}
	for (nr = 1 + rng_below(&lab->rng, lab->setup.copies); nr; nr--) {
		copy = rng_below(&lab->rng, lab->setup.copies);
		/* One block of it: the header, info, shadow, the log. */
		if (rng_one_in(&lab->rng, 3)) {
			first = (u64)copy * slot + (rng_one_in(&lab->rng, 2) ? 0 : rng_below(&lab->rng, 4));
			disk_fail(lab->disk, ops, first, first, times);
			continue;
		}
		disk_fail(lab->disk, ops, (u64)copy * slot, (copy + 1ull) * slot - 1, times);
	}
}

/* The target mends twice, with an attempt between, and whenever somebody asks for it. */
static void recover(struct lab *lab)
{
	u32 tries;

	for (tries = rng_below(&lab->rng, 4); tries; tries--) {
		if (rng_one_in(&lab->rng, 3))
			dmr_metadata_check(lab->md);
		dmr_metadata_set_needs_check(lab->md, rng_one_in(&lab->rng, 2));
		if (lab_mend(lab))
			return;
	}
	lab_heal(lab);
	check(lab_mend(lab), "the copies are well again, and can't be mended");
}

/* As the target does, which mends when it can't go on, or is asked to. */
static bool goes_on(struct lab *lab, const struct workload *w, bool committed)
{
	return w->degraded && committed && !dmr_metadata_in_doubt(lab->md) &&
	       rng_below(&lab->rng, 64) < w->degraded;
}

static void step(struct lab *lab, const struct workload *w)
{
	static struct replay before;
	u32 nr = 1 + rng_below(&lab->rng, w->burst), done, i;
	bool lost;

	shim_clock++;
	before = lab->acked;
	for (i = 0; i < nr; i++)
		batch[i] = make_record(lab, w);
	lab->want_cut = rng_below(&lab->rng, 64) < w->reboot;
	if (rng_below(&lab->rng, 64) < w->fault)
		plant_faults(lab);
	lost = lab_compact(lab, nr, rng_below(&lab->rng, 64) < w->full) == -EREMOTEIO;
	done = lost || dmr_metadata_in_doubt(lab->md) ? 0 : lab_commit(lab, batch, nr);
	give_back(lab, &before, nr, done);
	if (rng_below(&lab->rng, 64) < w->soft)
		lab_save_soft(lab);
	if (!goes_on(lab, w, done == nr) &&
	    (done < nr || lab->disk->nr_failed_writes != lab->failed_writes ||
	     dmr_metadata_in_doubt(lab->md))) {
		if (rng_below(&lab->rng, 64) < 2 * w->reboot)
			lab_resume(lab);
		else
			recover(lab);
	}
	lab_heal(lab);
	if (w->repair && rng_below(&lab->rng, 64) < w->repair)
		lab_repair(lab);
	if (lab->want_cut)
		lab_reboot(lab);
}

static void run(const struct workload *w, const struct bug *bug, const struct options *o)
{
	struct lab_setup setup = {
		.copies = w->copies, .spacing = w->spacing, .seed = o->seed,
		.kind = w->kind, .plan = w->plan,
	};
	static struct lab lab;
	u64 commits = w->commits * o->count / 100, i;

	if (bug) {
		setup.bug = bug->bufio;
		setup.bug_at = bug->at;
		setup.bug_compacts = bug->compacts;
		setup.early_ack = bug->early_ack;
	}
	nr_opinions = 0;
	lab_init(&lab, &setup);
	for (i = 0; i < commits; i++)
		step(&lab, w);
	printf("%-25s looks=%llu states=%llu one_copy=%llu majority=%llu both_codecs=%llu commits=%llu failed=%llu "
	       "compactions=%llu log_blocks=%u repairs=%llu reboots=%llu minorities=%llu uses=%llu resumes=%llu\n",
	       w->name, lab.looks, lab.distinct, lab.damaged, lab.subsets, nr_opinions, lab.commits,
	       lab.failed_commits, lab.compactions, lab.log_blocks, lab.repairs,
	       lab.reboots, lab.minorities, lab.uses, lab.resumes);
	fflush(stdout);
	lab_exit(&lab);
}

int main(int argc, char **argv)
{
	enum { BUGS = ARRAY_SIZE(bugs), WORKLOADS = ARRAY_SIZE(workloads) };
	const char *words[BUGS + WORKLOADS + 1] = {};
	struct options o = { .seed = 1, .count = 100 };
	unsigned int chosen, only, i;
	const struct bug *bug = NULL;

	for (i = 0; i < BUGS; i++)
		words[i] = bugs[i].name;
	for (i = 0; i < WORKLOADS; i++)
		words[BUGS + i] = workloads[i].name;
	chosen = parse_options(argc, argv, &o, words);
	only = chosen >> BUGS;
	for (i = 0; i < BUGS; i++)
		if (chosen & 1u << i)
			bug = &bugs[i];
	for (i = 0; i < WORKLOADS; i++)
		if (!only || only & 1u << i)
			run(&workloads[i], bug, &o);
	return 0;
}
