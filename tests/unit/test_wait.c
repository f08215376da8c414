/* SPDX-License-Identifier: MIT
 *
 * test_wait.c: how the wait loop comes to spin again after it has given it up.
 */
#include "arena/wait.h"
#include "base/os.h"
#include "unit.h"

#include <pthread.h>
#include <ramet/arena.h>

static rmt_a32 word;

/* Waits start until one of them is a trial: how many did not. */
static int until_trial(struct rmt_self *self, struct rmt_waiter *w)
{
    for (int i = 0;; i++) {
        OK(rmt_wait_start(w, self, NULL));
        if (w->spins > 0 || i > 1000)
            return i;
    }
}

static void *change(void *unused)
{
    (void)unused;
    for (;;) {
        pthread_testcancel();
        rmt_add32(&word, 1);
    }
    return NULL;
}

static void test_a_trial_that_does_not_help(struct rmt_self *self)
{
    struct rmt_waiter w;
    self->spin = 0;
    int between = until_trial(self, &w);
    CHECK(between < 1000 && w.trial == 1);
    CHECK(rmt_sleep(&w, &word, rmt_load32(&word), 0, 0) == 0);
    CHECK(self->spin == 0 && w.spins == 0); /* given up again at once */
    CHECK(until_trial(self, &w) > 10);      /* and not tried for a while */
}

static void test_a_trial_that_helps(struct rmt_self *self)
{
    struct rmt_waiter w;
    pthread_t thread;
    self->spin = 0;
    CHECK(pthread_create(&thread, NULL, change, NULL) == 0);
    while (self->spin == 0) { /* until the other thread runs while this one looks */
        until_trial(self, &w);
        CHECK(rmt_sleep(&w, &word, rmt_load32(&word), 0, 0) == 0);
    }
    OK(rmt_wait_start(&w, self, NULL));
    CHECK(w.spins > 0 && w.trial == 0);
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, NULL) == 0);
}

int main(void)
{
    struct rmt_self *self;
    watchdog();
    OK(ramet_join());
    OK(rmt_self(&self));
    if (!rmt_os_multiprocessor()) {
        puts("one processor: nothing ever spins");
        return 77;
    }
    test_a_trial_that_does_not_help(self);
    test_a_trial_that_helps(self);
    return 0;
}
