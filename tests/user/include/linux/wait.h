/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Waiting is asking again: a wake-up that is missed does no harm, and a time-out
 * that matters would be a test that depends on time.
 */
#ifndef SHIM_WAIT_H
#define SHIM_WAIT_H

#include <sched.h>

#include <linux/compiler.h>

typedef struct { char unused; } wait_queue_head_t;

#define init_waitqueue_head(wq)	((void)(wq))
#define wake_up(wq)		((void)(wq))

#ifdef SHIM_EXPLORE
void explore_wait_begin(void);
void explore_wait_again(void);
void explore_wait_end(void);
#else
static inline void explore_wait_begin(void) {}
static inline void explore_wait_again(void) { sched_yield(); }
static inline void explore_wait_end(void) {}
#endif

#define wait_event(wq, condition) do {		\
	(void)(wq);				\
	explore_wait_begin();			\
	while (!(condition))			\
		explore_wait_again();		\
	explore_wait_end();			\
} while (0)
#define wait_event_timeout(wq, condition, timeout) \
	({ wait_event(wq, condition); (long)(timeout); })

#endif
