/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_MINMAX_H
#define SHIM_MINMAX_H

#define min_t(type, a, b)	({ type a_ = (a), b_ = (b); a_ < b_ ? a_ : b_; })
#define max_t(type, a, b)	({ type a_ = (a), b_ = (b); a_ > b_ ? a_ : b_; })

/* The comparison of the addresses is the kernel's demand for equal types. */
#define shim_typed(op, a, b) ({			\
	__typeof__(a) l_ = (a);			\
	__typeof__(b) r_ = (b);			\
	(void)(&l_ == &r_);			\
	l_ op r_ ? l_ : r_; })
#define min(a, b)	shim_typed(<, a, b)
#define max(a, b)	shim_typed(>, a, b)
#define min3(a, b, c)	min((__typeof__(a))min(a, b), c)
#define max3(a, b, c)	max((__typeof__(a))max(a, b), c)
#define clamp(v, lo, hi) min((__typeof__(v))max(v, lo), hi)

#endif
