/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DMR_ACTIVATE_H
#define DMR_ACTIVATE_H

#include <stdio.h>

#include "codes.h"
#include "tab.h"

/*
 * Bring one device up if both halves are there; a device that is up already is
 * well. CODE_MISSING with words if one is not there; what else was wrong has
 * been said. With dry_run the table is printed, and nothing done.
 */
enum code activate(const struct entry *entry, bool dry_run, char *missing, size_t size);

/*
 * All lines of the table that name is not NULL for, or the one. With wait, for as
 * long as each allows.
 */
struct wish {
	bool wait, dry_run;
	bool initramfs;		/* only lines with that option, and the name */
	bool automatic;		/* not those with noauto */
	const char *name;	/* NULL: all */
};
enum code activate_all(const struct tab *tab, const struct wish *wish);

enum code deactivate(const char *name);

#endif
