/* SPDX-License-Identifier: MIT
 *
 * stress_lock.c: locks and recursive locks exclude: plain counters that they guard come out right,
 * with waits without end, tries, and deadlines that pass.
 */
#include "stress.h"

#include <ramet/lock.h>
#include <ramet/rlock.h>

#include <errno.h>

enum { WORKERS = 4, ROUNDS = 50000, DEPTH = 3 };

static struct guarded {
    uint64_t count;
    unsigned inside; /* 0 or, by whom, index + 1 */
    uint64_t spare[7];
    uint64_t twin; /* in another cache line; equals count whenever the lock is free */
} *by_lock, *by_rlock;

static ramet_lock *lock;
static ramet_rlock *rlock;
static unsigned rounds;

static void change(struct guarded *g, unsigned index)
{
    CHECK(g->inside == 0 && g->count == g->twin);
    g->inside = index + 1;
    g->count++;
    g->twin++;
    CHECK(g->inside == index + 1 && g->count == g->twin);
    g->inside = 0;
}

/* Without end, by trying, or with a deadline that may pass: true if it was taken. */
static bool taken(int r)
{
    CHECK(r == 0 || r == -ETIMEDOUT);
    return r == 0;
}

static ramet_wait some_wait(unsigned kind)
{
    if (kind % 3 == 0)
        return (ramet_wait){.size = sizeof(ramet_wait), .deadline = 0};
    return kind % 3 == 1 ? ramet_within(20000) : ramet_within(RAMET_FOREVER - ramet_now());
}

static void with_lock(unsigned index)
{
    unsigned done = 0, random = index;
    while (done < rounds) {
        ramet_wait wait = some_wait(stress_random(&random));
        if (!taken(ramet_lock_acquire(lock, &wait)))
            continue;
        CHECK(ramet_lock_state(lock) == RAMET_LOCK_MINE);
        change(by_lock, index);
        OK(ramet_lock_release(lock));
        done++;
    }
}

static void with_rlock(unsigned index)
{
    unsigned done = 0, random = index;
    while (done < rounds) {
        ramet_wait wait = some_wait(stress_random(&random));
        if (!taken(ramet_rlock_acquire(rlock, &wait)))
            continue;
        int depth = 1 + (int)(stress_random(&random) % DEPTH);
        for (int i = 1; i < depth; i++)
            OK(ramet_rlock_acquire(rlock, NULL));
        CHECK(ramet_rlock_count(rlock) == depth);
        change(by_rlock, index);
        for (int i = 0; i < depth; i++)
            OK(ramet_rlock_release(rlock));
        CHECK(ramet_rlock_count(rlock) == 0);
        done++;
    }
}

static void check(const struct guarded *g)
{
    CHECK(g->count == (uint64_t)WORKERS * rounds && g->twin == g->count && g->inside == 0);
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    by_lock = stress_memory(sizeof *by_lock);
    by_rlock = stress_memory(sizeof *by_rlock);
    OK(ramet_lock_create(NULL, &lock));
    uint64_t blocks =
        stress_blocks() - 1; /* the table of handles is made with the first and stays */
    OK(ramet_rlock_create(NULL, &rlock));
    stress_run(WORKERS, with_lock);
    check(by_lock);
    stress_run(WORKERS, with_rlock);
    check(by_rlock);
    ramet_lock_close(lock);
    ramet_rlock_close(rlock);
    stress_end(blocks);
    return 0;
}
