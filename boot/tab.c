// SPDX-License-Identifier: GPL-2.0-only
#include "tab.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "say.h"

#define NAME_CHARACTERS                                                                            \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789#+-.:=@_"
#define BLANKS " \t"

/* A line under work: what is wrong with it is written into sentence. */
struct reading {
	const struct tab *tab;
	char line[TAB_MAX_LINE + 1];
	char sentence[2 * TAB_MAX_LINE];
};

const char *tab_value(const char *word, const char *key)
{
	size_t length = strlen(key);

	return strncmp(word, key, length) || word[length] != '=' ? NULL : word + length + 1;
}

static bool is_uuid(const char *word)
{
	for (int at = 0; at < 36; at++) {
		bool dash = at == 8 || at == 13 || at == 18 || at == 23;

		if (dash ? word[at] != '-' : !isxdigit((unsigned char)word[at]))
			return false;
	}
	return !word[36];
}

static bool is_partuuid(const char *word)
{
	return *word && strlen(word) <= 36 && !word[strspn(word, "0123456789abcdefABCDEF-")];
}

static bool is_path(const char *word)
{
	size_t length = strlen(word);

	/* Nothing that leaves /dev. */
	return !strncmp(word, "/dev/", 5) && word[5] && !strstr(word, "/../") &&
	       strcmp(word + length - 3, "/..");
}

static bool names_device(const char *word)
{
	const char *partuuid = tab_value(word, "PARTUUID");

	return partuuid ? is_partuuid(partuuid) : is_path(word);
}

/* A uuid is the same in capitals. */
static void take_half(char *half, const char *word)
{
	strcpy(half, word);
	if (*word != '/')
		for (char *c = strchr(half, '='); *c; c++)
			*c = tolower((unsigned char)*c);
}

static bool can_name(const char *word)
{
	return !word[strspn(word, NAME_CHARACTERS)] && strcmp(word, ".") && strcmp(word, "..") &&
	       strcmp(word, "control");
}

static bool take_name(struct reading *r, const char *word, struct entry *entry)
{
	if (!can_name(word))
		sprintf(r->sentence,
			"'%s' cannot name a device; use letters, digits and #+-.:=@_", word);
	else if (strlen(word) > TAB_MAX_NAME)
		sprintf(r->sentence, "a device name has at most %d characters", TAB_MAX_NAME);
	else
		return strcpy(entry->name, word);
	return false;
}

static bool take_halves(struct reading *r, const char *main, const char *spare,
			struct entry *entry)
{
	const char *uuid = tab_value(spare, "UUID");

	if (!names_device(main)) {
		sprintf(r->sentence,
			"'%s' is no main device; give a path below /dev/, or PARTUUID=", main);
		return false;
	}
	if (uuid ? !is_uuid(uuid) : !names_device(spare)) {
		sprintf(r->sentence,
			"'%s' is no spare; give UUID= with the uuid of its metadata, a path below"
			" /dev/, or PARTUUID=", spare);
		return false;
	}
	take_half(entry->main, main);
	take_half(entry->spare, spare);
	if (strcmp(entry->main, entry->spare))
		return true;
	sprintf(r->sentence, "main device and spare are the same");
	return false;
}

static bool take_timeout(struct reading *r, const char *value, struct entry *entry)
{
	char *end;
	unsigned long seconds = strtoul(value, &end, 10);

	if (!isdigit((unsigned char)*value) || *end || strlen(value) > 5 ||
	    seconds > TAB_MAX_TIMEOUT) {
		sprintf(r->sentence, "'%s' is no timeout; give whole seconds from 0 to %d", value,
			TAB_MAX_TIMEOUT);
		return false;
	}
	entry->timeout = seconds;
	return true;
}

static bool take_option(struct reading *r, const char *option, struct entry *entry)
{
	const struct {
		const char *word;
		bool *flag;
	} flags[] = {
		{ "ro", &entry->readonly },	  { "degraded", &entry->degraded },
		{ "nofail", &entry->nofail },	  { "noauto", &entry->noauto },
		{ "initramfs", &entry->initramfs }, { "relocate-weak", &entry->relocate_weak },
		{ "timeout", &entry->timeout_given },
	};
	const char *seconds = tab_value(option, "timeout");

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		bool timed = flags[i].flag == &entry->timeout_given;

		if (timed ? !seconds : strcmp(option, flags[i].word))
			continue;
		if (*flags[i].flag) {
			sprintf(r->sentence, "option %s is given twice", flags[i].word);
			return false;
		}
		*flags[i].flag = true;
		return !timed || take_timeout(r, seconds, entry);
	}
	sprintf(r->sentence,
		"'%s' is no option; there are ro, degraded, nofail, noauto, initramfs,"
		" relocate-weak and timeout=", option);
	return false;
}

static bool take_options(struct reading *r, char *words, struct entry *entry)
{
	char *option;

	if (!strcmp(words, "-"))
		return true;
	while ((option = strsep(&words, ",")))
		if (!take_option(r, option, entry))
			return false;
	return true;
}

/* A device belongs to one line. */
static bool alone(struct reading *r, const struct entry *entry)
{
	for (size_t i = 0; i < r->tab->nr; i++) {
		const struct entry *other = &r->tab->entries[i];

		if (!strcmp(entry->name, other->name))
			sprintf(r->sentence, "the name %s is that of line %u already",
				entry->name, other->line);
		else if (!strcmp(entry->main, other->main))
			sprintf(r->sentence, "the main device %s is that of line %u already",
				entry->main, other->line);
		else if (!strcmp(entry->spare, other->spare))
			sprintf(r->sentence, "the spare %s is that of line %u already",
				entry->spare, other->line);
		else
			continue;
		return false;
	}
	return true;
}

static bool take_line(struct reading *r, struct entry *entry)
{
	char *rest = r->line, *word, *fields[4] = { NULL };
	unsigned int nr = 0;

	while ((word = strtok_r(rest, BLANKS, &rest))) {
		if (nr < 4)
			fields[nr] = word;
		nr++;
	}
	if (nr < 3 || nr > 4) {
		sprintf(r->sentence,
			"it has %u fields, but a name, a main device and a spare are needed, and"
			" options may follow", nr);
		return false;
	}
	return take_name(r, fields[0], entry) && take_halves(r, fields[1], fields[2], entry) &&
	       (!fields[3] || take_options(r, fields[3], entry)) && alone(r, entry);
}

static bool visible(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (text[i] != '\t' && (text[i] < ' ' || text[i] > '~'))
			return false;
	return true;
}

static bool empty(const char *text, size_t length)
{
	while (length && (*text == ' ' || *text == '\t'))
		text++, length--;
	return !length || *text == '#';
}

static bool read_line(struct reading *r, const char *text, size_t length, struct entry *entry)
{
	if (length > TAB_MAX_LINE) {
		sprintf(r->sentence, "it is longer than %d characters", TAB_MAX_LINE);
		return false;
	}
	if (!visible(text, length)) {
		sprintf(r->sentence, "it holds a control character or one that is not ASCII");
		return false;
	}
	memcpy(r->line, text, length);
	r->line[length] = 0;
	return take_line(r, entry);
}

/* Whatever is wrong with a line, its second word may name a disk that nobody else may mount. */
static bool take_claim(struct tab *tab, const char *text, size_t length)
{
	char line[TAB_MAX_LINE + 1], *rest = line, *name, *main;
	struct claim *grown;

	length = length < TAB_MAX_LINE ? length : TAB_MAX_LINE;
	memcpy(line, text, length);
	line[length] = 0;
	name = strtok_r(rest, BLANKS, &rest);
	main = name ? strtok_r(rest, BLANKS, &rest) : NULL;
	if (!main || !visible(main, strlen(main)) || !names_device(main))
		return true;
	grown = realloc(tab->claims, (tab->nr_claims + 1) * sizeof(*grown));
	if (!grown)
		return false;
	tab->claims = grown;
	grown += tab->nr_claims++;
	*grown = (struct claim){ .name = "-" };
	if (can_name(name) && strlen(name) <= TAB_MAX_NAME)
		strcpy(grown->name, name);
	take_half(grown->main, main);
	return true;
}

bool tab_parse(const char *text, size_t length, tab_fault_fn fault, void *context,
	       struct tab *tab)
{
	struct reading r = { .tab = tab };
	const char *end = text + length;

	*tab = (struct tab){ 0 };
	for (unsigned int line = 1; text < end; line++) {
		const char *stop = memchr(text, '\n', end - text);
		size_t size = (stop ? stop : end) - text;
		struct entry entry = { .line = line, .timeout = TAB_TIMEOUT }, *grown;

		if (empty(text, size)) {
			text += size + 1;
			continue;
		}
		if (!read_line(&r, text, size, &entry)) {
			tab->faults++;
			fault(context, line, r.sentence);
			if (!take_claim(tab, text, size))
				return false;
			text += size + 1;
			continue;
		}
		grown = realloc(tab->entries, (tab->nr + 1) * sizeof(*grown));
		if (!grown)
			return false;
		tab->entries = grown;
		tab->entries[tab->nr++] = entry;
		text += size + 1;
	}
	return true;
}

void tab_free(struct tab *tab)
{
	free(tab->entries);
	free(tab->claims);
	*tab = (struct tab){ 0 };
}

static void say_fault(void *path, unsigned int line, const char *sentence)
{
	if (!say_quietly)
		say("%s:%u: %s", (const char *)path, line, sentence);
}

bool tab_load(const char *path, struct tab *tab)
{
	static char text[TAB_MAX_FILE + 1];
	size_t length = 0;
	ssize_t got = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	*tab = (struct tab){ 0 };
	if (fd < 0 && errno == ENOENT)
		return true;
	if (fd >= 0)
		while ((got = read(fd, text + length, sizeof(text) - length)) > 0)
			length += got;
	if (fd < 0 || got < 0) {
		say("%s cannot be read: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	close(fd);
	if (length > TAB_MAX_FILE) {
		say("%s is larger than 1 MiB", path);
		return false;
	}
	return tab_parse(text, length, say_fault, (void *)path, tab);
}

const struct entry *tab_find(const struct tab *tab, const char *name)
{
	for (size_t i = 0; i < tab->nr; i++)
		if (!strcmp(tab->entries[i].name, name))
			return &tab->entries[i];
	return NULL;
}

bool tab_path(const char *word, char *path, size_t size)
{
	const char *uuid = tab_value(word, "UUID"), *part = tab_value(word, "PARTUUID");
	int length;

	if (uuid)
		length = snprintf(path, size, "/dev/disk/by-id/dm-remap-spare-%s", uuid);
	else if (part)
		length = snprintf(path, size, "/dev/disk/by-partuuid/%s", part);
	else
		length = snprintf(path, size, "%s", word);
	return length > 0 && (size_t)length < size;
}
