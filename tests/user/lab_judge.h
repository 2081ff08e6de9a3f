/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the two halves of the laboratory. */
#ifndef LAB_JUDGE_H
#define LAB_JUDGE_H

#include "lab.h"

struct dm_bufio_client *lab_client(struct disk *disk);
struct dmr_metadata *lab_open_metadata(struct dm_bufio_client *client, const struct lab_setup *setup,
				       bool read_only, struct dmr_space *space,
				       struct replay *r, const char **error);

/* Index of @state among those allowed, or -1. */
int lab_is_allowed(const struct lab_allowed *a, u64 state);

/* Is the data of every remapped block where the state says? */
void lab_check_data(const struct disk *disk, const struct replay *r);

/* Those of @copies whose header block is whole. */
u8 lab_whole_headers(const struct lab *lab, const struct disk *d, u8 copies);

/* Destroy one in so many metadata blocks of the other copies, from block @first on. */
void lab_destroy_others(struct lab *lab, struct disk *d, u64 first, u8 copy, u32 one_in);

/* Looks at every state that the disk may be left in: disk->before_flush. */
void lab_before_flush(struct disk *d, void *context);

#endif
