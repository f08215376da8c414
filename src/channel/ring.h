/* SPDX-License-Identifier: MIT
 *
 * ring.h: a segment of a queue's cells, in a block of its own, and what stands in a cell.  Who may
 * touch what is said in queue.h; this file knows only the arithmetic.
 *
 * A segment holds the positions base <= p < end, at index (p - base) mod capacity.  It is reused
 * round and round until it is full and the queue may still grow; then it is closed (end is set, for
 * ever) and the positions from there on lie in `next`, whose base is that end.
 */
#ifndef RMT_RING_H
#define RMT_RING_H

#include "arena/block.h"

#define RMT_CELL_BYTES 56u
#define RMT_RING_FIRST 64u          /* cells of a queue's first segment, at most */
#define RMT_RING_LARGEST (1u << 15) /* cells: no segment is larger than 2 MiB */
#define RMT_RING_OPEN UINT64_MAX

/* One cache line.  Written under the put guard at positions that no getter reads yet (tail <= p);
 * read under the get guard (head <= p < tail). */
struct rmt_cell {
    uint32_t size;  /* of the inline bytes; 0 for a block */
    uint32_t block; /* 1: `of` holds the offset of a message; 0: bytes */
    union {
        uint64_t of;
        uint8_t bytes[RMT_CELL_BYTES];
    };
} __attribute__((aligned(64)));

struct rmt_ring {
    uint64_t base;     /* first position; written before the segment is linked */
    uint64_t capacity; /* cells, a power of two; constant */
    rmt_a64 end;       /* written once, by the commit that links `next`; RMT_RING_OPEN until then */
    rmt_a64 next;      /* the segment that follows; 0 while open */
    uint64_t queue;    /* its block, and that one's generation; constant, set before it is linked */
    uint64_t generation;
    uint64_t spare[2];
    struct rmt_cell cell[];
};

_Static_assert(sizeof(struct rmt_cell) == 64, "a cell is one cache line");
_Static_assert(sizeof(struct rmt_ring) == 64, "cells start on a cache line");

static inline struct rmt_cell *rmt_ring_cell(struct rmt_ring *ring, uint64_t position)
{
    return &ring->cell[(position - ring->base) & (ring->capacity - 1)];
}

/* Free cells when everything below `head` has been taken and everything below `tail` is put. */
static inline uint64_t rmt_ring_room(const struct rmt_ring *ring, uint64_t head, uint64_t tail)
{
    return ring->capacity - (tail - (head > ring->base ? head : ring->base));
}

/* A new open segment for the queue at `queue`, in one of the caller's holds. -ENOMEM, -ENOSPC. */
int rmt_ring_alloc(struct rmt_self *self, uint64_t queue, uint64_t capacity, int *ret_hold,
                   uint64_t *ret_offset);

/* The capacity of the first segment of a queue of at most `max_items` (0: any number). */
uint64_t rmt_ring_first(uint64_t max_items);

/* 0, or -ENOTRECOVERABLE: whether the segments from `first` to `last` are a chain in which the
 * positions from `head` to `tail` stand, each in a sound cell. */
int rmt_ring_check(uint64_t first, uint64_t last, uint64_t head, uint64_t tail);

#endif
