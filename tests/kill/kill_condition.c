/* SPDX-License-Identifier: MIT
 *
 * kill_condition.c: a death at each atomic operation of notifying, and of waiting in a condition
 * and going on.  Tokens are put under the lock and taken by two waiting peers: every token is
 * taken, though the notification for it was given to somebody who died; nobody waits for ever.
 */
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/condition.h>

#include <sys/mman.h>

static ramet_condition *condition;
static struct shared { /* under the condition's lock */
    uint64_t put, taken;
    uint64_t last; /* no more tokens will come */
} *data;

static void setup(void)
{
    if (!condition) {
        OK(ramet_condition_create(NULL, &condition));
        data = mmap(NULL, sizeof *data, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(data != MAP_FAILED);
    }
    memset(data, 0, sizeof *data);
}

/* The words of `data` are counted one by one, so that a death leaves nothing to mend. */
static void enter(void)
{
    int r;
    do {
        r = ramet_condition_acquire(condition, NULL);
    } while (r == -EINTR);
    CHECK(r == 0 || r == -EOWNERDEAD);
}

static void put(void)
{
    enter();
    *(volatile uint64_t *)&data->put += 1;
    OK(ramet_condition_notify(condition, 1));
    OK(ramet_condition_release(condition));
}

/* Takes a token, or finds that none will come. */
static void take(void)
{
    enter();
    while (data->taken == data->put && !data->last) {
        int r = ramet_condition_wait(condition, NULL);
        CHECK(r == 0 || r == -EINTR || r == -EOWNERDEAD);
    }
    if (data->taken < data->put)
        *(volatile uint64_t *)&data->taken += 1;
    OK(ramet_condition_release(condition));
}

static void victim_notifies(void)
{
    for (int i = 0; i < 2; i++)
        put();
    enter();
    OK(ramet_condition_notify(condition, UINT64_MAX));
    OK(ramet_condition_release(condition));
}

/* The first two tokens are put for the peers to wait for; when the victim is gone nothing is left
 * to wait for. */
static void peer_waits(int index)
{
    (void)index;
    if (atomic_load(&kill_shared->stop)) {
        enter();
        data->last = 1;
        OK(ramet_condition_notify(condition, UINT64_MAX));
        OK(ramet_condition_release(condition));
    } else {
        ramet_wait wait = ramet_within(1000000);
        enter();
        if (data->taken == data->put)
            (void)ramet_condition_wait(condition, &wait);
        if (data->taken < data->put)
            *(volatile uint64_t *)&data->taken += 1;
        OK(ramet_condition_release(condition));
    }
}

static void verify(bool finished)
{
    (void)finished;
    CHECK(ramet_condition_waiters(condition) == 0);
    enter();
    CHECK(data->taken <= data->put);
    OK(ramet_condition_release(condition));
}

/* The victim waits beside peer 1; peer 0 notifies one at a time, for each token that is there. */
static void victim_waits(void)
{
    take();
    take();
}

static void peer_gives(int index)
{
    if (index == 0) {
        put();
        usleep(200);
    } else if (!atomic_load(&kill_shared->stop)) {
        take();
    }
}

int main(void)
{
    OK(ramet_join());
    kill_run(&(struct kill_case){"notify, alone", setup, victim_notifies, NULL, verify});
    kill_run(&(struct kill_case){"notify", setup, victim_notifies, peer_waits, verify});
    kill_run(&(struct kill_case){"wait", setup, victim_waits, peer_gives, verify});
    return 0;
}
