/* SPDX-License-Identifier: MIT
 *
 * kill_event.c: a death at each atomic operation of setting, clearing and waiting for an event,
 * while one peer waits and another sets and clears.  Who waits goes on, whoever died between
 * setting the flag and waking him.
 */
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/event.h>

static ramet_event *event;

static void setup(void)
{
    if (!event)
        OK(ramet_event_create(NULL, &event));
    OK(ramet_event_clear(event));
}

static void wait_for_it(void)
{
    int r;
    do {
        r = ramet_event_wait(event, NULL);
    } while (r == -EINTR);
    CHECK(r == 0);
}

static void victim(void)
{
    for (int i = 0; i < 3; i++) {
        OK(ramet_event_set(event));
        wait_for_it();
        OK(ramet_event_clear(event));
    }
    wait_for_it();
}

static void peer(int index)
{
    if (index == 0) {
        OK(ramet_event_set(event));
        if (!atomic_load(&kill_shared->stop))
            OK(ramet_event_clear(event)); /* the last of all leaves it set, for peer 1 */
        usleep(50);
    } else {
        wait_for_it();
        atomic_fetch_add(&kill_shared->count[1][0], 1);
    }
}

static void verify(bool finished)
{
    (void)finished;
    CHECK(ramet_event_is_set(event) == 1);
}

int main(void)
{
    OK(ramet_join());
    kill_run(&(struct kill_case){"event", setup, victim, peer, verify});
    return 0;
}
