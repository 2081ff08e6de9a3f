/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /etc/dmremaptab. The grammar is in docs/boot.md; pycontrol/service/boot/tab.py
 * reads the same files with the same result, and a test holds the two together.
 */
#ifndef DMR_TAB_H
#define DMR_TAB_H

#include <stdbool.h>
#include <stddef.h>

#define TAB_PATH "/etc/dmremaptab"
#define TAB_TIMEOUT 90
#define TAB_MAX_TIMEOUT 86400
#define TAB_MAX_LINE 1024
#define TAB_MAX_NAME 127
#define TAB_MAX_FILE (1 << 20)

struct entry {
	unsigned int line;
	char name[TAB_MAX_NAME + 1];
	/* As written, but for the case of a uuid. */
	char main[TAB_MAX_LINE + 1];
	char spare[TAB_MAX_LINE + 1];
	bool readonly, degraded, nofail, noauto, initramfs, relocate_weak;
	bool timeout_given;
	unsigned int timeout;	/* seconds to wait for the halves */
};

/* The main device of a line that was refused: it is hidden all the same. */
struct claim {
	char name[TAB_MAX_NAME + 1];	/* "-" if that is what is wrong */
	char main[TAB_MAX_LINE + 1];
};

struct tab {
	struct entry *entries;
	size_t nr;
	/* Lines that were refused; each was told to the caller. */
	size_t faults;
	struct claim *claims;
	size_t nr_claims;
};

typedef void (*tab_fault_fn)(void *context, unsigned int line, const char *sentence);

/*
 * Read a file of this length. A line that is refused is told and left out, but for
 * its claim; the others are taken. False if memory has run out.
 */
bool tab_parse(const char *text, size_t length, tab_fault_fn fault, void *context,
	       struct tab *tab);
void tab_free(struct tab *tab);

/* Read the file and say what is wrong with it; no file is an empty one. */
bool tab_load(const char *path, struct tab *tab);

const struct entry *tab_find(const struct tab *tab, const char *name);

/* The value of KEY=VALUE; NULL if the word does not begin with KEY=. */
const char *tab_value(const char *word, const char *key);

/* The path under which udev shows what a line names. False if it does not fit. */
bool tab_path(const char *word, char *path, size_t size);

#endif
