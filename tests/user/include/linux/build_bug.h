/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_BUILD_BUG_H
#define SHIM_BUILD_BUG_H

/* In the kernel the message is optional, as in C23. */
#undef static_assert
#define static_assert(expr, ...) _Static_assert(expr, #expr)

#endif
