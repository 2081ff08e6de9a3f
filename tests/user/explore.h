/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs a few threads in every order in which their steps can follow each other.
 *
 * A step ends at each access to shared memory (linux/compiler.h) and at each
 * wait. Memory is sequentially consistent: what a weaker order would allow is
 * ThreadSanitizer's to find.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <linux/types.h>

struct scenario {
	void (*body[4])(void);		/* the threads; NULL ends the list */
	void (*reset)(void);		/* to the state at the start */
	void (*mix_state)(void);	/* explore_mix() all that threads share */
};

void explore_mix(const void *p, size_t len);

/* Returns how many distinct states there are; dies on a deadlock. */
u64 explore(const struct scenario *s, u64 *runs);

#endif
