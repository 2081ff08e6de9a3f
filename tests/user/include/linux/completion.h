/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_COMPLETION_H
#define SHIM_COMPLETION_H

#include <linux/types.h>

struct completion {
	bool done;
};

static inline void init_completion(struct completion *c)
{
	c->done = false;
}

static inline void reinit_completion(struct completion *c)
{
	c->done = false;
}

static inline void complete_all(struct completion *c)
{
	c->done = true;
}

/* In shim/bio.c: what was submitted is done now, and not before. */
void wait_for_completion_io(struct completion *c);

#endif
