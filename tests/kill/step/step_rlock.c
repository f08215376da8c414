/* SPDX-License-Identifier: MIT
 *
 * step_rlock.c: a death at each store of the operations of a recursive lock.
 */
#include "arena/local.h"
#include "step.h"
#include "sync/rlock.h"

static ramet_rlock *rlock;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static bool slept;

static void setup(void)
{
    OK(ramet_rlock_create(NULL, &rlock));
    step_shared->ref[0] = ramet_rlock_ref(rlock);
}

static void open_it(void)
{
    OK(ramet_rlock_open(&step_shared->ref[0], &rlock));
}
static void open_and_take(void)
{
    open_it();
    OK(ramet_rlock_acquire(rlock, &try));
}
static void open_and_take_twice(void)
{
    open_and_take();
    OK(ramet_rlock_acquire(rlock, &try));
}

static void acquire(void)
{
    int r = ramet_rlock_acquire(rlock, &try);
    CHECK(r == 0 || (r == -ETIMEDOUT && step_shared->peer_first));
    if (r < 0)
        return;
    step_shared->did[0] = 1;
}
static void release(void)
{
    OK(ramet_rlock_release(rlock));
    step_shared->did[0] = 1;
}
static void mark_dead(void)
{
    OK(ramet_rlock_mark_dead(rlock));
    step_shared->did[0] = 1;
}

static void use(bool dead, bool alive)
{
    int r = ramet_rlock_acquire(rlock, &try);
    CHECK((dead && r == -EOWNERDEAD) || (alive && r == 0));
    CHECK(ramet_rlock_count(rlock) == 1);
    OK(ramet_rlock_acquire(rlock, &try));
    CHECK(ramet_rlock_count(rlock) == 2);
    OK(ramet_rlock_release(rlock));
    OK(ramet_rlock_release(rlock));
    CHECK(ramet_rlock_release(rlock) == -EPERM);
    CHECK(ramet_rlock_acquire(rlock, &try) == 0);
    OK(ramet_rlock_release(rlock));
}

static void after_acquire(void)
{
    use(true, !step_shared->did[0] || step_peer_ran);
}
static void after_release(void)
{
    use(!step_shared->did[0], true);
}
static void after_dead(void)
{
    use(true, step_peer_ran);
}

static void peer(void)
{
    int r = ramet_rlock_acquire(rlock, NULL);
    CHECK(r == 0 || r == -EOWNERDEAD);
    CHECK(ramet_rlock_count(rlock) == 1);
    OK(ramet_rlock_release(rlock));
}

static void sleeps(void)
{
    peer();
    slept = true;
}

static bool enabled(void)
{
    uint64_t owner = rmt_lock_owner(&rmt_rlock_of(rlock)->lock);
    return owner == 0 || rmt_dead_known(owner);
}

static void after_sleep(void)
{
    CHECK(slept);
    use(false, true);
}

#define CASE(title, have, act, check)                                                              \
    .name = "rlock " title, .setup = setup, .prepare = have, .operate = act, .verify = check

const struct step_case step_cases[] = {
    {CASE("acquire", open_it, acquire, after_acquire), .peer = peer},
    {CASE("acquire, again", open_and_take, acquire, after_dead), .peer = peer},
    {CASE("release", open_and_take, release, after_release), .peer = peer},
    {CASE("release, of two", open_and_take_twice, release, after_dead), .peer = peer},
    {CASE("mark_dead", open_and_take, mark_dead, after_dead), .peer = peer},
    {CASE("release, to a sleeper", open_and_take, release, after_sleep), .sleeps = sleeps,
     .enabled = enabled},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
