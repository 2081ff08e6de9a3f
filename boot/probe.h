/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DMR_PROBE_H
#define DMR_PROBE_H

#include "tab.h"

/* Print what udev shall know of a device, as KEY=value lines; see 61-dm-remap.rules. */
void probe(const char *path, const struct tab *tab);

#endif
