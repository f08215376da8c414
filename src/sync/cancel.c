/* SPDX-License-Identifier: MIT
 *
 * cancel.c: the cancel object; its word is in cancel.h.  fire, reset and fired are
 * async-signal-safe: they touch the mapped word and the mapped part of the member table, and make
 * one system call per sleeper (futex wake).
 */
#include "sync/cancel.h"
#include "arena/kind.h"
#include <ramet/view.h>

#include <errno.h>

static int init(struct rmt_self *self, void *shared, uint64_t at, const void *arg)
{
    (void)self;
    (void)at;
    (void)arg;
    struct rmt_cancel *cancel = shared;
    rmt_store64_relaxed(&cancel->word, 0);
    return 0;
}

int ramet_cancel_create(const ramet_cancel_options *options, ramet_cancel **ret_cancel)
{
    struct rmt_object *object;
    if (options && options->size != sizeof *options)
        return -EINVAL;
    int r = rmt_object_create(sizeof(ramet_cancel), RAMET_KIND_CANCEL, sizeof(struct rmt_cancel),
                              init, NULL, &object);
    if (r >= 0)
        *ret_cancel = (ramet_cancel *)object;
    return r;
}

int ramet_cancel_open(const ramet_ref *ref, ramet_cancel **ret_cancel)
{
    struct rmt_object *object;
    int r = rmt_object_open(sizeof(ramet_cancel), RAMET_KIND_CANCEL, ref, &object);
    if (r >= 0)
        *ret_cancel = (ramet_cancel *)object;
    return r;
}

ramet_ref ramet_cancel_ref(const ramet_cancel *cancel)
{
    return rmt_handle_ref(&cancel->object.handle);
}

void ramet_cancel_close(ramet_cancel *cancel)
{
    rmt_object_close((struct rmt_object *)cancel);
}

int ramet_cancel_use(ramet_cancel *cancel, ramet_cancel **ret_previous)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    if (ret_previous)
        *ret_previous = self->cancel_handle;
    self->cancel_handle = cancel;
    self->cancel = cancel ? &rmt_cancel_of(cancel)->word : NULL;
    rmt_store64(&self->thread->cancel, cancel ? cancel->object.at : 0);
    return 0;
}

int ramet_cancel_fire(ramet_cancel *cancel)
{
    int saved = errno; /* of the code that a signal handler interrupted */
    if (rmt_load32_relaxed(rmt_member_mark) == 0)
        return -ECHILD;
    rmt_a64 *word = &rmt_cancel_of(cancel)->word;
    uint64_t seen = rmt_load64(word);
    /* Release: what was written before it is seen by who is cancelled by it (rmt_cancelled). */
    while ((seen & RMT_CANCEL_FIRED) == 0 && !rmt_cas64(word, &seen, seen | RMT_CANCEL_FIRED))
        ;
    rmt_cancel_wake(cancel->object.at); /* again if it was fired: who did may have died since */
    errno = saved;
    return 0;
}

int ramet_cancel_reset(ramet_cancel *cancel)
{
    if (rmt_load32_relaxed(rmt_member_mark) == 0)
        return -ECHILD;
    rmt_a64 *word = &rmt_cancel_of(cancel)->word;
    uint64_t seen = rmt_load64(word);
    while ((seen & RMT_CANCEL_FIRED) != 0 &&
           !rmt_cas64(word, &seen, seen - RMT_CANCEL_FIRED + RMT_CANCEL_GENERATION))
        ;
    return 0;
}

int ramet_cancel_fired(const ramet_cancel *cancel)
{
    return rmt_load64(&rmt_cancel_of(cancel)->word) & RMT_CANCEL_FIRED;
}

/* ---- the kind */

static void describe(const struct rmt_source *source, const struct rmt_block *block,
                     uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts)
{
    (void)source;
    (void)block;
    (void)offset;
    const struct rmt_cancel *cancel = payload;
    if (size < sizeof *cancel)
        return;
    uint64_t word = rmt_load64_relaxed(&cancel->word);
    facts->flags = (word & RMT_CANCEL_FIRED) ? RAMET_VIEW_SET : 0;
    facts->done = word / RMT_CANCEL_GENERATION;
}

static const struct rmt_kind kind = {
    .id = RAMET_KIND_CANCEL,
    .name = "cancel",
    .clear = sizeof(struct rmt_cancel),
    .describe = describe,
};

__attribute__((constructor)) static void register_kind(void)
{
    rmt_kind_register(&kind);
}
