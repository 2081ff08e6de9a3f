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

/* A part of something else, whose first block it may share: an array, multipath, a volume. */
static bool held(const char *name)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool found = false;
	DIR *holders;

	UNDER_ROOT(path, "/sys/class/block/%s/holders", name);
	holders = opendir(path);
	if (!holders)
		return false;
	while (!found && (entry = readdir(holders)))
		found = entry->d_name[0] != '.';
	closedir(holders);
	return found;
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

struct search {
	const char *uuid;
	uint64_t sectors;	/* only devices of this size; 0 for all */
	bool deep;
	struct device first;
	char others[512];	/* the paths of all, if there are several */
	unsigned int nr;
};

static void try_device(struct search *search, const char *name)
{
	struct device device;
	struct spare spare;

	if (!can_be_spare(name) || !device_open_named(name, &device))
		return;
	if ((search->sectors && device.sectors != search->sectors) ||
	    device_look(&device, search->deep, search->uuid, &spare) != LOOKED_SPARE) {
		device_close(&device);
		return;
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
static enum code find_by_uuid(const char *uuid, struct halves *halves)
{
	struct search quick = { .uuid = uuid }, thorough = { .uuid = uuid, .deep = true };

	look_everywhere(&quick);
	if (quick.nr) {
		thorough.sectors = quick.first.sectors;
		device_close(&quick.first);
	}
	look_everywhere(&thorough);
	if (!thorough.nr)
		return CODE_MISSING;
	halves->spare = thorough.first;
	if (thorough.nr > 1) {
		say("%s have the metadata uuid %s; one is a copy of the other, and they may no"
		    " longer be equal: disconnect the one"
		    " that is not meant", thorough.others, uuid);
		return CODE_BUSY;
	}
	device_look(&halves->spare, true, uuid, &halves->header);
	return CODE_OK;
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
	enum code code;

	tab_path(entry->spare, path, sizeof(path));
	if (!device_open(path, &named))
		return not_opened(path, missing, size);
	switch (device_look(&named, true, NULL, &halves->header)) {
	case LOOKED_SPARE:
		break;
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
	code = find_by_uuid(uuid, halves);
	device_close(&halves->spare);
	halves->spare = named;
	return code == CODE_MISSING ? CODE_OK : code;
}

enum code find_halves(const struct entry *entry, struct halves *halves, char *missing, size_t size)
{
	const char *uuid = tab_value(entry->spare, "UUID");
	char path[PATH_MAX];
	enum code code;

	*halves = (struct halves){ .main.fd = -1, .spare.fd = -1 };
	tab_path(entry->main, path, sizeof(path));
	if (!device_open(path, &halves->main))
		return not_opened(path, missing, size);
	if (!uuid)
		return find_named(entry, halves, missing, size);
	code = find_by_uuid(uuid, halves);
	if (code == CODE_MISSING)
		snprintf(missing, size, "no spare with the metadata uuid %s is there", uuid);
	return code;
}

void close_halves(struct halves *halves)
{
	device_close(&halves->main);
	device_close(&halves->spare);
}
