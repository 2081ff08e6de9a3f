// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>

#include <linux/slab.h>

#include "shim.h"

static long countdown;
static bool none, failed;

void shim_no_memory(bool all)
{
	__atomic_store_n(&failed, false, __ATOMIC_RELAXED);
	__atomic_store_n(&none, all, __ATOMIC_RELAXED);
}

void shim_fail_alloc(long n)
{
	__atomic_store_n(&failed, false, __ATOMIC_RELAXED);
	__atomic_store_n(&countdown, n, __ATOMIC_RELAXED);
}

bool shim_alloc_failed(void)
{
	return __atomic_load_n(&failed, __ATOMIC_RELAXED);
}

void *kmalloc(size_t size, gfp_t flags)
{
	bool fails = __atomic_load_n(&none, __ATOMIC_RELAXED);

	if (__atomic_load_n(&countdown, __ATOMIC_RELAXED) > 0)
		fails |= __atomic_sub_fetch(&countdown, 1, __ATOMIC_RELAXED) == 0;
	if (fails) {
		__atomic_store_n(&failed, true, __ATOMIC_RELAXED);
		return NULL;
	}
	return flags & __GFP_ZERO ? calloc(1, size) : malloc(size);
}

void kfree(const void *p)
{
	free((void *)p);
}
