/* SPDX-License-Identifier: MIT
 *
 * semaphore.c: permits under a guard; the invariants are in semaphore.h.
 *
 * Why a guard and not one compare-and-swap on the value: an owned permit has to appear in its
 * owner's hold by the same store that takes it from the value, and that is a commit of several
 * words.
 *
 * Wakes.  A release wakes as many sleepers as it adds permits, at most as many as wait.  A woken
 * thread that dies before it takes its permit: its recovery finds value > 0 and wakes the next
 * (recover_waiter). One that gives up takes a permit that is there instead, so that it leaves no
 * wake unused.
 */
#include "sync/semaphore.h"
#include "arena/kind.h"
#include "arena/wait.h"
#include "base/seeded.h"
#include "sync/waiter.h"

#include <errno.h>

#define VALUE(at) ((at) + offsetof(struct rmt_semaphore, value))
#define WAITING(at) ((at) + offsetof(struct rmt_semaphore, waiting))
#define OWNED(at) ((at) + offsetof(struct rmt_semaphore, owned))
#define NO_HOLD (-1)

/* After the guard was released.  Watchers (sync/watch.h) are not counted as waiting. */
static void wake(struct rmt_semaphore *s, uint64_t count)
{
    if (count > 0) {
        rmt_wake(rmt_low32(&s->value), count > INT32_MAX ? INT32_MAX : (int)count);
        return;
    }
    rmt_watch_barrier();
    rmt_watch_ring(rmt_low32(&s->value));
}

/* The barrier is between the filter, which says that this process watches, and the look at the
 * value: either this look sees the permit, or who gave it sees the filter. */
static bool ready(struct rmt_watch *watch, enum rmt_watch_when when)
{
    const struct rmt_semaphore *s = watch->object;
    (void)when;
    rmt_fence();
    return rmt_load64(&s->value) > 0;
}

void rmt_semaphore_watch(struct rmt_semaphore *s, struct rmt_watch *ret_watch)
{
    *ret_watch = (struct rmt_watch){.ready = ready, .object = s, .word = rmt_low32(&s->value)};
}

static uint64_t permit_unit(uint64_t at)
{
    return (uint64_t)rmt_generation_of(at) << 32;
}

/* This thread's hold of permits of the semaphore: the one it has, or NO_HOLD. */
static int permit_hold(const struct rmt_self *self, uint64_t at)
{
    for (int i = 0; i < RMT_HOLDS; i++) {
        const struct rmt_hold *hold = &self->thread->hold[i];
        if (rmt_load64_relaxed(&hold->what) == (at | RMT_HOLD_PERMIT) &&
            rmt_load64_relaxed(&hold->arg) >> 32 == rmt_generation_of(at))
            return i;
    }
    return NO_HOLD;
}

/* Under the guard: takes a permit if there is one, into hold `permit` unless that is NO_HOLD, and
 * out of the waiters if `waiter` is a hold. */
static bool take(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at, int permit,
                 int waiter)
{
    struct rmt_guard *g = &s->guard;
    uint64_t value = rmt_load64_relaxed(&s->value);
    unsigned n = 0;
    if (value == 0)
        return false;
    if (permit == NO_HOLD && waiter == NO_HOLD) {
        rmt_store64(&s->value, value - 1);
        return true;
    }
    rmt_redo(g, n++, VALUE(at), value - 1);
    if (waiter != NO_HOLD) {
        rmt_redo(g, n++, WAITING(at), rmt_load64_relaxed(&s->waiting) - 1);
        rmt_redo(g, n++, rmt_hold_what(self, waiter), 0);
    }
    if (permit != NO_HOLD) {
        struct rmt_hold *hold = &self->thread->hold[permit];
        if (rmt_load64_relaxed(&hold->what) == 0) { /* nobody looks at arg until the commit */
            rmt_store64_relaxed(&hold->arg, permit_unit(at) | 1);
            rmt_redo(g, n++, rmt_hold_what(self, permit), at | RMT_HOLD_PERMIT);
        } else {
            rmt_redo(g, n++, rmt_hold_arg(self, permit), rmt_load64_relaxed(&hold->arg) + 1);
        }
        rmt_redo(g, n++, OWNED(at), rmt_load64_relaxed(&s->owned) + 1);
    }
    rmt_commit(g, n);
    return true;
}

/* Where an owned permit will go; NO_HOLD if it shall not be owned.  0 or -ENOSPC. */
static int choose_permit(const struct rmt_self *self, uint64_t at, bool owned, int *ret_permit)
{
    int i = NO_HOLD;
    if (owned) {
        i = permit_hold(self, at);
        if (i == NO_HOLD)
            i = rmt_hold_find(self);
        if (i < 0)
            return i;
    }
    *ret_permit = i;
    return 0;
}

static int try_take(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at, int permit)
{
    int r = rmt_guard_lock(self, &s->guard);
    if (r < 0)
        return r;
    bool taken = take(self, s, at, permit, NO_HOLD);
    rmt_guard_unlock(self, &s->guard);
    return taken ? 0 : -EAGAIN;
}

int rmt_semaphore_try(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at, bool owned)
{
    int permit;
    if (rmt_load64_relaxed(&s->value) == 0)
        return -EAGAIN;
    int r = choose_permit(self, at, owned, &permit);
    return r < 0 ? r : try_take(self, s, at, permit);
}

/* Stands in line: counts this thread among the waiters, unless there is a permit to take. 1: taken.
 */
static int enlist(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at, int permit,
                  int waiter)
{
    int r = rmt_guard_lock(self, &s->guard);
    if (r < 0)
        return r;
    bool taken = take(self, s, at, permit, NO_HOLD);
    if (!taken) {
        rmt_store64_relaxed(&self->thread->hold[waiter].arg, rmt_generation_of(at));
        rmt_redo(&s->guard, 0, WAITING(at), rmt_load64_relaxed(&s->waiting) + 1);
        rmt_redo(&s->guard, 1, rmt_hold_what(self, waiter), at | RMT_HOLD_WAITER);
        rmt_commit(&s->guard, 2);
    }
    rmt_guard_unlock(self, &s->guard);
    return taken;
}

/* Sleeps until there is a permit, takes it and leaves the line; leaves it on failure, too. */
static int stand_in_line(struct rmt_waiter *w, struct rmt_semaphore *s, uint64_t at, int permit,
                         int waiter)
{
    struct rmt_self *self = w->self;
    for (;;) {
        int slept = rmt_sleep_watching(w, rmt_low32(&s->value), 0, VALUE(at));
        if (slept == 0 && rmt_load64_relaxed(&s->value) == 0)
            continue;
        int r = rmt_guard_lock(self, &s->guard);
        if (r < 0)
            return r;
        bool taken = take(self, s, at, permit, waiter);
        if (!taken && slept < 0) {
            rmt_redo(&s->guard, 0, WAITING(at), rmt_load64_relaxed(&s->waiting) - 1);
            rmt_redo(&s->guard, 1, rmt_hold_what(self, waiter), 0);
            rmt_commit(&s->guard, 2);
        }
        rmt_guard_unlock(self, &s->guard);
        if (taken)
            return 0;
        if (slept < 0)
            return slept;
    }
}

/* A place for WAITER that is not `permit`, which may be empty still. */
static int choose_waiter(const struct rmt_self *self, int permit)
{
    for (int i = 0; i < RMT_HOLDS; i++)
        if (i != permit && rmt_load64_relaxed(&self->thread->hold[i].what) == 0)
            return i;
    return -ENOSPC;
}

int rmt_semaphore_acquire(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at,
                          const ramet_wait *wait, bool owned)
{
    struct rmt_waiter w;
    int permit;
    int r = rmt_wait_start(&w, self, wait);
    if (r < 0)
        return r;
    r = choose_permit(self, at, owned, &permit);
    if (r < 0)
        return r;
    for (;;) {
        if (rmt_load64_relaxed(&s->value) > 0) {
            r = try_take(self, s, at, permit);
            if (r != -EAGAIN)
                return r;
        }
        if (w.deadline == 0) {
            /* Permits of the dead may be had: whoever does not wait should not miss them. */
            if (rmt_load64_relaxed(&s->owned) > 0 && rmt_look_for_dead(self))
                continue;
            return -ETIMEDOUT;
        }
        if (w.spins == 0)
            break;
        rmt_sleep(&w, rmt_low32(&s->value), 0, 0, 0); /* spins only */
    }
    int waiter = choose_waiter(self, permit);
    if (waiter < 0)
        return waiter;
    r = enlist(self, s, at, permit, waiter);
    if (r != 0)
        return r < 0 ? r : 0;
    return stand_in_line(&w, s, at, permit, waiter);
}

int rmt_semaphore_release(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at,
                          uint32_t count)
{
    int r = rmt_guard_lock(self, &s->guard);
    if (r < 0)
        return r;
    uint64_t value = rmt_load64_relaxed(&s->value), wakes = 0;
    if (count > s->max - value) {
        rmt_guard_unlock(self, &s->guard);
        return -EOVERFLOW;
    }
    uint64_t waiting = rmt_load64_relaxed(&s->waiting);
    if (waiting > 0)
        wakes = waiting < count ? waiting : count;
    if (waiting > 0 || rmt_watch_may_be(rmt_low32(&s->value)))
        rmt_store64(&self->thread->wakes, VALUE(at));
    rmt_store64(&s->value, value + count); /* the commit */
    rmt_guard_unlock(self, &s->guard);
    wake(s, wakes);
    return 0;
}

/* Under the guard: gives `permits` of the hold at `thread_offset` back and leaves `left` in it.
 * What others released too many is not added: the value never passes the maximum.  Returns the
 * wakes that are due. */
static uint64_t give_back(struct rmt_semaphore *s, uint64_t at, uint64_t thread_offset, int hold,
                          uint64_t permits, uint64_t left)
{
    struct rmt_guard *g = &s->guard;
    uint64_t value = rmt_load64_relaxed(&s->value);
    uint64_t fits = s->max - value < permits ? s->max - value : permits;
    uint64_t waiting = rmt_load64_relaxed(&s->waiting);
    rmt_redo(g, 0, VALUE(at), value + fits);
    rmt_redo(g, 1, OWNED(at), rmt_load64_relaxed(&s->owned) - permits);
    if (left > 0)
        rmt_redo(g, 2, rmt_hold_arg_of(thread_offset, hold), permit_unit(at) | left);
    else
        rmt_redo(g, 2, rmt_hold_what_of(thread_offset, hold), 0);
    rmt_commit(g, 3);
    return waiting < fits ? waiting : fits;
}

int rmt_semaphore_release_owned(struct rmt_self *self, struct rmt_semaphore *s, uint64_t at)
{
    int hold = permit_hold(self, at);
    if (hold == NO_HOLD)
        return -EPERM;
    int r = rmt_guard_lock(self, &s->guard);
    if (r < 0)
        return r;
    uint64_t permits = rmt_load64_relaxed(&self->thread->hold[hold].arg) & UINT32_MAX;
    bool full = rmt_load64_relaxed(&s->value) >= s->max;
    rmt_store64(&self->thread->wakes, VALUE(at));
    uint64_t wakes = give_back(s, at, self->offset, hold, 1, permits - 1);
    rmt_guard_unlock(self, &s->guard);
    wake(s, wakes);
    return full ? -EOVERFLOW : 0;
}

/* ---- recovery.  Each may die anywhere and be run again: the hold is emptied by the commit. */

static void recover_permit(struct rmt_self *self, uint64_t dead_offset, int index)
{
    rmt_a64 *what = rmt_at(rmt_hold_what_of(dead_offset, index));
    uint64_t arg = rmt_load64_relaxed(rmt_at(rmt_hold_arg_of(dead_offset, index)));
    uint64_t at = rmt_load64(what) & ~RMT_TAG_MASK;
    if (!rmt_object_lives(at, RAMET_KIND_SEMAPHORE, (uint32_t)(arg >> 32))) {
        rmt_store64(what, 0); /* closed while it was owned */
        return;
    }
    struct rmt_semaphore *s = rmt_at(at);
    if (rmt_guard_lock(self, &s->guard) < 0)
        return;
    uint64_t wakes = 0;
#if !RMT_SEEDED(PERMIT_KEPT)
    if (rmt_load64_relaxed(what) != 0) {
        rmt_store64(&self->thread->wakes, VALUE(at));
        wakes = give_back(s, at, dead_offset, index, arg & UINT32_MAX, 0);
    }
#endif
    rmt_guard_unlock(self, &s->guard);
    wake(s, wakes);
}

static void recover_waiter(struct rmt_self *self, uint64_t at, uint64_t dead_offset, int index)
{
    struct rmt_semaphore *s = rmt_at(at);
    rmt_a64 *what = rmt_at(rmt_hold_what_of(dead_offset, index));
    if (rmt_guard_lock(self, &s->guard) < 0)
        return;
    if (rmt_load64_relaxed(what) != 0) {
        rmt_redo(&s->guard, 0, WAITING(at), rmt_load64_relaxed(&s->waiting) - 1);
        rmt_redo(&s->guard, 1, rmt_hold_what_of(dead_offset, index), 0);
        rmt_store64(&self->thread->wakes, VALUE(at));
        rmt_commit(&s->guard, 2);
    }
    bool pass_on = rmt_load64_relaxed(&s->value) > 0 && rmt_load64_relaxed(&s->waiting) > 0;
    rmt_guard_unlock(self, &s->guard);
    if (pass_on)
        wake(s, 1);
}

__attribute__((constructor)) static void register_recovery(void)
{
    rmt_hold_register(RMT_HOLD_PERMIT, recover_permit);
    rmt_waiter_register(RAMET_KIND_SEMAPHORE, recover_waiter);
}
