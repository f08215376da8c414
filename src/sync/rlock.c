/* SPDX-License-Identifier: MIT
 *
 * rlock.c: the recursive lock; see rlock.h.
 */
#include "sync/rlock.h"
#include "arena/kind.h"
#include <ramet/view.h>

#include <errno.h>

#define COUNT_MAX INT32_MAX

static int once_more(struct rmt_rlock *rlock)
{
    uint64_t count = rmt_load64_relaxed(&rlock->count);
    if (count >= COUNT_MAX)
        return -EOVERFLOW;
    rmt_store64_relaxed(&rlock->count, count + 1);
    return 0;
}

/* This thread is the owner now. */
static void taken(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t count)
{
    self->rlocks++;
    rmt_store64_relaxed(&rlock->count, count);
}

int rmt_rlock_try(struct rmt_self *self, struct rmt_rlock *rlock)
{
    if (rmt_lock_try(self, &rlock->lock)) {
        taken(self, rlock, 1);
        return 0;
    }
    return rmt_lock_owner(&rlock->lock) == self->word ? once_more(rlock) : -EAGAIN;
}

int rmt_rlock_acquire(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t at,
                      const ramet_wait *wait)
{
    int r = rmt_rlock_try(self, rlock);
    if (r != -EAGAIN)
        return r;
    r = rmt_lock_acquire_slow(self, &rlock->lock, at, wait, true);
    if (r == 0 || r == -EOWNERDEAD)
        taken(self, rlock, 1);
    return r;
}

int rmt_rlock_release(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t at)
{
    if (rmt_lock_owner(&rlock->lock) != self->word)
        return -EPERM;
    uint64_t count = rmt_load64_relaxed(&rlock->count);
    if (count > 1) {
        rmt_store64_relaxed(&rlock->count, count - 1);
        return 0;
    }
    self->rlocks--;
    return rmt_lock_release(self, &rlock->lock, at);
}

int rmt_rlock_mark_dead(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t at)
{
    int r = rmt_lock_mark_dead(self, &rlock->lock, at);
    self->rlocks -= r == 0;
    return r;
}

int rmt_rlock_release_all(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t at,
                          uint64_t *ret_count)
{
    uint64_t count = rmt_rlock_count(self, rlock);
    if (count == 0)
        return -EPERM;
    self->rlocks--;
    int r = rmt_lock_release(self, &rlock->lock, at);
    if (r >= 0)
        *ret_count = count;
    return r;
}

int rmt_rlock_restore(struct rmt_self *self, struct rmt_rlock *rlock, uint64_t at, uint64_t count)
{
    int r = rmt_lock_try(self, &rlock->lock)
                ? 0
                : rmt_lock_acquire_slow(self, &rlock->lock, at, NULL, true);
    if (r == 0 || r == -EOWNERDEAD)
        taken(self, rlock, count);
    return r;
}

/* ---- the public handle */

static int init(struct rmt_self *self, void *shared, uint64_t at, const void *arg)
{
    (void)self;
    (void)at;
    (void)arg;
    struct rmt_rlock *rlock = shared;
    rmt_store64_relaxed(&rlock->lock.word, 0);
    rmt_store64_relaxed(&rlock->count, 0);
    return 0;
}

int ramet_rlock_create(const ramet_rlock_options *options, ramet_rlock **ret_rlock)
{
    struct rmt_object *object;
    if (options && options->size != sizeof *options)
        return -EINVAL;
    int r = rmt_object_create(sizeof(ramet_rlock), RAMET_KIND_RLOCK, sizeof(struct rmt_rlock), init,
                              NULL, &object);
    if (r >= 0)
        *ret_rlock = (ramet_rlock *)object;
    return r;
}

int ramet_rlock_open(const ramet_ref *ref, ramet_rlock **ret_rlock)
{
    struct rmt_object *object;
    int r = rmt_object_open(sizeof(ramet_rlock), RAMET_KIND_RLOCK, ref, &object);
    if (r >= 0)
        *ret_rlock = (ramet_rlock *)object;
    return r;
}

ramet_ref ramet_rlock_ref(const ramet_rlock *rlock)
{
    return rmt_handle_ref(&rlock->object.handle);
}

void ramet_rlock_close(ramet_rlock *rlock)
{
    rmt_object_close((struct rmt_object *)rlock);
}

int ramet_rlock_acquire(ramet_rlock *rlock, const ramet_wait *wait)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_rlock_acquire(self, rmt_rlock_of(rlock), rlock->object.at, wait);
}

int ramet_rlock_release(ramet_rlock *rlock)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_rlock_release(self, rmt_rlock_of(rlock), rlock->object.at);
}

int ramet_rlock_mark_dead(ramet_rlock *rlock)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_rlock_mark_dead(self, rmt_rlock_of(rlock), rlock->object.at);
}

int ramet_rlock_state(const ramet_rlock *rlock)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    return (int)rmt_lock_state_of(self, rmt_load64_relaxed(&rmt_rlock_of(rlock)->lock.word));
}

int ramet_rlock_count(const ramet_rlock *rlock)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : (int)rmt_rlock_count(self, rmt_rlock_of(rlock));
}

/* ---- the kind */

static void describe(const struct rmt_source *source, const struct rmt_block *block,
                     uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts)
{
    (void)source;
    (void)block;
    (void)offset;
    const struct rmt_rlock *rlock = payload;
    if (size < sizeof *rlock)
        return;
    rmt_lock_describe(&rlock->lock, facts);
    if (facts->owner != 0)
        facts->depth = rmt_load64_relaxed(&rlock->count);
}

static int check(uint64_t offset)
{
    const struct rmt_rlock *rlock = rmt_payload(offset);
    if (rmt_load64_relaxed(&rlock->count) > INT32_MAX)
        return -ENOTRECOVERABLE;
    return rmt_lock_check(&rlock->lock);
}

static const struct rmt_kind kind = {
    .id = RAMET_KIND_RLOCK,
    .name = "rlock",
    .clear = sizeof(struct rmt_rlock),
    .check = check,
    .describe = describe,
};

__attribute__((constructor)) static void register_kind(void)
{
    rmt_kind_register(&kind);
}
