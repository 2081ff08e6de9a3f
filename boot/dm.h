/* SPDX-License-Identifier: GPL-2.0-only */
/* The ioctls of /dev/mapper/control, and waiting for udev. */
#ifndef DMR_DM_H
#define DMR_DM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DM_TARGET "dm-remap-v4"
#define DM_PREFIX "DMREMAP-"
#define DM_WORDS 1024

struct dm_info {
	char uuid[129];
	bool has_table, readonly;
	int open_count;
};

/* All of them: false with errno. */
bool dm_open(void);

/* Whether the target is there; modprobe is asked for it if need be. */
bool dm_has_target(void);

/* False with ENXIO if there is no such device. */
bool dm_info(const char *name, struct dm_info *info);

/* The first target's table line or status, and whether it is one of ours. */
bool dm_words(const char *name, bool status, char *words, size_t size, bool *ours);

/* Make a device and bring it up; what is half made is removed again. */
bool dm_bring_up(const char *name, const char *uuid, uint64_t sectors, const char *table,
		 bool readonly);

/* Tries again for some seconds while somebody, udev for one, has it open. */
bool dm_remove(const char *name);

#endif
