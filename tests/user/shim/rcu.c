// SPDX-License-Identifier: GPL-2.0-only
/*
 * RCU: each reader has a counter that is odd while it reads. A grace period
 * has passed when every counter that was odd has changed.
 *
 * The writer looks at a counter with a read-modify-write, so its look and the
 * reader's own steps are in one order. If the reader's next step comes after
 * the look, it synchronises with it, and the reader sees what was published;
 * if it came before, the writer waits. No fences, which ThreadSanitizer does
 * not know.
 */
#include <pthread.h>
#include <sched.h>

#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "shim.h"

#define MAX_READERS	16

static struct {
	unsigned long counter __attribute__((aligned(64)));
} readers[MAX_READERS];
static unsigned int nr_readers;
static __thread unsigned int self;	/* 1 + index in readers */
static __thread unsigned int depth;

void rcu_read_lock(void)
{
	if (depth++)
		return;
	if (!self) {
		self = __atomic_add_fetch(&nr_readers, 1, __ATOMIC_ACQ_REL);
		check(self <= MAX_READERS, "more than %d threads read", MAX_READERS);
	}
	__atomic_fetch_add(&readers[self - 1].counter, 1, __ATOMIC_ACQ_REL);
}

void rcu_read_unlock(void)
{
	check(depth, "rcu_read_unlock() without lock");
	if (!--depth)
		__atomic_fetch_add(&readers[self - 1].counter, 1, __ATOMIC_RELEASE);
}

static void wait_for_readers(void)
{
	unsigned int i;

	check(!depth, "waits for a grace period as a reader");
	for (i = 0; i < MAX_READERS; i++) {
		unsigned long *counter = &readers[i].counter;
		unsigned long seen = __atomic_fetch_add(counter, 0, __ATOMIC_ACQ_REL);

		while (seen % 2 && __atomic_load_n(counter, __ATOMIC_ACQUIRE) == seen)
			sched_yield();
	}
}

/* ------------------------------------------------------------- callbacks */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct rcu_head *waiting;	/* under the lock, as the rest */
static bool running, busy;
static pthread_t thread;

static void run_callbacks(struct rcu_head *head)
{
	while (head) {
		struct rcu_head *next = head->next;

		if (head->func)
			head->func(head);
		else
			kfree(head->object);
		head = next;
	}
}

static void *callback_thread(void *unused)
{
	pthread_mutex_lock(&lock);
	while (running || waiting) {
		struct rcu_head *head = waiting;

		if (!head) {
			pthread_cond_wait(&changed, &lock);
			continue;
		}
		waiting = NULL;
		busy = true;
		pthread_mutex_unlock(&lock);
		wait_for_readers();
		run_callbacks(head);
		pthread_mutex_lock(&lock);
		busy = false;
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&lock);
	return unused;
}

void shim_rcu_start(void)
{
	running = true;
	check(!pthread_create(&thread, NULL, callback_thread, NULL), "no thread");
}

void shim_rcu_stop(void)
{
	pthread_mutex_lock(&lock);
	running = false;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	pthread_join(thread, NULL);
}

static void queue(struct rcu_head *head)
{
	pthread_mutex_lock(&lock);
	head->next = waiting;
	waiting = head;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head))
{
	head->func = func;
	queue(head);
}

void shim_free_rcu(struct rcu_head *head, void *object)
{
	head->func = NULL;
	head->object = object;
	queue(head);
}

void rcu_barrier(void)
{
	pthread_mutex_lock(&lock);
	while (running && (waiting || busy))
		pthread_cond_wait(&changed, &lock);
	if (!running) {
		struct rcu_head *head = waiting;

		waiting = NULL;
		pthread_mutex_unlock(&lock);
		wait_for_readers();
		run_callbacks(head);
		return;
	}
	pthread_mutex_unlock(&lock);
}

void synchronize_rcu(void)
{
	wait_for_readers();
	/* With one thread, now and then is when callbacks run. */
	if (!running)
		rcu_barrier();
}
