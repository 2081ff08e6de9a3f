// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a block device is to us, for udev: a spare by its metadata, a main device by
 * dmremaptab. Run by udev, it has the device's properties in its environment.
 */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "say.h"

static const char *given(const char *key)
{
	const char *value = getenv(key);

	return value ? value : "";
}

/* Nobody starts the service of a line whose spare has no link, and so nobody else would say why. */
static void complain(const char *path, const char *foreign, const struct spare *spare,
		     const struct tab *tab)
{
	for (size_t i = 0; i < tab->nr; i++) {
		const char *uuid = tab_value(tab->entries[i].spare, "UUID");

		if (!uuid || strcmp(uuid, spare->uuid))
			continue;
		say_to_kmsg = true;
		say("%s: %s carries %s, and further on what is left of its spare: it is taken for none",
		    tab->entries[i].name, path, foreign);
	}
}

/*
 * A device with somebody's signature is taken for a spare only by its first block,
 * not by what may lie further on. Nothing of ours has a signature, and a disk that
 * has one is not searched at each event. Of the partition table a partition knows by
 * the disk it is on.
 */
static bool probe_spare(const char *path, const struct tab *tab)
{
	bool partition = !strcmp(given("DEVTYPE"), "partition");
	bool deep = !*given("ID_FS_TYPE") && (partition || !*given("ID_PART_TABLE_TYPE"));
	struct device device;
	struct spare spare;
	enum looked found;
	const char *foreign;

	if (!device_open(path, &device))
		return false;
	found = device_look(&device, deep, NULL, &spare);
	foreign = found == LOOKED_SPARE ? device_foreign(&device, &spare) : NULL;
	device_close(&device);
	if (found != LOOKED_SPARE)
		return false;
	if (foreign) {
		complain(path, foreign, &spare, tab);
		return false;
	}
	printf("DM_REMAP_ROLE=spare\nDM_REMAP_UUID=%s\n", spare.uuid);
	printf("DM_REMAP_COPIES=%u\nDM_REMAP_COPIES_VALID=%u\n", spare.copies, spare.valid);
	printf("ID_FS_TYPE=dm_remap_member\nID_FS_USAGE=raid\nID_FS_VERSION=4\n");
	printf("ID_FS_UUID=%s\nID_FS_UUID_ENC=%s\n", spare.uuid, spare.uuid);
	return true;
}

static bool has_word(const char *words, const char *word)
{
	size_t length = strlen(word);

	for (; *words; words += strcspn(words, " "), words += *words == ' ')
		if (!strncmp(words, word, length) && (!words[length] || words[length] == ' '))
			return true;
	return false;
}

static bool is_named(const char *path, const char *word)
{
	const char *part = tab_value(word, "PARTUUID");

	return part ? !strcmp(part, given("ID_PART_ENTRY_UUID")) :
		      !strcmp(word, path) || has_word(given("DEVLINKS"), word);
}

/* The name of the device of which this is the main device, or was to be. */
static const char *main_of(const char *path, const struct tab *tab)
{
	for (size_t i = 0; i < tab->nr; i++)
		if (is_named(path, tab->entries[i].main))
			return tab->entries[i].name;
	for (size_t i = 0; i < tab->nr_claims; i++)
		if (is_named(path, tab->claims[i].main))
			return tab->claims[i].name;
	return NULL;
}

/* The links that do not depend on what is on the device: that is the remap device's. */
static void print_links(bool partitions_too)
{
	static const char *const contents[] = { "by-uuid/", "by-label/", "by-partuuid/",
						"by-partlabel/" };
	const char *links = given("DEVLINKS");

	printf("DM_REMAP_LINKS=");
	while (*links) {
		size_t length = strcspn(links, " ");
		bool kept = length > 5;

		for (int i = 0; kept && i < (partitions_too ? 4 : 2); i++)
			kept = strncmp(links, "/dev/disk/", 10) ||
			       strncmp(links + 10, contents[i], strlen(contents[i]));
		if (kept)
			printf("%.*s ", (int)length - 5, links + 5);
		links += length;
		links += *links == ' ';
	}
	putchar('\n');
}

static void hide(const char *role, const char *name, bool partitions_too)
{
	printf("DM_REMAP_ROLE=%s\nDM_REMAP_DEVICE=%s\n", role, name);
	printf("ID_FS_TYPE=dm_remap_main\nID_FS_USAGE=raid\n");
	print_links(partitions_too);
}

void probe(const char *path, const struct tab *tab)
{
	const char *parent = given("DM_REMAP_PARENT");
	const char *name = main_of(path, tab);

	if (*parent)
		hide("inside", parent, true);
	else if (!probe_spare(path, tab) && name)
		hide("main", name, false);
}
