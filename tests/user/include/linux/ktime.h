/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_KTIME_H
#define SHIM_KTIME_H
#include <linux/types.h>
time64_t ktime_get_real_seconds(void);
#endif
