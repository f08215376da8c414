/* SPDX-License-Identifier: MIT
 *
 * kill_lock.c: a death at each atomic operation of acquiring and releasing a lock, with and without
 * waiting for it.  Two words that are only changed under the lock must be equal whenever it is got
 * without -EOWNERDEAD; nobody may be held up.  And: a process that is stopped while it holds the
 * lock keeps it.
 */
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/lock.h>

#include <sys/mman.h>

static ramet_lock *lock;
static struct protected {
    uint64_t a, b; /* equal outside critical sections */
} *data;

static void setup(void)
{
    if (!lock) {
        OK(ramet_lock_create(NULL, &lock));
        data = mmap(NULL, sizeof *data, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(data != MAP_FAILED);
    }
    data->a = data->b = 0;
}

static void section(rmt_a64 *mended)
{
    int r;
    do {
        r = ramet_lock_acquire(lock, NULL);
    } while (r == -EINTR);
    if (r == -EOWNERDEAD) {
        data->b = data->a;
        atomic_fetch_add(mended, 1);
    } else {
        CHECK(r == 0 && data->a == data->b);
    }
    *(volatile uint64_t *)&data->a += 1;
    *(volatile uint64_t *)&data->b += 1;
    CHECK(ramet_lock_release(lock) == 0);
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
    int r = ramet_lock_acquire(lock, &try);
    CHECK(r == 0 || r == -EOWNERDEAD);
    uint64_t mended = 0;
    for (int i = 0; i < 2; i++)
        mended += atomic_load(&kill_shared->count[i][0]);
    CHECK(mended <= 1 && (r != -EOWNERDEAD || mended == 0));
    if (finished)
        CHECK(r == 0 && mended == 0);
    if (r == 0)
        CHECK(data->a == data->b);
    uint64_t turns = atomic_load(&kill_shared->turns[0]) + atomic_load(&kill_shared->turns[1]);
    CHECK(data->a >= turns && data->a <= turns + 3);
    CHECK(ramet_lock_release(lock) == 0);
}

static void hold_and_stop(void *unused)
{
    (void)unused;
    OK(ramet_lock_acquire(lock, NULL));
    raise(SIGSTOP);
    OK(ramet_lock_release(lock));
}

static void a_stopped_holder_keeps_it(void)
{
    int status;
    pid_t pid = child(hold_and_stop, NULL);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    ramet_wait wait = ramet_within(1500000000); /* long enough for several looks at the owner */
    CHECK(ramet_lock_acquire(lock, &wait) == -ETIMEDOUT);
    CHECK(ramet_sweep() == 0);
    kill(pid, SIGCONT);
    OK(ramet_lock_acquire(lock, NULL));
    OK(ramet_lock_release(lock));
    CHECK(finish(pid) == 0);
    ramet_reap(pid);
    printf("%-24s a stopped holder keeps it\n", "lock");
}

int main(void)
{
    OK(ramet_join());
    kill_run(&(struct kill_case){"lock, alone", setup, victim, NULL, verify});
    kill_run(&(struct kill_case){"lock, contended", setup, victim, peer, verify});
    a_stopped_holder_keeps_it();
    return 0;
}
