// SPDX-License-Identifier: GPL-2.0-only
/* Bios in three threads against a worker that moves blocks, for the sanitizers. */
#include <pthread.h>
#include <stdio.h>

#include <linux/slab.h>

#include "hold_bio.h"
#include "shim/options.h"

#define NR_MAPPERS	3

static bool stop;
static u64 seed, tries[NR_MAPPERS], passed[NR_MAPPERS], deferred[NR_MAPPERS];

static void *mapper(void *number)
{
	u64 me = (u64)number;
	struct rng rng = { seed + 1 + me };

	while (!peek(stop)) {
		u32 block = rng_below(&rng, NR_BLOCKS), at;
		unsigned int epoch;

		poke(tries[me], tries[me] + 1);
		shim_cpu = rng_below(&rng, SHIM_NR_CPUS);
		if (!map_bio(block, &at, &epoch)) {
			deferred[me]++;
			sched_yield();
			continue;
		}
		check_io(block, at);
		if (rng_one_in(&rng, 4))
			sched_yield();
		check_io(block, at);
		/* Often ends on another CPU than it began on. */
		shim_cpu = rng_below(&rng, SHIM_NR_CPUS);
		if (dmr_hold_uncount(&hold, epoch))
			dmr_hold_wake(&hold);
		passed[me]++;
	}
	return NULL;
}

/* Rounds that no bio meets would test nothing. */
static void wait_for_bios(void)
{
	static u64 seen;
	u64 now, i;

	do {
		sched_yield();
		for (now = 0, i = 0; i < NR_MAPPERS; i++)
			now += peek(tries[i]);
	} while (now == seen);
	seen = now;
}

static void round_of_work(struct rng *rng)
{
	u32 first = rng_below(rng, NR_BLOCKS), nr = 1 + rng_below(rng, 3), b;
	bool mine[NR_BLOCKS] = {};

	for (b = first; b < min(first + nr, (u32)NR_BLOCKS); b++) {
		mine[b] = dmr_hold_add(&hold, b, 1);
		check(mine[b], "block %u is held twice", b);
	}
	wait_for_bios();
	hold_begin();
	b = rng_below(rng, NR_BLOCKS);
	if (rng_one_in(rng, 2))
		mine[b] |= dmr_hold_extend(&hold, b, 1);
	for (b = 0; b < NR_BLOCKS; b++)
		if (mine[b])
			move(b);
	hold_end();
}

int main(int argc, char **argv)
{
	struct options o = { .seed = 1, .count = 20000 };
	pthread_t thread[NR_MAPPERS];
	u64 through = 0, turned = 0, i;
	struct rng rng;

	parse_options(argc, argv, &o, NULL);
	rng.state = seed = o.seed;
	check(!dmr_hold_init(&hold), "init");
	for (i = 0; i < NR_MAPPERS; i++)
		check(!pthread_create(&thread[i], NULL, mapper, (void *)i), "no thread");
	for (i = 0; i < o.count; i++)
		round_of_work(&rng);
	poke(stop, true);
	for (i = 0; i < NR_MAPPERS; i++) {
		pthread_join(thread[i], NULL);
		through += passed[i];
		turned += deferred[i];
	}
	dmr_hold_exit(&hold);
	printf("rounds=%llu passed=%llu deferred=%llu\n", o.count, through, turned);
	return 0;
}
