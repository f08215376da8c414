/* SPDX-License-Identifier: MIT
 *
 * sched_lock.c: three threads of three processes take a lock in turn, each twice.  Never two at a
 * time; who takes it after a death inside is told so, and nobody else is.
 */
#include "schedule.h"
#include "sync/lock.h"

enum { TURNS = 2 };

static ramet_lock *lock;
static int inside = -1;   /* who is */
static int told;          /* of a death */
static int surely_inside; /* deaths there */

static void setup(void)
{
    OK(ramet_lock_create(NULL, &lock));
}

static void turn(void)
{
    int r = ramet_lock_acquire(lock, NULL);
    CHECK(r == 0 || r == -EOWNERDEAD);
    if (inside >= 0) {
        CHECK(sched_is_dead(inside) && r == -EOWNERDEAD);
        surely_inside++;
    }
    told += r == -EOWNERDEAD;
    inside = sched_me();
    rmt_load64(&rmt_lock_of(lock)->word); /* here others may come, or this one dies */
    CHECK(inside == sched_me());
    inside = -1;
    OK(ramet_lock_release(lock));
}

static void turns(void)
{
    for (int i = 0; i < TURNS; i++)
        turn();
}

/* It is free, or its owner dead: who lives takes it. */
static bool may_sleep(int i, uint64_t word)
{
    (void)i;
    (void)word;
    return false;
}

static void enable(void) {}

static void verify(void)
{
    int dead = 0;
    for (int i = 0; i < SCHED_WORKERS; i++)
        dead += sched_is_dead(i);
    int r = ramet_lock_acquire(lock, NULL);
    CHECK(r == 0 || r == -EOWNERDEAD);
    told += r == -EOWNERDEAD;
    surely_inside += inside >= 0;
    CHECK(told >= surely_inside && told <= dead);
    OK(ramet_lock_release(lock));
    OK(ramet_lock_acquire(lock, NULL));
    OK(ramet_lock_release(lock));
}

const struct sched_case sched_cases[] = {
    {.name = "lock, three owners",
     .setup = setup,
     .actor = {{"the first", turns}, {"the second", turns}, {"the third", turns}},
     .may_sleep = may_sleep,
     .enable = enable,
     .verify = verify,
     .brief = {1, 0, -1},
     .full = {2, 1, 0},
     .stride = 32},
};
const int sched_case_count = sizeof sched_cases / sizeof sched_cases[0];
