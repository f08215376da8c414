/* SPDX-License-Identifier: MIT
 *
 * lock.h (internal): the lock as a part of shared structures, and the functions on it that the
 * other nouns and the Python types use.  The public side is ramet/lock.h.
 *
 *   word     written by                                  from -> to
 *   ------   ----------------------------------------- -------------------------------------------
 *   0        nobody holds it                             0 -> owner            acquire, one CAS
 *   owner    who took it, flags 0                        owner -> 0            release, one CAS
 *   |WAITERS somebody sleeps, or slept, on the low half  owner -> owner|WAITERS  who is going to
 * sleep |DEAD    owner 0: put back after its owner died      dead owner -> owner|WAITERS  take-over
 *
 * A flag WAITERS too many costs a system call at release; one too few would be a lost wake, so that
 * who has slept takes the lock with the flag set, since others may still sleep (U. Drepper,
 * "Futexes Are Tricky", 2011, mutex 3).  Release is a compare-and-swap and not an exchange because
 * it must tell a lock that is free already without changing it; the two cost the same.
 */
#ifndef RMT_LOCK_H
#define RMT_LOCK_H

#include "arena/wait.h"
#include "sync/object.h"
#include "sync/watch.h"
#include <ramet/lock.h>

struct rmt_lock {
    rmt_a64 word;
};

struct ramet_lock {
    struct rmt_object object;
};

static inline struct rmt_lock *rmt_lock_of(const ramet_lock *lock)
{
    return lock->object.shared;
}

struct rmt_facts;
void rmt_lock_describe(const struct rmt_lock *lock, struct rmt_facts *facts); /* of a copy */
int rmt_lock_check(const struct rmt_lock *lock);

/* `own`: only the owner releases this lock, so that it is a dead one's, too, if his thread ended.
 */
int rmt_lock_acquire_slow(struct rmt_self *self, struct rmt_lock *lock, uint64_t at,
                          const ramet_wait *wait, bool own);
int rmt_lock_release_slow(struct rmt_self *self, struct rmt_lock *lock, uint64_t at);
int rmt_lock_mark_dead(struct rmt_self *self, struct rmt_lock *lock, uint64_t at);

/* One try that neither sleeps nor looks for a dead owner. */
static inline bool rmt_lock_try(struct rmt_self *self, struct rmt_lock *lock)
{
    uint64_t seen = 0;
    /* pairs-with: lock.word (acquire) */
    bool taken = rmt_cas64(&lock->word, &seen, self->word);
    self->locks += taken;
    return taken;
}

/* As ramet_lock_acquire; `at` is the offset of `lock`. */
static inline int rmt_lock_acquire(struct rmt_self *self, struct rmt_lock *lock, uint64_t at,
                                   const ramet_wait *wait)
{
    return RMT_LIKELY(rmt_lock_try(self, lock))
               ? 0
               : rmt_lock_acquire_slow(self, lock, at, wait, false);
}

/* Wakes whom this thread notified while it had the lock: earlier, he would only have had to sleep
 * again, on the lock.  If this thread dies in between, its recovery does it: wakes_too. */
static inline void rmt_lock_wake_later(struct rmt_self *self)
{
    if (RMT_UNLIKELY(self->wake_later != 0)) {
        rmt_wake(rmt_low32(rmt_at(self->wake_later)), 1);
        self->wake_later = 0;
        rmt_store64_relaxed(&self->thread->wakes_too, 0);
    }
}

/* As ramet_lock_release. */
static inline int rmt_lock_release(struct rmt_self *self, struct rmt_lock *lock, uint64_t at)
{
    uint64_t seen = self->word;
    rmt_store64(&self->thread->wakes,
                at); /* before the CAS: recovery repeats the wake that it calls for */
    int r = 0;
    /* For rmt_lock_try and the slow path.  pairs-with: lock.word (release) */
    if (RMT_LIKELY(rmt_cas64(&lock->word, &seen, 0)))
        self->locks--;
    else
        r = rmt_lock_release_slow(self, lock, at);
    rmt_lock_wake_later(self);
    return r;
}

/* The owner's word without flags: 0 free.  A hint, except for the caller's own. */
static inline uint64_t rmt_lock_owner(const struct rmt_lock *lock)
{
    return rmt_load64_relaxed(&lock->word) & ~RMT_FLAGS;
}

/* How a lock with this owner looks to the caller. */
enum ramet_lock_state rmt_lock_state_of(const struct rmt_self *self, uint64_t word);

/* Fills a watch that is ready when the lock is free, or its owner is dead. */
void rmt_lock_watch(struct rmt_lock *lock, struct rmt_watch *ret_watch);

#endif
