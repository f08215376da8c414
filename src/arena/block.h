/* SPDX-License-Identifier: MIT
 *
 * block.h: memory.  A block is a 64-byte header and a payload aligned to 64 bytes.  Small blocks
 * share 64 KiB pages by size class; from about 32 KiB on a block is a run of whole pages.
 *
 * Ownership: rmt_block_alloc puts the new block into one of the caller's holds; from there it is
 * committed into an object or message (the redo that publishes it also empties the hold), given
 * handles (handle.h), or freed with rmt_block_free.  If the holder dies, recovery destroys and
 * frees it.
 */
#ifndef RMT_BLOCK_ALLOC_H
#define RMT_BLOCK_ALLOC_H

#include "arena/guard.h"

/* Payload is not cleared, except for the header.  ret_hold: index of the hold; ret_offset: of the
 * block (its header).  -ENOMEM, -ENOSPC (no empty hold). */
int rmt_block_alloc(struct rmt_self *self, size_t size, uint32_t kind, int *ret_hold,
                    uint64_t *ret_offset);

/* Destroys (kind.h) and frees the block in hold `hold` with its chain (`next`), and empties the
 * hold. */
void rmt_block_free(struct rmt_self *self, int hold);

/* The same for the hold of a dead thread. */
void rmt_block_free_of(struct rmt_self *self, uint64_t thread_offset, int hold);

/* For ThreadSanitizer alone: called by who looks into a block that another process may have filled.
 * What threads of this process used its memory for before, and freed, is over: that order came by
 * way of the other process. */
#ifdef RMT_TSAN
void rmt_block_received(uint64_t offset);
#else
static inline void rmt_block_received(uint64_t offset)
{
    (void)offset;
}
#endif

/* True if `offset` is the start of an allocated block; any value may be asked. */
bool rmt_block_valid(uint64_t offset);

/* Appends the block in hold `from` to the chain of the block at `to` (which the caller holds), and
 * empties the hold. */
int rmt_block_chain(struct rmt_self *self, uint64_t to, int from);

#endif
