/* SPDX-License-Identifier: MIT
 *
 * test_barrier.c: rounds, actions, time-outs, aborts, resets, and deaths inside.
 */
#include "sync/barrier.h"
#include "sync_unit.h"

enum { PARTIES = 4 };

static ramet_barrier *barrier;
static rmt_a64 *word; /* [0] came, [1] passed, [2] refused, [3] actions */

static void make(uint32_t parties)
{
    ramet_barrier_options options = {.size = sizeof options, .parties = parties};
    OK(ramet_barrier_create(&options, &barrier));
    for (int i = 0; i < 4; i++)
        rmt_store64(&word[i], 0);
}

static void done(void)
{
    ramet_sweep();
    CHECK(rmt_load64(&rmt_barrier_of(barrier)->count) == 0);
    OK(ramet_arena_check(2));
    ramet_barrier_close(barrier);
}

static int act(void *arg)
{
    (void)arg;
    rmt_add64(&word[3], 1);
    return 0;
}

static void rounds(void *arg)
{
    for (uint64_t i = 0; i < *(uint64_t *)arg; i++) {
        uint32_t index = 99;
        rmt_add64(&word[0], 1);
        OK(ramet_barrier_wait(barrier, NULL, act, NULL, &index));
        CHECK(index < PARTIES);
        /* All have come, and the action has run, before anyone passes. */
        CHECK(rmt_load64(&word[0]) >= (i + 1) * PARTIES);
        CHECK(rmt_load64(&word[3]) >= i + 1);
    }
}

static void rounds_of_processes(void)
{
    uint64_t count = 1000;
    pid_t pids[PARTIES];
    make(PARTIES);
    for (int i = 0; i < PARTIES; i++)
        pids[i] = child(rounds, &count);
    for (int i = 0; i < PARTIES; i++)
        CHECK(finish(pids[i]) == 0);
    CHECK(rmt_load64(&word[3]) == count);
    done();
}

static void alone(void)
{
    uint32_t index = 7;
    make(1);
    for (int i = 0; i < 3; i++) {
        OK(ramet_barrier_wait(barrier, at_once(), act, NULL, &index));
        CHECK(index == 0);
    }
    CHECK(rmt_load64(&word[3]) == 3 && ramet_barrier_parties(barrier) == 1);
    done();
}

static void bad_arguments(void)
{
    ramet_barrier *none = NULL;
    ramet_barrier_options options = {.size = sizeof options, .parties = 0};
    CHECK(ramet_barrier_create(&options, &none) == -EINVAL);
    CHECK(ramet_barrier_create(NULL, &none) == -EINVAL && none == NULL);
}

static void come(void *arg)
{
    const int64_t *ms = arg;
    rmt_add64(&word[0], 1);
    int r = ramet_barrier_wait(barrier, ms ? in_ms(*ms) : NULL, NULL, NULL, NULL);
    CHECK(r == 0 || r == -ECANCELED || r == -ETIMEDOUT);
    rmt_add64(&word[r == 0 ? 1 : 2], 1);
}

static void come_in(pid_t *pids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        pids[i] = child(come, NULL);
    while (ramet_barrier_waiting(barrier) != count)
        pause_ms(1);
}

static void out(const pid_t *pids, int count)
{
    for (int i = 0; i < count; i++)
        CHECK(finish(pids[i]) == 0);
}

static void the_late_break_it(void)
{
    pid_t pids[2];
    make(PARTIES);
    come_in(pids, 2);
    CHECK(ramet_barrier_wait(barrier, in_ms(20), NULL, NULL, NULL) == -ETIMEDOUT);
    out(pids, 2);
    CHECK(rmt_load64(&word[2]) == 2 && ramet_barrier_broken(barrier) == 1);
    CHECK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL) == -ECANCELED);
    OK(ramet_barrier_reset(barrier));
    CHECK(ramet_barrier_broken(barrier) == 0);
    come_in(pids, 2);
    pid_t third = child(come, NULL);
    OK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL));
    out(pids, 2);
    CHECK(finish(third) == 0 && rmt_load64(&word[1]) == 3);
    done();
}

static void aborted(void)
{
    pid_t pids[3];
    make(PARTIES);
    come_in(pids, 3);
    OK(ramet_barrier_abort(barrier));
    out(pids, 3);
    CHECK(rmt_load64(&word[2]) == 3 && ramet_barrier_broken(barrier) == 1);
    done();
}

static void reset_with_threads_inside(void)
{
    pid_t pids[3];
    make(PARTIES);
    come_in(pids, 3);
    OK(ramet_barrier_reset(barrier));
    out(pids, 3);
    CHECK(rmt_load64(&word[2]) == 3 && ramet_barrier_broken(barrier) == 0);
    come_in(pids, 3);
    OK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL));
    out(pids, 3);
    CHECK(rmt_load64(&word[1]) == 3);
    done();
}

static int fail(void *arg)
{
    (void)arg;
    return -EIO;
}

static void a_failed_action_breaks_it(void)
{
    pid_t pids[3];
    make(PARTIES);
    come_in(pids, 3);
    CHECK(ramet_barrier_wait(barrier, NULL, fail, NULL, NULL) == -EIO);
    out(pids, 3);
    CHECK(rmt_load64(&word[2]) == 3 && ramet_barrier_broken(barrier) == 1);
    done();
}

static int reset_inside(void *arg)
{
    (void)arg;
    return ramet_barrier_reset(barrier);
}

static void reset_by_the_action(void)
{
    pid_t pids[3];
    make(PARTIES);
    come_in(pids, 3);
    CHECK(ramet_barrier_wait(barrier, NULL, reset_inside, NULL, NULL) == -ECANCELED);
    out(pids, 3);
    CHECK(rmt_load64(&word[2]) == 3 && ramet_barrier_broken(barrier) == 0);
    done();
}

static int act_slowly(void *arg)
{
    (void)arg;
    pause_ms(200);
    return 0;
}

/* All are there: nobody is late any more, however long the action takes. */
static void an_action_takes_its_time(void)
{
    int64_t ms = 100;
    make(2);
    pid_t pid = child(come, &ms);
    while (ramet_barrier_waiting(barrier) != 1)
        pause_ms(1);
    int r = ramet_barrier_wait(barrier, NULL, act_slowly, NULL, NULL);
    CHECK(finish(pid) == 0);
    /* On a machine that is too busy the other one may have been late before. */
    CHECK(r == 0 ? rmt_load64(&word[1]) == 1 : rmt_load64(&word[2]) == 1);
    done();
}

static void a_death_inside_breaks_it(bool reap)
{
    pid_t pids[3];
    make(PARTIES);
    come_in(pids, 3);
    kill_child(pids[1]);
    if (reap)
        CHECK(ramet_reap(pids[1]) >= 0);                 /* 0: one of the others was quicker */
    CHECK(finish(pids[0]) == 0 && finish(pids[2]) == 0); /* they find out by themselves */
    CHECK(rmt_load64(&word[2]) == 2 && ramet_barrier_broken(barrier) == 1);
    OK(ramet_barrier_reset(barrier));
    come_in(pids, 3);
    OK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL));
    out(pids, 3);
    done();
}

static void a_death_that_is_told(void)
{
    a_death_inside_breaks_it(true);
}

static void a_death_that_nobody_tells(void)
{
    a_death_inside_breaks_it(false);
}

static int die(void *arg)
{
    (void)arg;
    raise(SIGKILL);
    return 0;
}

static void come_and_die_acting(void *arg)
{
    (void)arg;
    ramet_barrier_wait(barrier, NULL, die, NULL, NULL);
}

static void a_death_in_the_action_breaks_it(void)
{
    pid_t pids[3];
    make(PARTIES);
    come_in(pids, 3);
    CHECK(finish(child(come_and_die_acting, NULL)) == -SIGKILL);
    out(pids, 3);
    CHECK(rmt_load64(&word[2]) == 3 && ramet_barrier_broken(barrier) == 1);
    done();
}

static void wait_interrupted(void *arg)
{
    (void)arg;
    interruptible();
    CHECK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL) == -EINTR);
}

static void a_signal_takes_one_out(void)
{
    make(2);
    pid_t pid = child(wait_interrupted, NULL);
    while (ramet_barrier_waiting(barrier) != 1)
        pause_ms(1);
    int status;
    do {
        kill(pid, SIGUSR1);
        pause_ms(5);
    } while (waitpid(pid, &status, WNOHANG) == 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(ramet_barrier_waiting(barrier) == 0 && ramet_barrier_broken(barrier) == 0);
    done();
}

static int act_until_told(void *arg)
{
    rmt_store64(&word[3], 1);
    await_value(&word[2], 1);
    return act(arg);
}

static void wait_while_full(void *arg)
{
    (void)arg;
    interruptible();
    OK(ramet_barrier_wait(barrier, NULL, act_until_told, NULL, NULL));
}

static void *keep_signalling(void *pid)
{
    for (int i = 0; i < 20; i++) {
        pause_ms(1);
        kill(*(pid_t *)pid, SIGUSR1);
    }
    rmt_store64(&word[2], 1);
    return NULL;
}

/* All are there: a signal takes nobody out any more, who would come back into the next round. */
static void a_signal_comes_too_late(void)
{
    pthread_t thread;
    make(2);
    pid_t pid = child(wait_while_full, NULL);
    while (ramet_barrier_waiting(barrier) != 1)
        pause_ms(1);
    pid_t other = child(wait_while_full, NULL); /* it acts */
    await_value(&word[3], 1);
    CHECK(pthread_create(&thread, NULL, keep_signalling, &pid) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(finish(other) == 0);
    CHECK(finish(pid) == 0);
    done();
}

int main(void)
{
    watchdog();
    OK(ramet_join());
    word = words(4);
    uint64_t none = blocks_in_use();
    RUN(rounds_of_processes);
    RUN(alone);
    RUN(bad_arguments);
    RUN(the_late_break_it);
    RUN(aborted);
    RUN(reset_with_threads_inside);
    RUN(a_failed_action_breaks_it);
    RUN(reset_by_the_action);
    RUN(an_action_takes_its_time);
    RUN(a_death_that_is_told);
    RUN(a_death_that_nobody_tells);
    RUN(a_death_in_the_action_breaks_it);
    RUN(a_signal_takes_one_out);
    RUN(a_signal_comes_too_late);
    CHECK(blocks_in_use() == none);
    return 0;
}
