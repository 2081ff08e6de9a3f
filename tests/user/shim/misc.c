// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include <linux/crc32.h>
#include <linux/device-mapper.h>
#include <linux/ktime.h>
#include <linux/percpu.h>
#include <linux/random.h>

#include "shim.h"

time64_t shim_clock = 1700000000;
struct rng shim_random;
void (*shim_log_to)(char level, const char *line);
void (*shim_on_death)(void);
__thread unsigned int shim_cpu;

u64 rng_next(struct rng *r)
{
	u64 z = r->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

time64_t ktime_get_real_seconds(void)
{
	return shim_clock;
}

u32 get_random_u32(void)
{
	return rng_next(&shim_random);
}

u64 get_random_u64(void)
{
	return rng_next(&shim_random);
}

void generate_random_uuid(unsigned char uuid[UUID_SIZE])
{
	u64 half[2] = { get_random_u64(), get_random_u64() };

	memcpy(uuid, half, UUID_SIZE);
	uuid[6] = (uuid[6] & 0x0f) | 0x40;	/* version 4 */
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

u32 crc32_le(u32 crc, const unsigned char *p, size_t len)
{
	return ~(u32)crc32_z(~crc, p, len);
}

void shim_log(char level, const char *format, ...)
{
	char line[256];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (shim_log_to)
		shim_log_to(level, line);
	else
		fprintf(stderr, "%c %s\n", level, line);
}

void shim_die(const char *file, int line, const char *format, ...)
{
	va_list args;

	if (shim_on_death)
		shim_on_death();
	fprintf(stderr, "%s:%d: ", file, line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void *shim_alloc_percpu(size_t size)
{
	check(size <= SHIM_CPU_STRIDE, "per-CPU object of %zu bytes", size);
	return kzalloc(SHIM_NR_CPUS * SHIM_CPU_STRIDE, GFP_KERNEL);
}

void free_percpu(void *p)
{
	kfree(p);
}
