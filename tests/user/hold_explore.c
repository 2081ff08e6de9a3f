// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every order of steps of bios to one block and of a worker that moves it to
 * the spare and back, so that once bios need not look (divert) and once they
 * must.
 */
#include <stdio.h>

#include <linux/slab.h>

#include "explore.h"
#include "hold_bio.h"
#include "shim/options.h"

#define BLOCK 3

static void worker(void)
{
	dmr_hold_add(&hold, BLOCK, 1);
	hold_begin();
	move(BLOCK);
	hold_end();

	/* Back, and found to be concerned only while another is held. */
	dmr_hold_add(&hold, BLOCK + 1, 1);
	hold_begin();
	check(dmr_hold_extend(&hold, BLOCK, 1), "no room for one more");
	move(BLOCK);
	hold_end();
}

/* Begins on @from, ends on @to. */
static void bio(u32 from, u32 to)
{
	unsigned int epoch;
	u32 at;

	shim_cpu = from;
	if (!map_bio(BLOCK, &at, &epoch))
		return;
	check_io(BLOCK, at);
	explore_point();
	check_io(BLOCK, at);
	shim_cpu = to;
	if (dmr_hold_uncount(&hold, epoch))
		dmr_hold_wake(&hold);
}

static void two_bios(void)
{
	bio(0, 1);
	bio(0, 1);
}

static void one_bio(void)
{
	bio(1, 0);
}

static void reset(void)
{
	struct dmr_held *buf[2] = { hold.buf[0], hold.buf[1] };

	memset(buf[0], 0, sizeof(*buf[0]));
	memset(buf[1], 0, sizeof(*buf[1]));
	memset(hold.inflight, 0, SHIM_NR_CPUS * SHIM_CPU_STRIDE);
	hold.set = NULL;
	hold.epoch = hold.filling = 0;
	hold.draining = divert = false;
	nr_moved = 0;
	memset(place, 0, sizeof(place));
	memset(moving, 0, sizeof(moving));
}

static void mix_state(void)
{
	int cpu;

	explore_mix(&hold.set, sizeof(hold.set));
	explore_mix(&hold.epoch, sizeof(hold.epoch));
	explore_mix(&hold.draining, sizeof(hold.draining));
	explore_mix(&hold.filling, sizeof(hold.filling));
	explore_mix(&hold.buf[0]->nr, sizeof(hold.buf[0]->nr));
	explore_mix(&hold.buf[1]->nr, sizeof(hold.buf[1]->nr));
	explore_mix(&divert, sizeof(divert));
	explore_mix(&place[BLOCK], sizeof(place[BLOCK]));
	explore_mix(&moving[BLOCK], sizeof(moving[BLOCK]));
	for_each_possible_cpu(cpu)
		explore_mix(per_cpu_ptr(hold.inflight, cpu), sizeof(*hold.inflight));
}

int main(int argc, char **argv)
{
	static const struct scenario scenario = {
		{ worker, two_bios, one_bio }, reset, mix_state,
	};
	struct options o = {};
	u64 runs, states;

	parse_options(argc, argv, &o, NULL);
	check(!dmr_hold_init(&hold), "init");
	states = explore(&scenario, &runs);
	dmr_hold_exit(&hold);
	printf("states=%llu runs=%llu\n", states, runs);
	return 0;
}
