/* SPDX-License-Identifier: MIT
 *
 * waiter.h: what semaphore, condition and barrier have in common.
 *
 * Registration.  A thread that waits in one of them says so in a hold {RMT_HOLD_WAITER, offset of
 * the shared struct; generation of its block}, which the same commit sets that counts or links it
 * there, so that recovery can take a dead waiter out again.  The struct is the payload of a block:
 * by the block's kind the recovery is found, and by its generation a hold is told that outlived its
 * object.
 *
 * Watching.  Whoever waits for something that a dead process may owe (an owned permit, a place in a
 * barrier, a notification that was given to it) has nobody in particular to watch; it looks for
 * dead members every now and then by itself, lest all depend on a parent that reaps.
 */
#ifndef RMT_WAITER_H
#define RMT_WAITER_H

#include "arena/wait.h"

/* Given back by recovery, for the object at `at`: hold `index` of the dead thread at `dead_offset`.
 */
typedef void rmt_waiter_fn(struct rmt_self *self, uint64_t at, uint64_t dead_offset, int index);

/* Before main, by a constructor: what to do with dead waiters in objects of `kind`. */
void rmt_waiter_register(uint32_t kind, rmt_waiter_fn *fn);

/* Offsets of hold `index` of the thread whose sub-slot is at `thread_offset`. */
static inline uint64_t rmt_hold_what_of(uint64_t thread_offset, int index)
{
    return thread_offset + offsetof(struct rmt_thread, hold) +
           (uint64_t)index * sizeof(struct rmt_hold);
}
static inline uint64_t rmt_hold_arg_of(uint64_t thread_offset, int index)
{
    return rmt_hold_what_of(thread_offset, index) + offsetof(struct rmt_hold, arg);
}

/* The generation of the block whose payload is at `at`. */
static inline uint32_t rmt_generation_of(uint64_t at)
{
    return rmt_block_at(at - RMT_BLOCK_HEADER)->generation;
}

/* Whether the payload at `at` still belongs to a block of that kind (0: any) and generation. */
bool rmt_object_lives(uint64_t at, uint32_t kind, uint32_t generation);

/* rmt_sleep on behalf of somebody who has nobody in particular to watch.  Looks for dead members at
 * most once every half a second and process. */
int rmt_sleep_watching(struct rmt_waiter *w, rmt_a32 *word, uint32_t seen, uint64_t offset);

/* For one who will not sleep: looks for dead members, if it was not done just now.  True if some
 * were recovered. */
bool rmt_look_for_dead(struct rmt_self *self);

#endif
