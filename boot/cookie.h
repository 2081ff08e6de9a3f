/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Waiting for udev, by libdevmapper's protocol: a semaphore that counts the
 * uevents under way; udev's rule 95-dm-notify.rules counts down. See
 * pycontrol/dm/cookie.py.
 */
#ifndef DMR_COOKIE_H
#define DMR_COOKIE_H

#include <stdbool.h>
#include <stdint.h>

struct cookie {
	int semaphore;	/* -1: udev does not answer */
	uint16_t base;
};

void cookie_make(struct cookie *cookie);

/* The event_nr of the one ioctl that the cookie is for. */
uint32_t cookie_arm(struct cookie *cookie);

/* Wait for udev, if the ioctl has sent a uevent, and drop the semaphore. */
void cookie_wait(struct cookie *cookie, bool sent);

#endif
