/* SPDX-License-Identifier: MIT
 *
 * barrier_handle.c: the barrier's handle and its kind; what it does is in barrier.c.
 */
#include "arena/kind.h"
#include "sync/barrier.h"
#include "sync/waiter.h"
#include <ramet/view.h>

#include <errno.h>

static int init(struct rmt_self *self, void *shared, uint64_t at, const void *arg)
{
    (void)self;
    struct rmt_barrier *b = shared;
    const ramet_barrier_options *options = arg;
    rmt_guard_init(&b->guard, at + offsetof(struct rmt_barrier, guard));
    rmt_store64_relaxed(&b->state, RMT_BARRIER_FILLING);
    rmt_store64_relaxed(&b->count, 0);
    b->parties = options->parties;
    return 0;
}

int ramet_barrier_create(const ramet_barrier_options *options, ramet_barrier **ret_barrier)
{
    struct rmt_object *object;
    if (!options || options->size != sizeof *options || options->parties == 0)
        return -EINVAL;
    int r = rmt_object_create(sizeof(ramet_barrier), RAMET_KIND_BARRIER, sizeof(struct rmt_barrier),
                              init, options, &object);
    if (r >= 0)
        *ret_barrier = (ramet_barrier *)object;
    return r;
}

int ramet_barrier_open(const ramet_ref *ref, ramet_barrier **ret_barrier)
{
    struct rmt_object *object;
    int r = rmt_object_open(sizeof(ramet_barrier), RAMET_KIND_BARRIER, ref, &object);
    if (r >= 0)
        *ret_barrier = (ramet_barrier *)object;
    return r;
}

ramet_ref ramet_barrier_ref(const ramet_barrier *barrier)
{
    return rmt_handle_ref(&barrier->object.handle);
}

void ramet_barrier_close(ramet_barrier *barrier)
{
    rmt_object_close((struct rmt_object *)barrier);
}

/* A signal is heard while the round fills; the wait for a full round ends with the round. */
static int await_or_withdraw(struct rmt_barrier_wait *bw, const ramet_wait *wait)
{
    for (;;) {
        int r = rmt_barrier_await(bw, wait);
        if (r != -EINTR)
            return r;
        r = rmt_barrier_withdraw(bw);
        if (r <= 0)
            return r < 0 ? r : -EINTR;
    }
}

int ramet_barrier_wait(ramet_barrier *barrier, const ramet_wait *wait, ramet_barrier_action *action,
                       void *arg, uint32_t *ret_index)
{
    struct rmt_barrier_wait bw;
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    if (wait && wait->size != sizeof *wait)
        return -EINVAL;
    r = rmt_barrier_enter(&bw, self, rmt_barrier_of(barrier), barrier->object.at);
    if (r < 0)
        return r;
    if (r == 1) {
        int acted = action ? action(arg) : 0;
        r = rmt_barrier_finish(&bw, acted >= 0);
        if (acted < 0)
            r = acted;
    } else {
        r = await_or_withdraw(&bw, wait);
    }
    int left = rmt_barrier_leave(&bw);
    if (r < 0)
        return r;
    if (left < 0)
        return left;
    if (ret_index)
        *ret_index = bw.index;
    return 0;
}

int ramet_barrier_abort(ramet_barrier *barrier)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_barrier_abort(self, rmt_barrier_of(barrier), barrier->object.at);
}

int ramet_barrier_reset(ramet_barrier *barrier)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_barrier_reset(self, rmt_barrier_of(barrier), barrier->object.at);
}

int ramet_barrier_broken(const ramet_barrier *barrier)
{
    return rmt_barrier_state(rmt_barrier_of(barrier)) == RMT_BARRIER_BROKEN;
}

uint32_t ramet_barrier_waiting(const ramet_barrier *barrier)
{
    const struct rmt_barrier *b = rmt_barrier_of(barrier);
    enum rmt_barrier_state state = rmt_barrier_state(b);
    if (state != RMT_BARRIER_FILLING && state != RMT_BARRIER_ACTING)
        return 0;
    return (uint32_t)rmt_load64_relaxed(&b->count);
}

uint32_t ramet_barrier_parties(const ramet_barrier *barrier)
{
    return (uint32_t)rmt_barrier_of(barrier)->parties;
}

/* ---- the kind */

static int check(uint64_t offset)
{
    const struct rmt_barrier *b = rmt_payload(offset);
    uint64_t count = rmt_load64_relaxed(&b->count);
    uint64_t at = offset + RMT_BLOCK_HEADER;
    struct rmt_hold_sum inside = {.what = at | RMT_HOLD_WAITER,
                                  .generation = rmt_generation_of(at)};
    rmt_hold_sum(&inside);
    bool sound =
        rmt_barrier_state(b) <= RMT_BARRIER_BROKEN && count <= b->parties && count == inside.count;
    return sound ? 0 : -ENOTRECOVERABLE;
}

static void describe(const struct rmt_source *source, const struct rmt_block *block,
                     uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts)
{
    (void)source;
    (void)block;
    (void)offset;
    const struct rmt_barrier *b = payload;
    if (size < sizeof *b)
        return;
    facts->depth = rmt_load64_relaxed(&b->count);
    facts->limit = b->parties;
    facts->flags = rmt_barrier_state(b) == RMT_BARRIER_BROKEN ? RAMET_VIEW_BROKEN : 0;
}

static const struct rmt_kind kind = {
    .id = RAMET_KIND_BARRIER,
    .name = "barrier",
    .clear = sizeof(struct rmt_barrier),
    .check = check,
    .describe = describe,
};

__attribute__((constructor)) static void register_kind(void)
{
    rmt_kind_register(&kind);
}
