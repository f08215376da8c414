/* SPDX-License-Identifier: MIT
 *
 * wait.h: the one wait loop.  Everything that blocks, blocks in rmt_sleep; it spins a little where
 * a second core can make that worth it, then sleeps on a futex in slices, and between slices asks
 * whether the one it waits for is dead.  (It lives in the arena layer because the arena's own
 * guards wait in it and because it needs the member table: docs/decisions/001.)
 *
 *     struct rmt_waiter w;
 *     rmt_wait_start(&w, self, wait);
 *     while (!(condition on *word)) {
 *         int r = rmt_sleep(&w, word, value_seen, word_offset, owner_word);
 *         if (r < 0) return r;              -ETIMEDOUT, -EINTR
 *         if (r == RMT_OWNER_DIED) ...      the process of owner_word is dead (and recovered)
 *     }
 */
#ifndef RMT_WAIT_H
#define RMT_WAIT_H

#include "arena/self.h"

struct rmt_waiter {
    struct rmt_self *self;
    int64_t deadline;
    int64_t slice;     /* ns of the next slice; doubles up to a limit */
    uint32_t spins;    /* ns of spinning left */
    uint32_t slept;    /* slices slept: 0 means that spinning was enough */
    uint32_t in_guard; /* a guard waits: report a death, do not recover */
};

#define RMT_OWNER_DIED 1

/* `wait` NULL: for ever. -EINVAL for a ramet_wait of an unknown size. */
int rmt_wait_start(struct rmt_waiter *w, struct rmt_self *self, const ramet_wait *wait);

/* Waits until *word is probably no longer `seen`: 0 (look again; may be spurious), RMT_OWNER_DIED,
 * -ETIMEDOUT, -EINTR, -ENOTRECOVERABLE.  owner 0: nobody in particular.  Not while holding a guard.
 */
int rmt_sleep(struct rmt_waiter *w, rmt_a32 *word, uint32_t seen, uint64_t offset, uint64_t owner);

/* Set to 1 by a layer above whose signal handlers only note the signal, as CPython's do.  A signal
 * that comes between two slices interrupts no sleep; so that it does not stay unhandled for ever, a
 * long wait then also returns -EINTR about twice a second. */
extern rmt_a32 rmt_signals_pend;

/* Wakes up to `count` sleepers of *word.  The caller has stored the word's offset in
 * self->thread->wakes before the store that they wait for, so that recovery repeats the wake. */
void rmt_wake(rmt_a32 *word, int count);

#endif
