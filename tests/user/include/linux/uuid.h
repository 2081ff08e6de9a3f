/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_UUID_H
#define SHIM_UUID_H

#include <linux/string.h>
#include <linux/types.h>

#define UUID_SIZE	16

typedef struct {
	u8 b[UUID_SIZE];
} uuid_t;

static inline bool uuid_equal(const uuid_t *a, const uuid_t *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static inline void uuid_copy(uuid_t *to, const uuid_t *from)
{
	memcpy(to, from, sizeof(*to));
}

static inline bool uuid_is_null(const uuid_t *u)
{
	static const uuid_t null;

	return uuid_equal(u, &null);
}

void generate_random_uuid(unsigned char uuid[UUID_SIZE]);

#endif
