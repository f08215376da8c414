/* SPDX-License-Identifier: MIT
 *
 * semaphore_handle.c: the semaphore's handle and its kind; what it does is in semaphore.c.
 */
#include "arena/kind.h"
#include "sync/semaphore.h"
#include "sync/waiter.h"

#include <errno.h>

static int init(struct rmt_self *self, void *shared, uint64_t at, const void *arg)
{
    (void)self;
    struct rmt_semaphore *s = shared;
    const ramet_semaphore_options *options = arg;
    rmt_guard_init(&s->guard, at + offsetof(struct rmt_semaphore, guard));
    rmt_store64_relaxed(&s->value, options->value);
    rmt_store64_relaxed(&s->waiting, 0);
    rmt_store64_relaxed(&s->owned, 0);
    s->max = options->max;
    return 0;
}

int ramet_semaphore_create(const ramet_semaphore_options *options, ramet_semaphore **ret_semaphore)
{
    static const ramet_semaphore_options defaults = {
        .size = sizeof defaults, .value = 1, .max = RAMET_SEMAPHORE_MAX};
    struct rmt_object *object;
    if (!options)
        options = &defaults;
    if (options->size != sizeof *options || options->max > RAMET_SEMAPHORE_MAX ||
        options->value > options->max)
        return -EINVAL;
    int r = rmt_object_create(sizeof(ramet_semaphore), RAMET_KIND_SEMAPHORE,
                              sizeof(struct rmt_semaphore), init, options, &object);
    if (r >= 0)
        *ret_semaphore = (ramet_semaphore *)object;
    return r;
}

int ramet_semaphore_open(const ramet_ref *ref, ramet_semaphore **ret_semaphore)
{
    struct rmt_object *object;
    int r = rmt_object_open(sizeof(ramet_semaphore), RAMET_KIND_SEMAPHORE, ref, &object);
    if (r >= 0)
        *ret_semaphore = (ramet_semaphore *)object;
    return r;
}

ramet_ref ramet_semaphore_ref(const ramet_semaphore *semaphore)
{
    return rmt_handle_ref(&semaphore->object.handle);
}

void ramet_semaphore_close(ramet_semaphore *semaphore)
{
    rmt_object_close((struct rmt_object *)semaphore);
}

int ramet_semaphore_acquire(ramet_semaphore *semaphore, const ramet_wait *wait)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    return rmt_semaphore_acquire(self, rmt_semaphore_of(semaphore), semaphore->object.at, wait,
                                 false);
}

int ramet_semaphore_acquire_owned(ramet_semaphore *semaphore, const ramet_wait *wait)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    return rmt_semaphore_acquire(self, rmt_semaphore_of(semaphore), semaphore->object.at, wait,
                                 true);
}

int ramet_semaphore_release(ramet_semaphore *semaphore, uint32_t count)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    return rmt_semaphore_release(self, rmt_semaphore_of(semaphore), semaphore->object.at, count);
}

int ramet_semaphore_release_owned(ramet_semaphore *semaphore)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    return rmt_semaphore_release_owned(self, rmt_semaphore_of(semaphore), semaphore->object.at);
}

int ramet_semaphore_value(const ramet_semaphore *semaphore)
{
    return (int)rmt_load64_relaxed(&rmt_semaphore_of(semaphore)->value);
}

uint32_t ramet_semaphore_max(const ramet_semaphore *semaphore)
{
    return (uint32_t)rmt_semaphore_of(semaphore)->max;
}

/* ---- the kind */

static int check(uint64_t offset)
{
    const struct rmt_semaphore *s = rmt_payload(offset);
    uint64_t at = offset + RMT_BLOCK_HEADER;
    uint32_t generation = rmt_generation_of(at);
    struct rmt_hold_sum permits = {
        .what = at | RMT_HOLD_PERMIT, .generation = generation, .shift = 32};
    struct rmt_hold_sum waiters = {.what = at | RMT_HOLD_WAITER, .generation = generation};
    rmt_hold_sum(&permits);
    rmt_hold_sum(&waiters);
    bool sound = rmt_load64_relaxed(&s->value) <= s->max &&
                 rmt_load64_relaxed(&s->owned) == permits.low &&
                 rmt_load64_relaxed(&s->waiting) == waiters.count;
    return sound ? 0 : -ENOTRECOVERABLE;
}

static void describe(const struct rmt_source *source, const struct rmt_block *block,
                     uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts)
{
    (void)source;
    (void)block;
    (void)offset;
    const struct rmt_semaphore *s = payload;
    if (size < sizeof *s)
        return;
    facts->depth = rmt_load64_relaxed(&s->value);
    facts->limit = s->max;
    facts->done = rmt_load64_relaxed(&s->owned);
}

static const struct rmt_kind kind = {
    .id = RAMET_KIND_SEMAPHORE,
    .name = "semaphore",
    .clear = sizeof(struct rmt_semaphore),
    .check = check,
    .describe = describe,
};

__attribute__((constructor)) static void register_kind(void)
{
    rmt_kind_register(&kind);
}
