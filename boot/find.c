// SPDX-License-Identifier: GPL-2.0-only
#include "find.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "say.h"

/* Where no spare can be, or where to look would wake a drive. */
static bool passed_over(const char *name)
{
	static const char *const kinds[] = { "ram", "zram", "sr", "fd", "mtdblock", "." };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strncmp(name, kinds[i], strlen(kinds[i])))
			return true;
	return false;
}

/* Whether a directory of sysfs has an entry whose name begins so, and what is done about it. */
static bool any_in(const char *path, const char *prefix,
		   bool (*so)(const char *path, const char *entry))
{
	struct dirent *entry;
	bool found = false;
	DIR *directory = opendir(path);

	if (!directory)
		return false;
	while (!found && (entry = readdir(directory)))
		found = entry->d_name[0] != '.' &&
			!strncmp(entry->d_name, prefix, strlen(prefix)) &&
			(!so || so(path, entry->d_name));
	closedir(directory);
	return found;
}

static bool has_holders(const char *path, const char *entry)
{
	char holders[2 * PATH_MAX];

	snprintf(holders, sizeof(holders), "%s/%s/holders", path, entry);
	return any_in(holders, "", NULL);
}

/*
 * A part of something else, whose first block it may share: an array, multipath, a volume.
 * Or its partitions are, or the disk of which it is one.
 */
static bool held(const char *name)
{
	char path[PATH_MAX];

	UNDER_ROOT(path, "/sys/class/block/%s", name);
	return has_holders(path, ".") || has_holders(path, "..") || any_in(path, name, has_holders);
}

static bool can_be_spare(const char *name)
{
	char line[256];

	if (passed_over(name) || held(name))
		return false;
	if (read_line_of(line, sizeof(line), "/sys/class/block/%s/size", name) &&
	    !strcmp(line, "0"))
		return false;
	if (read_line_of(line, sizeof(line), "/sys/class/block/%s/dm/uuid", name) &&
	    !strncmp(line, "DMREMAP-", 8))
		return false;
	/* Reading a suspended device would wait for its resume. */
	return !read_line_of(line, sizeof(line), "/sys/class/block/%s/dm/suspended", name) ||
	       strcmp(line, "1");
}

#define CARRIES "%s carries %s, and further on what is left of a spare"
#define MAKE_IT_ONE "'dmremapctl meta repair --in-place' makes it one again, and nothing else"

struct search {
	const char *uuid;
	uint64_t sectors;	/* only devices of this size; 0 for all */
	bool deep;
	struct device first;
	char others[512];	/* the paths of all, if there are several */
	unsigned int nr;
	bool fits;		/* they have the size that their metadata was made for */
	char foreign[512];	/* a device that was one, and what it carries since */
};

static void note_foreign(struct search *search, const struct device *device, const char *kind)
{
	snprintf(search->foreign, sizeof(search->foreign),
		 CARRIES, plain(device->path), kind);
}

static void try_device(struct search *search, const char *name)
{
	struct device device;
	struct spare spare;
	const char *foreign;
	bool fits;

	if (!can_be_spare(name) || !device_open_named(name, &device))
		return;
	if ((search->sectors && device.sectors != search->sectors) ||
	    device_look(&device, search->deep, search->uuid, &spare) != LOOKED_SPARE) {
		device_close(&device);
		return;
	}
	foreign = device_foreign(&device, &spare);
	if (foreign)
		note_foreign(search, &device, foreign);
	/* A copy on a device of another size is none that could be used. */
	fits = spare.spare_sectors == device.sectors;
	if (foreign || (search->fits && !fits)) {
		device_close(&device);
		return;
	}
	if (fits && !search->fits) {
		if (search->nr)
			device_close(&search->first);
		search->nr = 0;
		search->others[0] = 0;
		search->fits = true;
	}
	snprintf(search->others + strlen(search->others),
		 sizeof(search->others) - strlen(search->others), "%s%s", search->nr ? " and " : "",
		 plain(device.path));
	if (search->nr++)
		device_close(&device);
	else
		search->first = device;
}

static void look_everywhere(struct search *search)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *all;

	UNDER_ROOT(path, "/sys/class/block");
	all = opendir(path);
	if (!all)
		return;
	while ((entry = readdir(all)))
		try_device(search, entry->d_name);
	closedir(all);
}

/*
 * A spare whose first header is damaged is found only by reading many places of
 * every disk, so that is done when nothing else helps. A copy of it is as large,
 * otherwise the kernel would refuse it, and few disks are.
 */
static enum code find_by_uuid(const char *uuid, struct halves *halves, char *missing, size_t size)
{
	struct search quick = { .uuid = uuid }, thorough = { .uuid = uuid, .deep = true };

	look_everywhere(&quick);
	if (quick.fits)
		thorough.sectors = quick.first.sectors;
	if (quick.nr)
		device_close(&quick.first);
	look_everywhere(&thorough);
	if (!thorough.nr && *thorough.foreign) {
		say("%s; " MAKE_IT_ONE, thorough.foreign);
		return CODE_BUSY;
	}
	if (!thorough.nr) {
		snprintf(missing, size, "no spare with the metadata uuid %s is there", uuid);
		return CODE_MISSING;
	}
	halves->spare = thorough.first;
	if (thorough.nr > 1) {
		say("%s have the metadata uuid %s; one is a copy of the other, and they may no"
		    " longer be equal: disconnect the one"
		    " that is not meant", thorough.others, uuid);
		return CODE_BUSY;
	}
	if (device_look(&halves->spare, true, uuid, &halves->header) == LOOKED_SPARE)
		return CODE_OK;
	snprintf(missing, size, "%s cannot be read any more", plain(halves->spare.path));
	return CODE_MISSING;
}

/* Not there yet, or there and not to be opened? */
static enum code not_opened(const char *path, char *missing, size_t size)
{
	if (errno == ENOENT || errno == ENXIO || errno == ENODEV || errno == ENOMEDIUM) {
		snprintf(missing, size, "%s is not there", plain(path));
		return CODE_MISSING;
	}
	say("%s cannot be opened: %s", plain(path), strerror(errno));
	return errno == ENOTBLK ? CODE_WRONG_DEVICE : CODE_ACCESS;
}

static enum code find_named(const struct entry *entry, struct halves *halves, char *missing,
			    size_t size)
{
	char path[PATH_MAX], uuid[UUID_TEXT];
	struct device named;
	const char *foreign;
	enum code code;

	tab_path(entry->spare, path, sizeof(path));
	if (!device_open(path, &named))
		return not_opened(path, missing, size);
	switch (device_look(&named, true, NULL, &halves->header)) {
	case LOOKED_SPARE:
		foreign = device_foreign(&named, &halves->header);
		if (!foreign)
			break;
		say(CARRIES "; " MAKE_IT_ONE, plain(path), foreign);
		device_close(&named);
		return CODE_BUSY;
	case LOOKED_RIVALS:
		say("%s holds as many copies of one metadata uuid as of another; name the one that"
		    " is meant by UUID=", plain(path));
		device_close(&named);
		return CODE_WRONG_DEVICE;
	default:
		say("%s holds no metadata that could be read; 'dmremapctl inspect' shows what is"
		    " left", plain(path));
		device_close(&named);
		return CODE_WRONG_DEVICE;
	}
	/* Its copies, if any. It stays open meanwhile, so its number stays its own. */
	strcpy(uuid, halves->header.uuid);
	code = find_by_uuid(uuid, halves, missing, size);
	device_close(&halves->spare);
	halves->spare = named;
	return code == CODE_MISSING ? CODE_OK : code;
}

enum code find_halves(const struct entry *entry, struct halves *halves, char *missing, size_t size)
{
	const char *uuid = tab_value(entry->spare, "UUID");
	char path[PATH_MAX];

	*halves = (struct halves){ .main.fd = -1, .spare.fd = -1 };
	tab_path(entry->main, path, sizeof(path));
	if (!device_open(path, &halves->main))
		return not_opened(path, missing, size);
	if (!uuid)
		return find_named(entry, halves, missing, size);
	return find_by_uuid(uuid, halves, missing, size);
}

void close_halves(struct halves *halves)
{
	device_close(&halves->main);
	device_close(&halves->spare);
}
