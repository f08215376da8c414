/* SPDX-License-Identifier: MIT
 *
 * guard.c: the slow paths of guards: contention, and taking over from a dead owner.
 *
 * The word's life:  0 -CAS-> owner -xchg-> 0, with RMT_FLAG_WAITERS set by those who sleep (after
 * U. Drepper, "Futexes Are Tricky", mutex 3: who has slept takes the guard with the flag set, since
 * others may still sleep).  dead owner -CAS-> owner: the take-over.
 */
#include "arena/guard.h"
#include "arena/local.h"
#include "arena/wait.h"
#include "base/os.h"

#include <errno.h>

void rmt_guard_init(struct rmt_guard *g, uint64_t offset)
{
    rmt_store64_relaxed(&g->word, 0);
    rmt_store64_relaxed(&g->armed, 0);
    rmt_store64_relaxed(&g->dirty, 0);
    rmt_store64_relaxed(&g->self, offset);
}

/* The record of a dead owner is only believed if it can be true. */
static bool record_sound(const struct rmt_guard *g, uint64_t n)
{
    if (n > RMT_REDO_WORDS)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t offset = rmt_load64_relaxed(&g->redo[i].offset);
        if (offset == 0 || offset % 8 != 0 || rmt_reach(offset) == -ESTALE)
            return false;
    }
    return true;
}

/* This thread has just made itself the owner after a dead one.  The acquire of the CAS, and of this
 * load, pair with the release in rmt_commit: an armed record is a complete one. */
static int take_over(struct rmt_self *self, struct rmt_guard *g, uint64_t dead)
{
    uint64_t n = rmt_load64(&g->armed); /* pairs-with: guard.armed (acquire) */
    self->in_guard = 1;
    if (n != 0 && !record_sound(g, n)) {
        /* The guard stays taken, so that nobody comes in: who waits for it sees the poison. */
        rmt_poison("a commit record of a dead process is damaged");
        self->in_guard = 0;
        rmt_store64_relaxed(&self->thread->guard, 0);
        return -ENOTRECOVERABLE;
    }
    if (n != 0)
        rmt_replay(g, n);
    /* Recovered at unlock, or after the recovery in which this is the second one to be found. */
    if (self->found_dead != 0)
        rmt_mark_dying(self->found_dead);
    self->found_dead = dead;
    return 1;
}

/* Whether `owner`, who holds the guard, is dead; sleeps or spins a while where he is not. */
static int wait_for_owner(struct rmt_waiter *w, struct rmt_guard *g, uint64_t seen)
{
    if ((seen & RMT_FLAG_WAITERS) == 0) {
        if (w->spins > 0)
            return rmt_sleep(w, rmt_low32(&g->word), (uint32_t)seen, 0, 0);
        uint64_t expected = seen;
        if (!rmt_cas64(&g->word, &expected, seen | RMT_FLAG_WAITERS))
            return 0;
        seen |= RMT_FLAG_WAITERS;
    }
    return rmt_sleep(w, rmt_low32(&g->word), (uint32_t)seen, rmt_load64_relaxed(&g->self),
                     seen & ~RMT_FLAGS);
}

int rmt_guard_lock_slow(struct rmt_self *self, struct rmt_guard *g)
{
    struct rmt_waiter w;
    rmt_wait_start(&w, self, NULL);
    w.in_guard = 1;
    w.cancel.word = NULL; /* who commits is not cancelled half-way */
    uint64_t dead = 0;    /* an owner that is proven dead */
    for (;;) {
        if (rmt_load64_relaxed(&rmt_header()->poisoned) != 0) {
            rmt_store64_relaxed(&self->thread->guard, 0);
            return -ENOTRECOVERABLE;
        }
        uint64_t seen = rmt_load64(&g->word);
        uint64_t owner = seen & ~RMT_FLAGS;
        uint64_t mine = self->word | (w.slept ? RMT_FLAG_WAITERS : (seen & RMT_FLAG_WAITERS));
        if (owner == 0 || owner == dead) {
            if (!rmt_cas64(&g->word, &seen, mine)) /* pairs-with: guard.word (acquire) */
                continue;
            self->in_guard = 1;
            return owner == 0 ? 0 : take_over(self, g, owner);
        }
        if (wait_for_owner(&w, g, seen) == RMT_OWNER_DIED)
            dead = owner;
    }
}

void rmt_guard_unlock_slow(struct rmt_self *self, struct rmt_guard *g, uint64_t old)
{
    if (old & RMT_FLAG_WAITERS)
        rmt_os_futex_wake(rmt_low32(&g->word), 1);
    rmt_store64_relaxed(&self->thread->guard, 0);
    uint64_t dead = self->found_dead;
    if (dead != 0 && !self->recovering) {
        self->found_dead = 0;
        rmt_recover(self, dead);
    }
}
