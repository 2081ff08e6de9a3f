// SPDX-License-Identifier: GPL-2.0-only
/* All lines of the table, waiting for halves that come late. */

#include <linux/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "activate.h"
#include "say.h"

/* The kernel's uevents, and udev's, which come when its links are made. */
#define GROUPS (1 | 2)

static int listen_for_devices(void)
{
	const struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = GROUPS };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* Until something comes, or the time is up. What came is not looked at: all is tried anew. */
static void wait_for_devices(int fd, time_t until)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	char event[8192];
	time_t left = until - now();

	/* Another one may have taken that long. Less than nothing would be for ever. */
	left = left > 0 ? left : 0;
	/* Without events, a look every second. */
	poll(&poller, fd >= 0, fd >= 0 ? left * 1000 : 1000);
	while (fd >= 0 && recv(fd, event, sizeof(event), 0) > 0)
		;
}

static bool wished(const struct entry *entry, const struct wish *wish)
{
	if (wish->name && !strcmp(entry->name, wish->name))
		return true;
	if (wish->initramfs)
		return entry->initramfs;
	return !wish->name && !(wish->automatic && entry->noauto);
}

struct state {
	bool done, told;
	char missing[1024];
};

/* One round over what is not done; the last time at which one of them may still come. */
static time_t try_all(const struct tab *tab, const struct wish *wish, struct state *states,
		      time_t begun, enum code *worst)
{
	time_t until = 0;

	for (size_t i = 0; i < tab->nr; i++) {
		const struct entry *entry = &tab->entries[i];
		time_t limit = begun + entry->timeout;
		enum code code;

		if (states[i].done || !wished(entry, wish))
			continue;
		code = activate(entry, wish->dry_run, states[i].missing, sizeof(states[i].missing));
		if (code == CODE_MISSING && wish->wait && now() < limit) {
			until = limit > until ? limit : until;
			if (!states[i].told)
				say("%s: %s; waiting for it, %u s at most", entry->name,
				    states[i].missing, entry->timeout);
			states[i].told = true;
			continue;
		}
		states[i].done = true;
		if (code == CODE_MISSING) {
			if (!say_quietly)
				say("%s is not started: %s", entry->name, states[i].missing);
			code = entry->nofail ? CODE_OK : CODE_WRONG_DEVICE;
		}
		if (*worst == CODE_OK)
			*worst = code;
	}
	return until;
}

enum code activate_all(const struct tab *tab, const struct wish *wish)
{
	struct state *states = calloc(tab->nr + 1, sizeof(*states));
	/* Whoever wants one device is not told of others' lines by the code. */
	enum code worst = tab->faults && !wish->name ? CODE_USAGE : CODE_OK;
	time_t begun = now(), until;
	int events = wish->wait ? listen_for_devices() : -1;

	if (!states)
		abort();
	while ((until = try_all(tab, wish, states, begun, &worst)))
		wait_for_devices(events, until);
	if (events >= 0)
		close(events);
	free(states);
	return worst;
}
