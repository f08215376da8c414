/* SPDX-License-Identifier: MIT
 *
 * kill_unreaped.c: deaths that nobody announces (their parent does something else) do not hold up
 * who waits for what the dead had: all items of a queue to be done, a permit, also where each wait
 * is short.
 */
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/queue.h>
#include <ramet/semaphore.h>

static ramet_queue *queue;
static ramet_semaphore *semaphore;

static void die_with_item(void *unused)
{
    (void)unused;
    ramet_item item;
    OK(ramet_queue_get(queue, NULL, &item));
    kill(getpid(), SIGKILL);
}

static void die_with_permit(void *unused)
{
    (void)unused;
    OK(ramet_semaphore_acquire_owned(semaphore, NULL));
    kill(getpid(), SIGKILL);
}

/* Waits `ms` (0: for ever) at a time until `fn` does not time out any more. */
static void poll_in(int64_t ms, int (*fn)(const ramet_wait *))
{
    int r;
    do {
        ramet_wait wait = ramet_within(ms * 1000000);
        r = fn(ms ? &wait : NULL);
    } while (r == -ETIMEDOUT || r == -EINTR);
    CHECK(r == 0);
}

static int join(const ramet_wait *wait)
{
    return ramet_queue_join(queue, wait);
}

static int acquire(const ramet_wait *wait)
{
    return ramet_semaphore_acquire(semaphore, wait);
}

static void idle(void *unused)
{
    (void)unused;
    OK(ramet_join());
}

/* Slots of children that nobody announces are taken back while others are forked. */
static void many_children(void)
{
    ramet_usage usage = {.size = sizeof usage};
    for (int i = 0; i < 300; i++)
        CHECK(finish(child(idle, NULL)) == 0);
    OK(ramet_arena_usage(&usage));
    CHECK(usage.members <= 129);
}

int main(void)
{
    static const int64_t limits[] = {0, 5, 1000};
    watchdog();
    OK(ramet_join());
    OK(ramet_queue_create(NULL, &queue));
    OK(ramet_semaphore_create(NULL, &semaphore));
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        OK(ramet_queue_put(queue, "x", 1, NULL));
        CHECK(finish(child(die_with_item, NULL)) == -SIGKILL);
        poll_in(limits[i], join);
        CHECK(ramet_queue_lost(queue) == i + 1);
        CHECK(finish(child(die_with_permit, NULL)) == -SIGKILL);
        poll_in(limits[i], acquire);
        OK(ramet_semaphore_release(semaphore, 1));
    }
    many_children();
    printf("%-24s found by who waits for what they had\n", "unannounced deaths");
    return 0;
}
