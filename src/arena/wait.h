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
 *         if (r < 0) return r;              -ETIMEDOUT, -EINTR, -ECANCELED
 *         if (r == RMT_OWNER_DIED) ...      the process of owner_word is dead (and recovered)
 *     }
 */
#ifndef RMT_WAIT_H
#define RMT_WAIT_H

#include "arena/self.h"

/* ---- cancelling.  The word of a cancel object (sync/cancel.h) is a generation << 1 | fired.  A
 * wait is cancelled if the object is fired, or was since the wait began. */
#define RMT_CANCEL_FIRED UINT64_C(1)
#define RMT_CANCEL_GENERATION UINT64_C(2)

struct rmt_cancel_watch {
    const rmt_a64 *word; /* NULL: nothing cancels this wait */
    uint64_t seen;       /* the word without its flag when the wait began */
};

static inline void rmt_cancel_watch(struct rmt_cancel_watch *watch, const struct rmt_self *self)
{
    watch->word = self->cancel;
    watch->seen = self->cancel ? rmt_load64_relaxed(self->cancel) & ~RMT_CANCEL_FIRED : 0;
}

static inline bool rmt_cancelled(const struct rmt_cancel_watch *watch)
{
    return watch->word && rmt_load64(watch->word) != watch->seen;
}

/* For waits inside an operation that must come to its end: until `unmask`, nothing cancels this
 * thread's waits. */
static inline const rmt_a64 *rmt_cancel_mask(struct rmt_self *self)
{
    const rmt_a64 *word = self->cancel;
    self->cancel = NULL;
    return word;
}
static inline void rmt_cancel_unmask(struct rmt_self *self, const rmt_a64 *word)
{
    self->cancel = word;
}

/* The cancel object whose payload is at `at` was fired: wakes the threads that it concerns.  May be
 * called by a signal handler: it takes no lock and maps nothing. */
void rmt_cancel_wake(uint64_t at);

struct rmt_waiter {
    struct rmt_self *self;
    struct rmt_cancel_watch cancel;
    int64_t deadline;
    const void *ahead; /* fetched at each look of a spin: what is read once the word has changed, so
                          that its line is under way together with the word's; any address */
    int64_t slice;     /* ns of the next slice; doubles up to a limit */
    uint32_t spins;    /* ns of spinning left */
    uint32_t trial;    /* 1: they are a trial, of one that has given spinning up */
    uint32_t slept;    /* slices slept: 0 means that spinning was enough */
    uint32_t in_guard; /* a guard waits: report a death, do not recover */
};

#define RMT_OWNER_DIED 1

/* `wait` NULL: for ever. -EINVAL for a ramet_wait of an unknown size. */
int rmt_wait_start(struct rmt_waiter *w, struct rmt_self *self, const ramet_wait *wait);

/* Waits until *word is probably no longer `seen`: 0 (look again; may be spurious), RMT_OWNER_DIED,
 * -ETIMEDOUT, -EINTR, -ECANCELED, -ENOTRECOVERABLE.  owner 0: nobody in particular.  Not while
 * holding a guard.
 */
int rmt_sleep(struct rmt_waiter *w, rmt_a32 *word, uint32_t seen, uint64_t offset, uint64_t owner);

/* Set to 1 by a layer above whose signal handlers only note the signal, as CPython's do.  A signal
 * that comes between two slices interrupts no sleep; so that it does not stay unhandled for ever, a
 * long wait then also returns -EINTR about twice a second. */
extern rmt_a32 rmt_signals_pend;

/* ---- watching.  A process may have one thread that sleeps on a word of its member slot in the
 * place of many waits (sync/watch.h).  Its slot says, in a filter of 64 bits, which words are
 * meant; who wakes the sleepers of a word wakes those watchers, too.  A watcher sets its filter
 * before it does to the word what a sleeper does (sets the flag that calls for a wake), so that
 * whoever sees that flag sees the filter. */

/* The same in every process: windows are mapped at pages, and a page has 64 lines. */
static inline uint64_t rmt_watch_bit(const rmt_a32 *word)
{
    return UINT64_C(1) << (((uintptr_t)word >> 6) & 63);
}

void rmt_watch_ring_slow(const rmt_a32 *word, bool again);

/* Between a locked instruction (the exchange that released a guard) and the glance below, where the
 * watcher sets no flag: as rmt_bell_barrier. */
static inline void rmt_watch_barrier(void)
{
#if !defined(__x86_64__)
    rmt_fence();
#endif
}

/* Whether anybody may ever have watched *word. */
static inline bool rmt_watch_may_be(const rmt_a32 *word)
{
    return (rmt_glance64(&rmt_header()->watched) & rmt_watch_bit(word)) != 0;
}

/* Something has changed of which *word tells. */
static inline void rmt_watch_ring(const rmt_a32 *word)
{
    if (RMT_UNLIKELY(rmt_watch_may_be(word)))
        rmt_watch_ring_slow(word, false);
}

/* For recovery: the dead may have rung the watchers' bells and not woken who sleeps at them. */
static inline void rmt_watch_ring_again(const rmt_a32 *word)
{
    if (rmt_watch_may_be(word))
        rmt_watch_ring_slow(word, true);
}

/* The calling thread's member slot, and its offset. */
struct rmt_member *rmt_watch_slot(const struct rmt_self *self, uint64_t *ret_offset);

/* Says that the slot watches, and what.  Before its filter is set to that. */
void rmt_watch_announce(const struct rmt_self *self, uint64_t filter);

/* Wakes up to `count` sleepers of *word, and its watchers.  The caller has stored the word's offset
 * in self->thread->wakes before the store that they wait for, so that recovery repeats the wake. */
void rmt_wake(rmt_a32 *word, int count);

#endif
