// SPDX-License-Identifier: GPL-2.0-only
#include "kernellog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OURS "device-mapper: remap-v4: "

void kernel_log_open(struct kernel_log *log)
{
	log->fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (log->fd >= 0)
		lseek(log->fd, 0, SEEK_END);
}

void kernel_log_sentence(struct kernel_log *log, char *sentence, size_t size)
{
	char record[1024];
	ssize_t got;

	*sentence = 0;
	if (log->fd < 0)
		return;
	/* EPIPE: records were overwritten before they could be read; the next one is there. */
	while ((got = read(log->fd, record, sizeof(record) - 1)) > 0 || (got < 0 && errno == EPIPE)) {
		char *said;

		if (got < 0)
			continue;
		record[got] = 0;
		record[strcspn(record, "\n")] = 0;
		said = strstr(record, OURS);
		if (said)
			snprintf(sentence, size, "%s", said + strlen(OURS));
	}
}

void kernel_log_close(struct kernel_log *log)
{
	if (log->fd >= 0)
		close(log->fd);
	log->fd = -1;
}
