/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_OVERFLOW_H
#define SHIM_OVERFLOW_H

#include <stddef.h>
#include <stdint.h>

static inline size_t array_size(size_t a, size_t b)
{
	size_t bytes;

	return __builtin_mul_overflow(a, b, &bytes) ? SIZE_MAX : bytes;
}

static inline size_t size_add(size_t a, size_t b)
{
	size_t bytes;

	return __builtin_add_overflow(a, b, &bytes) ? SIZE_MAX : bytes;
}

#define struct_size(p, member, n) \
	size_add(sizeof(*(p)), array_size(n, sizeof((p)->member[0])))

#endif
