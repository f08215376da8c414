/* SPDX-License-Identifier: MIT
 *
 * recover.c: giving back what a dead process held.  Reads its member slot, its sub-slots and its
 * handle entries, never all objects.  Every step is a commit or is idempotent, so that the
 * recovering process may itself die anywhere: the next one takes its place (`recoverer`) and does
 * the rest.
 *
 * Order: first the whole of an earlier recoverer of this slot; then the guard that a thread stood
 * in, because a commit of the dead that is armed must be applied before anyone looks at its holds;
 * then holds; then handles; then the chunks; at last the slot itself.
 */
#include "arena/block.h"
#include "arena/local.h"
#include "arena/registry.h"
#include "arena/wait.h"
#include "base/os.h"

#include <errno.h>
#include <limits.h>

static void wake_all(uint64_t word)
{
    if (word == 0 || word % 4 != 0 || rmt_reach(word) < 0)
        return;
    rmt_os_futex_wake(rmt_at(word), INT_MAX);
    rmt_watch_ring_again(rmt_at(word));
}

/* Whether `word` is a bell of an object that the member in `slot` has a handle of: so it is there
 * as long as that handle is, which a dead one's is until his threads are recovered. */
static bool is_bell(uint32_t slot, uint64_t word)
{
    for (uint64_t b = rmt_load64(&rmt_member_at(slot)->handles); b != 0;) {
        const struct rmt_handle_chunk *chunk = rmt_payload(b);
        for (uint32_t i = 0; i < RMT_CHUNK_ENTRIES; i++) {
            uint64_t object = rmt_load64_relaxed(&chunk->entry[i]);
            const struct rmt_kind *kind =
                object != 0 ? rmt_kind_get(rmt_block_at(object)->kind) : NULL;
            if (kind && kind->is_bell && kind->is_bell(object, word))
                return true;
        }
        b = rmt_load64(&chunk->next);
    }
    return false;
}

/* What a dead thread may have owed: a wake or, if the word is a bell, a ring, which changes it as
 * well, for one who looked at his condition before and sleeps after (channel/bell.h).  A word that
 * he noted before, and let stand, is woken or rung once too often. */
static void repeat_wake(uint32_t slot, uint64_t word)
{
    if (word == 0 || word % 4 != 0 || rmt_reach(word) < 0)
        return;
    if (is_bell(slot, word))
        rmt_add32((rmt_a32 *)rmt_at(word), 2); /* the lowest bit says whether somebody sleeps */
    wake_all(word);
}

/* Waits until nobody, dead or alive, is inside the guard: a live one that took it over may be about
 * to apply the dead one's record. */
static void pass_through(struct rmt_self *self, uint64_t guard)
{
    if (guard == 0 || guard % 64 != 0 || rmt_reach(guard) < 0)
        return;
    struct rmt_guard *g = rmt_at(guard);
    if (rmt_load64_relaxed(&g->self) == guard && rmt_guard_lock(self, g) >= 0)
        rmt_guard_unlock(self, g);
    wake_all(guard + offsetof(struct rmt_guard, word));
}

static int recover_thread(uint64_t offset, void *arg)
{
    struct rmt_self *self = arg;
    struct rmt_thread *t = rmt_at(offset);
    if (rmt_load64_relaxed(&t->word) == 0)
        return 0;
    uint32_t slot = rmt_word_slot(rmt_load64_relaxed(&t->word));
    pass_through(self, rmt_load64(&t->guard));
    repeat_wake(slot, rmt_load64_relaxed(&t->wakes));
    repeat_wake(slot, rmt_load64_relaxed(&t->wakes_too));
    wake_all(rmt_load64_relaxed(&t->waits));
    for (int i = 0; i < RMT_HOLDS; i++) {
        uint64_t what = rmt_load64_relaxed(&t->hold[i].what);
        rmt_hold_fn *fn = what != 0 ? rmt_hold_get(what & RMT_TAG_MASK) : NULL;
        if (fn)
            fn(self, offset, i);
        rmt_store64_relaxed(&t->hold[i].what, 0);
    }
    /* What the dead one did last may have been a store that somebody waits for: after the holds,
     * too. */
    repeat_wake(slot, rmt_load64_relaxed(&t->wakes));
    repeat_wake(slot, rmt_load64_relaxed(&t->wakes_too));
    rmt_store64_relaxed(&t->guard, 0);
    rmt_store64_relaxed(&t->wakes, 0);
    rmt_store64_relaxed(&t->wakes_too, 0);
    rmt_store64_relaxed(&t->waits, 0);
    rmt_store64_relaxed(&t->waits_owner, 0);
    rmt_store64_relaxed(&t->list_of, 0);
    rmt_store32_relaxed(&t->wake, 0);
    rmt_store64(&t->word, 0);
    return 0;
}

static void free_thread_chunks(struct rmt_self *self, uint32_t slot)
{
    uint64_t list = rmt_member_offset(slot) + offsetof(struct rmt_member, threads);
    uint64_t block;
    while ((block = rmt_load64((rmt_a64 *)rmt_at(list))) != 0) {
        int hold = rmt_hold_find(self);
        struct rmt_guard *g = &rmt_header()->tables_guard;
        if (hold < 0 || rmt_guard_lock(self, g) < 0)
            return;
        rmt_redo(g, 0, list, rmt_load64_relaxed((rmt_a64 *)rmt_payload(block))); /* its next */
        rmt_redo(g, 1, rmt_hold_what(self, hold), block | RMT_HOLD_BLOCK);
        rmt_commit(g, 2);
        rmt_guard_unlock(self, g);
        rmt_block_free(self, hold);
    }
}

struct each {
    struct rmt_self *self;
    uint64_t process; /* process word of the dead */
};

/* Whether the word that somebody sleeps on names the dead process: a lock may have come to it since
 * that one fell asleep for another's.  (Of any other word this is a wake too many.) */
static bool names(uint64_t waits, uint64_t process)
{
    return waits % 8 == 0 && rmt_reach(waits) == 0 &&
           rmt_word_process(rmt_load64((rmt_a64 *)rmt_at(waits))) == process;
}

static int wake_who_waits_for(uint64_t offset, void *arg)
{
    const struct each *each = arg;
    struct rmt_thread *t = rmt_at(offset);
    uint64_t waits = rmt_load64(&t->waits);
    if (waits != 0 && (rmt_word_process(rmt_load64_relaxed(&t->waits_owner)) == each->process ||
                       names(waits, each->process)))
        wake_all(waits);
    return 0;
}

/* Whether `pid` is a child that the member in `slot` wants outside, whose own it is then as long as
 * that one lives: not one for which a slot is reserved. */
static bool is_outside(uint32_t slot, uint64_t state, pid_t pid)
{
    const struct rmt_member *m = rmt_member_at(slot);
    uint32_t n = rmt_load32(&m->outside_count);
    for (uint32_t i = 0; i < n && i < RMT_OUTSIDERS; i++) {
        if (rmt_load32(&m->outside[i]) == (uint32_t)pid)
            return !rmt_dead(rmt_word((uint32_t)(state >> 32), 0, slot));
    }
    return false;
}

/* 1 if process `pid` has the arena mapped and is nobody: a child between its fork and its claim, or
 * one that was made behind our back. */
static int is_nobody(pid_t pid, void *unused)
{
    (void)unused;
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
        enum rmt_member_state is = rmt_member_state_of(state);
        if (rmt_member_pid_of(state) == pid && (is == RMT_MEMBER_LIVE || is == RMT_MEMBER_JOINING))
            return 0;
        if (is == RMT_MEMBER_LIVE && is_outside(slot, state, pid))
            return 0;
    }
    return rmt_os_maps_inode(pid, rmt_local.dev, rmt_local.ino) > 0;
}

/* Whether a reservation is void: its maker is dead, and the child it was made for cannot come any
 * more.  A child whose parent ends at once (a daemon's double fork) may not have run yet: as long
 * as there is a process that could be it, the slot is kept.  Looking is slow, and hardly ever
 * needed: only where a process died within moments of its fork. */
bool rmt_reservation_is_void(const struct rmt_member *m, uint64_t state)
{
    uint64_t parent = rmt_load64(&m->parent);
    return rmt_load64(&m->state) == state && parent != 0 && rmt_dead(parent) &&
           rmt_os_each_process(is_nobody, NULL) <= 0;
}

/* Other members: reservations that the dead one made for children, and sleepers that wait for it.
 */
static void look_at_others(struct rmt_self *self, uint64_t process)
{
    struct each each = {self, process};
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        struct rmt_member *m = rmt_member_at(slot);
        uint64_t state = rmt_load64(&m->state);
        if (rmt_member_state_of(state) == RMT_MEMBER_LIVE)
            rmt_threads_each(slot, wake_who_waits_for, &each);
        else if (rmt_member_state_of(state) == RMT_MEMBER_RESERVED &&
                 rmt_load64_relaxed(&m->parent) == process && rmt_reservation_is_void(m, state))
            rmt_recover_slot(self, slot, state);
    }
}

/* Whether all that the dead process of `word` held has been given back. */
static bool is_recovered(uint64_t word)
{
    uint64_t state = rmt_load64(&rmt_member_at(rmt_word_slot(word))->state);
    return (uint32_t)(state >> 32) != rmt_word_epoch(word);
}

/* The last in a row: `who` is dead, as is who recovered him, and who recovered that one ...  (A
 * loop where a recursion would do, because a stack may be small; at most as long as there are
 * slots.) */
static uint64_t last_to_die(const struct rmt_self *self, uint64_t who)
{
    for (uint32_t i = 0; i < RMT_SLOTS; i++) {
        uint64_t by = rmt_load64(&rmt_member_at(rmt_word_slot(who))->recoverer);
        if (by == 0 || rmt_word_process(by) == rmt_word_process(self->word) || is_recovered(who) ||
            is_recovered(by) || !rmt_dead_thorough(by))
            break;
        who = by;
    }
    return who;
}

/* Whether all that the dead process of `who` held is given back now: by this thread, or others. */
static bool recover_first(struct rmt_self *self, uint64_t who)
{
    while (!is_recovered(who)) {
        uint64_t last = last_to_die(self, who);
        rmt_recover(self, last);
        if (!is_recovered(last))
            return false;
    }
    return true;
}

/* Makes this thread the one that recovers the slot: true if it is.  What an earlier recoverer, who
 * died as such, had in its hands or armed may be part of what is recovered here, so that it is
 * recovered first; where another is at that, this slot is left to him (see attend_to_the_left). */
static bool become_recoverer(struct rmt_self *self, uint32_t slot, uint64_t state)
{
    struct rmt_member *m = rmt_member_at(slot);
    uint64_t dying = (state & ~15ull) | RMT_MEMBER_DYING;
    if (rmt_member_state_of(state) != RMT_MEMBER_DYING) {
        uint64_t seen = state;
        if (!rmt_cas64(&m->state, &seen, dying) && seen != dying)
            return false; /* a reserved child has claimed itself, or another life has begun */
    }
    uint64_t who = rmt_load64(&m->recoverer);
    if (who != 0) {
        /* Thoroughly: nobody else may have a reason to look at a recoverer that called exec. */
        if (rmt_word_process(who) == rmt_word_process(self->word) || !rmt_dead_thorough(who))
            return false;
        if (!recover_first(self, who))
            return false;
    }
    if (!rmt_cas64(&m->recoverer, &who, self->word))
        return false;
    if (rmt_load64(&m->state) == dying)
        return true;
    /* Somebody else was done in between and the slot has another life, whose word this is: put it
     * back.  Who has found that life dead meanwhile took this thread for its recoverer, and left
     * it: he had made it DYING before he looked who recovers it, so that it is seen here. */
    uint64_t mine = self->word;
    rmt_cas64(&m->recoverer, &mine, 0);
    rmt_fence();
    uint64_t now = rmt_load64(&m->state);
    if (rmt_member_state_of(now) == RMT_MEMBER_DYING)
        rmt_recover_slot(self, slot, now);
    return false;
}

/* A record that the parent armed when it filled the reservation, and that names words of this slot,
 * must be applied before anybody looks at them.  (Passing through a guard that has nothing to do
 * with this is harmless, so it does not matter whose the sub-slot is by now.) */
static void pass_through_parent(struct rmt_self *self, const struct rmt_member *m)
{
    uint64_t parent = rmt_load64(&m->parent);
    if (parent == 0)
        return;
    uint64_t thread =
        rmt_member_offset(rmt_word_slot(parent)) + offsetof(struct rmt_member, thread);
    pass_through(self, rmt_load64(&((const struct rmt_thread *)rmt_at(thread))->guard));
}

static void recover_contents(struct rmt_self *self, uint32_t slot, uint64_t state)
{
    struct rmt_member *m = rmt_member_at(slot);
    uint32_t epoch = (uint32_t)(state >> 32);
    uint64_t process = rmt_word(epoch, 0, slot);
    pid_t pid = (pid_t)rmt_load64_relaxed(&m->pid);
    rmt_threads_each(slot, recover_thread, self);
    rmt_handles_drop_all(self, slot);
    free_thread_chunks(self, slot);
    if (rmt_member_state_of(state) != RMT_MEMBER_RESERVED) {
        for (int i = 0; i < RMT_REGISTRY_MAX && rmt_death_fns[i]; i++)
            rmt_death_fns[i](self, process, pid);
        look_at_others(self, process);
    }
    rmt_store64_relaxed(&m->pid, 0);
    rmt_store64_relaxed(&m->start_time, 0);
    rmt_store64_relaxed(&m->parent, 0);
    rmt_store64(&m->state, rmt_member_word(epoch + 1, 0, RMT_MEMBER_FREE));
    self->freed = 1;
    self->recovered += rmt_member_state_of(state) != RMT_MEMBER_RESERVED;
}

/* After a slot has become free: the slots that somebody left because what their dead recoverer had
 * in its hands was not given back yet, or whose recoverer has died since.  Who finds a slot in
 * recovery either sees that the dead recoverer's own slot is free again, and goes on, or leaves
 * before that, and the one who frees it looks here after: at all of them, so that he begins again
 * where another has become free on the way.  If that one dies in between, so does who recovers him.
 * (tests/model/recover.pml)  Whom a guard on the way was taken over from is recovered here, too. */
static void attend_to_the_left(struct rmt_self *self)
{
    do {
        self->freed = 0;
        uint64_t high = rmt_load64(&rmt_header()->members_high);
        for (uint32_t slot = 1; slot < high; slot++) {
            uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
            if (rmt_member_state_of(state) == RMT_MEMBER_DYING)
                rmt_recover_slot(self, slot, state);
        }
        uint64_t dead = self->found_dead;
        self->found_dead = 0;
        if (dead != 0)
            rmt_recover(self, dead);
    } while (self->freed || self->found_dead != 0);
}

void rmt_recover_slot(struct rmt_self *self, uint32_t slot, uint64_t state)
{
    struct rmt_member *m = rmt_member_at(slot);
    if (rmt_member_state_of(state) == RMT_MEMBER_JOINING) {
        rmt_cas64(&m->state, &state,
                  rmt_member_word((uint32_t)(state >> 32) + 1, 0, RMT_MEMBER_FREE));
        return;
    }
    if (rmt_member_state_of(state) == RMT_MEMBER_FREE || !become_recoverer(self, slot, state))
        return;
    uint32_t was = self->recovering;
    self->recovering = 1;
    pass_through_parent(self, m);
    recover_contents(self, slot, state);
    if (!was)
        attend_to_the_left(self);
    self->recovering = was;
}

void rmt_recover(struct rmt_self *self, uint64_t word)
{
    uint32_t slot = rmt_word_slot(word);
    uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
    enum rmt_member_state s = rmt_member_state_of(state);
    if ((uint32_t)(state >> 32) == rmt_word_epoch(word) &&
        (s == RMT_MEMBER_LIVE || s == RMT_MEMBER_DYING))
        rmt_recover_slot(self, slot, state);
}

void rmt_mark_dying(uint64_t word)
{
    rmt_a64 *state = &rmt_member_at(rmt_word_slot(word))->state;
    uint64_t seen = rmt_load64(state);
    if ((uint32_t)(seen >> 32) == rmt_word_epoch(word) &&
        rmt_member_state_of(seen) == RMT_MEMBER_LIVE)
        rmt_cas64(state, &seen, (seen & ~15ull) | RMT_MEMBER_DYING);
}

void rmt_poison(const char *why)
{
    static const char prefix[] = "ramet: the arena is damaged and can no longer be used: ";
    uint64_t sound = 0;
    if (rmt_cas64(&rmt_header()->poisoned, &sound, 1))
        rmt_os_complain(prefix, why);
}
