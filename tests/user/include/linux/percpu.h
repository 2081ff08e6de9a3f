/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Per-CPU memory. Each thread says on which CPU it runs (shim_cpu); the
 * instances of one object lie SHIM_CPU_STRIDE bytes apart.
 */
#ifndef SHIM_PERCPU_H
#define SHIM_PERCPU_H

#include <linux/types.h>

#define SHIM_NR_CPUS	4
#define SHIM_CPU_STRIDE	256

extern __thread unsigned int shim_cpu;

void *shim_alloc_percpu(size_t size);
void free_percpu(void *p);

#define alloc_percpu(type) ((type *)shim_alloc_percpu(sizeof(type)))
#define per_cpu_ptr(p, cpu) \
	((__typeof__(p))((char *)(p) + (size_t)(cpu) * SHIM_CPU_STRIDE))
#define this_cpu_ptr(p)		per_cpu_ptr(p, shim_cpu)
#define this_cpu_add(x, n) do {						\
	explore_point();						\
	__atomic_fetch_add(this_cpu_ptr(&(x)), n, __ATOMIC_RELAXED);	\
} while (0)
#define this_cpu_inc(x)		this_cpu_add(x, 1)
#define this_cpu_dec(x)		this_cpu_add(x, -1)
#define for_each_possible_cpu(cpu) for ((cpu) = 0; (cpu) < SHIM_NR_CPUS; (cpu)++)

#endif
