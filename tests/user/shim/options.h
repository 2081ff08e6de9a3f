/* SPDX-License-Identifier: GPL-2.0-only */
/* What every program takes: --seed N, --count N, and words of its own. */
#ifndef SHIM_OPTIONS_H
#define SHIM_OPTIONS_H

#include <linux/types.h>

struct options {
	u64 seed;
	u64 count;
};

/* Known @words (NULL-terminated) set their bit in the result. */
unsigned int parse_options(int argc, char **argv, struct options *o,
			   const char *const *words);

#endif
