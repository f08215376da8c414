/* SPDX-License-Identifier: MIT
 *
 * map.h: from an offset to a pointer.  The arena is mapped in windows, on demand: window 0 is the
 * first 64 MiB, window n (n >= 1) is [64 MiB << (n-1), 64 MiB << n).  No block spans two windows.
 */
#ifndef RMT_MAP_H
#define RMT_MAP_H

#include "arena/layout.h"

#include <stddef.h>

/* Address at which offset 0 would lie for each window; 0 not mapped.  Set once per window, under
 * the map mutex; read without: a mapped window is never unmapped or moved. */
extern rmt_a64 rmt_window_base[RMT_WINDOWS];

static inline unsigned rmt_window_of(uint64_t offset)
{
    uint64_t n = offset / RMT_WINDOW0;
    return n == 0 ? 0 : 64u - (unsigned)__builtin_clzll(n);
}

/* Maps the window of `offset`.  0, -ENOMEM, or -ESTALE for an offset outside the arena. */
int rmt_reach(uint64_t offset);

/* The address of an offset whose window has been reached (every offset of an object that this
 * process holds, has open, or found in one that it has: see rmt_reach). Aborts on a window that
 * cannot be mapped. */
void *rmt_at_slow(uint64_t offset);
static inline void *rmt_at(uint64_t offset)
{
    uint64_t base =
        atomic_load_explicit(&rmt_window_base[rmt_window_of(offset)], memory_order_relaxed);
    if (RMT_UNLIKELY(base == 0))
        return rmt_at_slow(offset);
    return (void *)(uintptr_t)(base + offset);
}

static inline struct rmt_block *rmt_block_at(uint64_t offset)
{
    return rmt_at(offset);
}
static inline void *rmt_payload(uint64_t block_offset)
{
    return rmt_at(block_offset + RMT_BLOCK_HEADER);
}
static inline struct rmt_header *rmt_header(void)
{
    return rmt_at(0);
}

#endif
