/* SPDX-License-Identifier: MIT
 *
 * lock.c: the lock; the word's table is in lock.h.
 *
 * Nothing here needs recovery: the word itself says whose the lock is, and whoever waits finds out
 * that this one is dead.  A wake that dies with the one who owed it, or with the one who was woken
 * by it, is repeated by recovery (thread.wakes, thread.waits), and no sleep is longer than a slice.
 */
#include "sync/lock.h"
#include "arena/kind.h"
#include <ramet/view.h>

#include <errno.h>

/* Takes a lock whose word, `seen`, names nobody or somebody dead. 1: taken; flags of `with` are
 * set. */
static bool take(struct rmt_self *self, struct rmt_lock *lock, uint64_t seen, uint64_t with)
{
    bool taken = rmt_cas64(&lock->word, &seen, self->word | with | (seen & RMT_FLAG_WAITERS));
    self->locks += taken;
    return taken;
}

/* Leaves the wait.  This thread may have eaten a wake whose lock somebody else then took, with
 * no flag: see to it that one stands there for those who still sleep. */
static int give_up(struct rmt_self *self, struct rmt_lock *lock, bool slept, int result)
{
    while (slept) {
        uint64_t seen = rmt_load64(&lock->word);
        if ((seen & ~RMT_FLAGS) == 0) {
            if (take(self, lock, seen, RMT_FLAG_WAITERS))
                return (seen & RMT_FLAG_DEAD) ? -EOWNERDEAD : 0;
        } else if ((seen & RMT_FLAG_WAITERS) ||
                   rmt_cas64(&lock->word, &seen, seen | RMT_FLAG_WAITERS)) {
            break;
        }
    }
    return result;
}

/* Whether the owner is proven dead, asked once before the first sleep: it need not cost a slice.
 * Thoroughly, if there will be no long slices in which the wait loop asks so. */
static bool found_dead(struct rmt_self *self, uint64_t owner, bool thoroughly)
{
    if (rmt_word_process(owner) == rmt_word_process(self->word))
        return false;
    if (!(thoroughly ? rmt_dead_thorough(owner) : rmt_dead(owner)))
        return false;
    rmt_recover(self, owner);
    return true;
}

int rmt_lock_acquire_slow(struct rmt_self *self, struct rmt_lock *lock, uint64_t at,
                          const ramet_wait *wait, bool own)
{
    struct rmt_waiter w;
    uint64_t dead = 0;    /* an owner who is proven dead */
    uint64_t checked = 0; /* an owner who was alive when we looked */
    int r = rmt_wait_start(&w, self, wait);
    if (r < 0)
        return r;
    for (;;) {
        uint64_t seen = rmt_load64(&lock->word);
        uint64_t owner = seen & ~RMT_FLAGS;
        if (owner == 0 || owner == dead) {
            bool died = owner != 0 || (seen & RMT_FLAG_DEAD) != 0;
            uint64_t flags = owner != 0 || w.slept > 0 ? RMT_FLAG_WAITERS : 0;
            if (take(self, lock, seen, flags))
                return died ? -EOWNERDEAD : 0;
            continue;
        }
        if (w.spins > 0 && w.deadline != 0) {
            rmt_sleep(&w, rmt_low32(&lock->word), (uint32_t)seen, 0, 0); /* spins only */
            continue;
        }
        if (owner != checked) {
            checked = owner;
            if (found_dead(self, owner, w.deadline == 0)) {
                dead = owner;
                continue;
            }
        }
        if (own && rmt_thread_ended(owner)) {
            dead = owner;
            continue;
        }
        if (w.deadline != 0 && (seen & RMT_FLAG_WAITERS) == 0) {
            if (!rmt_cas64(&lock->word, &seen, seen | RMT_FLAG_WAITERS))
                continue;
            seen |= RMT_FLAG_WAITERS;
        }
        /* Who is woken and dies before it takes the lock, when `waits` is empty again. */
        rmt_store64(&self->thread->wakes, at);
        r = rmt_sleep(&w, rmt_low32(&lock->word), (uint32_t)seen, at, owner);
        if (r == RMT_OWNER_DIED ||
            (r == -ETIMEDOUT && w.slept > 0 && found_dead(self, owner, true)))
            dead = owner;
        else if (r < 0)
            return give_up(self, lock, w.slept > 0, r);
    }
}

int rmt_lock_release_slow(struct rmt_self *self, struct rmt_lock *lock, uint64_t at)
{
    (void)at;
    uint64_t seen = rmt_load64_relaxed(&lock->word);
    do {
        if ((seen & ~RMT_FLAGS) == 0)
            return -EPERM;
    } while (!rmt_cas64(&lock->word, &seen, 0));
    uint64_t owner = seen & ~RMT_FLAGS;
    if (owner == self->word)
        self->locks--;
    else if (rmt_word_process(owner) == rmt_word_process(self->word))
        rmt_thread_relieved(owner);
    if (seen & RMT_FLAG_WAITERS)
        rmt_wake(rmt_low32(&lock->word), 1);
    return 0;
}

int rmt_lock_mark_dead(struct rmt_self *self, struct rmt_lock *lock, uint64_t at)
{
    uint64_t seen = rmt_load64_relaxed(&lock->word);
    rmt_store64(&self->thread->wakes, at);
    do {
        if ((seen & ~RMT_FLAGS) != self->word)
            return -EPERM;
    } while (!rmt_cas64(&lock->word, &seen, RMT_FLAG_DEAD));
    self->locks--;
    if (seen & RMT_FLAG_WAITERS)
        rmt_wake(rmt_low32(&lock->word), 1);
    return 0;
}

/* Sets the flag like who is going to sleep.  A death wakes nobody: it is asked for now and then. */
static bool ready(struct rmt_watch *watch, enum rmt_watch_when when)
{
    struct rmt_lock *lock = watch->object;
    uint64_t seen = rmt_load64(&lock->word);
    do {
        if ((seen & ~RMT_FLAGS) == 0)
            return true;
    } while ((seen & RMT_FLAG_WAITERS) == 0 &&
             !rmt_cas64(&lock->word, &seen, seen | RMT_FLAG_WAITERS));
    uint64_t owner = seen & ~RMT_FLAGS;
    if (when == RMT_WATCH_SLICE && rmt_dead_thorough(owner)) {
        rmt_mark_dying(owner); /* for who tries now: he would not look at its memory map again */
        return true;
    }
    return when == RMT_WATCH_SETTLE && rmt_dead(owner);
}

void rmt_lock_watch(struct rmt_lock *lock, struct rmt_watch *ret_watch)
{
    *ret_watch = (struct rmt_watch){.ready = ready, .object = lock, .word = rmt_low32(&lock->word)};
}

enum ramet_lock_state rmt_lock_state_of(const struct rmt_self *self, uint64_t word)
{
    uint64_t owner = word & ~RMT_FLAGS;
    if (owner == 0)
        return RAMET_LOCK_FREE;
    if (owner == self->word)
        return RAMET_LOCK_MINE;
    if (rmt_word_process(owner) == rmt_word_process(self->word))
        return RAMET_LOCK_MY_PROCESS;
    return RAMET_LOCK_OTHER;
}

/* ---- the public handle */

static int init(struct rmt_self *self, void *shared, uint64_t at, const void *arg)
{
    (void)self;
    (void)at;
    (void)arg;
    struct rmt_lock *lock = shared;
    rmt_store64_relaxed(&lock->word, 0);
    return 0;
}

int ramet_lock_create(const ramet_lock_options *options, ramet_lock **ret_lock)
{
    struct rmt_object *object;
    if (options && options->size != sizeof *options)
        return -EINVAL;
    int r = rmt_object_create(sizeof(ramet_lock), RAMET_KIND_LOCK, sizeof(struct rmt_lock), init,
                              NULL, &object);
    if (r >= 0)
        *ret_lock = (ramet_lock *)object;
    return r;
}

int ramet_lock_open(const ramet_ref *ref, ramet_lock **ret_lock)
{
    struct rmt_object *object;
    int r = rmt_object_open(sizeof(ramet_lock), RAMET_KIND_LOCK, ref, &object);
    if (r >= 0)
        *ret_lock = (ramet_lock *)object;
    return r;
}

ramet_ref ramet_lock_ref(const ramet_lock *lock)
{
    return rmt_handle_ref(&lock->object.handle);
}

void ramet_lock_close(ramet_lock *lock)
{
    rmt_object_close((struct rmt_object *)lock);
}

int ramet_lock_acquire(ramet_lock *lock, const ramet_wait *wait)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_lock_acquire(self, rmt_lock_of(lock), lock->object.at, wait);
}

int ramet_lock_release(ramet_lock *lock)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_lock_release(self, rmt_lock_of(lock), lock->object.at);
}

int ramet_lock_mark_dead(ramet_lock *lock)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_lock_mark_dead(self, rmt_lock_of(lock), lock->object.at);
}

int ramet_lock_state(const ramet_lock *lock)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : (int)rmt_lock_state_of(self, rmt_load64_relaxed(&rmt_lock_of(lock)->word));
}

/* ---- the kind */

void rmt_lock_describe(const struct rmt_lock *lock, struct rmt_facts *facts)
{
    uint64_t word = rmt_load64_relaxed(&lock->word);
    facts->owner = word & ~RMT_FLAGS;
    facts->depth = facts->owner != 0;
    facts->flags = (word & RMT_FLAG_DEAD) != 0 ? RAMET_VIEW_OWNER_DEAD : 0;
}

static void describe(const struct rmt_source *source, const struct rmt_block *block,
                     uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts)
{
    (void)source;
    (void)block;
    (void)offset;
    if (size < sizeof(struct rmt_lock))
        return;
    rmt_lock_describe(payload, facts);
    facts->limit = 1;
}

/* A word that can be somebody's, or nobody's. */
int rmt_lock_check(const struct rmt_lock *lock)
{
    uint64_t word = rmt_load64_relaxed(&lock->word), owner = word & ~RMT_FLAGS;
    if ((word & RMT_FLAGS & ~(RMT_FLAG_WAITERS | RMT_FLAG_DEAD)) != 0)
        return -ENOTRECOVERABLE;
    if (owner == 0)
        return 0;
    bool sound = rmt_word_slot(owner) != 0 && rmt_word_thread(owner) != 0 &&
                 rmt_word_slot(owner) < rmt_load64_relaxed(&rmt_header()->members_high);
    return sound ? 0 : -ENOTRECOVERABLE;
}

static int check(uint64_t offset)
{
    return rmt_lock_check(rmt_payload(offset));
}

static const struct rmt_kind kind = {
    .id = RAMET_KIND_LOCK,
    .name = "lock",
    .clear = sizeof(struct rmt_lock),
    .check = check,
    .describe = describe,
};

__attribute__((constructor)) static void register_kind(void)
{
    rmt_kind_register(&kind);
}
