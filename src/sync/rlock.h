/* SPDX-License-Identifier: MIT
 *
 * rlock.h (internal): the recursive lock: a lock and how often its owner has it.  The public side
 * is ramet/rlock.h.
 *
 * `count` is written and read by the owner alone; who takes the lock, also from a dead owner, sets
 * it to 1 first of all, so that nothing that a dead owner left in it is ever read.
 */
#ifndef RMT_RLOCK_H
#define RMT_RLOCK_H

#include "sync/lock.h"
#include <ramet/rlock.h>

struct rmt_rlock {
    struct rmt_lock lock; /* first: it has the offset of the whole */
    rmt_a64 count;
};

struct ramet_rlock {
    struct rmt_object object;
};

static inline struct rmt_rlock *rmt_rlock_of(const ramet_rlock *rlock)
{
    return rlock->object.shared;
}

/* Takes it if nobody else has it, without sleeping or looking for a dead owner; -EAGAIN if not;
 * -EOVERFLOW as ramet_rlock_acquire. */
int rmt_rlock_try(struct rmt_self *self, struct rmt_rlock *rlock);

/* As the public functions. */
int rmt_rlock_acquire(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t at,
                      const ramet_wait *wait);
int rmt_rlock_release(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t at);
int rmt_rlock_mark_dead(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t at);

/* How often the calling thread has it: 0 if it has not. */
static inline uint64_t rmt_rlock_count(const struct rmt_self *self, const struct rmt_rlock *rlock)
{
    return rmt_lock_owner(&rlock->lock) == self->word ? rmt_load64_relaxed(&rlock->count) : 0;
}

/* Gives all of it back, and takes it that often again (waiting for it): what a condition needs.
 * -EPERM. */
int rmt_rlock_release_all(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t at,
                          uint64_t *ret_count);
int rmt_rlock_restore(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t at, uint64_t count);

#endif
