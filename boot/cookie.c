// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE	/* semtimedop() */
#include "cookie.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x0D4D
#define FLAGS_SHIFT 16
#define DISABLE_DM_RULES 0x01
#define DISABLE_SUBSYSTEM_RULES 0x02
#define PRIMARY_SOURCE 0x40
/* udev itself ends a worker after 180 seconds. */
#define TIME_LIMIT 200

static bool has_rule(void)
{
	static const char *const rules[] = {
		"/etc/udev/rules.d/95-dm-notify.rules",
		"/run/udev/rules.d/95-dm-notify.rules",
		"/usr/local/lib/udev/rules.d/95-dm-notify.rules",
		"/usr/lib/udev/rules.d/95-dm-notify.rules",
		"/lib/udev/rules.d/95-dm-notify.rules",
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (!access(rules[i], F_OK))
			return true;
	return false;
}

/* A udev that was killed leaves its socket behind. */
static bool udev_listens(void)
{
	const struct sockaddr_un address = { .sun_family = AF_UNIX,
					     .sun_path = "/run/udev/control" };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool listens;

	if (fd < 0)
		return false;
	listens = !connect(fd, (const struct sockaddr *)&address, sizeof(address)) ||
		  (errno != ECONNREFUSED && errno != ENOENT);
	close(fd);
	return listens;
}

static bool add(const struct cookie *cookie, int amount)
{
	struct sembuf change = { .sem_op = amount };

	return !semop(cookie->semaphore, &change, 1);
}

void cookie_make(struct cookie *cookie)
{
	cookie->semaphore = -1;
	if (!has_rule() || !udev_listens())
		return;
	do {
		if (getrandom(&cookie->base, sizeof(cookie->base), 0) != sizeof(cookie->base))
			return;
		if (!cookie->base)
			continue;
		cookie->semaphore = semget((key_t)MAGIC << 16 | cookie->base, 1,
					   0600 | IPC_CREAT | IPC_EXCL);
	} while (cookie->semaphore < 0 && (!cookie->base || errno == EEXIST));
}

uint32_t cookie_arm(struct cookie *cookie)
{
	/* A new semaphore is zero: 1 for us, 1 for the uevent. */
	if (cookie->semaphore >= 0 && add(cookie, 2))
		return PRIMARY_SOURCE << FLAGS_SHIFT | cookie->base;
	return (PRIMARY_SOURCE | DISABLE_DM_RULES | DISABLE_SUBSYSTEM_RULES) << FLAGS_SHIFT;
}

void cookie_wait(struct cookie *cookie, bool sent)
{
	const struct timespec limit = { .tv_sec = TIME_LIMIT };
	struct sembuf zero = { .sem_op = 0 };

	if (cookie->semaphore < 0)
		return;
	/* If somebody removed it, or the time is up, there is nothing more to wait for. */
	if (sent && add(cookie, -1))
		while (semtimedop(cookie->semaphore, &zero, 1, &limit) && errno == EINTR)
			;
	semctl(cookie->semaphore, 0, IPC_RMID);
}
