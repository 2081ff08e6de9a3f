// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mempool.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define hide(p, size)	ASAN_POISON_MEMORY_REGION(p, size)
#define show(p, size)	ASAN_UNPOISON_MEMORY_REGION(p, size)
#else
#define hide(p, size)	((void)0)
#define show(p, size)	((void)0)
#endif

/*
 * The pool keeps elements back for bad times only, like the kernel's: an
 * element that is not needed goes back to malloc, where AddressSanitizer
 * watches it, and so does it watch those that are kept.
 */
int mempool_init_kmalloc_pool(mempool_t *pool, int min_nr, size_t size)
{
	pthread_mutex_init(&pool->lock, NULL);
	pool->size = size;
	pool->min_nr = min_nr;
	pool->nr = 0;
	pool->element = kcalloc(min_nr, sizeof(void *), GFP_KERNEL);
	while (pool->element && pool->nr < min_nr) {
		void *element = kmalloc(size, GFP_KERNEL);

		if (!element)
			break;
		mempool_free(element, pool);
	}
	if (pool->nr == min_nr)
		return 0;
	mempool_exit(pool);
	return -ENOMEM;
}

void mempool_exit(mempool_t *pool)
{
	while (pool->nr) {
		pool->nr--;
		show(pool->element[pool->nr], pool->size);
		kfree(pool->element[pool->nr]);
	}
	kfree(pool->element);
	pool->element = NULL;
	pthread_mutex_destroy(&pool->lock);
}

void *mempool_alloc(mempool_t *pool, gfp_t flags)
{
	for (;;) {
		void *element = kmalloc(pool->size, flags);

		pthread_mutex_lock(&pool->lock);
		if (!element && pool->nr) {
			element = pool->element[--pool->nr];
			show(element, pool->size);
		}
		pthread_mutex_unlock(&pool->lock);
		if (element)
			return element;
		rcu_barrier();
	}
}

void mempool_free(void *element, mempool_t *pool)
{
	bool kept = false;

	pthread_mutex_lock(&pool->lock);
	if (pool->nr < pool->min_nr) {
		hide(element, pool->size);
		pool->element[pool->nr++] = element;
		kept = true;
	}
	pthread_mutex_unlock(&pool->lock);
	if (!kept)
		kfree(element);
}
