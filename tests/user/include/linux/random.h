/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_RANDOM_H
#define SHIM_RANDOM_H

#include_next <linux/random.h>
#include <linux/types.h>
#include <linux/uuid.h>

u32 get_random_u32(void);
u64 get_random_u64(void);

#endif
