/* SPDX-License-Identifier: MIT
 *
 * barrier.c: the barrier; its states are in barrier.h.
 */
#include "sync/barrier.h"
#include "arena/kind.h"
#include "sync/waiter.h"

#include <errno.h>

#define STATE(at) ((at) + offsetof(struct rmt_barrier, state))
#define COUNT(at) ((at) + offsetof(struct rmt_barrier, count))

/* The word for a change to `state`. */
static uint64_t next_state(const struct rmt_barrier *b, enum rmt_barrier_state state)
{
    return ((rmt_load64_relaxed(&b->state) >> 8) + 1) << 8 | (uint64_t)state;
}

static void wake_all(struct rmt_barrier *b)
{
    rmt_wake(rmt_low32(&b->state), INT32_MAX);
}

/* Under the guard: a change of the state alone.  The caller wakes all after unlocking. */
static void change(struct rmt_self *self, struct rmt_barrier *b, uint64_t at,
                   enum rmt_barrier_state to)
{
    rmt_store64(&self->thread->wakes, STATE(at)); /* recovery repeats the wake */
    rmt_store64(&b->state, next_state(b, to));    /* the commit */
}

/* Under the guard: one more is out; `hold` is the offset of its hold word. 1: the state changed. */
static bool take_out(struct rmt_self *self, struct rmt_barrier *b, uint64_t at, uint64_t hold,
                     bool died)
{
    uint64_t count = rmt_load64_relaxed(&b->count);
    enum rmt_barrier_state state = rmt_barrier_state(b), to = state;
    unsigned n = 0;
    if (died && (state == RMT_BARRIER_FILLING || state == RMT_BARRIER_ACTING))
        to = RMT_BARRIER_BROKEN;
    else if (count == 1 && (state == RMT_BARRIER_DRAINING || state == RMT_BARRIER_RESETTING))
        to = RMT_BARRIER_FILLING;
    rmt_redo(&b->guard, n++, COUNT(at), count - 1);
    rmt_redo(&b->guard, n++, hold, 0);
    if (to != state) {
        rmt_store64(&self->thread->wakes, STATE(at));
        rmt_redo(&b->guard, n++, STATE(at), next_state(b, to));
    }
    rmt_commit(&b->guard, n);
    return to != state;
}

/* Under the guard, while FILLING: comes in. */
static void take_in(struct rmt_barrier_wait *bw)
{
    struct rmt_self *self = bw->self;
    struct rmt_barrier *b = bw->b;
    uint64_t count = rmt_load64_relaxed(&b->count);
    unsigned n = 0;
    rmt_store64_relaxed(&self->thread->hold[bw->hold].arg, rmt_generation_of(bw->at));
    rmt_redo(&b->guard, n++, COUNT(bw->at), count + 1);
    rmt_redo(&b->guard, n++, rmt_hold_what(self, bw->hold), bw->at | RMT_HOLD_WAITER);
    if (count + 1 == b->parties)
        rmt_redo(&b->guard, n++, STATE(bw->at), next_state(b, RMT_BARRIER_ACTING));
    rmt_commit(&b->guard, n);
    bw->index = (uint32_t)count;
}

int rmt_barrier_enter(struct rmt_barrier_wait *bw, struct rmt_self *self, struct rmt_barrier *b,
                      uint64_t at)
{
    struct rmt_waiter w;
    int r = rmt_wait_start(&w, self, NULL);
    if (r < 0)
        return r;
    *bw = (struct rmt_barrier_wait){
        .self = self, .b = b, .at = at, .word = self->word, .hold = rmt_hold_find(self)};
    if (bw->hold < 0)
        return bw->hold;
    for (;;) {
        uint64_t seen = rmt_load64(&b->state);
        enum rmt_barrier_state state = seen & 255;
        if (state == RMT_BARRIER_BROKEN)
            return -ECANCELED;
        if (state == RMT_BARRIER_FILLING) {
            r = rmt_guard_lock(self, &b->guard);
            if (r < 0)
                return r;
            bool in = rmt_barrier_state(b) == RMT_BARRIER_FILLING;
            if (in)
                take_in(bw);
            rmt_guard_unlock(self, &b->guard);
            if (in)
                return bw->index + 1 == b->parties;
        } else {
            r = rmt_sleep_watching(&w, rmt_low32(&b->state), (uint32_t)seen, STATE(at));
            if (r < 0)
                return r;
        }
    }
}

/* The time is up: breaks the barrier, unless its round is over or about to be. */
static int break_late(struct rmt_barrier_wait *bw)
{
    int r = rmt_guard_lock(bw->self, &bw->b->guard);
    if (r < 0)
        return r;
    bool filling = rmt_barrier_state(bw->b) == RMT_BARRIER_FILLING;
    if (filling)
        change(bw->self, bw->b, bw->at, RMT_BARRIER_BROKEN);
    rmt_guard_unlock(bw->self, &bw->b->guard);
    if (filling)
        wake_all(bw->b);
    return filling ? -ETIMEDOUT : 0;
}

int rmt_barrier_await(struct rmt_barrier_wait *bw, const ramet_wait *wait)
{
    struct rmt_barrier *b = bw->b;
    struct rmt_waiter w;
    if (bw->self->word != bw->word)
        return -ECHILD;
    int r = rmt_wait_start(&w, bw->self, wait);
    if (r < 0)
        return r;
    for (;;) {
        uint64_t seen = rmt_load64(&b->state);
        switch ((enum rmt_barrier_state)(seen & 255)) {
        case RMT_BARRIER_DRAINING:
            return 0;
        case RMT_BARRIER_RESETTING:
        case RMT_BARRIER_BROKEN:
            return -ECANCELED;
        case RMT_BARRIER_ACTING:
            w.deadline = RAMET_FOREVER; /* all are there: nobody is late any more */
            break;
        case RMT_BARRIER_FILLING:
            break;
        }
        r = rmt_sleep_watching(&w, rmt_low32(&b->state), (uint32_t)seen, STATE(bw->at));
        if (r == -ETIMEDOUT)
            r = break_late(bw);
        if (r == -ECANCELED) {
            int full = rmt_barrier_withdraw(bw);
            if (full <= 0)
                return full < 0 ? full : -ECANCELED;
            w.cancel.word = NULL; /* this thread goes when the round ends */
            r = 0;
        }
        if (r < 0)
            return r;
    }
}

int rmt_barrier_withdraw(struct rmt_barrier_wait *bw)
{
    if (bw->self->word != bw->word)
        return -ECHILD;
    int r = rmt_guard_lock(bw->self, &bw->b->guard);
    if (r < 0)
        return r;
    enum rmt_barrier_state state = rmt_barrier_state(bw->b);
    bool full = state == RMT_BARRIER_ACTING || state == RMT_BARRIER_DRAINING;
    bool changed =
        !full && take_out(bw->self, bw->b, bw->at, rmt_hold_what(bw->self, bw->hold), false);
    rmt_guard_unlock(bw->self, &bw->b->guard);
    if (full)
        return 1;
    bw->hold = -1;
    if (changed)
        wake_all(bw->b);
    return 0;
}

int rmt_barrier_finish(struct rmt_barrier_wait *bw, bool well)
{
    if (bw->self->word != bw->word)
        return -ECHILD;
    int r = rmt_guard_lock(bw->self, &bw->b->guard);
    if (r < 0)
        return r;
    bool acting = rmt_barrier_state(bw->b) == RMT_BARRIER_ACTING;
    if (acting)
        change(bw->self, bw->b, bw->at, well ? RMT_BARRIER_DRAINING : RMT_BARRIER_BROKEN);
    rmt_guard_unlock(bw->self, &bw->b->guard);
    if (acting)
        wake_all(bw->b);
    return acting ? 0 : -ECANCELED;
}

int rmt_barrier_leave(struct rmt_barrier_wait *bw)
{
    if (bw->self->word != bw->word)
        return -ECHILD;
    if (bw->hold < 0)
        return 0;
    int r = rmt_guard_lock(bw->self, &bw->b->guard);
    if (r < 0)
        return r;
    bool changed = take_out(bw->self, bw->b, bw->at, rmt_hold_what(bw->self, bw->hold), false);
    rmt_guard_unlock(bw->self, &bw->b->guard);
    if (changed)
        wake_all(bw->b);
    return 0;
}

int rmt_barrier_abort(struct rmt_self *self, struct rmt_barrier *b, uint64_t at)
{
    int r = rmt_guard_lock(self, &b->guard);
    if (r < 0)
        return r;
    bool changes = rmt_barrier_state(b) != RMT_BARRIER_BROKEN;
    if (changes)
        change(self, b, at, RMT_BARRIER_BROKEN);
    rmt_guard_unlock(self, &b->guard);
    if (changes)
        wake_all(b);
    return 0;
}

int rmt_barrier_reset(struct rmt_self *self, struct rmt_barrier *b, uint64_t at)
{
    int r = rmt_guard_lock(self, &b->guard);
    if (r < 0)
        return r;
    enum rmt_barrier_state state = rmt_barrier_state(b), to = state;
    if (state != RMT_BARRIER_DRAINING)
        to = rmt_load64_relaxed(&b->count) > 0 ? RMT_BARRIER_RESETTING : RMT_BARRIER_FILLING;
    if (to != state)
        change(self, b, at, to);
    rmt_guard_unlock(self, &b->guard);
    if (to != state)
        wake_all(b);
    return 0;
}

static void recover_waiter(struct rmt_self *self, uint64_t at, uint64_t dead_offset, int index)
{
    struct rmt_barrier *b = rmt_at(at);
    uint64_t what = rmt_hold_what_of(dead_offset, index);
    bool changed = false;
    if (rmt_guard_lock(self, &b->guard) < 0)
        return;
    if (rmt_load64_relaxed((rmt_a64 *)rmt_at(what)) != 0)
        changed = take_out(self, b, at, what, true);
    rmt_guard_unlock(self, &b->guard);
    if (changed)
        wake_all(b);
}

__attribute__((constructor)) static void register_recovery(void)
{
    rmt_waiter_register(RAMET_KIND_BARRIER, recover_waiter);
}
