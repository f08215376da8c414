/* SPDX-License-Identifier: MIT
 *
 * test_watch_kill.c: a process that makes ready what another one watches is killed at each of its
 * atomic operations and wakes: then its recovery wakes the watcher, whatever the dead one had done
 * of that.  (That the watcher looks by itself a little later is not what is tested.)
 */
#include "channel/queue.h"
#include "sync/event.h"
#include "sync/lock.h"
#include "sync/semaphore.h"
#include "sync_unit.h"

#include <poll.h>

static ramet_lock *lock;
static ramet_event *event;
static ramet_semaphore *semaphore;
static ramet_queue *queue;

/* ---- in the victim */

static int left; /* operations until the fatal one */

static void count_down(enum rmt_hook_kind kind, const volatile void *at)
{
    (void)kind;
    (void)at;
    if (--left == 0)
        kill(getpid(), SIGKILL);
}

static void be_killed_at(void *operation)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    rmt_hook = count_down;
    ((void (*const *)(void))operation)[0]();
    rmt_hook = NULL;
}

/* ---- in who watches */

static const volatile void *bell; /* our watcher sleeps there */
static rmt_a32 wakes;             /* of it, by us: none but recovery makes any */

static void count_wakes(enum rmt_hook_kind kind, const volatile void *at)
{
    if (kind == RMT_HOOK_FUTEX_WAKE && at == bell)
        atomic_fetch_add(&wakes, 1);
}

static void release(void)
{
    OK(ramet_lock_release(lock));
}

static void set(void)
{
    OK(ramet_event_set(event));
}

static void give(void)
{
    OK(ramet_semaphore_release(semaphore, 1));
}

static void put(void)
{
    OK(ramet_queue_put(queue, "item", 4, NULL));
}

static bool readable(const struct rmt_watch *watch, int timeout)
{
    struct pollfd p = {.fd = watch->fd, .events = POLLIN};
    return poll(&p, 1, timeout) == 1;
}

/* Whether the victim lived to the end. */
static bool try_with(const struct rmt_watch *what, void (*operation)(void), int nth)
{
    struct rmt_watch watch = *what;
    OK(rmt_watch_open(&watch));
    CHECK(!readable(&watch, 0));
    left = nth;
    rmt_store32_relaxed(&wakes, 0);
    rmt_hook = count_wakes;
    int r = finish(child(be_killed_at, &operation));
    CHECK(r == 0 || r == -SIGKILL);
    CHECK(ramet_sweep() >= 0); /* or our watcher is at it */
    if (rmt_watch_settle(&watch) == 1 && r != 0) {
        while (rmt_load32(&wakes) == 0)
            pause_ms(1);
    }
    rmt_hook = NULL;
    rmt_watch_close(&watch);
    return r == 0;
}

static void a_lock(void)
{
    struct rmt_watch watch;
    rmt_lock_watch(rmt_lock_of(lock), &watch);
    bool over = false;
    for (int nth = 1; !over; nth++) {
        OK(ramet_lock_acquire(lock, at_once()));
        over = try_with(&watch, release, nth);
        ramet_lock_release(lock); /* or it is free */
    }
}

static void an_event(void)
{
    struct rmt_watch watch;
    rmt_event_watch(rmt_event_of(event), &watch);
    for (int nth = 1; !try_with(&watch, set, nth); nth++)
        OK(ramet_event_clear(event));
}

static void a_semaphore(void)
{
    struct rmt_watch watch;
    rmt_semaphore_watch(rmt_semaphore_of(semaphore), &watch);
    for (int nth = 1; !try_with(&watch, give, nth); nth++)
        ramet_semaphore_acquire(semaphore, at_once());
}

static void a_queue(void)
{
    struct rmt_watch watch;
    ramet_item item;
    rmt_queue_watch(queue, false, &watch);
    for (int nth = 1; !try_with(&watch, put, nth); nth++) {
        if (ramet_queue_get(queue, at_once(), &item) == 0)
            ramet_item_release(&item);
    }
}

int main(void)
{
    struct rmt_watch keep; /* the watcher runs all the time, and has looked at all there is */
    struct rmt_self *self;
    uint64_t offset;
    watchdog();
    ramet_semaphore_options options = {.size = sizeof options, .value = 0, .max = 100};
    OK(ramet_lock_create(NULL, &lock));
    OK(ramet_event_create(NULL, &event));
    OK(ramet_semaphore_create(&options, &semaphore));
    OK(ramet_queue_create(NULL, &queue));
    OK(rmt_self(&self));
    bell = &rmt_watch_slot(self, &offset)->watch;
    rmt_event_watch(rmt_event_of(event), &keep);
    OK(rmt_watch_open(&keep));
    RUN(a_lock);
    RUN(an_event);
    RUN(a_semaphore);
    RUN(a_queue);
    rmt_watch_close(&keep);
    ramet_queue_close(queue);
    ramet_semaphore_close(semaphore);
    ramet_event_close(event);
    ramet_lock_close(lock);
    return 0;
}
