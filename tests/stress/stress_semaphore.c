/* SPDX-License-Identifier: MIT
 *
 * stress_semaphore.c: a semaphore never lets in more than it has permits, plain or owned, and all
 * of them are there in the end.
 *
 * Seats.  Who has a permit takes a seat, from a plain list under a lock, and writes to the seat's
 * plain memory outside that lock.  With one permit the semaphore alone orders the accesses: then
 * the list is not used, and a plain counter shows it.
 */
#include "stress.h"

#include <ramet/lock.h>
#include <ramet/semaphore.h>

#include <errno.h>

enum { WORKERS = 5, SEATS = 3, ROUNDS = 15000 };

static struct hall {
    unsigned taken; /* seats; under the lock */
    bool seat[SEATS];
    uint64_t visits[SEATS]; /* of a seat, written by who has it */
    uint64_t alone;         /* under the one permit of `single` */
} *hall;

static ramet_lock *lock;
static ramet_semaphore *several, *single;
static unsigned rounds;

static unsigned sit(void)
{
    OK(ramet_lock_acquire(lock, NULL));
    CHECK(hall->taken < SEATS);
    hall->taken++;
    unsigned seat = 0;
    while (hall->seat[seat])
        seat++;
    hall->seat[seat] = true;
    OK(ramet_lock_release(lock));
    return seat;
}

static void rise(unsigned seat)
{
    OK(ramet_lock_acquire(lock, NULL));
    hall->seat[seat] = false;
    hall->taken--;
    OK(ramet_lock_release(lock));
}

static int acquire(ramet_semaphore *semaphore, bool owned, const ramet_wait *wait)
{
    return owned ? ramet_semaphore_acquire_owned(semaphore, wait)
                 : ramet_semaphore_acquire(semaphore, wait);
}

static void release(ramet_semaphore *semaphore, bool owned)
{
    if (owned)
        OK(ramet_semaphore_release_owned(semaphore));
    else
        OK(ramet_semaphore_release(semaphore, 1));
}

static void enter(ramet_semaphore *semaphore, bool owned, unsigned *random)
{
    for (;;) {
        ramet_wait wait = ramet_within(20000);
        int r = acquire(semaphore, owned, stress_random(random) % 2 ? &wait : NULL);
        if (r == 0)
            return;
        CHECK(r == -ETIMEDOUT);
    }
}

static void visit(unsigned index)
{
    unsigned random = index;
    for (unsigned i = 0; i < rounds; i++) {
        bool owned = stress_random(&random) % 2;
        enter(several, owned, &random);
        unsigned seat = sit();
        hall->visits[seat]++;
        rise(seat);
        release(several, owned);
        owned = !owned;
        enter(single, owned, &random);
        hall->alone++;
        release(single, owned);
    }
}

/* Signalling: worker 0 releases what the others take, several at a time. */
static void signal_others(unsigned index)
{
    unsigned given = 0, all = (WORKERS - 1) * rounds, random = index;
    if (index > 0) {
        for (unsigned i = 0; i < rounds; i++)
            OK(ramet_semaphore_acquire(several, NULL));
        return;
    }
    while (given < all) {
        unsigned n = 1 + stress_random(&random) % 4;
        n = n < all - given ? n : all - given;
        OK(ramet_semaphore_release(several, n));
        given += n;
    }
}

static ramet_semaphore *make(unsigned value, unsigned max)
{
    ramet_semaphore_options options = {.size = sizeof options, .value = value, .max = max};
    ramet_semaphore *semaphore;
    OK(ramet_semaphore_create(&options, &semaphore));
    return semaphore;
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    hall = stress_memory(sizeof *hall);
    OK(ramet_lock_create(NULL, &lock));
    uint64_t blocks = stress_blocks() - 1;
    several = make(SEATS, SEATS);
    single = make(1, 1);
    stress_run(WORKERS, visit);
    uint64_t visits = 0;
    for (int i = 0; i < SEATS; i++)
        visits += hall->visits[i];
    CHECK(visits == (uint64_t)WORKERS * rounds && hall->alone == visits && hall->taken == 0);
    CHECK(ramet_semaphore_value(several) == SEATS && ramet_semaphore_value(single) == 1);
    ramet_semaphore_close(several);
    several = make(0, RAMET_SEMAPHORE_MAX);
    stress_run(WORKERS, signal_others);
    CHECK(ramet_semaphore_value(several) == 0);
    ramet_semaphore_close(several);
    ramet_semaphore_close(single);
    ramet_lock_close(lock);
    stress_end(blocks);
    return 0;
}
