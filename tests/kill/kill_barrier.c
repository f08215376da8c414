/* SPDX-License-Identifier: MIT
 *
 * kill_barrier.c: a death at each atomic operation of passing a barrier.  Who waits with the dead
 * one is told that the barrier broke, or passes; after a reset it works again.  (Of one who died
 * before he came in the others cannot know: so they wait with a limit, which breaks the barrier,
 * too.)
 */
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/barrier.h>

static ramet_barrier *barrier;

static void setup(void)
{
    ramet_barrier_options options = {.size = sizeof options, .parties = 3};
    if (!barrier)
        OK(ramet_barrier_create(&options, &barrier));
    OK(ramet_barrier_reset(barrier));
}

static int pass(rmt_a64 *late)
{
    int r;
    uint32_t index;
    do {
        ramet_wait wait = ramet_within(100000000);
        r = ramet_barrier_wait(barrier, &wait, NULL, NULL, &index);
    } while (r == -EINTR);
    CHECK(r == -ECANCELED || r == -ETIMEDOUT || (r == 0 && index < 3));
    if (r == -ETIMEDOUT)
        atomic_fetch_add(late, 1);
    return r;
}

static void victim(void)
{
    for (int i = 0; i < 2; i++)
        if (pass(&kill_shared->victim[1]) == 0)
            atomic_fetch_add(&kill_shared->victim[0], 1);
    ramet_barrier_abort(barrier);
}

static void peer(int index)
{
    /* With the victim gone the others would wait for it rightly: it had left. */
    if (atomic_load(&kill_shared->stop))
        OK(ramet_barrier_abort(barrier));
    if (pass(&kill_shared->victim[1]) == 0)
        atomic_fetch_add(&kill_shared->count[index][0], 1);
}

static void verify(bool finished)
{
    uint64_t mine = atomic_load(&kill_shared->victim[0]);
    uint64_t a = atomic_load(&kill_shared->count[0][0]), b = atomic_load(&kill_shared->count[1][0]);
    /* A slow one may find, instead of its round, that the barrier was aborted after it. */
    uint64_t least = a < b ? a : b, most = a < b ? b : a;
    CHECK(most <= least + 1 && mine <= least + 1 && most <= mine + 1);
    CHECK(!finished || mine == 2 || atomic_load(&kill_shared->victim[1]) > 0);
    CHECK(ramet_barrier_waiting(barrier) == 0);
}

int main(void)
{
    OK(ramet_join());
    kill_run(&(struct kill_case){"barrier", setup, victim, peer, verify});
    return 0;
}
