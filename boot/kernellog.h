/* SPDX-License-Identifier: GPL-2.0-only */
/* What the target has said in the kernel log since a moment: its reason for a refusal. */
#ifndef DMR_KERNELLOG_H
#define DMR_KERNELLOG_H

#include <stddef.h>

struct kernel_log {
	int fd;
};

void kernel_log_open(struct kernel_log *log);

/* The last sentence of the target; empty if there is none. */
void kernel_log_sentence(struct kernel_log *log, char *sentence, size_t size);
void kernel_log_close(struct kernel_log *log);

#endif
