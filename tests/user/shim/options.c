// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "shim.h"

static struct options *given;

static void tell_seed(void)
{
	fprintf(stderr, "with --seed %llu --count %llu:\n", given->seed, given->count);
}

unsigned int parse_options(int argc, char **argv, struct options *o,
			   const char *const *words)
{
	unsigned int set = 0, w;
	int i;

	for (i = 1; i < argc; i++) {
		u64 *number = !strcmp(argv[i], "--seed") ? &o->seed :
			      !strcmp(argv[i], "--count") ? &o->count : NULL;

		if (number) {
			check(i + 1 < argc, "%s needs a number", argv[i]);
			*number = strtoull(argv[++i], NULL, 0);
			continue;
		}
		for (w = 0; words && words[w]; w++)
			if (!strcmp(argv[i], words[w]))
				break;
		check(words && words[w], "unknown option %s", argv[i]);
		set |= 1u << w;
	}
	shim_random.state = o->seed;
	given = o;
	shim_on_death = tell_seed;
	return set;
}
