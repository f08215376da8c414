/* SPDX-License-Identifier: MIT
 *
 * kill_sync.c: a death at each atomic operation of the recursive lock, semaphore, event, condition
 * and barrier, alone and while two peers use them.  Owned permits are all there afterwards, plain
 * ones but those that the victim had; nobody is left in a list or a count; nobody is held up.
 */
#include "kill.h"
#include "sync/barrier.h"
#include "sync/condition.h"
#include "sync/event.h"
#include "sync/semaphore.h"
#include <ramet/arena.h>

static uint64_t blocks_before;

static const ramet_wait *in_ms(int64_t ms)
{
    static ramet_wait wait;
    wait = ramet_within(ms * 1000000);
    if (ms == 0)
        wait.deadline = 0; /* no spinning: the same operations every time */
    return &wait;
}

static void note_blocks(void)
{
    ramet_usage usage = {.size = sizeof usage};
    OK(ramet_arena_usage(&usage));
    blocks_before = usage.blocks;
}

static void check_blocks(void)
{
    ramet_usage usage = {.size = sizeof usage};
    OK(ramet_arena_usage(&usage));
    CHECK(usage.blocks == blocks_before);
}

/* ---- recursive lock */

static ramet_rlock *rlock;

static void rlock_setup(void)
{
    note_blocks();
    OK(ramet_rlock_create(NULL, &rlock));
}

static int rlock_take(void)
{
    int r = ramet_rlock_acquire(rlock, NULL);
    CHECK(r == 0 || r == -EOWNERDEAD);
    return r == -EOWNERDEAD;
}

static void rlock_twice(void)
{
    rlock_take();
    CHECK(ramet_rlock_count(rlock) == 1);
    CHECK(rlock_take() == 0 && ramet_rlock_count(rlock) == 2);
    OK(ramet_rlock_release(rlock));
    OK(ramet_rlock_release(rlock));
}

static void rlock_peer(int index)
{
    (void)index;
    rlock_twice();
}

static void rlock_verify(bool finished)
{
    CHECK(rlock_take() == 0 || !finished);
    CHECK(ramet_rlock_count(rlock) == 1);
    OK(ramet_rlock_release(rlock));
    ramet_rlock_close(rlock);
    check_blocks();
}

/* ---- semaphore */

static ramet_semaphore *sem;
static uint32_t permits;

static void sem_setup(void)
{
    ramet_semaphore_options options = {.size = sizeof options, .value = permits, .max = 4};
    note_blocks();
    OK(ramet_semaphore_create(&options, &sem));
}

static void sem_plain(void)
{
    for (int i = 0; i < 2; i++) {
        OK(ramet_semaphore_acquire(sem, NULL));
        OK(ramet_semaphore_release(sem, 1));
    }
}

static void sem_plain_peer(int index)
{
    (void)index;
    sem_plain();
}

static void sem_close(uint32_t least)
{
    const struct rmt_semaphore *s = rmt_semaphore_of(sem);
    CHECK(rmt_load64(&s->waiting) == 0 && rmt_load64(&s->owned) == 0);
    CHECK(rmt_load64(&s->value) >= least && rmt_load64(&s->value) <= permits);
    ramet_semaphore_close(sem);
    check_blocks();
}

static void sem_plain_verify(bool finished)
{
    sem_close(finished ? permits : permits - 1);
}

static void sem_owned(void)
{
    for (uint32_t i = 0; i < permits; i++)
        OK(ramet_semaphore_acquire_owned(sem, NULL));
    for (uint32_t i = 0; i < permits; i++)
        OK(ramet_semaphore_release_owned(sem));
}

static void sem_owned_peer(int index)
{
    (void)index;
    OK(ramet_semaphore_acquire_owned(sem, NULL));
    OK(ramet_semaphore_release_owned(sem));
}

static void sem_owned_verify(bool finished)
{
    (void)finished;
    sem_close(permits);
}

/* ---- event */

static ramet_event *event;

static void event_setup(void)
{
    note_blocks();
    OK(ramet_event_create(NULL, &event));
}

static void event_pulse(void)
{
    for (int i = 0; i < 3; i++) {
        OK(ramet_event_set(event));
        OK(ramet_event_wait(event, NULL));
        OK(ramet_event_clear(event));
        ramet_event_wait(event, in_ms(0));
    }
}

static void event_peer(int index)
{
    int r = index == 0 ? ramet_event_wait(event, in_ms(1)) : ramet_event_set(event);
    CHECK(r == 0 || r == -ETIMEDOUT);
}

static void event_verify(bool finished)
{
    (void)finished;
    OK(ramet_event_set(event));
    OK(ramet_event_wait(event, NULL));
    ramet_event_close(event);
    check_blocks();
}

/* ---- condition */

static ramet_condition *cond;

static void cond_setup(void)
{
    note_blocks();
    OK(ramet_condition_create(NULL, &cond));
}

/* 1: notified, or told of a death. */
static int cond_turn(int64_t ms)
{
    int r = ramet_condition_acquire(cond, NULL);
    CHECK(r == 0 || r == -EOWNERDEAD);
    OK(ramet_condition_notify(cond, 1));
    r = ramet_condition_wait(cond, in_ms(ms));
    CHECK(r == 0 || r == -EOWNERDEAD || r == -ETIMEDOUT);
    OK(ramet_condition_release(cond));
    return r != -ETIMEDOUT;
}

static void cond_victim(void)
{
    cond_turn(0);
    cond_turn(2);
}

static void cond_peer(int index)
{
    cond_turn(index == 0 ? 3 : 1);
}

static void cond_verify(bool finished)
{
    const struct rmt_condition *c = rmt_condition_of(cond);
    int r = ramet_condition_acquire(cond, NULL);
    CHECK(r == 0 || (r == -EOWNERDEAD && !finished));
    CHECK(rmt_load64(&c->waiting) == 0 && rmt_load64(&c->pending) == 0);
    CHECK(rmt_load64(&c->head) == 0 && rmt_load64(&c->tail) == 0);
    OK(ramet_condition_release(cond));
    ramet_condition_close(cond);
    check_blocks();
}

/* ---- barrier */

static ramet_barrier *barrier;

static void barrier_make(uint32_t parties)
{
    ramet_barrier_options options = {.size = sizeof options, .parties = parties};
    note_blocks();
    OK(ramet_barrier_create(&options, &barrier));
}

static void barrier_setup(void)
{
    barrier_make(3);
}

static void barrier_setup_alone(void)
{
    barrier_make(1);
}

static void barrier_turn(int64_t ms)
{
    int r = ramet_barrier_wait(barrier, in_ms(ms), NULL, NULL, NULL);
    CHECK(r == 0 || r == -ETIMEDOUT || r == -ECANCELED);
    if (r < 0)
        OK(ramet_barrier_reset(barrier));
}

static void barrier_victim(void)
{
    for (int i = 0; i < 2; i++)
        barrier_turn(20);
}

static void barrier_peer(int index)
{
    barrier_turn(index == 0 ? 5 : 8);
}

static void barrier_verify(bool finished)
{
    const struct rmt_barrier *b = rmt_barrier_of(barrier);
    enum rmt_barrier_state state = rmt_barrier_state(b);
    (void)finished;
    CHECK(rmt_load64(&b->count) == 0);
    CHECK(state == RMT_BARRIER_FILLING || state == RMT_BARRIER_BROKEN);
    OK(ramet_barrier_reset(barrier));
    CHECK(rmt_barrier_state(b) == RMT_BARRIER_FILLING);
    ramet_barrier_close(barrier);
    check_blocks();
}

int main(void)
{
    ramet_event *kept;
    OK(ramet_event_create(NULL, &kept)); /* kept: the table of handles takes a block */
    kill_run(&(struct kill_case){"rlock, alone", rlock_setup, rlock_twice, NULL, rlock_verify});
    kill_run(&(struct kill_case){"rlock, contended", rlock_setup, rlock_twice, rlock_peer,
                                 rlock_verify});
    permits = 4;
    kill_run(&(struct kill_case){"permits, alone", sem_setup, sem_plain, NULL, sem_plain_verify});
    kill_run(
        &(struct kill_case){"owned permits, alone", sem_setup, sem_owned, NULL, sem_owned_verify});
    permits = 2;
    kill_run(&(struct kill_case){"permits, contended", sem_setup, sem_plain, sem_plain_peer,
                                 sem_plain_verify});
    permits = 1;
    kill_run(&(struct kill_case){"owned, contended", sem_setup, sem_owned, sem_owned_peer,
                                 sem_owned_verify});
    kill_run(&(struct kill_case){"event", event_setup, event_pulse, event_peer, event_verify});
    kill_run(&(struct kill_case){"condition, alone", cond_setup, cond_victim, NULL, cond_verify});
    kill_run(&(struct kill_case){"condition, contended", cond_setup, cond_victim, cond_peer,
                                 cond_verify});
    kill_run(&(struct kill_case){"barrier, alone", barrier_setup_alone, barrier_victim, NULL,
                                 barrier_verify});
    kill_run(&(struct kill_case){"barrier, contended", barrier_setup, barrier_victim, barrier_peer,
                                 barrier_verify});
    ramet_event_close(kept);
    return 0;
}
