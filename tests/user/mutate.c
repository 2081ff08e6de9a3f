// SPDX-License-Identifier: GPL-2.0-only
/*
 * Images of a spare with a few changes each, loaded and used:
 *
 *     mutate [--seed N] [--count N] [corpus]
 *
 * With `corpus` they are those that standard input describes, a line of
 * hexadecimal digits each.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "image.h"
#include "opinion.h"
#include "shim/options.h"

static struct rng rng;
static u8 description[1 + IMAGE_MAX_CHANGES * sizeof(struct image_change)];
static size_t len;

static void tell_description(void)
{
	size_t i;

	for (i = 0; i < len; i++)
		fprintf(stderr, "%02x", description[i]);
	fputc('\n', stderr);
}

static void quiet(char level, const char *line)
{
}

/* Small, near a limit, or any. */
static u64 number(void)
{
	static const u64 limit[] = {
		0, 16, 32, 64, 118, 128, 256, 2048, 4096, IMAGE_SECTORS, 1ull << 31, 1ull << 32, 1ull << 48,
		1ull << 54, 1ull << 62, 1ull << 63,
	};

	switch (rng_below(&rng, 4)) {
	case 0:
		return rng_below(&rng, 9);
	case 1:
		return rng_next(&rng);
	case 2:
		return limit[rng_below(&rng, ARRAY_SIZE(limit))] - 1 + rng_below(&rng, 3);
	default:
		return REPLAY_BLOCK * rng_below(&rng, IMAGE_SECTORS / REPLAY_BLOCK + 10);
	}
}

/* Where a field begins more often than not. */
static u16 offset(void)
{
	static const u16 header[] = {
		0x08, 0x1c, 0x1d, 0x20, 0x24, 0x28, 0x38, 0x40, 0x4c, 0x50, 0x54, 0x58, 0x60, 0x68, 0x6c,
		0x70, 0x74, 0x78, 0x80, 0x88, 0x90, 0x98, 0xd0,
	};

	switch (rng_below(&rng, 4)) {
	case 0:
		return rng_below(&rng, DISK_BLOCK);
	case 1:
		return 4 * rng_below(&rng, 0x130 / 4);
	case 2:
		return header[rng_below(&rng, ARRAY_SIZE(header))];
	default:
		return 0x130 + 32 * rng_below(&rng, 118) + 4 * rng_below(&rng, 8);
	}
}

static void describe(void)
{
	u32 nr = 1 + rng_below(&rng, 5), i;

	description[0] = rng_next(&rng);
	len = 1;
	for (i = 0; i < nr; i++, len += sizeof(struct image_change)) {
		struct image_change c = {
			.op = rng_below(&rng, 4) ? rng_below(&rng, 2) : rng_below(&rng, IMAGE_OPS),
			.size = rng_below(&rng, 4), .block = rng_next(&rng), .copy = rng_next(&rng),
			.offset = htole16(offset()), .value = htole64(number()),
		};

		if (rng_below(&rng, 4))
			c.op |= IMAGE_SEAL;
		if (rng_one_in(&rng, 2))
			c.op |= IMAGE_EVERYWHERE;
		if (rng_one_in(&rng, 2))
			c.block = rng_below(&rng, 4);	/* header, info, the first log blocks */
		memcpy(description + len, &c, sizeof(c));
	}
}

static bool read_description(void)
{
	unsigned int byte;
	int c = ' ';

	for (len = 0; len < sizeof(description) && scanf("%2x", &byte) == 1; ) {
		description[len++] = byte;
		c = getchar();
		if (isspace(c) || c == EOF)
			break;
		ungetc(c, stdin);
	}
	return len;
}

int main(int argc, char **argv)
{
	static const char *const words[] = { "corpus", NULL };
	struct options o = { .seed = 1, .count = 2000 };
	bool corpus = parse_options(argc, argv, &o, words);

	shim_log_to = quiet;
	shim_on_death = tell_description;
	rng.state = o.seed;
	image_make_all();
	for (; corpus ? read_description() : o.count--; ) {
		if (!corpus)
			describe();
		image_try(description, len, &rng);
	}
	printf("loaded=%llu refused=%llu both_codecs=%llu\n", image_loaded, image_refused, nr_opinions);
	image_free_all();
	return 0;
}
