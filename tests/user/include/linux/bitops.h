/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_BITOPS_H
#define SHIM_BITOPS_H

#define BIT(n)		(1UL << (n))
#define hweight8(x)	((unsigned int)__builtin_popcount((x) & 0xffu))
#define hweight32(x)	((unsigned int)__builtin_popcount(x))
#define __ffs64(x)	((unsigned long)__builtin_ctzll(x))
#define fls(x)		((x) ? 32 - __builtin_clz(x) : 0)
#define fls64(x)	((x) ? 64 - __builtin_clzll(x) : 0)
#define hweight64(x)	((unsigned int)__builtin_popcountll(x))

#endif
