// SPDX-License-Identifier: GPL-2.0-only
#include "device.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "foreign.h"

const char *root_dir = "";

bool read_line_of(char *line, size_t size, const char *format, ...)
{
	char path[PATH_MAX];
	int at = snprintf(path, sizeof(path), "%s", root_dir);
	va_list args;
	FILE *file;
	bool got;

	va_start(args, format);
	vsnprintf(path + at, sizeof(path) - at, format, args);
	va_end(args);
	file = fopen(path, "re");
	if (!file)
		return false;
	got = fgets(line, size, file);
	fclose(file);
	if (got)
		line[strcspn(line, "\n")] = 0;
	return got;
}

/* A file in place of a disk: sysfs below root_dir has its number. */
static bool stand_in(struct device *device, const struct stat *found)
{
	const char *name = strrchr(device->path, '/') + 1;
	char real[PATH_MAX], path[PATH_MAX], number[32];

	UNDER_ROOT(path, "%s", device->path);
	if (!*root_dir || !S_ISREG(found->st_mode))
		return false;
	if (realpath(path, real))
		name = strrchr(real, '/') + 1;
	if (!read_line_of(number, sizeof(number), "/sys/class/block/%s/dev", name) ||
	    sscanf(number, "%u:%u", &device->major, &device->minor) != 2)
		return false;
	device->sectors = found->st_size / SECTOR;
	device->readonly = !(found->st_mode & S_IWUSR);
	return true;
}

static bool measure(struct device *device)
{
	struct stat found;
	uint64_t bytes;
	int readonly;

	if (fstat(device->fd, &found))
		return false;
	if (stand_in(device, &found))
		return true;
	if (!S_ISBLK(found.st_mode)) {
		errno = ENOTBLK;
		return false;
	}
	device->major = major(found.st_rdev);
	device->minor = minor(found.st_rdev);
	if (ioctl(device->fd, BLKGETSIZE64, &bytes) || ioctl(device->fd, BLKROGET, &readonly))
		return false;
	device->sectors = bytes / SECTOR;
	device->readonly = readonly;
	return true;
}

bool device_open(const char *path, struct device *device)
{
	char below[PATH_MAX];
	int error;

	snprintf(device->path, sizeof(device->path), "%s", path);
	UNDER_ROOT(below, "%s", path);
	/* Nobody's drive shall wait for a medium here. */
	device->fd = open(below, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (device->fd < 0)
		return false;
	if (measure(device))
		return true;
	error = errno;
	device_close(device);
	errno = error;
	return false;
}

void device_close(struct device *device)
{
	if (device->fd >= 0)
		close(device->fd);
	device->fd = -1;
}

bool device_open_named(const char *name, struct device *device)
{
	char number[32], path[PATH_MAX];
	unsigned int major, minor;
	char *slash;

	if (!read_line_of(number, sizeof(number), "/sys/class/block/%s/dev", name) ||
	    sscanf(number, "%u:%u", &major, &minor) != 2)
		return false;
	snprintf(path, sizeof(path), "/dev/%s", name);
	/* sysfs writes a slash in a name as an exclamation mark. */
	while ((slash = strchr(path, '!')))
		*slash = '/';
	if (!device_open(path, device))
		return false;
	if (device->major == major && device->minor == minor)
		return true;
	device_close(device);
	return false;
}

bool device_is_there(const char *number)
{
	char path[PATH_MAX];

	UNDER_ROOT(path, "/sys/dev/block/%s", number);
	return !access(path, F_OK);
}

/* Without its blanks, as it is recorded. */
static void take(char *field, size_t size, const char *value)
{
	size_t used = 0;

	for (; *value && used + 1 < size; value++)
		if (!isspace((unsigned char)*value))
			field[used++] = *value;
	field[used] = 0;
}

static const char *property(const char *line, const char *key)
{
	size_t length = strlen(key);

	return strncmp(line, "E:", 2) || strncmp(line + 2, key, length) ||
			       line[2 + length] != '=' ?
		       NULL :
		       line + 2 + length + 1;
}

static void from_udev(const struct device *device, struct identity *identity)
{
	char path[PATH_MAX], line[1024], long_wwn[256] = "", long_serial[256] = "";
	const char *value;
	FILE *database;

	UNDER_ROOT(path, "/run/udev/data/b%u:%u", device->major, device->minor);
	database = fopen(path, "re");
	if (!database)
		return;
	while (fgets(line, sizeof(line), database)) {
		if ((value = property(line, "ID_WWN_WITH_EXTENSION")))
			take(long_wwn, sizeof(long_wwn), value);
		else if ((value = property(line, "ID_WWN")))
			take(identity->wwn, sizeof(identity->wwn), value);
		else if ((value = property(line, "ID_SERIAL_SHORT")))
			take(identity->serial, sizeof(identity->serial), value);
		else if ((value = property(line, "ID_SERIAL")))
			take(long_serial, sizeof(long_serial), value);
		else if ((value = property(line, "ID_PART_ENTRY_UUID")))
			take(identity->part, sizeof(identity->part), value);
	}
	fclose(database);
	if (*long_wwn)
		strcpy(identity->wwn, long_wwn);
	if (!*identity->serial)
		strcpy(identity->serial, long_serial);
	/* A whole disk of a partition table may have the one of the table. */
	UNDER_ROOT(path, "/sys/dev/block/%u:%u/partition", device->major, device->minor);
	if (access(path, F_OK))
		*identity->part = 0;
}

void device_identity(const struct device *device, struct identity *identity)
{
	static const char *const places[] = { "serial", "device/serial", "../serial",
					      "../device/serial" };
	char line[256];

	*identity = (struct identity){ 0 };
	from_udev(device, identity);
	if (*identity->wwn || *identity->part || *identity->serial)
		return;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (!read_line_of(line, sizeof(line), "/sys/dev/block/%u:%u/%s", device->major,
				  device->minor, places[i]))
			continue;
		take(identity->serial, sizeof(identity->serial), line);
		return;
	}
}

const char *identity_conflict(const char *recorded, const struct identity *other, char *was,
			      size_t size)
{
	const struct {
		const char *key, *value;
	} known[] = { { "wwn", other->wwn }, { "part", other->part }, { "serial", other->serial } };
	char words[IDENTITY_TEXT], *rest = words, *word;

	snprintf(words, sizeof(words), "%s", recorded);
	while ((word = strtok_r(rest, " ", &rest)))
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
			size_t length = strlen(known[i].key);

			if (strncmp(word, known[i].key, length) || word[length] != ':')
				continue;
			snprintf(was, size, "%s", word + length + 1);
			if (*was && *known[i].value && strcmp(was, known[i].value))
				return known[i].key;
		}
	return NULL;
}

static bool read_device(void *context, uint64_t offset, unsigned char *block)
{
	const struct device *device = context;

	return pread(device->fd, block, BLOCK, offset) == BLOCK;
}

enum looked device_look(const struct device *device, bool deep, const char *wanted,
			struct spare *spare)
{
	/* The target writes past the page cache: what somebody read before must not be believed. */
	posix_fadvise(device->fd, 0, 0, POSIX_FADV_DONTNEED);
	return spare_look(read_device, (void *)device, device->sectors * SECTOR, deep, wanted,
			  spare);
}

const char *device_foreign(const struct device *device, const struct spare *spare)
{
	return foreign_in(read_device, (void *)device, spare);
}
