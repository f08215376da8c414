/* SPDX-License-Identifier: MIT
 *
 * step_thread.c: a death at each store of a thread that joins the arena and ends.  What it held
 * comes back; its sub-slot, and a chunk of them that was made for it, go with the process.
 */
#include "arena/block.h"
#include "arena/local.h"
#include "step.h"
#include "sync/semaphore.h"

#include <pthread.h>

enum { PERMITS = 2 };

static ramet_semaphore *semaphore;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static pthread_barrier_t joined;

static void make(void)
{
    ramet_semaphore_options options = {.size = sizeof options, .value = PERMITS, .max = PERMITS};
    OK(ramet_semaphore_create(&options, &semaphore));
    step_shared->ref[0] = ramet_semaphore_ref(semaphore);
}

/* ---- the victim */

static void open_it(void)
{
    OK(ramet_semaphore_open(&step_shared->ref[0], &semaphore));
    rmt_bookkeeper()->spin = 0;
}

static void *join_and_end(void *unused)
{
    step_self();
    return unused;
}

static void *join_and_stay(void *unused)
{
    step_self();
    (void)pthread_barrier_wait(&joined);
    for (;;)
        pause();
    return unused;
}

static void start(void *(*fn)(void *), pthread_t *ret_thread)
{
    CHECK(pthread_create(ret_thread, NULL, fn, NULL) == 0);
}

static void have_one_before(void)
{
    pthread_t thread;
    open_it();
    start(join_and_end, &thread);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* As many as have their sub-slots in the member itself. */
static void have_others(void)
{
    enum { OTHERS = RMT_MEMBER_THREADS - 2 }; /* beside the bookkeeper and the main thread */
    pthread_t thread;
    open_it();
    CHECK(pthread_barrier_init(&joined, NULL, OTHERS + 1) == 0);
    for (int i = 0; i < OTHERS; i++)
        start(join_and_stay, &thread);
    (void)pthread_barrier_wait(&joined);
}

static void join(void)
{
    step_self()->spin = 0;
}

static void own_and_give_back(void)
{
    join();
    int r = ramet_semaphore_acquire_owned(semaphore, &try);
    CHECK(r == 0 || (r == -ETIMEDOUT && step_shared->peer_first));
    if (r == 0)
        OK(ramet_semaphore_release_owned(semaphore));
}

static void own(void)
{
    join();
    int r = ramet_semaphore_acquire_owned(semaphore, &try);
    CHECK(r == 0 || (r == -ETIMEDOUT && step_shared->peer_first));
}

/* ---- the driver's side */

/* With a block of the size of a chunk. */
static void peer(void)
{
    int hold;
    uint64_t offset;
    int r = ramet_semaphore_acquire_owned(semaphore, &try);
    CHECK(r == 0 || r == -ETIMEDOUT);
    OK(rmt_block_alloc(step_self(), RMT_THREAD_CHUNK_BYTES, RAMET_KIND_DATA, &hold, &offset));
    memset(rmt_payload(offset), 0xa5, RMT_THREAD_CHUNK_BYTES);
    rmt_block_free(step_self(), hold);
    if (r == 0)
        OK(ramet_semaphore_release_owned(semaphore));
}

static void after(void)
{
    CHECK(ramet_semaphore_value(semaphore) == PERMITS);
    for (int i = 0; i < PERMITS; i++)
        OK(ramet_semaphore_acquire_owned(semaphore, &try));
    CHECK(ramet_semaphore_acquire(semaphore, &try) == -ETIMEDOUT);
    for (int i = 0; i < PERMITS; i++)
        OK(ramet_semaphore_release_owned(semaphore));
}

#define CASE(title, have, act)                                                                     \
    .name = "thread " title, .setup = make, .prepare = have, .operate = act, .verify = after,      \
    .in_thread = true, .peer = peer

const struct step_case step_cases[] = {
    {CASE("joins and ends", open_it, join)},
    {CASE("joins, where one has ended", have_one_before, join)},
    {CASE("joins, a new chunk", have_others, join), .stride = 3},
    {CASE("holds a permit for a while", open_it, own_and_give_back)},
    {CASE("ends with a permit", open_it, own)},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
