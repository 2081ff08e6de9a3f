/* SPDX-License-Identifier: GPL-2.0-only */
/* What is told to people: one sentence at a time, safe to print. */
#ifndef DMR_SAY_H
#define DMR_SAY_H

#include <stdbool.h>

/* Say it in the kernel log, too: for when nobody sees standard error. */
extern bool say_to_kmsg;

/*
 * Leave out what is no trouble with a device that is there: for what is called on
 * every event of a disk.
 */
extern bool say_quietly;

/* Trouble, on standard error. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What was done, on standard output. */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * The words with everything but visible ASCII as an escape. The result lives
 * until the eighth call after this one, so a sentence may hold several.
 */
const char *plain(const char *words);

#endif
