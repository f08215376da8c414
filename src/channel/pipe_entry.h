/* SPDX-License-Identifier: MIT
 *
 * pipe_entry.h: what stands in a pipe's ring for a message: a header word, then its bytes or the
 * block where it lies.  Only the arithmetic and the copying; who may do what is said in pipe.h.
 */
#ifndef RMT_PIPE_ENTRY_H
#define RMT_PIPE_ENTRY_H

#include "channel/pipe.h"

#define RMT_PIPE_WORD 8u
#define RMT_PIPE_ENTRY_OF_BLOCK (3 * RMT_PIPE_WORD) /* header, offset, size */
#define RMT_PIPE_FIELD(lane, field) ((lane).offset + offsetof(struct rmt_pipe_way, field))

static inline uint64_t rmt_pipe_padded(uint64_t size)
{
    return (size + RMT_PIPE_WORD - 1) & ~(uint64_t)(RMT_PIPE_WORD - 1);
}

static inline uint64_t rmt_pipe_position(uint64_t word)
{
    return word & RMT_PIPE_POSITION;
}

struct rmt_pipe_entry {
    uint32_t tag;
    uint64_t size;
    uint64_t block;  /* offset; 0 inline */
    uint64_t length; /* in the ring */
};

/* The entry at `head`, of which all below `tail` is published. false: it cannot be one. */
bool rmt_pipe_entry_read(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t head,
                         uint64_t tail, struct rmt_pipe_entry *ret_entry);
void rmt_pipe_entry_write(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t tail,
                          const struct rmt_pipe_message *m);
/* Copies the bytes from position `at` on out of the ring. */
void rmt_pipe_ring_read(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t at, void *data,
                        size_t size);

#endif
