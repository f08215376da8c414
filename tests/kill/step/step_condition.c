/* SPDX-License-Identifier: MIT
 *
 * step_condition.c: a death at each store of the operations of a condition.  A notification is
 * whole or not there, a dead waiter is in no list, and the lock can be had.
 */
#include "arena/local.h"
#include "step.h"
#include "sync/condition.h"

static ramet_condition *condition;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static bool slept;

static void setup(void)
{
    OK(ramet_condition_create(NULL, &condition));
    step_shared->ref[0] = ramet_condition_ref(condition);
}

static void open_it(void)
{
    OK(ramet_condition_open(&step_shared->ref[0], &condition));
}
static void open_and_take(void)
{
    open_it();
    OK(ramet_condition_acquire(condition, &try));
}

static void take(void)
{
    int r = ramet_condition_acquire(condition, NULL);
    CHECK(r == 0 || r == -EOWNERDEAD);
}

static void wait_late(void)
{
    ramet_wait soon = {.size = sizeof soon, .deadline = 1};
    CHECK(ramet_condition_wait(condition, &soon) == -ETIMEDOUT);
    step_shared->did[0] = 1;
}
static void notify(void)
{
    OK(ramet_condition_notify(condition, 1));
    step_shared->did[0] = 1;
    OK(ramet_condition_release(condition));
    step_shared->did[0] = 2;
}

/* The sleeper came before: the lock is taken here. */
static void take_and_notify(void)
{
    OK(ramet_condition_acquire(condition, &try));
    notify();
}

static void use(void)
{
    CHECK(ramet_condition_waiters(condition) == 0);
    CHECK(rmt_load64(&rmt_condition_of(condition)->pending) == 0);
    take();
    OK(ramet_condition_notify(condition, 2));
    ramet_wait soon = {.size = sizeof soon, .deadline = 1};
    CHECK(ramet_condition_wait(condition, &soon) == -ETIMEDOUT);
    OK(ramet_condition_release(condition));
    OK(ramet_condition_acquire(condition, &try));
    OK(ramet_condition_release(condition));
}

static void peer(void)
{
    take();
    OK(ramet_condition_notify(condition, 1));
    OK(ramet_condition_release(condition));
}

static void sleeps(void)
{
    take();
    int r = ramet_condition_wait(condition, NULL);
    CHECK(r == 0 || r == -EOWNERDEAD);
    OK(ramet_condition_release(condition));
    slept = true;
}

/* It has been notified, and can have the lock. */
static bool enabled(void)
{
    const struct rmt_thread *t = rmt_at(step_shared->sleeper);
    const struct rmt_lock *lock = condition->lock.shared;
    uint64_t owner = rmt_lock_owner(lock);
    return rmt_load64(&t->list_of) == 0 && (owner == 0 || rmt_dead_known(owner));
}

static void enable(void)
{
    peer();
}

static void after_sleep(void)
{
    CHECK(slept);
    use();
}

#define CASE(title, have, act, check)                                                              \
    .name = "condition " title, .setup = setup, .prepare = have, .operate = act, .verify = check

const struct step_case step_cases[] = {
    {CASE("wait, too late", open_and_take, wait_late, use), .peer = peer},
    {CASE("notify, nobody", open_and_take, notify, use), .peer = peer},
    {CASE("notify, to a sleeper", open_it, take_and_notify, after_sleep), .sleeps = sleeps,
     .enabled = enabled, .enable = enable},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
