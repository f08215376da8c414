/* SPDX-License-Identifier: MIT
 *
 * kill_poison.c: a dead process leaves a commit record that cannot be true: the arena is poisoned,
 * and nobody gets the guard, now or later, though it was the only one that stood in it.
 */
#include "arena/guard.h"
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/event.h>
#include <ramet/lock.h>

static ramet_lock *lock;
static ramet_event *event;

static void damage(void *unused)
{
    struct rmt_self *self;
    struct rmt_guard *g = &rmt_header()->pages_guard;
    (void)unused;
    OK(rmt_self(&self));
    OK(rmt_guard_lock(self, g));
    rmt_redo(g, 0, 12345, 1); /* no word stands there */
    rmt_store64(&g->armed, 1);
    kill(getpid(), SIGKILL);
}

static void use_as_child(void *unused)
{
    (void)unused;
    CHECK(ramet_lock_acquire(lock, NULL) == -ENOTRECOVERABLE);
    CHECK(ramet_join() == -ENOTRECOVERABLE);
}

int main(void)
{
    struct rmt_self *self;
    watchdog();
    OK(ramet_join());
    OK(rmt_self(&self));
    OK(ramet_lock_create(NULL, &lock));
    OK(ramet_event_create(NULL, &event));
    OK(ramet_event_set(event));
    CHECK(finish(child(damage, NULL)) == -SIGKILL);
    for (int i = 0; i < 3; i++)
        CHECK(rmt_guard_lock(self, &rmt_header()->pages_guard) == -ENOTRECOVERABLE);
    CHECK(rmt_load64(&rmt_header()->poisoned) != 0);
    /* Nor does anybody get what could be had without a guard. */
    CHECK(ramet_join() == -ENOTRECOVERABLE);
    CHECK(ramet_lock_acquire(lock, NULL) == -ENOTRECOVERABLE);
    CHECK(ramet_lock_release(lock) == -ENOTRECOVERABLE);
    CHECK(ramet_lock_state(lock) == -ENOTRECOVERABLE);
    CHECK(ramet_event_set(event) == -ENOTRECOVERABLE);
    CHECK(ramet_event_wait(event, NULL) == -ENOTRECOVERABLE);
    CHECK(ramet_sweep() == -ENOTRECOVERABLE);
    CHECK(finish(child(use_as_child, NULL)) == 0);
    ramet_lock_close(lock);
    ramet_event_close(event);
    printf("%-24s keeps everybody out\n", "a damaged record");
    return 0;
}
