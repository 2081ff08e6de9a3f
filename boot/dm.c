// SPDX-License-Identifier: GPL-2.0-only
#include "dm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cookie.h"

#define RETRIES 25
#define PAUSE_MS 200

/* One ioctl's header and what follows it. */
static union {
	struct dm_ioctl head;
	char bytes[16384];
} request;

static int control = -1;

static void prepare(const char *name, unsigned int flags)
{
	memset(&request, 0, sizeof(request));
	request.head.version[0] = DM_VERSION_MAJOR;
	request.head.data_size = sizeof(request);
	request.head.data_start = sizeof(request.head);
	request.head.flags = flags;
	snprintf(request.head.name, sizeof(request.head.name), "%s", name);
}

static bool ask(unsigned long command)
{
	return !ioctl(control, command, &request);
}

bool dm_open(void)
{
	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	return control >= 0;
}

static bool target_is_there(void)
{
	const char *at = request.bytes + sizeof(request.head);
	const char *end = request.bytes + sizeof(request);

	prepare("", 0);
	if (!ask(DM_LIST_VERSIONS))
		return false;
	while (at + sizeof(struct dm_target_versions) < end) {
		const struct dm_target_versions *each = (const void *)at;

		if (!strcmp(each->name, DM_TARGET))
			return true;
		if (!each->next)
			return false;
		at += each->next;
	}
	return false;
}

/* The kernel asks for "dm-" and the name of a target, which no module is called. */
static void modprobe(void)
{
	char *const words[] = { "modprobe", "-q", DM_TARGET, NULL };
	char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	pid_t child = fork();

	if (!child) {
		execve("/sbin/modprobe", words, environment);
		_exit(127);
	}
	if (child > 0)
		waitpid(child, NULL, 0);
}

bool dm_has_target(void)
{
	if (target_is_there())
		return true;
	modprobe();
	return target_is_there();
}

bool dm_info(const char *name, struct dm_info *info)
{
	prepare(name, 0);
	if (!ask(DM_DEV_STATUS))
		return false;
	memcpy(info->uuid, request.head.uuid, sizeof(info->uuid) - 1);
	info->uuid[sizeof(info->uuid) - 1] = 0;
	info->has_table = request.head.flags & DM_ACTIVE_PRESENT_FLAG;
	info->readonly = request.head.flags & DM_READONLY_FLAG;
	info->open_count = request.head.open_count;
	return true;
}

bool dm_words(const char *name, bool status, char *words, size_t size, bool *ours)
{
	const struct dm_target_spec *spec = (void *)(request.bytes + sizeof(request.head));

	prepare(name, status ? 0 : DM_STATUS_TABLE_FLAG);
	if (!ask(DM_TABLE_STATUS))
		return false;
	*ours = request.head.target_count && !strcmp(spec->target_type, DM_TARGET);
	snprintf(words, size, "%s", request.head.target_count ? (const char *)(spec + 1) : "");
	return true;
}

static bool create(const char *name, const char *uuid)
{
	prepare(name, 0);
	snprintf(request.head.uuid, sizeof(request.head.uuid), "%s", uuid);
	return ask(DM_DEV_CREATE);
}

static bool load(const char *name, uint64_t sectors, const char *table, bool readonly)
{
	struct dm_target_spec *spec = (void *)(request.bytes + sizeof(request.head));

	prepare(name, readonly ? DM_READONLY_FLAG : 0);
	request.head.target_count = 1;
	spec->length = sectors;
	snprintf(spec->target_type, sizeof(spec->target_type), "%s", DM_TARGET);
	strcpy((char *)(spec + 1), table);
	spec->next = (sizeof(*spec) + strlen(table) + 8) & ~7u;
	return ask(DM_TABLE_LOAD);
}

/* The node, where udev does not make it. */
static bool make_node(const char *name, uint64_t number)
{
	char path[160];

	snprintf(path, sizeof(path), "/dev/mapper/%s", name);
	if (!access(path, F_OK))
		return true;
	return !mknod(path, S_IFBLK | 0600, makedev(major(number), minor(number))) ||
	       errno == EEXIST;
}

static bool resume(const char *name)
{
	struct cookie cookie;
	uint64_t number;
	bool done;

	cookie_make(&cookie);
	prepare(name, 0);
	request.head.event_nr = cookie_arm(&cookie);
	done = ask(DM_DEV_SUSPEND);
	number = request.head.dev;
	cookie_wait(&cookie, done && request.head.flags & DM_UEVENT_GENERATED_FLAG);
	return done && make_node(name, number);
}

static bool remove_once(const char *name)
{
	struct cookie cookie;
	int error;
	bool done;

	cookie_make(&cookie);
	prepare(name, 0);
	request.head.event_nr = cookie_arm(&cookie);
	done = ask(DM_DEV_REMOVE);
	error = errno;
	cookie_wait(&cookie, done && request.head.flags & DM_UEVENT_GENERATED_FLAG);
	errno = error;
	return done;
}

bool dm_remove(const char *name)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000l };
	char path[160];

	for (int tries = 1; !remove_once(name); tries++) {
		if (errno != EBUSY || tries == RETRIES)
			return false;
		nanosleep(&pause, NULL);
	}
	snprintf(path, sizeof(path), "/dev/mapper/%s", name);
	unlink(path);
	return true;
}

bool dm_bring_up(const char *name, const char *uuid, uint64_t sectors, const char *table,
		 bool readonly)
{
	int error;

	if (!create(name, uuid))
		return false;
	if (load(name, sectors, table, readonly) && resume(name))
		return true;
	error = errno;
	dm_remove(name);
	errno = error;
	return false;
}
