/* SPDX-License-Identifier: MIT
 *
 * step_cancel.c: a death at each store of the operations of a cancel object, and of what waits
 * while it uses one that is fired: such a call has done nothing, whether its caller lives or dies.
 *
 * Who fires owes nothing (docs/decisions/012): if it dies before it has woken all, the others find
 * out at their next look.  So a wake is asked for only once ramet_cancel_fire() has come back.
 */
#include "arena/local.h"
#include "step.h"
#include "sync/cancel.h"
#include "sync/semaphore.h"
#include <ramet/ramet.h>

static ramet_cancel *cancel;
static ramet_event *event; /* that nobody sets */
static ramet_lock *lock;
static ramet_semaphore *semaphore;
static ramet_condition *condition;
static ramet_queue *queue;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static int outcome; /* of the sleeper's wait */
static bool slept;

static void make(void)
{
    OK(ramet_cancel_create(NULL, &cancel));
    step_shared->ref[0] = ramet_cancel_ref(cancel);
    OK(ramet_event_create(NULL, &event));
    step_shared->ref[1] = ramet_event_ref(event);
}
static void make_fired(void)
{
    make();
    OK(ramet_cancel_fire(cancel));
}

/* Of each of these the victim would have to wait for another. */
static void with_lock(void)
{
    make_fired();
    OK(ramet_lock_create(NULL, &lock));
    step_shared->ref[2] = ramet_lock_ref(lock);
    OK(ramet_lock_acquire(lock, &try));
}
static void with_semaphore(void)
{
    const ramet_semaphore_options options = {.size = sizeof options, .value = 0, .max = 5};
    make_fired();
    OK(ramet_semaphore_create(&options, &semaphore));
    step_shared->ref[2] = ramet_semaphore_ref(semaphore);
}
static void with_condition(void)
{
    make_fired();
    OK(ramet_condition_create(NULL, &condition));
    step_shared->ref[2] = ramet_condition_ref(condition);
}
static void with_queue(void)
{
    make_fired();
    OK(ramet_queue_create(NULL, &queue));
    step_shared->ref[2] = ramet_queue_ref(queue);
}

/* ---- the victim */

static void open_it(void)
{
    OK(ramet_cancel_open(&step_shared->ref[0], &cancel));
    OK(ramet_event_open(&step_shared->ref[1], &event));
}
static void open_and_use(void)
{
    open_it();
    OK(ramet_cancel_use(cancel, NULL));
}
static void open_lock(void)
{
    open_and_use();
    OK(ramet_lock_open(&step_shared->ref[2], &lock));
}
static void open_semaphore(void)
{
    open_and_use();
    OK(ramet_semaphore_open(&step_shared->ref[2], &semaphore));
}
static void open_condition(void)
{
    open_and_use();
    OK(ramet_condition_open(&step_shared->ref[2], &condition));
    OK(ramet_condition_acquire(condition, &try));
}
static void open_queue(void)
{
    open_and_use();
    OK(ramet_queue_open(&step_shared->ref[2], &queue));
}

static void use_it(void)
{
    ramet_cancel *previous;
    OK(ramet_cancel_use(cancel, &previous));
    CHECK(previous == NULL);
    OK(ramet_cancel_use(NULL, &previous));
    CHECK(previous == cancel);
}
static void use_and_close(void)
{
    use_it();
    ramet_cancel_close(cancel);
}
static void fire(void)
{
    OK(ramet_cancel_fire(cancel));
    step_shared->did[0] = 1;
}
static void reset(void)
{
    OK(ramet_cancel_reset(cancel));
    step_shared->did[0] = 1;
}
static void wait_for_event(void)
{
    CHECK(ramet_event_wait(event, NULL) == -ECANCELED);
}
/* A peer that was there before may have given what is waited for. */
static bool cancelled(int r)
{
    CHECK(r == -ECANCELED || (r == 0 && step_shared->peer_first));
    return r == -ECANCELED;
}
static void wait_for_lock(void)
{
    if (!cancelled(ramet_lock_acquire(lock, NULL)))
        OK(ramet_lock_release(lock));
    step_shared->did[0] = 1;
}
static void wait_for_permit(void)
{
    cancelled(ramet_semaphore_acquire_owned(semaphore, NULL));
}
static void wait_for_notice(void)
{
    CHECK(ramet_condition_wait(condition, NULL) == -ECANCELED);
    OK(ramet_condition_release(condition));
    step_shared->did[0] = 1;
}
static void wait_for_item(void)
{
    ramet_item item;
    if (cancelled(ramet_queue_get(queue, NULL, &item)))
        return;
    ramet_item_release(&item);
    step_shared->did[1] = 1;
}

/* ---- peers */

static void peer_fires(void)
{
    OK(ramet_cancel_fire(cancel));
    OK(ramet_cancel_fire(cancel));
}

static void peer_waits(void)
{
    const ramet_wait soon = {.size = sizeof soon, .deadline = 1};
    OK(ramet_cancel_use(cancel, NULL));
    int r = ramet_event_wait(event, &soon);
    CHECK(r == -ETIMEDOUT || r == -ECANCELED);
    OK(ramet_cancel_use(NULL, NULL));
}

static void peer_gives_lock(void)
{
    OK(ramet_lock_release(lock));
}

static void peer_gives_permit(void)
{
    OK(ramet_semaphore_release(semaphore, 1));
}

static void peer_notifies(void)
{
    int r = ramet_condition_acquire(condition, &try);
    CHECK(r == 0 || r == -EOWNERDEAD || r == -ETIMEDOUT);
    if (r == -ETIMEDOUT)
        return;
    OK(ramet_condition_notify(condition, 1));
    OK(ramet_condition_release(condition));
}

static void peer_puts(void)
{
    OK(ramet_queue_put(queue, "item", 4, &try));
}

/* ---- verifying */

static void use(void)
{
    const ramet_wait soon = {.size = sizeof soon, .deadline = 1};
    OK(ramet_cancel_use(cancel, NULL));
    OK(ramet_cancel_fire(cancel));
    CHECK(ramet_cancel_fired(cancel) == 1 && ramet_event_wait(event, NULL) == -ECANCELED);
    OK(ramet_cancel_reset(cancel));
    CHECK(ramet_cancel_fired(cancel) == 0 && ramet_event_wait(event, &soon) == -ETIMEDOUT);
    OK(ramet_cancel_use(NULL, NULL));
}

static void after_fire(void)
{
    CHECK(ramet_cancel_fired(cancel) || !step_shared->did[0]);
    use();
}

static void after_reset(void)
{
    CHECK(!ramet_cancel_fired(cancel) || !step_shared->did[0] || step_peer_ran);
    use();
}

/* Nobody has the lock but the driver, until the peer gives it back; then perhaps the victim, who
 * had it for a moment if the peer was first. */
static void after_lock(void)
{
    int r = step_peer_ran ? ramet_lock_acquire(lock, &try) : 0;
    CHECK(r == 0 || (r == -EOWNERDEAD && step_shared->peer_first));
    CHECK(ramet_lock_state(lock) == (step_members() == 4 ? RAMET_LOCK_MINE : RAMET_LOCK_OTHER));
    use();
}

static void after_permit(void)
{
    CHECK(ramet_semaphore_value(semaphore) == step_peer_ran);
    CHECK(rmt_load64(&rmt_semaphore_of(semaphore)->owned) == 0);
    use();
}

static void after_notice(void)
{
    CHECK(ramet_condition_waiters(condition) == 0);
    int r = ramet_condition_acquire(condition, &try);
    CHECK(r == 0 || (r == -EOWNERDEAD && !step_shared->did[0]));
    OK(ramet_condition_release(condition));
    use();
}

static void after_item(void)
{
    uint64_t there = ramet_queue_size(queue), lost = ramet_queue_lost(queue);
    CHECK(there + lost <= step_peer_ran && (lost == 0 || step_shared->peer_first));
    CHECK(there == step_peer_ran || step_shared->peer_first);
    use();
}

/* ---- the sleeper */

static void sleeps(void)
{
    OK(ramet_cancel_use(cancel, NULL));
    outcome = ramet_event_wait(event, NULL);
    slept = true;
}

static bool enabled(void)
{
    return ramet_cancel_fired(cancel) != 0;
}

static void enable(void)
{
    OK(ramet_cancel_fire(cancel));
}

static void after_sleep(void)
{
    CHECK(slept && outcome == -ECANCELED);
    use();
}

#define CASE(title, made, have, act, check)                                                        \
    .name = "cancel " title, .setup = made, .prepare = have, .operate = act, .verify = check

const struct step_case step_cases[] = {
    {CASE("use", make, open_it, use_it, use), .peer = peer_fires},
    {CASE("use, and close", make, open_it, use_and_close, use), .peer = peer_fires},
    {CASE("fire", make, open_it, fire, after_fire), .peer = peer_waits},
    {CASE("fire, of a fired one", make_fired, open_it, fire, after_fire), .peer = peer_fires},
    {CASE("reset", make_fired, open_it, reset, after_reset), .peer = peer_waits},
    {CASE("reset, beside who fires", make_fired, open_it, reset, after_reset), .peer = peer_fires},
    {CASE("wait for an event, cancelled", make_fired, open_and_use, wait_for_event, use),
     .peer = peer_fires},
    {CASE("wait for a lock, cancelled", with_lock, open_lock, wait_for_lock, after_lock),
     .peer = peer_gives_lock},
    {CASE("wait for a permit, cancelled", with_semaphore, open_semaphore, wait_for_permit,
          after_permit),
     .peer = peer_gives_permit},
    {CASE("wait for a notice, cancelled", with_condition, open_condition, wait_for_notice,
          after_notice),
     .peer = peer_notifies},
    {CASE("wait for an item, cancelled", with_queue, open_queue, wait_for_item, after_item),
     .peer = peer_puts},
    {CASE("fire, to a sleeper", make, open_it, fire, after_sleep), .sleeps = sleeps,
     .enabled = enabled, .enable = enable, .owes_later = true},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
