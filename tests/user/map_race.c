// SPDX-License-Identifier: GPL-2.0-only
/*
 * One writer and three readers of the map, under ThreadSanitizer (races) or
 * AddressSanitizer (leaves freed too early).
 *
 * All changes are made up beforehand, and with them what each sector is after
 * each change. A reader notes how many changes were surely done before its
 * lookup and how many had begun when it returned; for each sector it was told
 * of, the answer must be that of some moment between.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "dm-remap-v4-map.h"
#include "shim/options.h"
#include "shim/shim.h"

#define SECTORS		8192
#define NR_READERS	3
#define LONGEST		40

struct change {
	u32 at, len;
	enum dmr_kind kind;
	sector_t spare;
};

/* The state of one sector from change number @since on. */
struct version {
	u32 since;
	u32 older;		/* index in versions; 0: none */
	enum dmr_kind kind;
	sector_t spare;
};

static struct dmr_map map;
static struct change *changes;
static struct version *versions;
static u32 newest[SECTORS];
static u32 nr_changes, begun, done;
static bool stop;
static u64 seed, lookups[NR_READERS], moved[NR_READERS];

static void make_changes(void)
{
	struct rng rng = { seed };
	u32 nr_versions = SECTORS + 1, i, s;

	changes = kcalloc(nr_changes + 1, sizeof(*changes), GFP_KERNEL);
	versions = kcalloc(SECTORS + 1 + (size_t)nr_changes * LONGEST, sizeof(*versions), GFP_KERNEL);
	for (s = 0; s < SECTORS; s++)
		newest[s] = 1 + s;
	for (i = 1; i <= nr_changes; i++) {
		struct change *c = &changes[i];

		c->at = rng_below(&rng, SECTORS - LONGEST);
		c->len = 1 + rng_below(&rng, rng_one_in(&rng, 4) ? LONGEST : 3);
		/* Fills up and empties in turns, so that leaves split and empty. */
		c->kind = rng_below(&rng, 16) < (i / 4000 % 2 ? 9 : 3) ? DMR_LINEAR :
			  rng_one_in(&rng, 3) ? DMR_PENDING : DMR_REMAP;
		c->spare = c->kind == DMR_REMAP ? rng_below(&rng, 1 << 20) : 0;
		for (s = 0; s < c->len; s++) {
			struct version *v = &versions[nr_versions];

			v->since = i;
			v->older = newest[c->at + s];
			v->kind = c->kind;
			v->spare = c->kind == DMR_REMAP ? c->spare + s : 0;
			newest[c->at + s] = nr_versions++;
		}
	}
}

/* Was @sector so at any time from change @from to change @to? */
static bool was(u32 sector, const struct dmr_extent *ex, sector_t offset, u32 from, u32 to)
{
	sector_t spare = ex->kind == DMR_REMAP ? ex->spare + offset : 0;
	const struct version *v;
	u32 i;

	for (i = newest[sector]; i; i = v->older) {
		v = &versions[i];
		if (v->since > to)
			continue;
		if (v->kind == ex->kind && v->spare == spare)
			return true;
		if (v->since <= from)
			return false;
	}
	return false;
}

static void *reader(void *number)
{
	u64 me = (u64)number;
	struct rng rng = { seed + 1 + me };

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		u32 sector = rng_below(&rng, SECTORS), from, to, i;
		struct dmr_extent ex;

		/*
		 * The first reader only looks: an acquire would order its
		 * lookup behind the writer, and hide that something else fails
		 * to do so.
		 */
		from = me ? __atomic_load_n(&done, __ATOMIC_ACQUIRE) : 0;
		rcu_read_lock();
		dmr_map_lookup(&map, sector, SECTORS - sector, &ex);
		rcu_read_unlock();
		to = me ? __atomic_load_n(&begun, __ATOMIC_SEQ_CST) : nr_changes;

		check(ex.len && ex.len <= SECTORS - sector, "length %llu", ex.len);
		for (i = 0; me && i < ex.len; i++)
			check(was(sector + i, &ex, i, from, to),
			      "sector %u was never kind %u, spare %llu in changes %u to %u",
			      sector + i, ex.kind, ex.spare + i, from, to);
		__atomic_store_n(&lookups[me], lookups[me] + 1, __ATOMIC_RELAXED);
		moved[me] += from != to;
	}
	return NULL;
}

/* Changes that nobody looks at would test nothing. */
static void wait_for_readers(void)
{
	static u64 seen;
	u64 now, i;

	do {
		sched_yield();
		for (now = 0, i = 0; i < NR_READERS; i++)
			now += __atomic_load_n(&lookups[i], __ATOMIC_RELAXED);
	} while (now == seen);
	seen = now;
}

int main(int argc, char **argv)
{
	struct options o = { .seed = 1, .count = 60000 };
	pthread_t thread[NR_READERS];
	u64 all = 0, concurrent = 0, i;

	parse_options(argc, argv, &o, NULL);
	seed = o.seed;
	nr_changes = o.count;
	make_changes();
	check(!dmr_map_init(&map), "init");
	dmr_map_loaded(&map, SECTORS);
	shim_rcu_start();
	for (i = 0; i < NR_READERS; i++)
		check(!pthread_create(&thread[i], NULL, reader, (void *)i), "no thread");

	for (i = 1; i <= nr_changes; i++) {
		const struct change *c = &changes[i];

		if (i % 500 == 0)
			wait_for_readers();
		check(!dmr_map_reserve(&map, 4), "reserve");
		__atomic_store_n(&begun, i, __ATOMIC_SEQ_CST);
		dmr_map_set(&map, c->at, c->len, c->kind, c->spare);
		__atomic_store_n(&done, i, __ATOMIC_RELEASE);
	}

	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < NR_READERS; i++) {
		pthread_join(thread[i], NULL);
		all += lookups[i];
		concurrent += moved[i];
	}
	dmr_map_exit(&map);
	shim_rcu_stop();
	kfree(changes);
	kfree(versions);
	printf("changes=%u lookups=%llu during_a_change=%llu\n", nr_changes, all, concurrent);
	return 0;
}
