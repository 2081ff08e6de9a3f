// SPDX-License-Identifier: GPL-2.0-only
/* One device: its halves are checked as dmremapctl does, and joined. */
#include "activate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dm.h"
#include "find.h"
#include "kernellog.h"
#include "say.h"

#define LOCKS "/run/dm-remap"

/*
 * The lock that dmremapctl takes, too. Who comes second waits: it is held while a
 * device is made, or for long only when it is there.
 */
static int lock(const char *name)
{
	char path[sizeof(LOCKS) + TAB_MAX_NAME + 8];
	int fd;

	mkdir(LOCKS, 0755);
	snprintf(path, sizeof(path), LOCKS "/%s.lock", name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		/* Without /run there is nobody else. */
		return -1;
	while (flock(fd, LOCK_EX) && errno == EINTR)
		;
	return fd;
}

static void unlock(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* A half that the table names was unplugged; the device can do nothing any more. */
static bool stale(const char *name)
{
	char words[DM_WORDS], main[32], spare[32];
	bool ours;

	return dm_words(name, false, words, sizeof(words), &ours) && ours &&
	       sscanf(words, "%31s %31s", main, spare) == 2 &&
	       (!device_is_there(main) || !device_is_there(spare));
}

/* CODE_MISSING if there is no device of that name, or none any more. */
static enum code already(const struct entry *entry)
{
	const char *uuid = tab_value(entry->spare, "UUID");
	struct dm_info info;

	if (!dm_info(entry->name, &info))
		return CODE_MISSING;
	if (strncmp(info.uuid, DM_PREFIX, strlen(DM_PREFIX)) ||
	    (uuid && strcmp(info.uuid + strlen(DM_PREFIX), uuid))) {
		say("%s: there is another device of that name, with the uuid '%s'", entry->name,
		    plain(info.uuid));
		return CODE_BUSY;
	}
	if (info.has_table && !stale(entry->name)) {
		tell("%s is active already", entry->name);
		return CODE_OK;
	}
	if (!info.has_table && info.open_count) {
		say("%s is open and has no table: somebody is making it", entry->name);
		return CODE_BUSY;
	}
	/* Who has it open for a moment only, as udev does, is waited for. */
	if (dm_remove(entry->name))
		return CODE_MISSING;
	if (errno == EBUSY)
		say("%s is up on a device that was unplugged, and still in use; when it is no longer"
		    " (unmount it), 'dmremapctl activate' brings it up again", entry->name);
	else
		say("%s is up on a device that was unplugged, and cannot be removed: %s", entry->name,
		    strerror(errno));
	return CODE_BUSY;
}

static enum code wrong(const struct entry *entry, const char *what)
{
	say("%s: %s", entry->name, what);
	return CODE_WRONG_DEVICE;
}

static enum code check_features(const struct entry *entry, const struct spare *header)
{
	if (header->incompat == 1u << 31)
		return wrong(entry, "the spare is to replace another one, which was not finished:"
				    " 'dmremapctl activate' with both devices does it");
	if (header->incompat)
		return wrong(entry, "the metadata uses features that a newer dm-remap is needed for");
	if (header->ro_compat && !entry->readonly)
		return wrong(entry, "the metadata uses features that allow this dm-remap only to"
				    " read; the option ro would");
	return CODE_OK;
}

static enum code check_pair(const struct entry *entry, const struct halves *halves)
{
	const struct device *main = &halves->main, *spare = &halves->spare;
	const struct spare *header = &halves->header;
	struct identity identity;
	char sentence[1024], was[IDENTITY_TEXT];
	const char *key, *found;

	if (main->major == spare->major && main->minor == spare->minor)
		return wrong(entry, "main device and spare are the same device");
	if (header->main_sectors != main->sectors || header->spare_sectors != spare->sectors) {
		bool of_main = header->main_sectors != main->sectors;

		snprintf(sentence, sizeof(sentence),
			 "%s has %llu sectors, but had %llu when the spare was formatted",
			 plain(of_main ? main->path : spare->path),
			 (unsigned long long)(of_main ? main->sectors : spare->sectors),
			 (unsigned long long)(of_main ? header->main_sectors :
							header->spare_sectors));
		return wrong(entry, sentence);
	}
	device_identity(main, &identity);
	key = identity_conflict(header->main_id, &identity, was, sizeof(was));
	if (!key)
		return check_features(entry, header);
	found = *key == 'w' ? identity.wwn : *key == 'p' ? identity.part : identity.serial;
	snprintf(sentence, sizeof(sentence),
		 "%s belongs to another main device (%s %s, but %s has %s)", plain(spare->path), key,
		 plain(was), plain(main->path), plain(found));
	return wrong(entry, sentence);
}

/* Whether the device is to be read only; false in *ok if it may not come up at all. */
static bool readonly(const struct entry *entry, const struct halves *halves, bool *ok)
{
	const struct device *device = halves->main.readonly ? &halves->main : &halves->spare;

	*ok = true;
	if (entry->readonly || !device->readonly)
		return entry->readonly;
	if (!entry->degraded || device == &halves->main) {
		say("%s: %s is write-protected; the option %s starts it read-only", entry->name,
		    plain(device->path), device == &halves->main ? "ro" : "degraded or ro");
		*ok = false;
	}
	return true;
}

/* How the target found the metadata: the last word but one of its status, and its errors. */
static enum code check_mode(const struct entry *entry, const char *uuid, uint64_t sectors,
			    const char *table)
{
	char words[DM_WORDS];
	bool ours;

	if (!dm_words(entry->name, true, words, sizeof(words), &ours)) {
		say("%s does not tell its state: %s", entry->name, strerror(errno));
		return CODE_ACCESS;
	}
	if (strstr(words, " degraded"))
		say("%s: some copies of the metadata cannot be written; 'dmremapctl health' says"
		    " what to do", entry->name);
	if (!strstr(words, " ro "))
		return CODE_OK;
	/* Readers are served, but what writers would get is errors from the first bad sector on. */
	if (!dm_remove(entry->name)) {
		say("%s is up, in mode ro, and in use: most copies of the metadata cannot be written",
		    entry->name);
		return entry->degraded ? CODE_OK : CODE_REFUSED;
	}
	if (!entry->degraded) {
		say("%s: most copies of the metadata cannot be written; the option degraded starts"
		    " it read-only", entry->name);
		return CODE_REFUSED;
	}
	if (dm_bring_up(entry->name, uuid, sectors, table, true)) {
		say("%s is degraded and read-only: most copies of the metadata cannot be written",
		    entry->name);
		return CODE_OK;
	}
	say("%s could not be brought up read-only: %s", entry->name, strerror(errno));
	return CODE_REFUSED;
}

static enum code join(const struct entry *entry, const struct halves *halves, bool dry_run)
{
	const struct spare *header = &halves->header;
	uint64_t sectors = halves->main.sectors;
	char table[256], uuid[UUID_TEXT + 8], why[512];
	struct kernel_log log;
	bool protected, ok;

	protected = readonly(entry, halves, &ok);
	if (!ok)
		return CODE_WRONG_DEVICE;
	snprintf(uuid, sizeof(uuid), DM_PREFIX "%s", header->uuid);
	snprintf(table, sizeof(table), "%u:%u %u:%u %d copies %u spacing %u%s",
		 halves->main.major, halves->main.minor, halves->spare.major, halves->spare.minor,
		 entry->relocate_weak ? 5 : 4, header->copies, header->spacing,
		 entry->relocate_weak ? " relocate_weak" : "");
	if (dry_run) {
		printf("%s %s %s 0 %llu %s %s\n", entry->name, uuid, protected ? "ro" : "rw",
		       (unsigned long long)sectors, DM_TARGET, table);
		return CODE_OK;
	}
	kernel_log_open(&log);
	ok = dm_bring_up(entry->name, uuid, sectors, table, protected);
	if (!ok) {
		int error = errno;

		kernel_log_sentence(&log, why, sizeof(why));
		say("%s was refused: %s", entry->name, *why ? plain(why) : strerror(error));
		kernel_log_close(&log);
		return error == EBUSY ? CODE_BUSY : CODE_REFUSED;
	}
	kernel_log_close(&log);
	if (header->valid < header->copies)
		say("%s: only %u of %u copies of the metadata were good; the others have been"
		    " rewritten", entry->name, header->valid, header->copies);
	if (!protected) {
		enum code code = check_mode(entry, uuid, sectors, table);

		if (code != CODE_OK)
			return code;
	}
	tell("/dev/mapper/%s: activated", entry->name);
	return CODE_OK;
}

enum code activate(const struct entry *entry, bool dry_run, char *missing, size_t size)
{
	struct halves halves;
	enum code code;
	int locked = -1;

	if (!dry_run) {
		/* Held for long only by what changes a device that is up: that need not be waited for. */
		struct dm_info info;

		if (!dm_info(entry->name, &info) || !info.has_table || stale(entry->name))
			locked = lock(entry->name);
		code = already(entry);
		if (code != CODE_MISSING) {
			unlock(locked);
			return code;
		}
	}
	code = find_halves(entry, &halves, missing, size);
	if (code == CODE_OK)
		code = check_pair(entry, &halves);
	if (code == CODE_OK)
		code = join(entry, &halves, dry_run);
	close_halves(&halves);
	unlock(locked);
	return code;
}

enum code deactivate(const char *name)
{
	struct dm_info info;

	if (!dm_info(name, &info)) {
		tell("%s is not active", name);
		return CODE_OK;
	}
	if (strncmp(info.uuid, DM_PREFIX, strlen(DM_PREFIX))) {
		say("%s is no device of dm-remap", name);
		return CODE_WRONG_DEVICE;
	}
	if (dm_remove(name)) {
		tell("%s: deactivated", name);
		return CODE_OK;
	}
	say("%s cannot be taken down: %s", name,
	    errno == EBUSY ? "it is still in use" : strerror(errno));
	return errno == EBUSY ? CODE_BUSY : CODE_ACCESS;
}
