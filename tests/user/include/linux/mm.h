/* SPDX-License-Identifier: GPL-2.0-only */
/* A page is its memory. */
#ifndef SHIM_MM_H
#define SHIM_MM_H

#include <linux/slab.h>

struct page;

#define virt_to_page(p)	((struct page *)(p))

static inline unsigned long __get_free_page(gfp_t flags)
{
	return (unsigned long)kmalloc(PAGE_SIZE, flags);
}

static inline void free_page(unsigned long p)
{
	kfree((void *)p);
}

#endif
