/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_JIFFIES_H
#define SHIM_JIFFIES_H
#define HZ 250
#endif
