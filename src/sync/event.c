/* SPDX-License-Identifier: MIT
 *
 * event.c: the event, one word; its bits are in event.h.  Every change is one compare-and-swap, so
 * that there is nothing to recover: a wake that dies with its debtor is repeated by recovery
 * (thread.wakes), and a sleep that missed it is no longer than a slice.
 */
#include "sync/event.h"
#include "arena/kind.h"
#include <ramet/view.h>

#include <errno.h>

void rmt_event_set(struct rmt_self *self, struct rmt_event *event, uint64_t at)
{
    uint64_t seen = rmt_load64(&event->word);
    rmt_store64(&self->thread->wakes, at); /* before the CAS: recovery repeats the wake */
    do {                                   /* pairs-with: event.word (release) */
        if (seen & RMT_EVENT_SET)
            return;
    } while (!rmt_cas64(&event->word, &seen, (seen | RMT_EVENT_SET) & ~RMT_EVENT_WAITERS));
    if (seen & RMT_EVENT_WAITERS)
        rmt_wake(rmt_low32(&event->word), INT32_MAX);
}

void rmt_event_clear(struct rmt_event *event)
{
    uint64_t seen = rmt_load64(&event->word);
    do {
        if (!(seen & RMT_EVENT_SET))
            return;
    } while (!rmt_cas64(&event->word, &seen, (seen & ~RMT_EVENT_SET) + RMT_EVENT_GENERATION));
}

int rmt_event_wait(struct rmt_self *self, struct rmt_event *event, uint64_t at, uint64_t ticket,
                   const ramet_wait *wait)
{
    struct rmt_waiter w;
    int slept = rmt_wait_start(&w, self, wait);
    for (;;) {
        uint64_t seen = rmt_load64(&event->word);
        if ((seen & ~RMT_EVENT_WAITERS) != ticket)
            return 0; /* the flag is up, or was.  pairs-with: event.word (acquire) */
        if (slept < 0)
            return slept;
        if (w.spins > 0 && w.deadline != 0) {
            rmt_sleep(&w, rmt_low32(&event->word), (uint32_t)seen, 0, 0); /* spins only */
            continue;
        }
        if (w.deadline != 0 && !(seen & RMT_EVENT_WAITERS)) {
            if (!rmt_cas64(&event->word, &seen, seen | RMT_EVENT_WAITERS))
                continue;
            seen |= RMT_EVENT_WAITERS;
        }
        slept = rmt_sleep(&w, rmt_low32(&event->word), (uint32_t)seen, at, 0);
    }
}

/* Arms like who is going to sleep. */
static bool ready(struct rmt_watch *watch, enum rmt_watch_when when)
{
    struct rmt_event *event = watch->object;
    uint64_t seen = rmt_load64(&event->word);
    if (when == RMT_WATCH_SETTLE)
        watch->arg = rmt_event_ticket(event);
    do {
        if ((seen & ~RMT_EVENT_WAITERS) != watch->arg)
            return true;
    } while ((seen & RMT_EVENT_WAITERS) == 0 &&
             !rmt_cas64(&event->word, &seen, seen | RMT_EVENT_WAITERS));
    return false;
}

void rmt_event_watch(struct rmt_event *event, struct rmt_watch *ret_watch)
{
    *ret_watch =
        (struct rmt_watch){.ready = ready, .object = event, .word = rmt_low32(&event->word)};
}

/* ---- the public handle */

static int init(struct rmt_self *self, void *shared, uint64_t at, const void *arg)
{
    (void)self;
    (void)at;
    (void)arg;
    struct rmt_event *event = shared;
    rmt_store64_relaxed(&event->word, 0);
    return 0;
}

int ramet_event_create(const ramet_event_options *options, ramet_event **ret_event)
{
    struct rmt_object *object;
    if (options && options->size != sizeof *options)
        return -EINVAL;
    int r = rmt_object_create(sizeof(ramet_event), RAMET_KIND_EVENT, sizeof(struct rmt_event), init,
                              NULL, &object);
    if (r >= 0)
        *ret_event = (ramet_event *)object;
    return r;
}

int ramet_event_open(const ramet_ref *ref, ramet_event **ret_event)
{
    struct rmt_object *object;
    int r = rmt_object_open(sizeof(ramet_event), RAMET_KIND_EVENT, ref, &object);
    if (r >= 0)
        *ret_event = (ramet_event *)object;
    return r;
}

ramet_ref ramet_event_ref(const ramet_event *event)
{
    return rmt_handle_ref(&event->object.handle);
}

void ramet_event_close(ramet_event *event)
{
    rmt_object_close((struct rmt_object *)event);
}

int ramet_event_set(ramet_event *event)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    rmt_event_set(self, rmt_event_of(event), event->object.at);
    return 0;
}

int ramet_event_clear(ramet_event *event)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    rmt_event_clear(rmt_event_of(event));
    return 0;
}

int ramet_event_is_set(const ramet_event *event)
{
    return rmt_event_is_set(rmt_event_of(event));
}

int ramet_event_wait(ramet_event *event, const ramet_wait *wait)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    struct rmt_event *shared = rmt_event_of(event);
    return rmt_event_wait(self, shared, event->object.at, rmt_event_ticket(shared), wait);
}

/* ---- the kind */

static void describe(const struct rmt_source *source, const struct rmt_block *block,
                     uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts)
{
    (void)source;
    (void)block;
    (void)offset;
    const struct rmt_event *event = payload;
    if (size < sizeof *event)
        return;
    uint64_t word = rmt_load64_relaxed(&event->word);
    facts->flags = (word & RMT_EVENT_SET) ? RAMET_VIEW_SET : 0;
    facts->done = word / RMT_EVENT_GENERATION;
}

static const struct rmt_kind kind = {
    .id = RAMET_KIND_EVENT,
    .name = "event",
    .clear = sizeof(struct rmt_event),
    .describe = describe,
};

__attribute__((constructor)) static void register_kind(void)
{
    rmt_kind_register(&kind);
}
