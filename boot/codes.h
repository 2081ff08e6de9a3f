/* SPDX-License-Identifier: GPL-2.0-only */
/* Exit codes, the same as those of dmremapctl. */
#ifndef DMR_CODES_H
#define DMR_CODES_H

enum code {
	CODE_OK = 0,
	CODE_USAGE = 2,
	CODE_WRONG_DEVICE = 4,
	CODE_BUSY = 5,
	CODE_ACCESS = 6,
	CODE_NOT_LOADED = 7,
	CODE_REFUSED = 9,

	/* Not an exit code: a half has not come yet, and may still. */
	CODE_MISSING = 256,
};

#endif
