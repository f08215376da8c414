/* SPDX-License-Identifier: MIT
 *
 * kill_semaphore.c: a death at each atomic operation of a semaphore's calls, owned and not, with
 * and without waiting for them.  Owned permits come back; of the others at most the one that was
 * under way is in doubt; nobody is held up.
 */
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/semaphore.h>

#define PERMITS 2

static ramet_semaphore *owned, *plain;

static void setup(void)
{
    ramet_semaphore_options options = {.size = sizeof options, .value = PERMITS, .max = PERMITS};
    if (!owned) {
        OK(ramet_semaphore_create(&options, &owned));
        OK(ramet_semaphore_create(&options, &plain));
    }
}

static int acquire(ramet_semaphore *s, int (*fn)(ramet_semaphore *, const ramet_wait *))
{
    int r;
    do {
        r = fn(s, NULL);
    } while (r == -EINTR);
    return r;
}

static void take_and_give_owned(void)
{
    OK(acquire(owned, ramet_semaphore_acquire_owned));
    OK(ramet_semaphore_release_owned(owned));
}

static void victim_owned(void)
{
    for (int i = 0; i < 2; i++)
        take_and_give_owned();
    OK(acquire(owned, ramet_semaphore_acquire_owned));
    take_and_give_owned();
    OK(ramet_semaphore_release_owned(owned));
}

/* Two peers and a victim want up to four permits of two, each at most one while it waits. */
static void peer_owned(int index)
{
    (void)index;
    take_and_give_owned();
}

static void verify_owned(bool finished)
{
    (void)finished;
    CHECK(ramet_semaphore_value(owned) == PERMITS);
}

static void victim_plain(void)
{
    for (int i = 0; i < 3; i++) {
        OK(acquire(plain, ramet_semaphore_acquire));
        OK(ramet_semaphore_release(plain, 1));
    }
}

static void peer_plain(int index)
{
    (void)index;
    OK(acquire(plain, ramet_semaphore_acquire));
    OK(ramet_semaphore_release(plain, 1));
}

static void verify_plain(bool finished)
{
    int value = ramet_semaphore_value(plain);
    CHECK(value == PERMITS || (value == PERMITS - 1 && !finished));
    if (value < PERMITS) /* plain permits are signals: what the victim took is gone with it */
        OK(ramet_semaphore_release(plain, (uint32_t)(PERMITS - value)));
}

int main(void)
{
    OK(ramet_join());
    kill_run(&(struct kill_case){"owned permits, alone", setup, victim_owned, NULL, verify_owned});
    kill_run(&(struct kill_case){"owned permits", setup, victim_owned, peer_owned, verify_owned});
    kill_run(&(struct kill_case){"plain permits, alone", setup, victim_plain, NULL, verify_plain});
    kill_run(&(struct kill_case){"plain permits", setup, victim_plain, peer_plain, verify_plain});
    return 0;
}
