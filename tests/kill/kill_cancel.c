/* SPDX-License-Identifier: MIT
 *
 * kill_cancel.c: a death at each atomic operation of firing a cancel object, beside a process that
 * sleeps and must be let go by that fire alone once it has happened; and at each one of calls that
 * are cancelled, beside processes that go on with the same objects.
 */
#include "kill.h"
#include <ramet/ramet.h>

static ramet_cancel *cancel;
static ramet_event *event;
static ramet_semaphore *semaphore;
static ramet_condition *condition;
static ramet_barrier *barrier;
static ramet_queue *queue;

/* ---- who fires dies */

static void setup_fire(void)
{
    OK(ramet_cancel_reset(cancel));
}

static void fire(void)
{
    OK(ramet_cancel_fire(cancel));
    OK(ramet_cancel_use(cancel, NULL));
    CHECK(ramet_event_wait(event, NULL) == -ECANCELED);
    OK(ramet_cancel_use(NULL, NULL));
}

static void sleep_or_help(int index)
{
    if (index == 0) {
        OK(ramet_cancel_use(cancel, NULL));
        CHECK(ramet_event_wait(event, NULL) == -ECANCELED);
        OK(ramet_cancel_use(NULL, NULL));
    } else {
        /* For a victim that died before it had fired; else nobody helps the sleeper. */
        if (atomic_load(&kill_shared->stop) && !ramet_cancel_fired(cancel))
            OK(ramet_cancel_fire(cancel));
        usleep(50);
    }
}

static void verify_fired(bool finished)
{
    (void)finished;
    CHECK(ramet_cancel_fired(cancel) == 1);
}

/* ---- who is cancelled dies */

static void setup_cancelled(void)
{
    OK(ramet_cancel_fire(cancel));
    OK(ramet_barrier_reset(barrier));
}

static void be_cancelled(void)
{
    ramet_item item = {.size = sizeof item};
    OK(ramet_cancel_use(cancel, NULL));
    int r = ramet_semaphore_acquire(semaphore, NULL);
    CHECK(r == 0 || r == -ECANCELED); /* a peer may just have given one */
    if (r == 0)
        OK(ramet_semaphore_release(semaphore, 1));
    r = ramet_condition_acquire(condition, NULL);
    CHECK(r == 0 || r == -ECANCELED);
    if (r == 0) {
        r = ramet_condition_wait(condition, NULL);
        CHECK(r == 0 || r == -ECANCELED);
        OK(ramet_condition_release(condition));
    }
    CHECK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL) == -ECANCELED);
    CHECK(ramet_queue_get(queue, NULL, &item) == -ECANCELED);
    OK(ramet_cancel_use(NULL, NULL));
}

static int acquire_condition(void)
{
    int r;
    do {
        r = ramet_condition_acquire(condition, NULL);
    } while (r == -EINTR);
    CHECK(r == 0 || r == -EOWNERDEAD);
    return r;
}

static void go_on(int index)
{
    if (index == 0) {
        ramet_wait wait = ramet_within(1000000); /* the victim may have died with the permit */
        OK(ramet_semaphore_release(semaphore, 1));
        int r = ramet_semaphore_acquire(semaphore, &wait);
        CHECK(r == 0 || r == -ETIMEDOUT || r == -EINTR);
    } else {
        acquire_condition();
        OK(ramet_condition_notify(condition, 1));
        OK(ramet_condition_release(condition));
    }
    usleep(20);
}

static void verify_cancelled(bool finished)
{
    CHECK(ramet_condition_waiters(condition) == 0);
    CHECK(ramet_barrier_waiting(barrier) == 0 && ramet_queue_size(queue) == 0);
    if (finished)
        CHECK(ramet_barrier_broken(barrier) == 0);
    const ramet_wait now = {.size = sizeof now, .deadline = 0};
    while (ramet_semaphore_acquire(semaphore, &now) == 0)
        ; /* a plain permit may be left over or missing where who had it died */
    OK(ramet_semaphore_release(semaphore, 1));
    OK(ramet_semaphore_acquire(semaphore, &now));
}

int main(void)
{
    OK(ramet_join());
    OK(ramet_cancel_create(NULL, &cancel));
    OK(ramet_event_create(NULL, &event));
    OK(ramet_semaphore_create(&(ramet_semaphore_options){.size = sizeof(ramet_semaphore_options),
                                                         .value = 0,
                                                         .max = 1000000},
                              &semaphore));
    OK(ramet_condition_create(NULL, &condition));
    OK(ramet_barrier_create(
        &(ramet_barrier_options){.size = sizeof(ramet_barrier_options), .parties = 2}, &barrier));
    OK(ramet_queue_create(NULL, &queue));
    kill_run(&(struct kill_case){"cancel, fire", setup_fire, fire, sleep_or_help, verify_fired});
    kill_run(&(struct kill_case){"cancel, cancelled", setup_cancelled, be_cancelled, go_on,
                                 verify_cancelled});
    return 0;
}
