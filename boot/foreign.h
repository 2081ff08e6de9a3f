/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A former spare that was put to other use: further copies of its metadata may be there
 * still, and the target would mend the rest, over what is there now. Told by the same bytes
 * as in pycontrol/service/remains.py; a test holds the two together.
 */
#ifndef DMR_FOREIGN_H
#define DMR_FOREIGN_H

#include "header.h"

/* What there is in the metadata region of this spare that is not ours; NULL if nothing known. */
const char *foreign_in(read_block_fn read, void *context, const struct spare *spare);

#endif
