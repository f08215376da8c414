/* SPDX-License-Identifier: MIT
 *
 * wait.c: the one wait loop; see wait.h.
 *
 * Spinning.  A wake-up across cores costs tens of microseconds, a changed word is seen in well
 * under one. So a waiter first looks at the word for a while, for self->spin ns: twice as long
 * after it helped, half after it did not, down to nothing; when it is nothing, every 64th wait
 * tries again.  (Adaptive spinning: Karlin, Li, Manasse, Owicki, "Empirical studies of competitive
 * spinning", 1991.)  That trial must last as long as a wake-up: where two have given up, each
 * answers the other only after one, and a shorter trial would never see that neither need sleep.
 * Whether there is a second processor is asked of the machine and not of the affinity: a process
 * that is bound to one may be answered by one that is bound to another.
 *
 * Slices.  A sleep lasts at most a slice: 1 ms at first, doubling up to 250 ms.  After each, the
 * owner that is waited for is checked (its pidfd), and the caller looks at its condition again, so
 * that no lost wake, whatever the death that lost it, costs more than a slice.
 */
#include "arena/wait.h"
#include "arena/local.h"
#include "base/os.h"

#include <errno.h>

#define SPIN_MIN 500u   /* ns */
#define SPIN_MAX 40000u /* ns: about a wake-up there and back */
#define SPIN_TRIALS 64  /* a trial costs a sleep; of so many, it is little */
#define SLICE_MIN 1000000
#define SLICE_MAX 250000000

rmt_a32 rmt_signals_pend;

int rmt_wait_start(struct rmt_waiter *w, struct rmt_self *self, const ramet_wait *wait)
{
    if (wait && wait->size != sizeof *wait)
        return -EINVAL;
    w->self = self;
    w->deadline = wait ? wait->deadline : RAMET_FOREVER;
    w->ahead = w;
    w->slice = SLICE_MIN;
    w->slept = 0;
    w->in_guard = 0;
    rmt_cancel_watch(&w->cancel, self);
    w->spins = self->spin;
    w->trial = w->spins == 0 && ++self->sleeps % SPIN_TRIALS == 0 && rmt_os_multiprocessor();
    if (w->trial)
        w->spins = SPIN_MAX;
    return 0;
}

/* True as soon as the word changes, within w->spins ns. */
static bool spin(struct rmt_waiter *w, const rmt_a32 *word, uint32_t seen)
{
    int64_t end = 0;
    uint32_t budget = w->spins;
    bool changed = false;
    w->spins = 0;
    for (unsigned i = 1; !changed; i++) {
        rmt_pause();
        rmt_prefetch_load(w->ahead);
        changed = rmt_load32(word) != seen;
        if (i % 16 == 0) {
            int64_t now = rmt_os_now();
            if (end == 0)
                end = now + budget;
            else if (now >= end)
                break;
        }
    }
    uint32_t next = changed ? budget * 2 : w->trial ? 0 : budget / 2;
    w->trial = 0;
    w->self->spin = next > SPIN_MAX ? SPIN_MAX : next < SPIN_MIN ? (changed ? SPIN_MIN : 0) : next;
    return changed;
}

/* After the store of `waits`.  The barrier between that store and this look pairs with the one in
 * rmt_cancel_wake, between the store that fires and the look at `waits`: either this thread sees
 * that the object was fired, or who fires sees on what this thread sleeps and wakes it.  A wake
 * that falls between this look and the sleep itself is made good by the next look, a slice later.
 */
static bool cancelled(const struct rmt_waiter *w)
{
    if (RMT_LIKELY(w->cancel.word == NULL))
        return false;
    rmt_fence();
    return rmt_cancelled(&w->cancel);
}

int rmt_sleep(struct rmt_waiter *w, rmt_a32 *word, uint32_t seen, uint64_t offset, uint64_t owner)
{
    struct rmt_self *self = w->self;
    if (w->deadline == 0)
        return -ETIMEDOUT;
    if (w->spins > 0 && spin(w, word, seen))
        return 0;
    if (rmt_load64_relaxed(&rmt_header()->poisoned) != 0)
        return -ENOTRECOVERABLE;
    if (owner == 0 && offset == 0)
        return 0; /* the caller only wanted to spin */
    if (owner != 0 && rmt_dead_known(owner)) {
        if (!w->in_guard)
            rmt_recover(self, owner);
        return RMT_OWNER_DIED;
    }

    int64_t now = rmt_os_now(), end = now + w->slice;
    bool last = w->deadline <= end;
    if (w->slept == 0)
        rmt_store64_relaxed(&self->thread->since, (uint64_t)now);
    /* Written before the sleep: recovery of this thread wakes the word again if it dies with a
     * wake, and recovery of the owner wakes those who wait for it. */
    rmt_store64_relaxed(&self->thread->waits_owner, owner);
    rmt_store64(&self->thread->waits, offset);
    int r = -ECANCELED;
    if (!cancelled(w))
        r = rmt_os_futex_wait(word, seen, last ? w->deadline : end);
    w->slept++;
    if (r == -ETIMEDOUT && !last) {
        bool thorough = w->slice >= SLICE_MAX;
        if (w->slice < SLICE_MAX)
            w->slice *= 2;
        if (owner != 0 && (thorough ? rmt_dead_thorough(owner) : rmt_dead(owner)))
            r = RMT_OWNER_DIED;
        else
            r = thorough && !w->in_guard && rmt_load32_relaxed(&rmt_signals_pend) ? -EINTR : 0;
    }
    rmt_store64(&self->thread->waits, 0);
    if (r == RMT_OWNER_DIED && !w->in_guard)
        rmt_recover(self, owner);
    return r == -EAGAIN ? 0 : r;
}

void rmt_wake(rmt_a32 *word, int count)
{
    rmt_os_futex_wake(word, count);
    rmt_watch_ring(word);
}

/* ---- watchers */

struct rmt_member *rmt_watch_slot(const struct rmt_self *self, uint64_t *ret_offset)
{
    *ret_offset = rmt_member_offset(rmt_word_slot(self->word));
    return rmt_at(*ret_offset);
}

void rmt_watch_announce(const struct rmt_self *self, uint64_t filter)
{
    rmt_a64 *watched = &rmt_header()->watched, *watchers = &rmt_header()->watchers;
    uint64_t needed = rmt_word_slot(self->word) + 1, seen = rmt_load64(watchers);
    while (seen < needed && !rmt_cas64(watchers, &seen, needed))
        ;
    if ((filter & ~rmt_load64(watched)) != 0)
        rmt_or64(watched, filter);
}

/* Has the watcher look at its hits. */
static void ring(struct rmt_member *m)
{
    uint32_t v = rmt_load32(&m->watch);
    while ((v & 1) != 0) {
        if (rmt_cas32(&m->watch, &v, (v & ~1u) + 2)) {
            rmt_os_futex_wake(&m->watch, 1);
            return;
        }
    }
}

/* As rmt_bell_ring, for each watcher that may mean the word: the hit is noted before the look at
 * the bell, and a watcher takes its hits after it has armed its bell.  If this thread dies here,
 * its recovery rings `again`: also where the bell says that nobody sleeps, since that may be the
 * dead one's doing. */
void rmt_watch_ring_slow(const rmt_a32 *word, bool again)
{
    uint64_t bit = rmt_watch_bit(word), end = rmt_load64(&rmt_header()->watchers);
    for (uint32_t slot = 1; slot < end && slot < RMT_SLOTS; slot++) {
        struct rmt_member *m = rmt_member_at(slot);
        if ((rmt_load64(&m->watched) & bit) == 0)
            continue;
        rmt_or64(&m->watch_hits, bit);
        rmt_fence();
        if (again) {
            rmt_add32(&m->watch, 2);
            rmt_os_futex_wake(&m->watch, 1);
        } else {
            ring(m);
        }
    }
}
