/* SPDX-License-Identifier: MIT
 *
 * guard.h: the lock of a shared structure, and how a change of several words is made by one store.
 *
 *     rmt_guard_lock(self, g);
 *     ... read; prepare where no one looks ...
 *     rmt_redo(g, 0, offset_a, value_a);      nothing has happened yet
 *     rmt_redo(g, 1, offset_b, value_b);
 *     rmt_commit(g, 2);                       one store makes both true, then they are applied
 *     rmt_guard_unlock(self, g);
 *
 * The commit record is a redo log of physical words: whoever takes the guard over from a dead owner
 * applies an armed record again before he does anything else, so that a death before the arming
 * store has changed nothing and a death after it has changed everything.  A change of one word
 * needs no record: it is one rmt_store64.  (Idea: physical redo logging, Mohan et al., ARIES, 1992,
 * section 1; here the log is one record, because the guard admits one change at a time.)
 *
 * Rules: guards never nest; no system call, no payload copy, nothing that blocks under one; words
 * that are written by a redo under one guard are written by nobody else at that time (another
 * thread's holds: never; one's own: fine).
 */
#ifndef RMT_GUARD_H
#define RMT_GUARD_H

#include "arena/self.h"

void rmt_guard_init(struct rmt_guard *g, uint64_t offset);

int rmt_guard_lock_slow(struct rmt_self *self, struct rmt_guard *g);
void rmt_guard_unlock_slow(struct rmt_self *self, struct rmt_guard *g, uint64_t old);

/* Takes the guard.  0; 1 if it was taken over from a dead owner (the record has been replayed;
 * structures with caches rebuild them); -ENOTRECOVERABLE if the arena is poisoned.  Not
 * interrupted. */
static inline int rmt_guard_lock(struct rmt_self *self, struct rmt_guard *g)
{
    uint64_t free_word = 0;
    rmt_store64(&self->thread->guard,
                rmt_load64_relaxed(&g->self)); /* before the CAS: recovery looks there */
    /* pairs-with: guard.word (acquire) */
    if (RMT_LIKELY(rmt_cas64(&g->word, &free_word, self->word))) {
        self->in_guard = 1;
        return 0;
    }
    return rmt_guard_lock_slow(self, g);
}

static inline void rmt_redo(struct rmt_guard *g, unsigned i, uint64_t offset, uint64_t value)
{
    rmt_store64_relaxed(&g->redo[i].offset, offset);
    rmt_store64_relaxed(&g->redo[i].value, value);
}

/* The commit of the record, and what follows when its words have been applied. */
static inline void rmt_arm(struct rmt_guard *g, unsigned n)
{
    /* The record before it.  pairs-with: guard.armed (release) */
    rmt_store64(&g->armed, n);
}

static inline void rmt_disarm(struct rmt_guard *g)
{
    rmt_store64(&g->armed, 0);
}

static inline void rmt_replay(struct rmt_guard *g, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        rmt_a64 *word = rmt_at(rmt_load64_relaxed(&g->redo[i].offset));
        rmt_store64(word, rmt_load64_relaxed(&g->redo[i].value));
    }
    rmt_disarm(g);
}

static inline void rmt_commit(struct rmt_guard *g, unsigned n)
{
    rmt_arm(g, n);
    rmt_replay(g, n);
}

/* Releases and wakes one sleeper if there may be any.  A full barrier: what was stored before is
 * seen by everybody before any later load of this thread ("publish, then look for sleepers"). */
static inline void rmt_guard_unlock(struct rmt_self *self, struct rmt_guard *g)
{
    self->in_guard = 0;
    /* pairs-with: guard.word (release) */
    uint64_t old = rmt_xchg64(&g->word, 0);
    if (RMT_UNLIKELY((old & RMT_FLAG_WAITERS) != 0 || self->found_dead != 0))
        rmt_guard_unlock_slow(self, g, old);
    else
        rmt_store64_relaxed(&self->thread->guard, 0); /* the guard's memory may now be freed */
}

#endif
