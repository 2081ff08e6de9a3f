/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Accesses that other threads see. They are C11 atomics, so ThreadSanitizer
 * knows what each of them orders, and a plain access in their place is a race.
 *
 * Under SHIM_EXPLORE each is a point where the explorer (explore.c) may let
 * another thread go on.
 */
#ifndef SHIM_COMPILER_H
#define SHIM_COMPILER_H

#ifdef SHIM_EXPLORE
void explore_point(void);
void explore_saw(unsigned long value);
#else
static inline void explore_point(void) {}
static inline void explore_saw(unsigned long value) { (void)value; }
#endif

#define shim_load(x, order) ({						\
	explore_point();						\
	__typeof__(x) loaded_ = __atomic_load_n(&(x), order);		\
	explore_saw((unsigned long)loaded_);				\
	loaded_; })

#define shim_store(x, value, order) do {				\
	explore_point();						\
	__atomic_store_n(&(x), value, order);				\
} while (0)

#define READ_ONCE(x)		shim_load(x, __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	shim_store(x, v, __ATOMIC_RELAXED)
#define smp_load_acquire(p)	shim_load(*(p), __ATOMIC_ACQUIRE)
#define smp_store_release(p, v)	shim_store(*(p), v, __ATOMIC_RELEASE)

/* ThreadSanitizer knows no fences; what they order here it sees otherwise. */
#ifdef __SANITIZE_THREAD__
#define smp_wmb()		((void)0)
#define smp_mb()		((void)0)
#else
#define smp_wmb()		__atomic_thread_fence(__ATOMIC_RELEASE)
#define smp_mb()		__atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)

/* Marks for sparse. */
#define __rcu
#define __percpu
#define __force
#define __must_check
#define __packed	__attribute__((packed))
#define noinline	__attribute__((noinline))
#define __maybe_unused	__attribute__((unused))
#define fallthrough	__attribute__((fallthrough))

#endif
