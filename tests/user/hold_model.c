// SPDX-License-Identifier: GPL-2.0-only
/* Random ranges to hold, one after the other, against an array of flags. */
#include <stdio.h>

#include <linux/slab.h>

#include "dm-remap-v4-hold.h"
#include "shim/options.h"
#include "shim/shim.h"

#define SECTORS 4096

static bool held[SECTORS];

static void check_lookup(struct dmr_hold *h, u32 at, sector_t max)
{
	sector_t len = max, n = 1;
	bool found = dmr_hold_lookup(h, at, &len);

	check(found == held[at], "sector %u held: %d", at, found);
	while (n < max && held[at + n] == held[at])
		n++;
	/* Ranges that touch may be told of one by one. */
	check(found ? len && len <= n : len == n, "sector %u: %llu sectors, not %llu", at, len, n);
}

/* A random range, by @add, which must succeed if it is free and @room is true. */
static bool add(struct dmr_hold *h, struct rng *rng, bool room,
		bool (*add)(struct dmr_hold *h, sector_t start, sector_t len))
{
	u32 at = rng_below(rng, SECTORS), len = 1 + rng_below(rng, 24), i;

	len = min(len, SECTORS - at);
	for (i = at; i < at + len; i++)
		room = room && !held[i];
	check(add(h, at, len) == room, "add %u + %u: not %d", at, len, room);
	for (i = at; room && i < at + len; i++)
		held[i] = true;
	return room;
}

static void fill(struct dmr_hold *h, struct rng *rng)
{
	u32 nr = 0, tries;

	for (tries = rng_below(rng, 2 * DMR_MAX_HELD); tries; tries--)
		nr += add(h, rng, nr < DMR_MAX_HELD, dmr_hold_add);
	dmr_hold_acquire(h);
	for (tries = rng_below(rng, 2 * DMR_MAX_HELD); tries; tries--)
		nr += add(h, rng, nr < ARRAY_SIZE(h->buf[0]->range), dmr_hold_extend);
}

int main(int argc, char **argv)
{
	struct options o = { .seed = 1, .count = 1000000 };
	struct dmr_hold hold;
	struct rng rng;
	u64 lookups = 0, rounds, i;
	long n;

	parse_options(argc, argv, &o, NULL);
	rng.state = o.seed;
	for (n = 1; n <= 3; n++) {
		shim_fail_alloc(n);
		check(dmr_hold_init(&hold) == -ENOMEM, "init without memory");
	}
	shim_fail_alloc(0);
	check(!dmr_hold_init(&hold), "init");
	for (rounds = 0; lookups < o.count; rounds++) {
		fill(&hold, &rng);
		for (i = 0; i < 1000; i++, lookups++) {
			u32 at = rng_below(&rng, SECTORS);

			check_lookup(&hold, at, 1 + rng_below(&rng, SECTORS - at));
		}
		dmr_hold_release(&hold);
		memset(held, 0, sizeof(held));
		check_lookup(&hold, 0, SECTORS);
	}
	dmr_hold_exit(&hold);
	printf("rounds=%llu lookups=%llu\n", rounds, lookups);
	return 0;
}
