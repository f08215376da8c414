/* SPDX-License-Identifier: MIT
 *
 * semaphore.h (internal): the semaphore's shared struct.  The public side is ramet/semaphore.h.
 *
 * Invariants, whenever the guard is free:
 *   value <= max
 *   waiting = the number of holds {RMT_HOLD_WAITER, this}
 *   owned   = the sum of the permits in holds {RMT_HOLD_PERMIT, this}
 *   value > 0 and waiting > 0: a wake is under way, or its debtor's recovery is
 *
 * A hold's arg: in WAITER the block's generation; in PERMIT the generation << 32 | permits.
 */
#ifndef RMT_SEMAPHORE_H
#define RMT_SEMAPHORE_H

#include "arena/guard.h"
#include "sync/object.h"
#include "sync/watch.h"
#include <ramet/semaphore.h>

struct rmt_semaphore {
    struct rmt_guard guard;
    rmt_a64 value;   /* under the guard; a read without it is a hint.  The low half is the futex */
    rmt_a64 waiting; /* under the guard */
    rmt_a64 owned;   /* under the guard; a read without it is a hint */
    uint64_t max;    /* constant */
};

struct ramet_semaphore {
    struct rmt_object object;
};

static inline struct rmt_semaphore *rmt_semaphore_of(const ramet_semaphore *semaphore)
{
    return semaphore->object.shared;
}

/* One try that does not sleep: 0, -EAGAIN, -ENOSPC, -ENOTRECOVERABLE. */
int rmt_semaphore_try(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at, bool owned);
int rmt_semaphore_acquire(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at,
                          const ramet_wait *wait, bool owned);
int rmt_semaphore_release(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at,
                          uint32_t count);
int rmt_semaphore_release_owned(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at);

/* Fills a watch that is ready when there are permits. */
void rmt_semaphore_watch(struct rmt_semaphore *s, struct rmt_watch *ret_watch);

#endif
