/* SPDX-License-Identifier: MIT
 *
 * test_semaphore.c: permits, bounded or not; owned ones that come back, and dead waiters.
 */
#include "arena/self.h"
#include "sync/semaphore.h"
#include "sync_unit.h"

static ramet_semaphore *sem;
static rmt_a64 *word; /* [0] a flag, [1] how many are inside, [2] how many went in */

static void make(uint32_t value, uint32_t max)
{
    ramet_semaphore_options options = {.size = sizeof options, .value = value, .max = max};
    OK(ramet_semaphore_create(&options, &sem));
    for (int i = 0; i < 3; i++)
        rmt_store64(&word[i], 0);
}

static void done(uint32_t value)
{
    ramet_sweep();
    CHECK(ramet_semaphore_value(sem) == (int)value);
    CHECK(rmt_load64(&rmt_semaphore_of(sem)->waiting) == 0);
    CHECK(rmt_load64(&rmt_semaphore_of(sem)->owned) == 0);
    OK(ramet_arena_check(2));
    ramet_semaphore_close(sem);
}

static void counts(void)
{
    make(2, RAMET_SEMAPHORE_MAX);
    OK(ramet_semaphore_acquire(sem, NULL));
    OK(ramet_semaphore_acquire(sem, at_once()));
    CHECK(ramet_semaphore_acquire(sem, at_once()) == -ETIMEDOUT);
    CHECK(ramet_semaphore_acquire(sem, in_ms(20)) == -ETIMEDOUT);
    OK(ramet_semaphore_release(sem, 1));
    OK(ramet_semaphore_release(sem, 3));
    CHECK(ramet_semaphore_value(sem) == 4);
    CHECK(ramet_semaphore_release(sem, RAMET_SEMAPHORE_MAX) == -EOVERFLOW);
    done(4);
}

static void bounds(void)
{
    make(2, 2);
    CHECK(ramet_semaphore_max(sem) == 2);
    CHECK(ramet_semaphore_release(sem, 1) == -EOVERFLOW);
    OK(ramet_semaphore_acquire(sem, NULL));
    CHECK(ramet_semaphore_release(sem, 2) == -EOVERFLOW);
    OK(ramet_semaphore_release(sem, 1));
    /* An owned permit whose place was taken by somebody's release is gone, not one too many. */
    OK(ramet_semaphore_acquire_owned(sem, NULL));
    OK(ramet_semaphore_release(sem, 1));
    CHECK(ramet_semaphore_release_owned(sem) == -EOVERFLOW);
    CHECK(ramet_semaphore_release_owned(sem) == -EPERM);
    done(2);
}

static void bad_arguments(void)
{
    ramet_semaphore *none = NULL;
    ramet_semaphore_options o = {.size = sizeof o, .value = 2, .max = 1};
    CHECK(ramet_semaphore_create(&o, &none) == -EINVAL);
    o = (ramet_semaphore_options){.size = sizeof o, .value = 0, .max = RAMET_SEMAPHORE_MAX + 1u};
    CHECK(ramet_semaphore_create(&o, &none) == -EINVAL);
    o = (ramet_semaphore_options){.size = 0, .value = 0, .max = 1};
    CHECK(ramet_semaphore_create(&o, &none) == -EINVAL);
    CHECK(none == NULL);
    OK(ramet_semaphore_create(NULL, &none));
    CHECK(ramet_semaphore_value(none) == 1);
    ramet_semaphore_close(none);
}

static void owned_by_a_thread(void)
{
    make(3, RAMET_SEMAPHORE_MAX);
    CHECK(ramet_semaphore_release_owned(sem) == -EPERM);
    for (int i = 0; i < 3; i++)
        OK(ramet_semaphore_acquire_owned(sem, NULL));
    CHECK(ramet_semaphore_acquire_owned(sem, at_once()) == -ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        OK(ramet_semaphore_release_owned(sem));
    CHECK(ramet_semaphore_release_owned(sem) == -EPERM);
    done(3);
}

static void more_semaphores_than_holds(void)
{
    enum { N = RMT_HOLDS + 1 };
    ramet_semaphore *sems[N];
    int taken = 0, r = 0;
    for (int i = 0; i < N; i++)
        OK(ramet_semaphore_create(NULL, &sems[i]));
    while (taken < N && (r = ramet_semaphore_acquire_owned(sems[taken], NULL)) == 0)
        taken++;
    CHECK(r == -ENOSPC && taken >= 20);
    CHECK(ramet_semaphore_value(sems[taken]) == 1);
    OK(ramet_semaphore_acquire(sems[taken], NULL));
    while (taken-- > 0)
        OK(ramet_semaphore_release_owned(sems[taken]));
    for (int i = 0; i < N; i++)
        ramet_semaphore_close(sems[i]);
}

static void go_in_and_out(void *arg)
{
    (void)arg;
    for (int i = 0; i < 300; i++) {
        bool owned = i % 2;
        OK(owned ? ramet_semaphore_acquire_owned(sem, NULL) : ramet_semaphore_acquire(sem, NULL));
        CHECK(rmt_add64(&word[1], 1) < 2);
        sched_yield();
        rmt_add64(&word[2], 1);
        rmt_add64(&word[1], UINT64_MAX);
        OK(owned ? ramet_semaphore_release_owned(sem) : ramet_semaphore_release(sem, 1));
    }
}

static void never_lets_three_in(void)
{
    pid_t pids[5];
    make(2, 2);
    for (int i = 0; i < 5; i++)
        pids[i] = child(go_in_and_out, NULL);
    for (int i = 0; i < 5; i++)
        CHECK(finish(pids[i]) == 0);
    CHECK(rmt_load64(&word[2]) == 1500);
    done(2);
}

static void consume(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++)
        OK(ramet_semaphore_acquire(sem, NULL));
}

static void every_release_is_had(void)
{
    int each = 1000;
    pid_t pids[3];
    make(0, RAMET_SEMAPHORE_MAX);
    for (int i = 0; i < 3; i++)
        pids[i] = child(consume, &each);
    for (int i = 0; i < 1000; i++)
        OK(ramet_semaphore_release(sem, 1 + (uint32_t)i % 5)); /* 3000 */
    for (int i = 0; i < 3; i++)
        CHECK(finish(pids[i]) == 0);
    done(0);
}

static void own_and_stay(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++)
        OK(ramet_semaphore_acquire_owned(sem, NULL));
    rmt_add64(&word[0], 1);
    for (;;)
        pause();
}

static void owned_permits_come_back(void)
{
    int two = 2, one = 1;
    make(3, 3);
    pid_t a = child(own_and_stay, &two), b = child(own_and_stay, &one);
    await_value(&word[0], 2);
    CHECK(ramet_semaphore_acquire(sem, at_once()) == -ETIMEDOUT);
    kill_child(a);
    /* A waiter finds it out by itself, in a sleep as well as without one. */
    OK(ramet_semaphore_acquire(sem, NULL));
    OK(ramet_semaphore_acquire(sem, at_once()));
    CHECK(ramet_semaphore_acquire(sem, at_once()) == -ETIMEDOUT);
    stop_child(b);
    CHECK(ramet_semaphore_acquire(sem, in_ms(1200)) == -ETIMEDOUT); /* stopped is not dead */
    kill_child(b);
    pause_ms(25); /* tries look for the dead once in 20 ms */
    OK(ramet_semaphore_acquire(sem, at_once()));
    OK(ramet_semaphore_release(sem, 3));
    done(3);
}

static void *take_one(void *arg)
{
    *(int *)arg = ramet_semaphore_acquire_owned(sem, NULL);
    OK(ramet_semaphore_release_owned(sem));
    return NULL;
}

static void owned_permits_come_back_to_sleepers(void)
{
    int one = 1, result = -1;
    pthread_t thread;
    make(1, 1);
    pid_t pid = child(own_and_stay, &one);
    await_value(&word[0], 1);
    CHECK(pthread_create(&thread, NULL, take_one, &result) == 0);
    pause_ms(50);
    kill_child(pid);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(result == 0);
    done(1);
}

static void plain_and_stay(void *arg)
{
    (void)arg;
    OK(ramet_semaphore_acquire(sem, NULL));
    rmt_store64(&word[0], 1);
    for (;;)
        pause();
}

static void plain_permits_do_not(void)
{
    make(1, 1);
    pid_t pid = child(plain_and_stay, NULL);
    await_value(&word[0], 1);
    kill_child(pid);
    CHECK(ramet_reap(pid) == 1);
    CHECK(ramet_semaphore_acquire(sem, at_once()) == -ETIMEDOUT);
    done(0);
}

static void wait_for_one(void *arg)
{
    (void)arg;
    OK(ramet_semaphore_acquire(sem, NULL));
    rmt_add64(&word[2], 1);
}

static void dead_waiters_take_nothing_with_them(void)
{
    for (int i = 0; i < 20; i++) {
        make(0, RAMET_SEMAPHORE_MAX);
        pid_t victim = child(wait_for_one, NULL), other = child(wait_for_one, NULL);
        await_value(&rmt_semaphore_of(sem)->waiting, 2);
        OK(ramet_semaphore_release(sem, 1));
        kill(victim, SIGKILL); /* at about the time at which it is woken, and takes it, or not */
        int code = finish(victim);
        CHECK(ramet_reap(victim) >= 0); /* 0: the other one was quicker */
        CHECK(code == 0 || code == -SIGKILL);
        /* Dead after it took the permit, and before it said so: then one is gone with it. */
        while (rmt_load64(&word[2]) == 0) {
            if (rmt_load64(&rmt_semaphore_of(sem)->waiting) == 1 && ramet_semaphore_value(sem) == 0)
                break;
            pause_ms(1);
        }
        if (rmt_load64(&rmt_semaphore_of(sem)->waiting) == 1)
            OK(ramet_semaphore_release(sem, 1));
        CHECK(finish(other) == 0);
        done(0);
    }
}

static void wait_interrupted(void *arg)
{
    (void)arg;
    interruptible();
    CHECK(ramet_semaphore_acquire(sem, NULL) == -EINTR);
}

static void a_signal_interrupts(void)
{
    make(0, 1);
    pid_t pid = child(wait_interrupted, NULL);
    await_value(&rmt_semaphore_of(sem)->waiting, 1);
    int status;
    do {
        kill(pid, SIGUSR1);
        pause_ms(5);
    } while (waitpid(pid, &status, WNOHANG) == 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    done(0);
}

static void give_back_unowned(void *arg)
{
    (void)arg;
    CHECK(ramet_semaphore_release_owned(sem) == -EPERM);
}

static void a_fork_owns_nothing(void)
{
    make(1, 1);
    OK(ramet_semaphore_acquire_owned(sem, NULL));
    CHECK(finish(child(give_back_unowned, NULL)) == 0);
    ramet_sweep();
    CHECK(ramet_semaphore_value(sem) == 0);
    OK(ramet_semaphore_release_owned(sem));
    done(1);
}

static void closed_while_owned(void)
{
    make(1, 1);
    OK(ramet_semaphore_acquire_owned(sem, NULL));
    ramet_semaphore_close(sem); /* the object is gone; its hold is of no object any more */
    make(1, 1);
    CHECK(ramet_semaphore_release_owned(sem) == -EPERM);
}

static void closes_while_owned(void *arg)
{
    (void)arg;
    closed_while_owned();
}

static void a_hold_that_outlives_its_object(void)
{
    CHECK(finish(child(closes_while_owned, NULL)) == 0);
    ramet_sweep();
    OK(ramet_arena_check(2));
}

int main(void)
{
    watchdog();
    OK(ramet_join());
    word = words(3);
    uint64_t none = blocks_in_use();
    RUN(counts);
    RUN(bounds);
    RUN(bad_arguments);
    RUN(owned_by_a_thread);
    RUN(more_semaphores_than_holds);
    RUN(never_lets_three_in);
    RUN(every_release_is_had);
    RUN(owned_permits_come_back);
    RUN(owned_permits_come_back_to_sleepers);
    RUN(plain_permits_do_not);
    RUN(dead_waiters_take_nothing_with_them);
    RUN(a_signal_interrupts);
    RUN(a_fork_owns_nothing);
    RUN(a_hold_that_outlives_its_object);
    CHECK(blocks_in_use() == none);
    return 0;
}
