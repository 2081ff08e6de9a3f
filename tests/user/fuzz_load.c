// SPDX-License-Identifier: GPL-2.0-only
/* The loader and all that follows it, for libFuzzer (ci/fuzz). */
#include "image.h"

static void quiet(char level, const char *line)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	shim_log_to = quiet;
	image_make_all();
	return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct rng rng;

	image_try(data, size, &rng);
	return 0;
}
