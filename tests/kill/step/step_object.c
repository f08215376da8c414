/* SPDX-License-Identifier: MIT
 *
 * step_object.c: a death at each store of making an object of each kind, opening it, closing a
 * handle of it, and closing its last: by the public calls.  Whatever the victim made is gone
 * afterwards, and what others have open is there as before.  (Pools and pipes: step_pool.c,
 * step_pipe.c.)
 *
 * Those that consist of several blocks or keep others alive, such as a queue with items in it or a
 * condition of a lock that is made before, are closed with that, too.
 */
#include "arena/local.h"
#include "step.h"
#include <ramet/ramet.h>

static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static const ramet_barrier_options two = {.size = sizeof two, .parties = 2};

static void nothing(void) {}

/* What setup has opened, everybody has who descends from the driver. */
static void after(void)
{
    uint64_t offset = step_shared->ref[0].offset;
    CHECK(offset == 0 || rmt_load64(&rmt_block_at(offset)->refs) == step_members());
    struct rmt_self *self = step_self();
    for (int i = 0; i < RMT_HOLDS; i++)
        CHECK(rmt_load64(&self->thread->hold[i].what) == 0);
}

/* ---- each kind: create, open and close; the peer opens it and closes it again, or makes another
 * and closes that */

#define NOUN(noun, make)                                                                           \
    static ramet_##noun *noun;                                                                     \
    static void noun##_create(void)                                                                \
    {                                                                                              \
        OK(make);                                                                                  \
        step_shared->did[0] = 1;                                                                   \
    }                                                                                              \
    static void noun##_setup(void)                                                                 \
    {                                                                                              \
        OK(make);                                                                                  \
        step_shared->ref[0] = ramet_##noun##_ref(noun);                                            \
    }                                                                                              \
    static void noun##_open(void)                                                                  \
    {                                                                                              \
        OK(ramet_##noun##_open(&step_shared->ref[0], &noun));                                      \
        step_shared->did[0] = 1;                                                                   \
    }                                                                                              \
    static void noun##_close(void)                                                                 \
    {                                                                                              \
        ramet_##noun##_close(noun);                                                                \
        step_shared->did[0] = 1;                                                                   \
    }                                                                                              \
    static void noun##_peer(void)                                                                  \
    {                                                                                              \
        ramet_##noun *other;                                                                       \
        OK(ramet_##noun##_open(&step_shared->ref[0], &other));                                     \
        ramet_##noun##_close(other);                                                               \
    }                                                                                              \
    static void noun##_another(void)                                                               \
    {                                                                                              \
        OK(make);                                                                                  \
        ramet_##noun##_close(noun);                                                                \
    }                                                                                              \
    static void noun##_after(void)                                                                 \
    {                                                                                              \
        after();                                                                                   \
        noun##_peer();                                                                             \
    }

NOUN(lock, ramet_lock_create(NULL, &lock))
NOUN(rlock, ramet_rlock_create(NULL, &rlock))
NOUN(semaphore, ramet_semaphore_create(NULL, &semaphore))
NOUN(event, ramet_event_create(NULL, &event))
NOUN(condition, ramet_condition_create(NULL, &condition))
NOUN(barrier, ramet_barrier_create(&two, &barrier))
NOUN(queue, ramet_queue_create(NULL, &queue))
NOUN(cancel, ramet_cancel_create(NULL, &cancel))
NOUN(data, ramet_data_create(5000, &data))

/* ---- what is more than one block */

/* A ring behind the first, items in cells and in a block, and one that keeps a lock alive. */
static void queue_with_items(void)
{
    static char text[300];
    ramet_lock *kept;
    queue_create();
    for (int i = 0; i < 66; i++)
        OK(ramet_queue_put(queue, text, 8, NULL));
    OK(ramet_queue_put(queue, text, sizeof text, NULL));
    OK(ramet_lock_create(NULL, &kept));
    ramet_ref ref = ramet_lock_ref(kept);
    OK(ramet_queue_put_refs(queue, &ref, sizeof ref, &ref, 1, NULL));
    ramet_lock_close(kept);
    step_shared->did[0] = 0;
}

/* The lock is the driver's; the condition is the victim's own. */
static void open_lock(void)
{
    lock_open();
    step_shared->did[0] = 0;
}
static void create_of_lock(void)
{
    const ramet_condition_options options = {.size = sizeof options, .lock = lock};
    OK(ramet_condition_create(&options, &condition));
    step_shared->did[0] = 1;
}
static void condition_of_lock(void)
{
    open_lock();
    create_of_lock();
    step_shared->did[0] = 0;
}
static void after_lock(void)
{
    lock_after();
    CHECK(ramet_lock_acquire(lock, &try) == 0);
    OK(ramet_lock_release(lock));
}

/* Of pages of its own. */
static void data_create_pages(void)
{
    OK(ramet_data_create(200000, &data));
    step_shared->did[0] = 1;
}

#define CASES(noun)                                                                                \
    {.name = #noun " create",                                                                      \
     .setup = noun##_another,                                                                      \
     .prepare = nothing,                                                                           \
     .operate = noun##_create,                                                                     \
     .verify = after,                                                                              \
     .peer = noun##_another,                                                                       \
     .large = true,                                                                                \
     .alike = true},                                                                               \
        {.name = #noun " open",                                                                    \
         .setup = noun##_setup,                                                                    \
         .prepare = nothing,                                                                       \
         .operate = noun##_open,                                                                   \
         .verify = noun##_after,                                                                   \
         .peer = noun##_peer,                                                                      \
         .large = true,                                                                            \
         .alike = true},                                                                           \
        {.name = #noun " close",                                                                   \
         .setup = noun##_setup,                                                                    \
         .prepare = noun##_open,                                                                   \
         .operate = noun##_close,                                                                  \
         .verify = noun##_after,                                                                   \
         .peer = noun##_peer,                                                                      \
         .large = true,                                                                            \
         .alike = true},                                                                           \
    {                                                                                              \
        .name = #noun " close, the last", .setup = noun##_another, .prepare = noun##_create,       \
        .operate = noun##_close, .verify = after, .peer = noun##_another, .large = true,           \
        .alike = true                                                                              \
    }
#define CASE(title, made, have, act, check)                                                        \
    .name = title, .setup = made, .prepare = have, .operate = act, .verify = check, .large = true

const struct step_case step_cases[] = {
    CASES(lock),
    CASES(rlock),
    CASES(semaphore),
    CASES(event),
    CASES(condition),
    CASES(barrier),
    CASES(queue),
    CASES(cancel),
    CASES(data),
    {CASE("queue close, with items", nothing, queue_with_items, queue_close, after)},
    {CASE("condition create, of a lock", lock_setup, open_lock, create_of_lock, after_lock),
     .peer = lock_peer},
    {CASE("condition close, of a lock", lock_setup, condition_of_lock, condition_close, after_lock),
     .peer = lock_peer},
    {CASE("data create, of pages", nothing, nothing, data_create_pages, after)},
    {CASE("data close, of pages", nothing, data_create_pages, data_close, after)},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
