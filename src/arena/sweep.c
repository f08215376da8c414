/* SPDX-License-Identifier: MIT
 *
 * sweep.c: looking for members that are dead: at one that was reaped, at all, and, for who called
 * exec, at the memory maps of those that may hold what others wait for.  Recovery is recover.c's.
 */
#include "arena/local.h"
#include <ramet/arena.h>

/* Whether the process that a member word speaks of is gone. */
static bool slot_is_dead(uint32_t slot, uint64_t state)
{
    switch (rmt_member_state_of(state)) {
    case RMT_MEMBER_LIVE:
        return rmt_dead(rmt_word((uint32_t)(state >> 32), 0, slot));
    case RMT_MEMBER_JOINING:
        return rmt_pid_gone(rmt_member_pid_of(state), 0);
    case RMT_MEMBER_RESERVED:
        return rmt_reservation_is_void(rmt_member_at(slot), state);
    case RMT_MEMBER_DYING: /* whoever recovered it may have died */
        return true;
    default:
        return false;
    }
}

/* What is counted is what this thread recovers, wherever that happens: not reservations, nor slots
 * that are left to another who is at it. */
int rmt_sweep(struct rmt_self *self)
{
    uint32_t before = self->recovered;
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
        if (slot != rmt_local.slot && slot_is_dead(slot, state))
            rmt_recover_slot(self, slot, state);
    }
    return (int)(self->recovered - before);
}

typedef bool look_fn(uint32_t slot, uint64_t word);

/* Recovers the members that by pidfd alone seem to live, and of which `left` is true. */
static void recover_who_left(struct rmt_self *self, look_fn *left)
{
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
        if (slot != rmt_local.slot && rmt_member_state_of(state) == RMT_MEMBER_LIVE &&
            left(slot, rmt_word((uint32_t)(state >> 32), 0, slot)))
            rmt_recover_slot(self, slot, state);
    }
}

static bool left(uint32_t slot, uint64_t word)
{
    (void)slot;
    return rmt_left_by_exec(word);
}

int rmt_sweep_thorough(struct rmt_self *self)
{
    uint32_t before = self->recovered;
    rmt_sweep(self);
    recover_who_left(self, left);
    return (int)(self->recovered - before);
}

static int holds_something(uint64_t thread_offset, void *unused)
{
    (void)unused;
    const struct rmt_thread *t = rmt_at(thread_offset);
    if (rmt_load64_relaxed(&t->word) == 0)
        return 0;
    if (rmt_load64_relaxed(&t->guard) != 0)
        return 1;
    for (int i = 0; i < RMT_HOLDS; i++) {
        if (rmt_load64_relaxed(&t->hold[i].what) != 0)
            return 1;
    }
    return 0;
}

static bool left_with_something(uint32_t slot, uint64_t word)
{
    return rmt_threads_each(slot, holds_something, NULL) != 0 && rmt_dead_thorough(word);
}

int rmt_sweep_holders(struct rmt_self *self)
{
    uint32_t before = self->recovered;
    rmt_lifelines_look();
    rmt_sweep(self);
    recover_who_left(self, left_with_something);
    return (int)(self->recovered - before);
}

int ramet_sweep(void)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    rmt_lifelines_look();
    r = rmt_sweep_thorough(self);
    rmt_death_forget();
    return r;
}

int ramet_reap(pid_t pid)
{
    if (rmt_local.slot == 0)
        return 0; /* no member, no children in the arena */
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    int found = 0; /* one process has two slots if it called exec and attached again */
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
        if (rmt_member_pid_of(state) != pid || !slot_is_dead(slot, state))
            continue;
        if (rmt_member_state_of(state) == RMT_MEMBER_RESERVED)
            continue; /* made by it, not it */
        rmt_recover_slot(self, slot, state);
        found = 1;
    }
    if (!found) /* perhaps it was killed before it could claim its slot */
        rmt_lifelines_look();
    return found;
}
