// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parsers of boot/ on inputs from files: tables as they are, and spares with
 * the changes that a list describes. Whatever they are given, they say yes or no.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "header.h"
#include "tab.h"

struct image {
	unsigned char *bytes;
	size_t size;
};

static void count_fault(void *context, unsigned int line, const char *sentence)
{
	unsigned long *faults = context;

	*faults += line > 0 && *sentence;
}

static bool read_image(void *context, uint64_t offset, unsigned char *block)
{
	const struct image *image = context;

	memcpy(block, image->bytes + offset, BLOCK);
	return true;
}

static struct image load(const char *path)
{
	FILE *file = fopen(path, "re");
	struct image image;

	if (!file || fseek(file, 0, SEEK_END))
		exit(2);
	image.size = ftell(file);
	rewind(file);
	image.bytes = malloc(image.size + 1);
	if (!image.bytes || fread(image.bytes, 1, image.size, file) != image.size)
		exit(2);
	fclose(file);
	return image;
}

/* One table of so many bytes after the other on standard input: <bytes>\n<table>. */
static void tables(void)
{
	unsigned long nr = 0, entries = 0, faults = 0, length;

	while (scanf("%lu", &length) == 1) {
		/* As large as the text, so that a byte too far is seen. */
		char *text = malloc(length);
		struct tab tab;

		if (getchar() != '\n' || fread(text, 1, length, stdin) != length ||
		    !tab_parse(text, length, count_fault, &faults, &tab))
			exit(2);
		entries += tab.nr;
		tab_free(&tab);
		free(text);
		nr++;
	}
	printf("tables=%lu entries=%lu faults=%lu\n", nr, entries, faults);
}

/* Changes on standard input, each "<offset> <value>", those of one spare ended by "0 -1". */
static void spares(const char *path)
{
	struct image image = load(path);
	unsigned long nr = 0, found = 0;
	unsigned char *whole = malloc(image.size);
	unsigned long offset;
	int value;

	memcpy(whole, image.bytes, image.size);
	while (scanf("%lu %d", &offset, &value) == 2) {
		struct spare spare;

		if (value >= 0) {
			image.bytes[offset % image.size] = value;
			continue;
		}
		found += spare_look(read_image, &image, image.size, true, NULL, &spare) ==
			 LOOKED_SPARE;
		memcpy(image.bytes, whole, image.size);
		nr++;
	}
	free(whole);
	free(image.bytes);
	printf("spares=%lu found=%lu\n", nr, found);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		spares(argv[1]);
	else
		tables();
	return 0;
}
