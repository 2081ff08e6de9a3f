/* SPDX-License-Identifier: GPL-2.0-only */
/* The halves of a device: where they are, and that there is one of each. */
#ifndef DMR_FIND_H
#define DMR_FIND_H

#include "codes.h"
#include "device.h"
#include "tab.h"

struct halves {
	struct device main, spare;
	struct spare header;
};

/*
 * Open both halves of a line. CODE_MISSING if one is not there, with what is
 * missing in words; any other code was said. Close the halves in any case.
 */
enum code find_halves(const struct entry *entry, struct halves *halves, char *missing,
		      size_t size);
void close_halves(struct halves *halves);

#endif
