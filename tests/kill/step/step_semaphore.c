/* SPDX-License-Identifier: MIT
 *
 * step_semaphore.c: a death at each store of the operations of a semaphore.  Owned permits come
 * back, plain ones are where they were put.
 */
#include "step.h"
#include "sync/semaphore.h"

enum { MAX = 5 };

static ramet_semaphore *semaphore;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static bool slept;

static void make(uint32_t value)
{
    ramet_semaphore_options options = {.size = sizeof options, .value = value, .max = MAX};
    OK(ramet_semaphore_create(&options, &semaphore));
    step_shared->ref[0] = ramet_semaphore_ref(semaphore);
}
static void two(void)
{
    make(2);
}
static void one(void)
{
    make(1);
}
static void none(void)
{
    make(0);
}

static void open_it(void)
{
    OK(ramet_semaphore_open(&step_shared->ref[0], &semaphore));
}
static void open_and_own(void)
{
    open_it();
    OK(ramet_semaphore_acquire_owned(semaphore, &try));
}
static void open_and_own_two(void)
{
    open_and_own();
    OK(ramet_semaphore_acquire_owned(semaphore, &try));
}

/* A peer that was there before may have the last permit, or have given one. */
static bool as_expected(int r, int expected, int with_peer)
{
    CHECK(r == expected || (r == with_peer && step_shared->peer_first));
    return r == expected;
}
static void acquire(void)
{
    int r = ramet_semaphore_acquire(semaphore, &try);
    step_shared->did[0] = as_expected(r, 0, -ETIMEDOUT);
}
static void acquire_owned(void)
{
    int r = ramet_semaphore_acquire_owned(semaphore, &try);
    step_shared->did[0] = as_expected(r, 0, -ETIMEDOUT);
}

/* Stands in line, and gives up. */
static void acquire_late(void)
{
    ramet_wait soon = {.size = sizeof soon, .deadline = 1};
    int r = ramet_semaphore_acquire_owned(semaphore, &soon);
    step_shared->did[0] = as_expected(r, -ETIMEDOUT, 0);
}
static void release(void)
{
    OK(ramet_semaphore_release(semaphore, 1));
    step_shared->did[0] = 1;
}
static void release_owned(void)
{
    OK(ramet_semaphore_release_owned(semaphore));
    step_shared->did[0] = 1;
}

static void peer(void)
{
    int r = ramet_semaphore_acquire_owned(semaphore, &try);
    CHECK(r == 0 || r == -ETIMEDOUT);
    if (r == 0)
        OK(ramet_semaphore_release_owned(semaphore));
}

static void peer_gives(void)
{
    OK(ramet_semaphore_release(semaphore, 1));
    OK(ramet_semaphore_acquire(semaphore, NULL));
}

static void use(int value)
{
    CHECK(ramet_semaphore_value(semaphore) == value);
    CHECK(rmt_load64(&rmt_semaphore_of(semaphore)->waiting) == 0);
    CHECK(rmt_load64(&rmt_semaphore_of(semaphore)->owned) == 0);
    for (int i = 0; i < value; i++)
        OK(ramet_semaphore_acquire_owned(semaphore, &try));
    CHECK(ramet_semaphore_acquire(semaphore, &try) == -ETIMEDOUT);
    for (int i = 0; i < value; i++)
        OK(ramet_semaphore_release_owned(semaphore));
    CHECK(ramet_semaphore_value(semaphore) == value);
}

static void after_acquire(void)
{
    int value = ramet_semaphore_value(semaphore);
    CHECK(value == 1 || (value == 2 && !step_shared->did[0]));
    use(value);
}
static void after_owned(void)
{
    use(2);
}
static void after_late(void)
{
    use(0);
}
static void after_release(void)
{
    int value = ramet_semaphore_value(semaphore);
    CHECK(value == 2 || (value == 1 && !step_shared->did[0]));
    use(value);
}

static void sleeps(void)
{
    OK(ramet_semaphore_acquire(semaphore, NULL));
    slept = true;
}

static bool enabled(void)
{
    return ramet_semaphore_value(semaphore) > 0;
}

static void enable(void)
{
    OK(ramet_semaphore_release(semaphore, 1));
}

/* One permit in all, and the sleeper has taken it. */
static void after_sleep(void)
{
    CHECK(slept);
    use(0);
}

#define CASE(title, made, have, act, check)                                                        \
    .name = "semaphore " title, .setup = made, .prepare = have, .operate = act, .verify = check

const struct step_case step_cases[] = {
    {CASE("acquire", two, open_it, acquire, after_acquire), .peer = peer},
    {CASE("acquire_owned", two, open_it, acquire_owned, after_owned), .peer = peer},
    {CASE("acquire_owned, a second", two, open_and_own, acquire_owned, after_owned), .peer = peer},
    {CASE("acquire_owned, too late", none, open_it, acquire_late, after_late), .peer = peer_gives},
    {CASE("release", one, open_it, release, after_release), .peer = peer},
    {CASE("release_owned", two, open_and_own, release_owned, after_owned), .peer = peer},
    {CASE("release_owned, of two", two, open_and_own_two, release_owned, after_owned),
     .peer = peer},
    {CASE("release, to a sleeper", none, open_it, release, after_sleep), .sleeps = sleeps,
     .enabled = enabled, .enable = enable},
    {CASE("release_owned, to a sleeper", one, open_and_own, release_owned, after_sleep),
     .sleeps = sleeps, .enabled = enabled, .enable = enable},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
