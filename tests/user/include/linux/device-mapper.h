/* SPDX-License-Identifier: GPL-2.0-only */
/* The parts of device-mapper.h that are no target: its log. */
#ifndef SHIM_DEVICE_MAPPER_H
#define SHIM_DEVICE_MAPPER_H

#include <linux/bitops.h>
#include <linux/blkdev.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/sched.h>
#include <asm/byteorder.h>

__attribute__((format(printf, 2, 3)))
void shim_log(char level, const char *format, ...);

#define shim_dm_log(level, fmt, ...) \
	shim_log(level, DM_MSG_PREFIX ": " fmt, ##__VA_ARGS__)
#define DMERR(...)		shim_dm_log('E', __VA_ARGS__)
#define DMWARN(...)		shim_dm_log('W', __VA_ARGS__)
#define DMINFO(...)		shim_dm_log('I', __VA_ARGS__)
#define DMERR_LIMIT		DMERR
#define DMWARN_LIMIT		DMWARN

#endif
