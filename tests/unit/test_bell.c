/* SPDX-License-Identifier: MIT
 *
 * test_bell.c: no wake of a queue is lost between the last look at the condition and the sleep, and
 * none is spent where nobody sleeps.  The hook of the futex calls stands exactly there: it does, in
 * the name of somebody else, what the sleeper is about to wait for, and counts the calls.
 */
#include "channel/bell.h"
#include "channel/queue.h"

#include <ramet/arena.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static const ramet_wait now = {.size = sizeof(ramet_wait), .deadline = 0};
static ramet_queue *q;
static int waits, wakes;
static void (*act)(void); /* what the first futex wait meets */

/* The word on which a sleep begins must not be the one that the sleeper saw. */
static void hook(enum rmt_hook_kind kind, const volatile void *word)
{
    if (kind == RMT_HOOK_FUTEX_WAKE)
        wakes++;
    if (kind != RMT_HOOK_FUTEX_WAIT)
        return;
    waits++;
    if (act) {
        void (*once)(void) = act;
        uint32_t before = *(const volatile uint32_t *)word;
        act = NULL;
        once();
        CHECK(*(const volatile uint32_t *)word != before);
    }
}

static void start(uint64_t max_items, void (*fn)(void))
{
    struct rmt_self *self;
    ramet_queue_options options = {.size = sizeof options, .max_items = max_items};
    CHECK(rmt_self(&self) == 0);
    self->spin = 0;
    self->sleeps = 0; /* no spinning: to the futex at once */
    CHECK(ramet_queue_create(&options, &q) == 0);
    waits = wakes = 0;
    act = fn;
}

static void put(void)
{
    CHECK(ramet_queue_put(q, "x", 1, &now) == 0);
}

static void put_three(void)
{
    put();
    put();
    put();
}

/* The word must not come back to what the sleeper saw, either. */
static void put_and_somebody_arms(void)
{
    put();
    rmt_bell_arm(&q->shared->get_bell);
}

static void get(void)
{
    ramet_item item;
    CHECK(ramet_queue_get(q, &now, &item) == 0);
    ramet_item_release(&item);
}

static void shut_down(void)
{
    CHECK(ramet_queue_shutdown(q, 0) == 0);
}

static void task_done(void)
{
    CHECK(ramet_queue_task_done(q) == 0);
}

static void nobody_sleeps(void)
{
    start(2, NULL);
    put();
    get();
    put();
    put();
    get();
    get();
    task_done();
    CHECK(waits == 0 && wakes == 0);
    ramet_queue_close(q);
}

static void put_before_the_sleep(void)
{
    ramet_item item;
    start(0, put);
    CHECK(ramet_queue_get(q, NULL, &item) == 0);
    ramet_item_release(&item);
    CHECK(waits == 1 && wakes == 1);
    ramet_queue_close(q);

    start(0, put_and_somebody_arms);
    CHECK(ramet_queue_get(q, NULL, &item) == 0);
    ramet_item_release(&item);
    CHECK(waits == 1 && wakes == 1);
    ramet_queue_close(q);
}

/* Three items and one wake: who was woken takes one, and wakes the next since there is more. */
static void woken_passes_it_on(void)
{
    ramet_item item;
    start(0, put_three);
    CHECK(ramet_queue_get(q, NULL, &item) == 0);
    ramet_item_release(&item);
    CHECK(waits == 1 && wakes == 2);
    ramet_queue_close(q);
}

/* A sleeper that gave up may have been the one that a wake was meant for. */
static void timed_out_arms_again(void)
{
    ramet_item item;
    start(0, NULL);
    ramet_wait wait = ramet_within(1000);
    CHECK(ramet_queue_get(q, &wait, &item) == -ETIMEDOUT);
    CHECK(wakes == 0);
    put();
    CHECK(wakes == 1); /* perhaps somebody else sleeps */
    put();
    CHECK(wakes == 1); /* nobody has come since */
    ramet_queue_close(q);
}

static void get_before_the_sleep_of_a_put(void)
{
    start(1, NULL);
    put();
    act = get;
    CHECK(ramet_queue_put(q, "y", 1, NULL) == 0);
    CHECK(waits == 1 && wakes == 1);
    ramet_queue_close(q);
}

static void shutdown_before_the_sleep(void)
{
    ramet_item item;
    start(0, shut_down);
    CHECK(ramet_queue_get(q, NULL, &item) == -ESHUTDOWN);
    CHECK(waits == 1 && wakes == 2); /* the shutdown's, and the one that is passed on to all */
    ramet_queue_close(q);

    start(1, NULL);
    put();
    act = shut_down;
    CHECK(ramet_queue_put(q, "y", 1, NULL) == -ESHUTDOWN);
    CHECK(waits == 1 && wakes == 2);
    ramet_queue_close(q);
}

static void done_before_the_sleep(void)
{
    start(0, NULL);
    put();
    act = task_done;
    CHECK(ramet_queue_join(q, NULL) == 0);
    CHECK(waits == 1 && wakes == 2);
    ramet_queue_close(q);
}

int main(void)
{
    alarm(600);
    CHECK(ramet_join() == 0);
    rmt_hook = hook;
    nobody_sleeps();
    put_before_the_sleep();
    woken_passes_it_on();
    timed_out_arms_again();
    get_before_the_sleep_of_a_put();
    shutdown_before_the_sleep();
    done_before_the_sleep();
    return 0;
}
