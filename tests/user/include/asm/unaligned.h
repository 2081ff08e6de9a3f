/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_UNALIGNED_H
#define SHIM_UNALIGNED_H

#include <asm/byteorder.h>
#include <string.h>

static inline u32 get_unaligned_le32(const void *p)
{
	__le32 v;

	memcpy(&v, p, sizeof(v));
	return le32_to_cpu(v);
}

static inline u64 get_unaligned_le64(const void *p)
{
	__le64 v;

	memcpy(&v, p, sizeof(v));
	return le64_to_cpu(v);
}

#endif
