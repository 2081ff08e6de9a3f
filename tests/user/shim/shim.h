/* SPDX-License-Identifier: GPL-2.0-only */
/* What a test can set in the shim, and what all of it uses. */
#ifndef SHIM_H
#define SHIM_H

#include <stdarg.h>

#include <linux/types.h>

/* -------------------------------------------------------------- misc.c */

/* A seeded generator (splitmix64): the same in every run. */
struct rng {
	u64 state;
};

u64 rng_next(struct rng *r);

/* 0 to @n - 1. */
static inline u64 rng_below(struct rng *r, u64 n)
{
	return rng_next(r) % n;
}

/* True once in @n times. */
static inline bool rng_one_in(struct rng *r, u64 n)
{
	return rng_below(r, n) == 0;
}

extern time64_t shim_clock;			/* ktime_get_real_seconds() */
extern struct rng shim_random;			/* get_random_*(), uuids */
extern void (*shim_log_to)(char level, const char *line);	/* NULL: stderr */

/* Ends the program with the place and a sentence; for checks in every build. */
#define die(...) shim_die(__FILE__, __LINE__, __VA_ARGS__)
#define check(cond, ...) do { if (!(cond)) die(__VA_ARGS__); } while (0)
__attribute__((noreturn, format(printf, 3, 4)))
void shim_die(const char *file, int line, const char *format, ...);
/* Called first by shim_die(): what was going on, e.g. the seed. */
extern void (*shim_on_death)(void);

/* --------------------------------------------------------------- mem.c */

/* The @n-th allocation from now on fails; 0: none. */
void shim_fail_alloc(long n);
/* All of them fail, from now on or no more. */
void shim_no_memory(bool none);
/* Has any failed since one of those two was called? */
bool shim_alloc_failed(void);

/* --------------------------------------------------------------- rcu.c */

/*
 * Until this, callbacks run when the only thread waits for a grace period;
 * between the two, in a thread of their own, as in the kernel.
 */
void shim_rcu_start(void);
void shim_rcu_stop(void);

#endif
