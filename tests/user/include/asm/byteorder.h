/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_BYTEORDER_H
#define SHIM_BYTEORDER_H

#include_next <asm/byteorder.h>
#include <endian.h>

#include <linux/types.h>

#define le16_to_cpu(x)	le16toh(x)
#define le32_to_cpu(x)	le32toh(x)
#define le64_to_cpu(x)	le64toh(x)
#define cpu_to_le16(x)	htole16(x)
#define cpu_to_le32(x)	htole32(x)
#define cpu_to_le64(x)	htole64(x)

static inline void le32_add_cpu(__le32 *v, u32 n)
{
	*v = cpu_to_le32(le32_to_cpu(*v) + n);
}

static inline void le64_add_cpu(__le64 *v, u64 n)
{
	*v = cpu_to_le64(le64_to_cpu(*v) + n);
}

#endif
