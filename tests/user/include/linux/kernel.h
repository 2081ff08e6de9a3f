/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_KERNEL_H
#define SHIM_KERNEL_H

#include <assert.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

#include <linux/build_bug.h>

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define BUILD_BUG_ON(cond)	_Static_assert(!(cond), #cond)
#define BUG_ON(cond)		do { if (cond) abort(); } while (0)
#define WARN_ON(cond)		({ int warned_ = !!(cond); if (warned_) abort(); warned_; })
#define WARN_ON_ONCE(cond)	WARN_ON(cond)

#define swap(a, b) do {			\
	__typeof__(a) kept_ = (a);	\
	(a) = (b);			\
	(b) = kept_;			\
} while (0)

/* @y is a power of two. */
#define round_down(x, y)	((x) & ~((__typeof__(x))(y) - 1))
#define round_up(x, y)		round_down((x) + (__typeof__(x))((y) - 1), y)
#define DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))

#define U8_MAX	UINT8_MAX
#define U16_MAX	UINT16_MAX
#define U32_MAX	UINT32_MAX
#define U64_MAX	UINT64_MAX

#define PAGE_SHIFT	12
#define PAGE_SIZE	(1UL << PAGE_SHIFT)

#endif
