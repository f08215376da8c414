/* SPDX-License-Identifier: MIT
 *
 * step_lock.c: a death at each store of the operations of a lock.
 */
#include "arena/local.h"
#include "step.h"
#include "sync/lock.h"

static ramet_lock *lock;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};

static void setup(void)
{
    OK(ramet_lock_create(NULL, &lock));
    step_shared->ref[0] = ramet_lock_ref(lock);
}

static void take_and_die(void *unused)
{
    (void)unused;
    OK(ramet_lock_acquire(lock, NULL));
}

/* Its owner is dead, and nobody knows yet. */
static void setup_dead(void)
{
    setup();
    CHECK(finish(child(take_and_die, NULL)) == 0);
    step_blocks_less = 1; /* its handles */
}

static void open_lock(void)
{
    OK(ramet_lock_open(&step_shared->ref[0], &lock));
}

static void open_and_take(void)
{
    open_lock();
    OK(ramet_lock_acquire(lock, NULL));
}

/* Where a peer was there before, he may have it, or have had the news. */
static void acquire(void)
{
    int r = ramet_lock_acquire(lock, &try);
    CHECK(r == 0 || (r == -ETIMEDOUT && step_shared->peer_first));
    if (r < 0)
        return;
    step_shared->did[0] = 1;
}

static void acquire_dead(void)
{
    int r = ramet_lock_acquire(lock, &try);
    CHECK(r == -EOWNERDEAD || ((r == 0 || r == -ETIMEDOUT) && step_shared->peer_first));
    if (r == -ETIMEDOUT)
        return;
    step_shared->did[0] = 1;
}

static void release(void)
{
    OK(ramet_lock_release(lock));
    step_shared->did[0] = 1;
}

static void mark_dead(void)
{
    OK(ramet_lock_mark_dead(lock));
    step_shared->did[0] = 1;
}

/* Can be taken, with or without the news of a death, and given back. */
static void use(bool dead, bool alive)
{
    int r = ramet_lock_acquire(lock, &try);
    CHECK((dead && r == -EOWNERDEAD) || (alive && r == 0));
    OK(ramet_lock_release(lock));
    CHECK(ramet_lock_acquire(lock, &try) == 0);
    OK(ramet_lock_release(lock));
}

/* Who has been told that it is his is dead if he is; a peer may have had that news already. */
static void after_acquire(void)
{
    use(true, !step_shared->did[0] || step_peer_ran);
}

static void after_release(void)
{
    use(!step_shared->did[0], true);
}

static void after_mark(void)
{
    use(true, step_peer_ran);
}

/* ---- the sleeper, and the peer: both take the lock and give it back */

static bool slept;

static void peer(void)
{
    int r = ramet_lock_acquire(lock, NULL);
    CHECK(r == 0 || r == -EOWNERDEAD);
    OK(ramet_lock_release(lock));
}

static void sleeps(void)
{
    peer();
    slept = true;
}

/* It is free, or whose it was is dead. */
static bool enabled(void)
{
    uint64_t owner = rmt_lock_owner(rmt_lock_of(lock));
    return owner == 0 || rmt_dead_known(owner);
}

static void after_sleep(void)
{
    CHECK(slept);
    use(false, true);
}

const struct step_case step_cases[] = {
    {.name = "lock acquire",
     .setup = setup,
     .prepare = open_lock,
     .operate = acquire,
     .verify = after_acquire,
     .peer = peer},
    {.name = "lock acquire from the dead",
     .setup = setup_dead,
     .prepare = open_lock,
     .operate = acquire_dead,
     .verify = after_mark,
     .peer = peer},
    {.name = "lock release",
     .setup = setup,
     .prepare = open_and_take,
     .operate = release,
     .verify = after_release,
     .peer = peer},
    {.name = "lock mark_dead",
     .setup = setup,
     .prepare = open_and_take,
     .operate = mark_dead,
     .verify = after_mark,
     .peer = peer},
    {.name = "lock release, to a sleeper",
     .setup = setup,
     .prepare = open_and_take,
     .operate = release,
     .verify = after_sleep,
     .sleeps = sleeps,
     .enabled = enabled},
    {.name = "lock mark_dead, to a sleeper",
     .setup = setup,
     .prepare = open_and_take,
     .operate = mark_dead,
     .verify = after_sleep,
     .sleeps = sleeps,
     .enabled = enabled},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
