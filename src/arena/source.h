/* SPDX-License-Identifier: MIT
 *
 * source.h: reading an arena that others write, be it one's own or that of strangers, without being
 * a member.  Copies are taken by pread and not from a mapping: a read past what there is, or of
 * memory that goes, is then an error and no signal; a hole stays a hole (a mapped read would commit
 * it); and nothing can be written by mistake.  docs/decisions/013.
 *
 * A copy of one aligned word is what somebody stored there.  A copy of several may be of different
 * moments: whoever needs them to belong together reads twice, or reads what is between.
 */
#ifndef RMT_SOURCE_H
#define RMT_SOURCE_H

#include "arena/layout.h"

#include <stddef.h>

struct rmt_source { /* process-local, constant once open */
    int fd;
    uint64_t id, size;
    int *error; /* gets the first error of pread, unless NULL: for those who ask for one word */
};

/* 0, or -ESTALE for what does not lie in the arena, or an error of pread. */
int rmt_source_read(const struct rmt_source *source, uint64_t offset, void *to, size_t length);

/* One word; 0 where it cannot be read. */
uint64_t rmt_source_word(const struct rmt_source *source, uint64_t offset);

/* The header of the block at `offset`, if there can be one: 0 or negative. */
int rmt_source_block(const struct rmt_source *source, uint64_t offset, struct rmt_block *ret_block);

/* The block in which `offset` lies: its offset, 0 if that cannot be said. */
uint64_t rmt_source_find(const struct rmt_source *source, uint64_t offset,
                         struct rmt_block *ret_block);

#endif
