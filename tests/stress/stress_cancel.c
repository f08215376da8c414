/* SPDX-License-Identifier: MIT
 *
 * stress_cancel.c: waits of every sort that would never end are cancelled, again and again.  What
 * was written before the firing is seen by who is cancelled, and nothing was taken by him.
 */
#include "stress.h"

#include <ramet/barrier.h>
#include <ramet/cancel.h>
#include <ramet/condition.h>
#include <ramet/event.h>
#include <ramet/pipe.h>
#include <ramet/queue.h>
#include <ramet/semaphore.h>

#include <errno.h>

enum { WAITERS = 4, WORKERS = WAITERS + 1, ROUNDS = 1500 };

static uint64_t *round_of_firing; /* plain */

static ramet_cancel *cancel;
static ramet_event *event;
static ramet_queue *queue;
static ramet_semaphore *none;
static ramet_barrier *everybody;
static ramet_lock *held; /* by nobody who gives it back before all rounds are over */
static ramet_condition *condition;
static ramet_end *left, *right;
static unsigned rounds;

static void meet(void)
{
    OK(ramet_barrier_wait(everybody, NULL, NULL, NULL, NULL));
}

static int wait_in_condition(void)
{
    OK(ramet_condition_acquire(condition, NULL));
    int r = ramet_condition_wait(condition, NULL);
    OK(ramet_condition_release(condition));
    return r;
}

static int wait_somewhere(unsigned how)
{
    ramet_item item;
    char byte;
    size_t size;
    switch (how % 7) {
    case 0:
        return ramet_event_wait(event, NULL);
    case 1:
        return ramet_queue_get(queue, NULL, &item);
    case 2:
        return ramet_semaphore_acquire(none, NULL);
    case 3:
        return ramet_semaphore_acquire_owned(none, NULL);
    case 4:
        return ramet_lock_acquire(held, NULL);
    case 5:
        return wait_in_condition();
    default:
        return ramet_end_recv(left, &byte, 1, &size, NULL);
    }
}

static void waiter(unsigned index)
{
    meet(); /* `held` is held */
    for (unsigned round = 1; round <= rounds; round++) {
        OK(ramet_cancel_use(cancel, NULL));
        CHECK(wait_somewhere(index + round) == -ECANCELED);
        CHECK(*round_of_firing == round);
        OK(ramet_cancel_use(NULL, NULL));
        meet(); /* all have been cancelled */
        meet(); /* it has been reset */
    }
}

static void fire(void)
{
    unsigned random = 1;
    OK(ramet_lock_acquire(held, NULL));
    meet();
    for (unsigned round = 1; round <= rounds; round++) {
        ramet_wait a_while = ramet_within((int64_t)(stress_random(&random) % 100000));
        if (round % 2) /* now before, now after most of them sleep */
            CHECK(ramet_event_wait(event, &a_while) == -ETIMEDOUT);
        *round_of_firing = round;
        OK(ramet_cancel_fire(cancel));
        meet();
        OK(ramet_cancel_reset(cancel));
        meet();
    }
    OK(ramet_lock_release(held));
}

static void work(unsigned index)
{
    index < WAITERS ? waiter(index) : fire();
}

static ramet_semaphore *make_semaphore(void)
{
    ramet_semaphore_options options = {.size = sizeof options, .max = RAMET_SEMAPHORE_MAX};
    ramet_semaphore *semaphore;
    OK(ramet_semaphore_create(&options, &semaphore));
    return semaphore;
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    round_of_firing = stress_memory(sizeof *round_of_firing);
    OK(ramet_cancel_create(NULL, &cancel));
    uint64_t blocks = stress_blocks() - 1;
    OK(ramet_event_create(NULL, &event));
    OK(ramet_queue_create(NULL, &queue));
    OK(ramet_lock_create(NULL, &held));
    OK(ramet_condition_create(NULL, &condition));
    OK(ramet_pipe_create(NULL, &left, &right));
    none = make_semaphore();
    ramet_barrier_options parties = {.size = sizeof parties, .parties = WORKERS};
    OK(ramet_barrier_create(&parties, &everybody));
    stress_run(WORKERS, work);
    CHECK(ramet_semaphore_value(none) == 0 && ramet_lock_state(held) == RAMET_LOCK_FREE);
    CHECK(ramet_condition_waiters(condition) == 0 && !ramet_cancel_fired(cancel));
    ramet_barrier_close(everybody);
    ramet_semaphore_close(none);
    ramet_end_close(left);
    ramet_end_close(right);
    ramet_condition_close(condition);
    ramet_lock_close(held);
    ramet_queue_close(queue);
    ramet_event_close(event);
    ramet_cancel_close(cancel);
    stress_end(blocks);
    return 0;
}
