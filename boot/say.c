// SPDX-License-Identifier: GPL-2.0-only
#include "say.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SENTENCE 4096
#define ROUNDS 8

bool say_to_kmsg, say_quietly;

static void to_kmsg(const char *sentence)
{
	char line[SENTENCE + 32];
	int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	int length = snprintf(line, sizeof(line), "<4>dm-remap: %s\n", sentence);

	if (fd < 0)
		return;
	/* A log that can't be written to can't be complained of, either. */
	if (write(fd, line, length) != length)
		fprintf(stderr, "dm-remap: the kernel log cannot be written\n");
	close(fd);
}

void say(const char *format, ...)
{
	char sentence[SENTENCE];
	va_list args;

	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	fprintf(stderr, "dm-remap: %s\n", sentence);
	if (say_to_kmsg)
		to_kmsg(sentence);
}

void tell(const char *format, ...)
{
	va_list args;

	if (say_quietly)
		return;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

const char *plain(const char *words)
{
	static char rounds[ROUNDS][512];
	static unsigned int round;
	char *out = rounds[round++ % ROUNDS];
	size_t used = 0;

	for (; *words && used + 5 < sizeof(rounds[0]); words++) {
		unsigned char c = *words;

		if (c == '\\')
			used += sprintf(out + used, "\\\\");
		else if (c > ' ' && c < 0x7f)
			out[used++] = c;
		else
			used += sprintf(out + used, "\\x%02x", c);
	}
	out[used] = 0;
	return out;
}
