/* SPDX-License-Identifier: GPL-2.0-only */
/* Block devices as they are: opened once, known by their numbers, told apart by identity. */
#ifndef DMR_DEVICE_H
#define DMR_DEVICE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "header.h"

/*
 * Put before every path that is looked at. For tests: below it, /dev may hold
 * regular files in place of disks.
 */
extern const char *root_dir;

/* The path below root_dir. */
#define UNDER_ROOT(buffer, format, ...)                                                            \
	snprintf(buffer, sizeof(buffer), "%s" format, root_dir, ##__VA_ARGS__)

struct device {
	char path[PATH_MAX];	/* without root_dir */
	int fd;
	unsigned int major, minor;
	uint64_t sectors;
	bool readonly;
};

/* What is known of a disk; an empty string is not known. See service/identity.py. */
struct identity {
	char wwn[256], part[256], serial[256];
};

/* False, with errno, if there is no such block device or it cannot be opened. */
bool device_open(const char *path, struct device *device);
void device_close(struct device *device);

/* As of /sys/class/block: its node, if it has the number that sysfs says. */
bool device_open_named(const char *name, struct device *device);

/* By udev's database, or by sysfs where that knows nothing. */
void device_identity(const struct device *device, struct identity *identity);

/*
 * The first key that both know and disagree on, NULL if none; recorded is what
 * the metadata has.
 */
const char *identity_conflict(const char *recorded, const struct identity *other,
			      char *was, size_t size);

/* The headers on it; see spare_look(). */
enum looked device_look(const struct device *device, bool deep, const char *wanted,
			struct spare *spare);

/* What somebody has put in the place of that; see foreign_in(). */
const char *device_foreign(const struct device *device, const struct spare *spare);

/* The first line of a file below root_dir; false if there is none. */
bool read_line_of(char *line, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Whether sysfs has the device with this number: one that is gone may still be held. */
bool device_is_there(const char *number);

#endif
