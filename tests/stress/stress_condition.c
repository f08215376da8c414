/* SPDX-License-Identifier: MIT
 *
 * stress_condition.c: a bounded buffer in plain memory, with a lock and two conditions; and
 * notifications that are counted: each notify(n) lets exactly n waiters go on.
 */
#include "stress.h"

#include <ramet/condition.h>

#include <errno.h>

enum {
    PUTTERS = 2,
    GETTERS = 2,
    WORKERS = PUTTERS + GETTERS,
    ROOM = 4,
    ROUNDS = 6000,
    MAX = PUTTERS * ROUNDS * 10 /* items, in the long form */
};

static struct buffer {
    unsigned count, first;
    uint64_t items[ROOM];
    uint64_t got;
    uint8_t seen[MAX]; /* of each item, how often */
} *buffer;

static struct turn {
    unsigned waiting, permitted, passed;
} *turn;

static ramet_lock *lock;
static ramet_condition *not_full, *not_empty, *own;
static unsigned rounds;

/* Every second wait has a deadline, after which the caller looks again. */
static void sleep_in(ramet_condition *condition, unsigned *random)
{
    ramet_wait wait = ramet_within(50000);
    int r = ramet_condition_wait(condition, stress_random(random) % 2 ? &wait : NULL);
    CHECK(r == 0 || r == -ETIMEDOUT);
}

static void put(uint64_t item, unsigned *random)
{
    OK(ramet_lock_acquire(lock, NULL));
    while (buffer->count == ROOM)
        sleep_in(not_full, random);
    buffer->items[(buffer->first + buffer->count++) % ROOM] = item;
    OK(ramet_condition_notify(not_empty, 1));
    OK(ramet_lock_release(lock));
}

static void get(unsigned *random)
{
    OK(ramet_lock_acquire(lock, NULL));
    while (buffer->count == 0)
        sleep_in(not_empty, random);
    uint64_t item = buffer->items[buffer->first];
    buffer->first = (buffer->first + 1) % ROOM;
    buffer->count--;
    CHECK(item < MAX && buffer->seen[item]++ == 0);
    buffer->got++;
    OK(ramet_condition_notify(not_full, 1));
    OK(ramet_lock_release(lock));
}

static void exchange(unsigned index)
{
    unsigned random = index;
    for (unsigned i = 0; i < rounds; i++) {
        if (index < PUTTERS)
            put((uint64_t)index * rounds + i, &random);
        else
            get(&random);
    }
}

/* Worker 0 notifies 1 or 2 of those who wait, and adds as many permits; a waiter that passes
 * uses one up.  `own` has a recursive lock of its own. */
static void counted(unsigned index)
{
    unsigned random = index, all = (WORKERS - 1) * rounds;
    OK(ramet_condition_acquire(own, NULL));
    for (unsigned i = 0; index > 0 && i < rounds; i++) {
        turn->waiting++;
        OK(ramet_condition_wait(own, NULL));
        CHECK(turn->permitted > 0);
        turn->permitted--;
        turn->passed++;
    }
    for (unsigned given = 0; index == 0 && given < all;) {
        unsigned n = 1 + stress_random(&random) % 2;
        n = n < turn->waiting ? n : turn->waiting;
        if (n > 0) {
            turn->permitted += n;
            turn->waiting -= n;
            given += n;
            OK(ramet_condition_notify(own, n));
        }
        OK(ramet_condition_release(own));
        OK(ramet_condition_acquire(own, NULL));
    }
    OK(ramet_condition_release(own));
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    buffer = stress_memory(sizeof *buffer);
    turn = stress_memory(sizeof *turn);
    OK(ramet_lock_create(NULL, &lock));
    uint64_t blocks = stress_blocks() - 1;
    ramet_condition_options options = {.size = sizeof options, .lock = lock};
    OK(ramet_condition_create(&options, &not_full));
    OK(ramet_condition_create(&options, &not_empty));
    OK(ramet_condition_create(NULL, &own));
    stress_run(WORKERS, exchange);
    CHECK(buffer->count == 0 && buffer->got == (uint64_t)PUTTERS * rounds);
    stress_run(WORKERS, counted);
    CHECK(turn->waiting == 0 && turn->permitted == 0);
    CHECK(turn->passed == (WORKERS - 1) * rounds && ramet_condition_waiters(own) == 0);
    ramet_condition_close(own);
    ramet_condition_close(not_empty);
    ramet_condition_close(not_full);
    ramet_lock_close(lock);
    stress_end(blocks);
    return 0;
}
