/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * RCU that ThreadSanitizer understands; shim/rcu.c.
 *
 * rcu_dereference() is an acquire load, a little more than the dependency that
 * the kernel relies on and the least that C11 can say.
 */
#ifndef SHIM_RCUPDATE_H
#define SHIM_RCUPDATE_H

#include <linux/types.h>

struct rcu_head {
	struct rcu_head *next;
	void (*func)(struct rcu_head *head);
	void *object;		/* kfree_rcu(): to be freed, no func */
};

void rcu_read_lock(void);
void rcu_read_unlock(void);
void synchronize_rcu(void);
#define synchronize_rcu_expedited()	synchronize_rcu()
void rcu_barrier(void);
void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head));
void shim_free_rcu(struct rcu_head *head, void *object);

#define rcu_read_lock_sched()		rcu_read_lock()
#define rcu_read_unlock_sched()		rcu_read_unlock()
#define rcu_dereference_sched(p)	rcu_dereference(p)
#define rcu_dereference(p)		shim_load(p, __ATOMIC_ACQUIRE)
#define rcu_dereference_protected(p, c)	((void)(c), (p))
#define rcu_access_pointer(p)		READ_ONCE(p)
#define rcu_assign_pointer(p, v)	shim_store(p, v, __ATOMIC_RELEASE)
#define RCU_INIT_POINTER(p, v)		((p) = (v))
#define kfree_rcu(p, field)		shim_free_rcu(&(p)->field, p)
#define kvfree_rcu(p, field)		kfree_rcu(p, field)

#endif
