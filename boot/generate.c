// SPDX-License-Identifier: GPL-2.0-only
/*
 * The units, in the manner of systemd-cryptsetup-generator: one service for each
 * line, bound to both halves, wanted by either when it is plugged in, and in time
 * before whatever stands on the device.
 */
#include "generate.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "say.h"

#define ACTIVATOR "/usr/lib/dm-remap/activator"
/* Time for the device itself, behind that for its halves. */
#define SLACK 30
/* A name in which each character is an escape. */
#define UNIT_NAME (4 * TAB_MAX_LINE + 32)

/* As systemd-escape does: for a path without its first slash, and with its ending. */
static void escape(const char *words, const char *ending, char *unit)
{
	bool first = true;

	for (; *words; words++, first = false) {
		unsigned char c = *words;

		if (c == '/')
			*unit++ = '-';
		else if (isalnum(c) || c == ':' || c == '_' || (c == '.' && !first))
			*unit++ = c;
		else
			unit += sprintf(unit, "\\x%02x", c);
	}
	strcpy(unit, ending);
}

/* The device unit of a path; systemd takes double slashes and dots out of it. */
static void device_unit(const char *path, char *unit)
{
	char clean[TAB_MAX_LINE + 64], *out = clean;

	while (*path) {
		size_t length;

		path += strspn(path, "/");
		length = strcspn(path, "/");
		if (!length || (length == 1 && *path == '.')) {
			path += length;
			continue;
		}
		if (out != clean)
			*out++ = '/';
		memcpy(out, path, length);
		out += length;
		path += length;
	}
	*out = 0;
	escape(clean, ".device", unit);
}

struct unit {
	const char *directory;
	const struct entry *entry;
	char service[UNIT_NAME];	/* dm-remap@NAME.service */
	char device[UNIT_NAME], main[UNIT_NAME], spare[UNIT_NAME];	/* .device units */
	char group[UNIT_NAME];		/* blockdev@NAME.target */
};

static void name_units(struct unit *unit)
{
	char path[TAB_MAX_LINE + 64], escaped[UNIT_NAME - 64];

	escape(unit->entry->name, "", escaped);
	snprintf(unit->service, UNIT_NAME, "dm-remap@%s.service", escaped);
	snprintf(path, sizeof(path), "/dev/mapper/%s", unit->entry->name);
	device_unit(path, unit->device);
	tab_path(unit->entry->main, path, sizeof(path));
	device_unit(path, unit->main);
	tab_path(unit->entry->spare, path, sizeof(path));
	device_unit(path, unit->spare);
	snprintf(unit->group, UNIT_NAME, "blockdev@%.*s.target",
		 (int)(strlen(unit->device) - strlen(".device")), unit->device);
}

static FILE *create(const struct unit *unit, const char *name)
{
	char path[2 * UNIT_NAME];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", unit->directory, name);
	file = fopen(path, "we");
	if (!file)
		say("%s cannot be written: %s", path, strerror(errno));
	return file;
}

static void finish(FILE *file, const char *name)
{
	bool failed = ferror(file);

	if (fclose(file) || failed)
		say("%s cannot be written: %s", name, strerror(errno));
}

static void write_service(const struct unit *unit)
{
	const struct entry *entry = unit->entry;
	FILE *file = create(unit, unit->service);

	if (!file)
		return;
	fprintf(file,
		"# Made by dm-remap-generator of %s, line %u.\n"
		"[Unit]\nDescription=dm-remap device %s\nSourcePath=%s\n"
		"DefaultDependencies=no\nIgnoreOnIsolate=yes\n",
		TAB_PATH, entry->line, entry->name, TAB_PATH);
	fprintf(file, "BindsTo=%s %s\n", unit->main, unit->spare);
	fprintf(file, "After=%s %s systemd-modules-load.service\n", unit->main, unit->spare);
	fprintf(file, "Wants=%s\nBefore=%s\n", unit->group, unit->group);
	if (!entry->nofail && !entry->noauto)
		fprintf(file, "Before=dm-remap.target\n");
	/* What the initramfs has brought up is under the root file system to the end. */
	if (!entry->initramfs)
		fprintf(file, "Conflicts=umount.target\nBefore=umount.target\n");
	/* The slice of a template's instances would go at shutdown, and all in it before. */
	fprintf(file,
		"\n[Service]\nSlice=system.slice\n"
		"Type=oneshot\nRemainAfterExit=yes\nTimeoutSec=300\n"
		"ExecStart=" ACTIVATOR " activate -- %s\n"
		"ExecStop=" ACTIVATOR " deactivate -- %s\n", entry->name, entry->name);
	finish(file, unit->service);
}

/* FROM.kind/SERVICE: from wants or requires the service. */
static void link_from(const struct unit *unit, const char *from, const char *kind)
{
	char directory[2 * UNIT_NAME], path[3 * UNIT_NAME], target[UNIT_NAME + 8];

	snprintf(directory, sizeof(directory), "%s/%s.%s", unit->directory, from, kind);
	snprintf(path, sizeof(path), "%s/%s", directory, unit->service);
	snprintf(target, sizeof(target), "../%s", unit->service);
	if ((mkdir(directory, 0755) && errno != EEXIST) || symlink(target, path))
		say("%s cannot be made: %s", path, strerror(errno));
}

/* How long a device is waited for. */
static void write_timeout(const struct unit *unit, const char *device, unsigned int seconds)
{
	char directory[2 * UNIT_NAME], name[2 * UNIT_NAME];
	FILE *file;

	snprintf(directory, sizeof(directory), "%s/%s.d", unit->directory, device);
	snprintf(name, sizeof(name), "%s.d/40-dm-remap.conf", device);
	if (mkdir(directory, 0755) && errno != EEXIST) {
		say("%s cannot be made: %s", directory, strerror(errno));
		return;
	}
	file = create(unit, name);
	if (!file)
		return;
	/* systemd takes 0 for "for ever". */
	fprintf(file, "[Unit]\nJobRunningTimeoutSec=%u\n", seconds ? seconds : 1);
	finish(file, name);
}

void generate(const struct tab *tab, const char *directory)
{
	static struct unit unit;

	for (size_t i = 0; i < tab->nr; i++) {
		const struct entry *entry = &tab->entries[i];

		unit = (struct unit){ .directory = directory, .entry = entry };
		name_units(&unit);
		if (strlen(unit.service) > 255 || strlen(unit.main) > 240 ||
		    strlen(unit.spare) > 240 || strlen(unit.group) > 240) {
			say("%s:%u: a name is too long for a unit of systemd", TAB_PATH, entry->line);
			continue;
		}
		write_service(&unit);
		write_timeout(&unit, unit.main, entry->timeout);
		write_timeout(&unit, unit.spare, entry->timeout);
		write_timeout(&unit, unit.device, entry->timeout + SLACK);
		link_from(&unit, unit.device, "requires");
		if (entry->noauto)
			continue;
		link_from(&unit, "dm-remap.target", entry->nofail ? "wants" : "requires");
		link_from(&unit, unit.main, "wants");
		link_from(&unit, unit.spare, "wants");
	}
}
