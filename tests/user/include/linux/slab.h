/* SPDX-License-Identifier: GPL-2.0-only */
/* malloc(), which fails when a test wants it to; see shim/shim.h. */
#ifndef SHIM_SLAB_H
#define SHIM_SLAB_H

#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/overflow.h>
#include <linux/string.h>
#include <linux/types.h>

#define GFP_KERNEL	0u
#define GFP_NOIO	0u
#define GFP_NOFS	0u
#define GFP_NOWAIT	0u
#define __GFP_NOWARN	0u
#define __GFP_NORETRY	0u
#define __GFP_RETRY_MAYFAIL	0u
#define __GFP_ZERO	1u

void *kmalloc(size_t size, gfp_t flags);
void kfree(const void *p);

static inline void *kzalloc(size_t size, gfp_t flags)
{
	return kmalloc(size, flags | __GFP_ZERO);
}

static inline void *kmalloc_array(size_t n, size_t size, gfp_t flags)
{
	return kmalloc(array_size(n, size), flags);
}

static inline void *kcalloc(size_t n, size_t size, gfp_t flags)
{
	return kmalloc_array(n, size, flags | __GFP_ZERO);
}

#define kvmalloc	kmalloc
#define kvzalloc	kzalloc
#define kvmalloc_array	kmalloc_array
#define kvcalloc	kcalloc
#define kvfree		kfree

#endif
