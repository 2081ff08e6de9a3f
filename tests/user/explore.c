// SPDX-License-Identifier: GPL-2.0-only
/*
 * A thread is a coroutine. Each run starts afresh and follows the choices of
 * the one before it up to the last place where another thread could have gone
 * on instead. A run that comes to a known state is given up: whatever follows
 * has been seen. What a thread is about to do depends on what it read so far,
 * so a state is the shared memory and, for each thread, a hash of that.
 */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "explore.h"
#include "shim/shim.h"

#define MAX_THREADS	4
#define MAX_STEPS	512
#define STACK_SIZE	(64 * 1024)
#define SEEN_SIZE	(1u << 22)

struct thread {
	jmp_buf here;		/* where it goes on, once started */
	bool started;
	u64 history;		/* of what it read */
	u64 at_wait;		/* the same when it began to wait */
	unsigned int cpu;	/* it runs on */
	bool done, waiting;	/* waiting: until another thread makes a step */
	bool looking;		/* whether it must wait ... */
	bool disturbed;		/* ... and another one made a step meanwhile */
	unsigned int depth;	/* of rcu_read_lock() */
	unsigned long section;	/* counts its read sections */
	char stack[STACK_SIZE];
};

static const struct scenario *scenario;
static struct thread thread[MAX_THREADS];
static unsigned int nr_threads, current;
static ucontext_t beginning[MAX_THREADS];	/* of each thread */
static jmp_buf explorer;

static u8 choice[MAX_STEPS], untried[MAX_STEPS];
static u64 mixed, *seen, nr_seen;

static u64 mix(u64 hash, u64 value)
{
	struct rng r = { hash ^ value };

	return rng_next(&r);
}

void explore_mix(const void *p, size_t len)
{
	const u8 *byte = p;

	while (len--)
		mixed = mix(mixed, *byte++);
}

/* ------------------------------------------------------ called by threads */

static void yield(void)
{
	thread[current].cpu = shim_cpu;
	/* Unlike swapcontext(), these make no system call. */
	if (!_setjmp(thread[current].here))
		_longjmp(explorer, 1);
	shim_cpu = thread[current].cpu;
}

void explore_point(void)
{
	yield();
	thread[current].history = mix(thread[current].history, 1);
}

void explore_saw(unsigned long value)
{
	thread[current].history = mix(thread[current].history, value);
}

void explore_wait_begin(void)
{
	thread[current].at_wait = thread[current].history;
	thread[current].looking = true;
}

void explore_wait_end(void)
{
	thread[current].looking = false;
	thread[current].disturbed = false;
}

void explore_wait_again(void)
{
	struct thread *t = &thread[current];

	/* As if it had not looked. */
	t->history = t->at_wait;
	t->waiting = !t->disturbed;
	t->disturbed = false;
	yield();
}

void rcu_read_lock(void)
{
	if (!thread[current].depth++)
		thread[current].section++;
}

void rcu_read_unlock(void)
{
	explore_point();
	thread[current].depth--;
}

void synchronize_rcu(void)
{
	unsigned long section[MAX_THREADS];
	unsigned int i;

	explore_point();
	for (i = 0; i < nr_threads; i++)
		section[i] = thread[i].depth ? thread[i].section : 0;
	explore_wait_begin();
	for (i = 0; i < nr_threads; i++)
		while (section[i] && thread[i].depth && thread[i].section == section[i])
			explore_wait_again();
	explore_wait_end();
}

/* ------------------------------------------------------------ the explorer */

static void start(unsigned int i)
{
	scenario->body[i]();
	thread[i].done = true;
	yield();
}

static void start_run(void)
{
	unsigned int i;

	scenario->reset();
	for (i = 0; i < nr_threads; i++) {
		memset(&thread[i], 0, offsetof(struct thread, stack));
		beginning[i].uc_stack.ss_sp = thread[i].stack;
		beginning[i].uc_stack.ss_size = STACK_SIZE;
		makecontext(&beginning[i], (void (*)(void))start, 1, i);
	}
}

static u8 runnable(void)
{
	u8 mask = 0;
	unsigned int i;

	for (i = 0; i < nr_threads; i++)
		if (!thread[i].done && !thread[i].waiting)
			mask |= 1u << i;
	return mask;
}

static bool all_done(void)
{
	unsigned int i;

	for (i = 0; i < nr_threads; i++)
		if (!thread[i].done)
			return false;
	return true;
}

/* Remember the state. False: it is known. */
static bool new_state(void)
{
	unsigned int i;
	u64 at;

	mixed = 1;
	scenario->mix_state();
	for (i = 0; i < nr_threads; i++) {
		const struct thread *t = &thread[i];

		mixed = mix(mix(mixed, t->history), t->waiting | t->done << 1 | t->disturbed << 2 |
						 !!t->depth << 3);
	}
	for (at = mixed % SEEN_SIZE; seen[at]; at = (at + 1) % SEEN_SIZE)
		if (seen[at] == mixed)
			return false;
	seen[at] = mixed;
	check(++nr_seen < SEEN_SIZE / 2, "too many states");
	return true;
}

static void make_step(unsigned int i)
{
	unsigned int other;

	for (other = 0; other < nr_threads; other++)
		if (other != i) {
			thread[other].waiting = false;
			thread[other].disturbed = thread[other].looking;
		}
	current = i;
	if (_setjmp(explorer))
		return;
	if (thread[i].started)
		_longjmp(thread[i].here, 1);
	thread[i].started = true;
	setcontext(&beginning[i]);
}

/* One run, whose first @given choices are made. Returns its length. */
static unsigned int run(unsigned int given)
{
	unsigned int step;

	start_run();
	for (step = 0; !all_done(); step++) {
		u8 mask = runnable();

		check(step < MAX_STEPS, "a run without end");
		if (step >= given) {
			if (!new_state())
				break;
			check(mask, "deadlock");
			choice[step] = __builtin_ctz(mask);
			untried[step] = mask & ~(1u << choice[step]);
		}
		make_step(choice[step]);
	}
	return step;
}

u64 explore(const struct scenario *s, u64 *runs)
{
	unsigned int given = 0, length;

	scenario = s;
	for (nr_threads = 0; s->body[nr_threads]; nr_threads++)
		getcontext(&beginning[nr_threads]);
	seen = kcalloc(SEEN_SIZE, sizeof(*seen), GFP_KERNEL);
	nr_seen = *runs = 0;
	do {
		length = run(given);
		(*runs)++;
		while (length && !untried[length - 1])
			length--;
		if (length) {
			choice[length - 1] = __builtin_ctz(untried[length - 1]);
			untried[length - 1] &= untried[length - 1] - 1;
		}
		given = length;
	} while (given);
	kfree(seen);
	return nr_seen;
}
