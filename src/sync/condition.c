/* SPDX-License-Identifier: MIT
 *
 * condition.c: the list of waiters and notifications; the words and their states are in
 * condition.h. What a handle does with it and with the lock is in condition_handle.c.
 *
 * Exactness.  A notification takes one thread from the list by a commit that also empties its
 * list_of; that is the whole of it.  The wake that follows is only for speed: a thread goes on
 * because its list_of is 0.  A wait that times out is over by a commit, too, under the same guard:
 * it was notified, or it was not.
 */
#include "sync/condition.h"
#include "sync/waiter.h"

#include <errno.h>

#define FIELD(at, name) ((at) + offsetof(struct rmt_condition, name))
#define THREAD(at, name) ((at) + offsetof(struct rmt_thread, name))

static struct rmt_thread *thread_at(uint64_t offset)
{
    return rmt_at(offset);
}

/* Under the guard, redo words from `n` on: takes the thread at `t` out of the list. Returns the
 * next n. */
static unsigned redo_unlink(struct rmt_condition *c, uint64_t at, uint64_t t, unsigned n)
{
    struct rmt_guard *g = &c->guard;
    uint64_t next = rmt_load64_relaxed(&thread_at(t)->list_next);
    uint64_t prev = rmt_load64_relaxed(&thread_at(t)->list_prev);
    rmt_redo(g, n++, prev ? THREAD(prev, list_next) : FIELD(at, head), next);
    rmt_redo(g, n++, next ? THREAD(next, list_prev) : FIELD(at, tail), prev);
    rmt_redo(g, n++, FIELD(at, waiting), rmt_load64_relaxed(&c->waiting) - 1);
    rmt_redo(g, n++, THREAD(t, list_of), 0);
    return n;
}

/* Under the guard: notifies the first in the list. `passed`: offset of the hold word of one who had
 * been notified and hands it on, 0 none.  Returns the futex word to wake, 0 none. */
static uint64_t notify_one(struct rmt_self *self, struct rmt_condition *c, uint64_t at,
                           uint64_t passed)
{
    struct rmt_guard *g = &c->guard;
    uint64_t pending = rmt_load64_relaxed(&c->pending);
    uint64_t t = rmt_load64_relaxed(&c->head);
    unsigned n = 0;
    if (passed != 0)
        rmt_redo(g, n++, passed, 0);
    if (t == 0) {
        if (passed != 0) {
            rmt_redo(g, n++, FIELD(at, pending), pending - 1);
            rmt_commit(g, n);
        }
        return 0;
    }
    rmt_store64(&self->thread->wakes, THREAD(t, list_of)); /* recovery repeats the wake */
    n = redo_unlink(c, at, t, n);
    if (passed == 0)
        rmt_redo(g, n++, FIELD(at, pending), pending + 1);
    rmt_commit(g, n);
    return THREAD(t, list_of);
}

static void wake(uint64_t word)
{
    if (word != 0)
        rmt_wake(rmt_low32(rmt_at(word)), 1);
}

int rmt_condition_begin(struct rmt_condition_wait *cw, struct rmt_self *self,
                        struct rmt_condition *c, uint64_t at)
{
    struct rmt_thread *me = self->thread;
    struct rmt_guard *g = &c->guard;
    if (rmt_load64_relaxed(&me->list_of) != 0)
        return -EDEADLK; /* a signal handler, while this thread waits in another one */
    int hold = rmt_hold_find(self);
    if (hold < 0)
        return hold;
    int r = rmt_guard_lock(self, g);
    if (r < 0)
        return r;
    uint64_t tail = rmt_load64_relaxed(&c->tail);
    /* Nobody looks at these before the commit. */
    rmt_store64_relaxed(&me->list_next, 0);
    rmt_store64_relaxed(&me->list_prev, tail);
    rmt_store64_relaxed(&me->hold[hold].arg, rmt_generation_of(at));
    rmt_redo(g, 0, tail ? THREAD(tail, list_next) : FIELD(at, head), self->offset);
    rmt_redo(g, 1, FIELD(at, tail), self->offset);
    rmt_redo(g, 2, FIELD(at, waiting), rmt_load64_relaxed(&c->waiting) + 1);
    rmt_redo(g, 3, THREAD(self->offset, list_of), at);
    rmt_redo(g, 4, rmt_hold_what(self, hold), at | RMT_HOLD_WAITER);
    rmt_commit(g, 5);
    rmt_guard_unlock(self, g);
    *cw = (struct rmt_condition_wait){
        .self = self, .c = c, .at = at, .word = self->word, .hold = hold};
    return 0;
}

int rmt_condition_sleep(struct rmt_condition_wait *cw, const ramet_wait *wait)
{
    struct rmt_self *self = cw->self;
    rmt_a64 *list_of = &self->thread->list_of;
    struct rmt_waiter w;
    int r = rmt_wait_start(&w, self, wait);
    if (self->word != cw->word)
        return -ECHILD;
    while (r >= 0 && rmt_load64(list_of) != 0) /* acquire: pairs with the release in rmt_replay */
        r = rmt_sleep_watching(&w, rmt_low32(list_of), (uint32_t)cw->at,
                               THREAD(self->offset, list_of));
    return r < 0 && rmt_load64(list_of) != 0 ? r : 0;
}

int rmt_condition_leave(struct rmt_condition_wait *cw)
{
    struct rmt_self *self = cw->self;
    struct rmt_condition *c = cw->c;
    if (self->word != cw->word)
        return -ECHILD;
    if (rmt_load64(&self->thread->list_of) == 0)
        return 1;
    int r = rmt_guard_lock(self, &c->guard);
    if (r < 0)
        return r;
    bool notified = rmt_load64_relaxed(&self->thread->list_of) == 0;
    if (!notified) {
        unsigned n = redo_unlink(c, cw->at, self->offset, 0);
        rmt_redo(&c->guard, n++, rmt_hold_what(self, cw->hold), 0);
        rmt_commit(&c->guard, n);
    }
    rmt_guard_unlock(self, &c->guard);
    return notified;
}

int rmt_condition_end(struct rmt_condition_wait *cw, bool use)
{
    struct rmt_self *self = cw->self;
    struct rmt_condition *c = cw->c;
    uint64_t hold = rmt_hold_what(self, cw->hold), woken = 0;
    if (self->word != cw->word)
        return -ECHILD;
    int r = rmt_guard_lock(self, &c->guard);
    if (r < 0)
        return r;
    if (use) {
        rmt_redo(&c->guard, 0, FIELD(cw->at, pending), rmt_load64_relaxed(&c->pending) - 1);
        rmt_redo(&c->guard, 1, hold, 0);
        rmt_commit(&c->guard, 2);
    } else {
        woken = notify_one(self, c, cw->at, hold);
    }
    rmt_guard_unlock(self, &c->guard);
    wake(woken);
    return 0;
}

int rmt_condition_notify(struct rmt_self *self, struct rmt_condition *c, uint64_t at,
                         uint64_t count)
{
    bool counted = false;
    if (rmt_load64_relaxed(&c->waiting) == 0)
        return 0; /* exact where the caller holds the lock: nobody can have come since */
    while (count > 0) {
        int r = rmt_guard_lock(self, &c->guard);
        if (r < 0)
            return r;
        if (!counted) { /* who comes from now on does not count */
            uint64_t waiting = rmt_load64_relaxed(&c->waiting);
            count = waiting < count ? waiting : count;
            counted = true;
        }
        uint64_t woken = count > 0 ? notify_one(self, c, at, 0) : 0;
        rmt_guard_unlock(self, &c->guard);
        if (woken == 0)
            break;
        /* The caller has the lock, without which nobody goes on: one wake waits until he gives it
         * back. */
        if (self->wake_later == 0) {
            self->wake_later = woken;
            rmt_store64(&self->thread->wakes_too, woken); /* owed until it is made */
        } else {
            wake(woken);
        }
        count--;
    }
    return 0;
}

/* A waiter died: in the list, it is taken out; notified, its notification goes to the next. */
static void recover_waiter(struct rmt_self *self, uint64_t at, uint64_t dead_offset, int index)
{
    struct rmt_condition *c = rmt_at(at);
    uint64_t what = rmt_hold_what_of(dead_offset, index), woken = 0;
    if (rmt_guard_lock(self, &c->guard) < 0)
        return;
    if (rmt_load64_relaxed(rmt_at(what)) != 0) {
        if (rmt_load64_relaxed(&thread_at(dead_offset)->list_of) == at) {
            unsigned n = redo_unlink(c, at, dead_offset, 0);
            rmt_redo(&c->guard, n++, what, 0);
            rmt_commit(&c->guard, n);
        } else {
            woken = notify_one(self, c, at, what);
        }
    }
    rmt_guard_unlock(self, &c->guard);
    wake(woken);
}

__attribute__((constructor)) static void register_waiter(void)
{
    rmt_waiter_register(RAMET_KIND_CONDITION, recover_waiter);
}
