/* SPDX-License-Identifier: MIT
 *
 * rest.h: waiting at a bell: spin on the word that will change, then sleep on the bell.  The proof
 * that no wake is lost is in bell.h.
 */
#ifndef RMT_REST_H
#define RMT_REST_H

#include "channel/bell.h"

struct rmt_rest { /* process-local: where and for what a call waits */
    struct rmt_self *self;
    const ramet_wait *wait;
    rmt_a32 *bell;
    uint64_t bell_offset;
    const rmt_a64 *word;               /* what changes when the wait may be over */
    bool (*ready)(const void *object); /* whether it is over: true when in doubt */
    const void *object;
    const void *ahead; /* what is read once the wait is over; NULL: nothing in particular */
    struct rmt_waiter w;
    bool started, slept;
    bool noted; /* the bell, in thread.wakes_too: what follows notes others in thread.wakes */
};

/* Waits until ready() may be true. 0 (try again), -ETIMEDOUT, -EINTR, -EINVAL, -ENOTRECOVERABLE. */
static inline int rmt_rest(struct rmt_rest *s)
{
    if (!s->started) {
        int r = rmt_wait_start(&s->w, s->self, s->wait);
        if (r < 0)
            return r;
        s->started = true;
    }
    if (s->ahead)
        s->w.ahead = s->ahead;
    if (s->w.deadline == 0)
        return rmt_sleep(&s->w, s->bell, 0, 0, 0); /* -ETIMEDOUT, and nothing is touched */
    if (s->w.spins > 0) {
        rmt_a32 *low = rmt_low32((rmt_a64 *)(uintptr_t)s->word);
        uint32_t seen = rmt_load32(low);
        if (s->ready(s->object))
            return 0;
        int r = rmt_sleep(&s->w, low, seen, 0, 0);
        if (r < 0 || s->ready(s->object))
            return r;
    }
    /* Who is woken and dies before it has passed the wake on leaves this behind. */
    if (!s->noted && rmt_load64_relaxed(&s->self->thread->wakes_too) == 0) {
        s->noted = true;
        rmt_store64(&s->self->thread->wakes_too, s->bell_offset);
    }
    if (!s->noted) /* that is owed by a notification */
        rmt_store64(&s->self->thread->wakes, s->bell_offset);
    uint32_t v = rmt_bell_arm(s->bell);
    if (s->ready(s->object))
        return 0;
    s->slept = true;
    return rmt_sleep(&s->w, s->bell, v, s->bell_offset, 0);
}

/* Before the call returns, with whatever result: passes on what it may have been woken for. */
static inline void rmt_rest_end(struct rmt_rest *s, int wakes)
{
    if (s->slept) {
        rmt_bell_arm(s->bell);
        if (s->ready(s->object))
            rmt_bell_ring(s->bell, wakes);
    }
    if (s->noted)
        rmt_store64(&s->self->thread->wakes_too, 0);
}

#endif
