/* SPDX-License-Identifier: MIT
 *
 * storm_account.c: the objects of a round of the storm, and the account of what became of
 * everything; see storm.h.
 */
#include "arena/local.h"
#include "channel/queue.h"
#include "storm.h"
#include "sync/semaphore.h"

#include <poll.h>
#include <ramet/arena.h>

enum { BATCH = 8 }; /* items that one may have taken and not noted: ramet_queue_get_many */

struct storm_total storm_total;

static const ramet_wait now = {.size = sizeof now, .deadline = 0};

void storm_make(void)
{
    struct storm_objects *o = &storm_objects;
    ramet_queue_options bounded = {.size = sizeof bounded, .max_items = 12};
    ramet_pipe_options small = {.size = sizeof small, .bytes = 4096};
    ramet_semaphore_options permits = {
        .size = sizeof permits, .value = STORM_PERMITS, .max = STORM_PERMITS};
    ramet_semaphore_options signals = {
        .size = sizeof signals, .value = 0, .max = RAMET_SEMAPHORE_MAX};
    memset(storm_shared, 0, sizeof *storm_shared);
    OK(ramet_queue_create(NULL, &o->queue[STORM_INLINE]));
    OK(ramet_queue_create(&bounded, &o->queue[STORM_BOUNDED]));
    OK(ramet_queue_create(NULL, &o->queue[STORM_BLOCKS]));
    for (int i = 0; i < STORM_PIPES; i++)
        OK(ramet_pipe_create(&small, &o->in[i], &o->out[i]));
    OK(ramet_end_fd(o->in[STORM_POLLED - STORM_QUEUES]));
    for (int i = 0; i < STORM_LOCKS; i++)
        OK(ramet_lock_create(NULL, &o->lock[i]));
    OK(ramet_semaphore_create(&permits, &o->permits));
    OK(ramet_semaphore_create(&signals, &o->signals));
}

/* ---- items */

struct count {
    uint64_t begun, done;     /* put perhaps, put surely */
    uint64_t got, unreleased; /* seen by somebody; of these, not seen to be let go of */
    uint64_t missing;         /* put surely and never seen */
};

static void count_items(enum storm_channel channel, struct count *ret_count)
{
    struct count c = {0};
    for (size_t i = 0; i < STORM_ITEMS; i++) {
        const struct storm_item *item = &storm_shared->item[i];
        if (atomic_load(&item->put) == STORM_UNUSED || atomic_load(&item->channel) != channel)
            continue;
        uint8_t put = atomic_load(&item->put), got = atomic_load(&item->got);
        uint8_t released = atomic_load(&item->released);
        CHECK(got <= 1 && released <= got); /* to nobody twice */
        CHECK(put != STORM_PUT_REFUSED || got == 0);
        c.begun += put == STORM_PUT_BEGUN;
        c.done += put == STORM_PUT_DONE;
        c.got += got;
        c.unreleased += got != released;
        c.missing += put == STORM_PUT_DONE && got == 0;
    }
    *ret_count = c;
}

static void complain(const char *what, enum storm_channel channel, const struct count *c,
                     uint64_t of, uint64_t lost)
{
    fprintf(stderr,
            "channel %d: %s: put %lu and perhaps %lu, got %lu, of these not released %lu, missing "
            "%lu; put by its own count %lu, lost %lu\n",
            (int)channel, what, (unsigned long)c->done, (unsigned long)c->begun,
            (unsigned long)c->got, (unsigned long)c->unreleased, (unsigned long)c->missing,
            (unsigned long)of, (unsigned long)lost);
    exit(1);
}

/* The queue's own counts are exact.  What nobody has seen was taken by one who died before he could
 * say so, and is lost; what was seen and not seen to be released is lost, unless he died between
 * the release and his note. */
static void settle_queue(enum storm_channel channel, const struct storm_toll *toll)
{
    ramet_queue *queue = storm_objects.queue[channel];
    struct count c;
    while (storm_get(&storm_shared->slot[0], channel, &now))
        ;
    CHECK(ramet_queue_size(queue) == 0);
    count_items(channel, &c);
    uint64_t put = rmt_load64(&queue->shared->tail), lost = ramet_queue_lost(queue);
    uint64_t unseen = put - c.got;
    if (put < c.done || put > c.done + c.begun)
        complain("not what was put", channel, &c, put, lost);
    if (c.got > put || unseen > toll->receiving[channel] * BATCH)
        complain("items vanished", channel, &c, put, lost);
    if (lost < unseen || lost > unseen + c.unreleased)
        complain("the lost are not those in dead hands", channel, &c, put, lost);
    storm_total.delivered += put - lost;
    storm_total.lost += lost;
}

static void settle_pipe(enum storm_channel channel, const struct storm_toll *toll)
{
    struct count c;
    ramet_end *in = storm_objects.in[channel - STORM_QUEUES];
    size_t size;
    if (channel == STORM_POLLED) { /* whoever waits in poll(2) sleeps past no message */
        struct pollfd p = {.fd = ramet_end_socket(in), .events = POLLIN};
        CHECK(poll(&p, 1, 0) == 1 || ramet_end_next(in, &size) == -EAGAIN);
    }
    while (storm_get(&storm_shared->slot[0], channel, &now))
        ;
    count_items(channel, &c);
    if (c.got > c.done + c.begun || c.missing > toll->receiving[channel])
        complain("messages vanished", channel, &c, c.done, 0);
    storm_total.delivered += c.got;
    storm_total.lost += c.missing;
}

/* ---- locks and semaphores */

/* Each death with the lock in hand is told to one acquire: to the last of all, ours, if to no
 * other. Whoever was told and died before it could note it held the lock, so that another was told
 * of him.
 */
static void settle_lock(int i, const struct storm_toll *toll)
{
    const struct storm_guarded *g = &storm_shared->guarded[i];
    storm_count(&storm_shared->slot[0], i);
    CHECK(ramet_lock_state(storm_objects.lock[i]) == RAMET_LOCK_FREE);
    uint64_t told = atomic_load(&g->taken_over), counted = atomic_load(&g->counted);
    uint64_t deaths = toll->held[i] + toll->perhaps_held[i];
    if (told < toll->held[i] || told > deaths || g->first != g->second || counted > g->first ||
        g->first > counted + deaths) {
        fprintf(stderr,
                "lock %d: %lu died with it and %lu perhaps, %lu were told; counted %lu, %lu, %lu\n",
                i, (unsigned long)toll->held[i], (unsigned long)toll->perhaps_held[i],
                (unsigned long)told, (unsigned long)counted, (unsigned long)g->first,
                (unsigned long)g->second);
        exit(1);
    }
    storm_total.told += told;
}

static void settle_semaphores(void)
{
    const struct rmt_semaphore *s = rmt_semaphore_of(storm_objects.permits);
    CHECK(ramet_semaphore_value(storm_objects.permits) == STORM_PERMITS);
    CHECK(rmt_load64(&s->owned) == 0 && rmt_load64(&s->waiting) == 0);
    s = rmt_semaphore_of(storm_objects.signals);
    CHECK(rmt_load64(&s->owned) == 0 && rmt_load64(&s->waiting) == 0);
    int64_t value = ramet_semaphore_value(storm_objects.signals);
    const struct storm_shared *m = storm_shared;
    int64_t least = (int64_t)atomic_load(&m->signals_done) - (int64_t)atomic_load(&m->takes_begun);
    int64_t most = (int64_t)atomic_load(&m->signals_begun) - (int64_t)atomic_load(&m->takes_done);
    if (value < least || value > most) {
        fprintf(stderr, "plain permits: %ld, not between %ld and %ld\n", (long)value, (long)least,
                (long)most);
        exit(1);
    }
}

void storm_settle(const struct storm_toll *toll)
{
    struct storm_objects *o = &storm_objects;
    memset(storm_shared->slot, 0, sizeof storm_shared->slot);
    for (int c = 0; c < STORM_QUEUES; c++)
        settle_queue((enum storm_channel)c, toll);
    for (int c = STORM_QUEUES; c < STORM_CHANNELS; c++)
        settle_pipe((enum storm_channel)c, toll);
    for (int i = 0; i < STORM_LOCKS; i++)
        settle_lock(i, toll);
    settle_semaphores();
    OK(ramet_arena_check(2));
    for (int c = 0; c < STORM_QUEUES; c++)
        ramet_queue_close(o->queue[c]);
    for (int i = 0; i < STORM_PIPES; i++) {
        ramet_end_close(o->in[i]);
        ramet_end_close(o->out[i]);
    }
    for (int i = 0; i < STORM_LOCKS; i++)
        ramet_lock_close(o->lock[i]);
    ramet_semaphore_close(o->permits);
    ramet_semaphore_close(o->signals);
}

/* ---- memory */

void storm_baseline(bool first)
{
    static uint64_t blocks, bytes;
    ramet_usage usage = {.size = sizeof usage};
    OK(ramet_arena_check(2));
    OK(ramet_arena_usage(&usage));
    CHECK(usage.members == 1);
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++)
        CHECK(slot == rmt_local.slot ||
              rmt_member_state_of(rmt_load64(&rmt_member_at(slot)->state)) == RMT_MEMBER_FREE);
    if (first) {
        blocks = usage.blocks;
        bytes = usage.bytes_in_use;
    }
    if (usage.blocks != blocks || usage.bytes_in_use != bytes) {
        fprintf(stderr, "left over: %ld blocks, %ld bytes\n", (long)(usage.blocks - blocks),
                (long)(usage.bytes_in_use - bytes));
        exit(1);
    }
}
