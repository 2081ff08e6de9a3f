/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_BITOPS_H
#define SHIM_BITOPS_H

#define BIT(n)		(1UL << (n))
#define hweight8(x)	((unsigned int)__builtin_popcount((x) & 0xffu))
#define hweight32(x)	((unsigned int)__builtin_popcount(x))
#define hweight64(x)	((unsigned int)__builtin_popcountll(x))

#endif
