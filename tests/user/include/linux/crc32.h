/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_CRC32_H
#define SHIM_CRC32_H
#include <linux/types.h>
/* Without the inversion before and after, which zlib's has. */
u32 crc32_le(u32 crc, const unsigned char *p, size_t len);
#endif
