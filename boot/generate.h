/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DMR_GENERATE_H
#define DMR_GENERATE_H

#include "tab.h"

/*
 * Write a unit for each line into the directory that systemd gives a generator,
 * and the links that start it. What fails is said; boot goes on.
 */
void generate(const struct tab *tab, const char *directory);

#endif
