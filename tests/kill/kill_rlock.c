/* SPDX-License-Identifier: MIT
 *
 * kill_rlock.c: a death at each atomic operation of a recursive lock, nested.  Two words that
 * change under it are equal whenever it is got without -EOWNERDEAD; who gets it after a death has
 * it once.
 */
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/rlock.h>

#include <sys/mman.h>

static ramet_rlock *rlock;
static struct protected {
    uint64_t a, b; /* equal outside */
} *data;

static void setup(void)
{
    if (!rlock) {
        OK(ramet_rlock_create(NULL, &rlock));
        data = mmap(NULL, sizeof *data, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(data != MAP_FAILED);
    }
    data->a = data->b = 0;
}

static void section(rmt_a64 *mended)
{
    int r;
    do {
        r = ramet_rlock_acquire(rlock, NULL);
    } while (r == -EINTR);
    CHECK(OK(ramet_rlock_count(rlock)) == 1);
    if (r == -EOWNERDEAD) {
        data->b = data->a;
        atomic_fetch_add(mended, 1);
    } else {
        CHECK(r == 0 && data->a == data->b);
    }
    *(volatile uint64_t *)&data->a += 1;
    OK(ramet_rlock_acquire(rlock, NULL));
    CHECK(OK(ramet_rlock_count(rlock)) == 2);
    OK(ramet_rlock_release(rlock));
    *(volatile uint64_t *)&data->b += 1;
    OK(ramet_rlock_release(rlock));
}

static void victim(void)
{
    for (int i = 0; i < 3; i++)
        section(&kill_shared->victim[0]);
}

static void peer(int index)
{
    section(&kill_shared->count[index][0]);
}

static void verify(bool finished)
{
    ramet_wait try = {.size = sizeof try, .deadline = 0};
    int r = ramet_rlock_acquire(rlock, &try);
    CHECK(r == 0 || r == -EOWNERDEAD);
    uint64_t mended =
        atomic_load(&kill_shared->count[0][0]) + atomic_load(&kill_shared->count[1][0]);
    CHECK(mended <= 1 && (r != -EOWNERDEAD || mended == 0));
    CHECK(!finished || (r == 0 && mended == 0));
    CHECK(r == -EOWNERDEAD || data->a == data->b);
    CHECK(ramet_rlock_count(rlock) == 1);
    OK(ramet_rlock_release(rlock));
}

int main(void)
{
    OK(ramet_join());
    kill_run(&(struct kill_case){"rlock, alone", setup, victim, NULL, verify});
    kill_run(&(struct kill_case){"rlock, contended", setup, victim, peer, verify});
    return 0;
}
