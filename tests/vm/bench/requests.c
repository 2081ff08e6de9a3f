// SPDX-License-Identifier: GPL-2.0-only
/*
 * Direct requests to a block device at given offsets, with as little of our own
 * around them as can be, and the time that they took.
 *
 *	requests DEVICE read|write SIZE DEPTH ROUNDS <OFFSETS
 *
 * OFFSETS are bytes from the start of the device, 64 bits each in the machine's
 * order. A depth of 1 uses pread() and pwrite(); above it, so many requests are
 * submitted at once and waited for. All offsets are gone through once before the
 * clock is looked at. Printed is, for each round, nanoseconds by
 * CLOCK_MONOTONIC_RAW: where QEMU counts instructions, as many of those.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_DEPTH 256
#define HUGE (2UL << 20)

static int fd;
static bool writing;
static size_t size;
static long depth;
static char *buffer;

static uint64_t *offsets;
static size_t nr;

static aio_context_t context;
static struct iocb blocks[MAX_DEPTH], *pointers[MAX_DEPTH];
static struct io_event events[MAX_DEPTH];

/*
 * In huge pages: small ones lie side by side in memory or not, by chance, and a
 * large request has as many parts.
 */
static void allocate_buffer(void)
{
	size_t room = (depth * size + HUGE - 1) / HUGE * HUGE;

	buffer = aligned_alloc(HUGE, room);
	if (!buffer || madvise(buffer, room, MADV_HUGEPAGE))
		err(1, "%ld buffers of %zu bytes", depth, size);
	/* Also so that there is no fault on the way. */
	memset(buffer, 1, room);
}

static void read_offsets(void)
{
	size_t room = 0, got;

	do {
		room += 65536;
		offsets = realloc(offsets, room * sizeof(*offsets));
		if (!offsets)
			err(1, "offsets");
		got = fread(offsets + nr, sizeof(*offsets), room - nr, stdin);
		nr += got;
	} while (got);
	nr -= nr % depth;
	if (!nr)
		errx(1, "fewer offsets than the depth");
}

static void one_by_one(void)
{
	for (size_t i = 0; i < nr; i++) {
		ssize_t done = writing ? pwrite(fd, buffer, size, offsets[i]) :
					 pread(fd, buffer, size, offsets[i]);

		if (done != (ssize_t)size)
			err(1, "at %llu", (unsigned long long)offsets[i]);
	}
}

static void in_batches(void)
{
	for (size_t i = 0; i < nr; i += depth) {
		for (long j = 0; j < depth; j++)
			blocks[j].aio_offset = offsets[i + j];
		if (syscall(SYS_io_submit, context, depth, pointers) != depth)
			err(1, "io_submit");
		if (syscall(SYS_io_getevents, context, depth, depth, events, NULL) != depth)
			err(1, "io_getevents");
		for (long j = 0; j < depth; j++) {
			if (events[j].res != (int64_t)size)
				errx(1, "a request failed: %lld", (long long)events[j].res);
		}
	}
}

static void prepare_batches(void)
{
	if (syscall(SYS_io_setup, depth, &context))
		err(1, "io_setup");
	for (long j = 0; j < depth; j++) {
		blocks[j].aio_fildes = fd;
		blocks[j].aio_lio_opcode = writing ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
		blocks[j].aio_buf = (uintptr_t)(buffer + j * size);
		blocks[j].aio_nbytes = size;
		pointers[j] = &blocks[j];
	}
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long rounds;

	if (argc != 6)
		errx(2, "usage: requests DEVICE read|write SIZE DEPTH ROUNDS <OFFSETS");
	writing = !strcmp(argv[2], "write");
	size = strtoul(argv[3], NULL, 10);
	depth = strtol(argv[4], NULL, 10);
	rounds = strtol(argv[5], NULL, 10);
	if (depth < 1 || depth > MAX_DEPTH)
		errx(2, "depth 1 to %d", MAX_DEPTH);

	fd = open(argv[1], (writing ? O_WRONLY : O_RDONLY) | O_DIRECT);
	if (fd < 0)
		err(1, "%s", argv[1]);
	allocate_buffer();
	read_offsets();
	if (depth > 1)
		prepare_batches();

	for (long round = 0; round <= rounds; round++) {
		long long begin = now();

		if (depth > 1)
			in_batches();
		else
			one_by_one();
		if (round)
			printf("%lld\n", now() - begin);
	}
	return 0;
}
