/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_MEMPOOL_H
#define SHIM_MEMPOOL_H

#include <pthread.h>

#include <linux/types.h>

typedef struct mempool {
	pthread_mutex_t lock;
	size_t size;
	int min_nr;		/* elements that it keeps */
	int nr;			/* of those, how many are here */
	void **element;
} mempool_t;

int mempool_init_kmalloc_pool(mempool_t *pool, int min_nr, size_t size);
void mempool_exit(mempool_t *pool);

/* Never NULL: waits for an element, as the kernel's may with GFP_NOIO. */
void *mempool_alloc(mempool_t *pool, gfp_t flags);
void mempool_free(void *element, mempool_t *pool);

#endif
