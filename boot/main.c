// SPDX-License-Identifier: GPL-2.0-only
/*
 * The activator: what has to be done before there is Python, or on every event of a
 * disk. Called as dm-remap-generator it is a generator of systemd.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "activate.h"
#include "device.h"
#include "dm.h"
#include "generate.h"
#include "probe.h"
#include "say.h"

static const char usage[] =
	"usage: activator activate [--wait] [--dry-run] [--quiet] [--kmsg] (--all | --initramfs | NAME)\n"
	"       activator deactivate NAME\n"
	"       activator probe DEVICE\n"
	"       activator tab\n"
	"       activator generate DIRECTORY\n"
	"and --tab FILE for another table than /etc/dmremaptab, --root DIRECTORY to look below it.\n";

static const struct option options[] = {
	{ "all", no_argument, NULL, 'a' },     { "initramfs", no_argument, NULL, 'i' },
	{ "wait", no_argument, NULL, 'w' },    { "dry-run", no_argument, NULL, 'n' },
	{ "quiet", no_argument, NULL, 'q' },   { "kmsg", no_argument, NULL, 'k' },
	{ "tab", required_argument, NULL, 't' }, { "root", required_argument, NULL, 'r' },
	{ 0 },
};

struct call {
	struct wish wish;
	const char *tab_path, *word;
	bool all;
};

static bool parse(int argc, char **argv, struct call *call)
{
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'a':
			call->all = call->wish.automatic = true;
			break;
		case 'i':
			call->wish.initramfs = true;
			break;
		case 'w':
			call->wish.wait = true;
			break;
		case 'n':
			call->wish.dry_run = true;
			break;
		case 'q':
			say_quietly = true;
			break;
		case 'k':
			say_to_kmsg = true;
			break;
		case 't':
			call->tab_path = optarg;
			break;
		case 'r':
			root_dir = optarg;
			break;
		default:
			return false;
		}
	if (optind < argc)
		call->word = argv[optind++];
	return optind == argc;
}

static enum code run_activate(const struct tab *tab, struct call *call)
{
	call->wish.name = call->word;
	if (!call->all && !call->wish.initramfs && !tab_find(tab, call->word)) {
		say("%s has no device '%s'", call->tab_path, plain(call->word));
		return CODE_USAGE;
	}
	if (!tab->nr)
		return tab->faults ? CODE_USAGE : CODE_OK;
	if (!call->wish.dry_run && !dm_open()) {
		say("/dev/mapper/control cannot be opened: %s", strerror(errno));
		return errno == EACCES || errno == EPERM ? CODE_ACCESS : CODE_NOT_LOADED;
	}
	if (!call->wish.dry_run && !dm_has_target()) {
		say("the module dm-remap-v4 is not loaded; 'modprobe dm-remap-v4' says why");
		return CODE_NOT_LOADED;
	}
	return activate_all(tab, &call->wish);
}

static enum code run_deactivate(const char *name)
{
	if (dm_open())
		return deactivate(name);
	say("/dev/mapper/control cannot be opened: %s", strerror(errno));
	return errno == EACCES || errno == EPERM ? CODE_ACCESS : CODE_NOT_LOADED;
}

static void print_tab(const struct tab *tab)
{
	for (size_t i = 0; i < tab->nr; i++) {
		const struct entry *e = &tab->entries[i];

		printf("%u %s %s %s%s%s%s%s%s%s timeout=%u\n", e->line, e->name, e->main, e->spare,
		       e->readonly ? " ro" : "", e->degraded ? " degraded" : "",
		       e->nofail ? " nofail" : "", e->noauto ? " noauto" : "",
		       e->initramfs ? " initramfs" : "", e->relocate_weak ? " relocate-weak" : "",
		       e->timeout);
	}
}

static bool is(const char *command, const char *word, const struct call *call, bool wants_word)
{
	return !strcmp(command, word) && (call->word != NULL) == wants_word;
}

static int command(int argc, char **argv)
{
	struct call call = { .tab_path = TAB_PATH };
	const char *name = argc > 1 ? argv[1] : "";
	struct tab tab;
	int code = CODE_OK;

	if (argc < 2 || !parse(argc - 1, argv + 1, &call)) {
		fputs(usage, stderr);
		return CODE_USAGE;
	}
	if (is(name, "deactivate", &call, true))
		return run_deactivate(call.word);
	if (!tab_load(call.tab_path, &tab))
		return CODE_ACCESS;
	if (!strcmp(name, "activate") &&
	    (call.word ? !call.all : call.all || call.wish.initramfs)) {
		code = run_activate(&tab, &call);
	} else if (is(name, "probe", &call, true)) {
		probe(call.word, &tab);
	} else if (is(name, "tab", &call, false)) {
		print_tab(&tab);
		code = tab.faults ? CODE_USAGE : CODE_OK;
	} else if (is(name, "generate", &call, true)) {
		generate(&tab, call.word);
	} else {
		fputs(usage, stderr);
		code = CODE_USAGE;
	}
	tab_free(&tab);
	return code;
}

/* systemd gives three directories; the units belong into the first. Boot goes on, whatever fails. */
static int generator(int argc, char **argv)
{
	struct tab tab;

	say_to_kmsg = true;
	if (argc > 1 && tab_load(TAB_PATH, &tab))
		generate(&tab, argv[1]);
	return 0;
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');

	/* What is made here is shared with dmremapctl, whatever the caller's mask. */
	umask(022);
	if (!strcmp(slash ? slash + 1 : argv[0], "dm-remap-generator"))
		return generator(argc, argv);
	return command(argc, argv);
}
