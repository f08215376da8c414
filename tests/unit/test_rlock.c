/* SPDX-License-Identifier: MIT
 *
 * test_rlock.c: the recursive lock: its count, its owner, and owners that die.
 */
#include "sync/rlock.h"
#include "sync_unit.h"

static ramet_rlock *rlock;
static rmt_a64 *word;

static void *not_mine(void *arg)
{
    (void)arg;
    CHECK(ramet_rlock_state(rlock) == RAMET_LOCK_MY_PROCESS);
    CHECK(ramet_rlock_count(rlock) == 0);
    CHECK(ramet_rlock_release(rlock) == -EPERM);
    CHECK(ramet_rlock_mark_dead(rlock) == -EPERM);
    CHECK(ramet_rlock_acquire(rlock, at_once()) == -ETIMEDOUT);
    return NULL;
}

static void counts(void)
{
    pthread_t thread;
    CHECK(ramet_rlock_release(rlock) == -EPERM);
    for (int i = 1; i <= 5; i++) {
        OK(ramet_rlock_acquire(rlock, i % 2 ? NULL : at_once()));
        CHECK(ramet_rlock_count(rlock) == i);
    }
    CHECK(ramet_rlock_state(rlock) == RAMET_LOCK_MINE);
    CHECK(pthread_create(&thread, NULL, not_mine, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 5; i > 0; i--) {
        CHECK(ramet_rlock_count(rlock) == i);
        OK(ramet_rlock_release(rlock));
    }
    CHECK(ramet_rlock_state(rlock) == RAMET_LOCK_FREE);
    CHECK(ramet_rlock_release(rlock) == -EPERM);
}

static void all_at_once(void)
{
    struct rmt_self *self;
    struct rmt_rlock *shared = rmt_rlock_of(rlock);
    uint64_t count = 99;
    OK(rmt_self(&self));
    CHECK(rmt_rlock_release_all(self, shared, rlock->object.at, &count) == -EPERM && count == 99);
    for (int i = 0; i < 3; i++)
        OK(ramet_rlock_acquire(rlock, NULL));
    OK(rmt_rlock_release_all(self, shared, rlock->object.at, &count));
    CHECK(count == 3 && ramet_rlock_state(rlock) == RAMET_LOCK_FREE);
    OK(rmt_rlock_restore(self, shared, rlock->object.at, count));
    CHECK(ramet_rlock_count(rlock) == 3);
    for (int i = 0; i < 3; i++)
        OK(ramet_rlock_release(rlock));
}

static void add_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5000; i++) {
        OK(ramet_rlock_acquire(rlock, NULL));
        OK(ramet_rlock_acquire(rlock, NULL));
        rmt_store64_relaxed(word, rmt_load64_relaxed(word) + 1);
        OK(ramet_rlock_release(rlock));
        rmt_store64_relaxed(word, rmt_load64_relaxed(word) + 1);
        OK(ramet_rlock_release(rlock));
    }
}

static void excludes(void)
{
    pid_t pids[3];
    rmt_store64(word, 0);
    for (int i = 0; i < 3; i++)
        pids[i] = child(add_many, NULL);
    for (int i = 0; i < 3; i++)
        CHECK(finish(pids[i]) == 0);
    CHECK(rmt_load64(word) == 30000);
}

static void take_thrice_and_stay(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++)
        OK(ramet_rlock_acquire(rlock, NULL));
    rmt_store64(word, 1);
    for (;;)
        pause();
}

static pid_t owner(void)
{
    rmt_store64(word, 0);
    pid_t pid = child(take_thrice_and_stay, NULL);
    await_value(word, 1);
    return pid;
}

static void a_dead_owner_leaves_no_count(void)
{
    kill_child(owner());
    CHECK(ramet_rlock_acquire(rlock, NULL) == -EOWNERDEAD);
    CHECK(ramet_rlock_count(rlock) == 1);
    OK(ramet_rlock_acquire(rlock, NULL));
    OK(ramet_rlock_mark_dead(rlock)); /* gives all of it back */
    CHECK(ramet_rlock_count(rlock) == 0);
    CHECK(ramet_rlock_acquire(rlock, at_once()) == -EOWNERDEAD);
    CHECK(ramet_rlock_count(rlock) == 1);
    OK(ramet_rlock_release(rlock));
}

static void a_stopped_owner_keeps_it(void)
{
    pid_t pid = owner();
    stop_child(pid);
    CHECK(ramet_rlock_acquire(rlock, in_ms(300)) == -ETIMEDOUT);
    kill_child(pid);
    CHECK(ramet_rlock_acquire(rlock, NULL) == -EOWNERDEAD);
    OK(ramet_rlock_release(rlock));
}

static void check_not_inherited(void *arg)
{
    (void)arg;
    CHECK(ramet_rlock_count(rlock) == 0);
    CHECK(ramet_rlock_release(rlock) == -EPERM);
    CHECK(ramet_rlock_acquire(rlock, at_once()) == -ETIMEDOUT);
}

static void a_fork_does_not_inherit_it(void)
{
    OK(ramet_rlock_acquire(rlock, NULL));
    CHECK(finish(child(check_not_inherited, NULL)) == 0);
    CHECK(ramet_rlock_count(rlock) == 1);
    OK(ramet_rlock_release(rlock));
}

/* ---- threads that end with it */

static void *take_twice(void *ret_word)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    int r = ramet_rlock_acquire(rlock, NULL);
    CHECK(r == 0 || r == -EOWNERDEAD);
    OK(ramet_rlock_acquire(rlock, NULL));
    if (ret_word)
        *(uint64_t *)ret_word = self->word;
    return NULL;
}

static void in_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, fn, arg) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void *inherits_nothing(void *former)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    CHECK(self->word != *(const uint64_t *)former);
    CHECK(ramet_rlock_state(rlock) == RAMET_LOCK_MY_PROCESS);
    CHECK(ramet_rlock_count(rlock) == 0);
    CHECK(ramet_rlock_release(rlock) == -EPERM);
    CHECK(ramet_rlock_mark_dead(rlock) == -EPERM);
    CHECK(ramet_rlock_acquire(rlock, at_once()) == -EOWNERDEAD);
    CHECK(ramet_rlock_count(rlock) == 1);
    OK(ramet_rlock_release(rlock));
    return NULL;
}

static void a_later_thread_inherits_nothing(void)
{
    uint64_t former;
    in_thread(take_twice, &former);
    in_thread(inherits_nothing, &former);
}

static void find_owner_dead(void *wait)
{
    CHECK(ramet_rlock_acquire(rlock, wait) == -EOWNERDEAD);
    CHECK(ramet_rlock_count(rlock) == 1);
    OK(ramet_rlock_release(rlock));
}

static void *find_owner_dead_too(void *unused)
{
    find_owner_dead(unused);
    return NULL;
}

static rmt_a32 stage;

static void *hold_for_a_while(void *unused)
{
    take_twice(unused);
    atomic_store(&stage, 1);
    while (atomic_load(&stage) == 1)
        pause_ms(1);
    return NULL;
}

/* In this process and in another one, before the thread ends and after. */
static void an_ended_owner_is_a_dead_one(void)
{
    pthread_t owner, waiter;
    in_thread(take_twice, NULL);
    CHECK(finish(child(find_owner_dead, (void *)(uintptr_t)at_once())) == 0);
    in_thread(take_twice, NULL);
    find_owner_dead(NULL);
    for (int other = 0; other < 2; other++) {
        pid_t pid = 0;
        atomic_store(&stage, 0);
        CHECK(pthread_create(&owner, NULL, hold_for_a_while, NULL) == 0);
        while (atomic_load(&stage) == 0)
            pause_ms(1);
        if (other)
            pid = child(find_owner_dead, NULL);
        else
            CHECK(pthread_create(&waiter, NULL, find_owner_dead_too, NULL) == 0);
        pause_ms(20);
        atomic_store(&stage, 2);
        CHECK(pthread_join(owner, NULL) == 0);
        if (other)
            CHECK(finish(pid) == 0);
        else
            CHECK(pthread_join(waiter, NULL) == 0);
    }
}

int main(void)
{
    watchdog();
    OK(ramet_join());
    word = words(1);
    use_threads();
    uint64_t none = blocks_in_use();
    OK(ramet_rlock_create(NULL, &rlock));
    RUN(counts);
    RUN(all_at_once);
    RUN(excludes);
    RUN(a_dead_owner_leaves_no_count);
    RUN(a_stopped_owner_keeps_it);
    RUN(a_fork_does_not_inherit_it);
    RUN(a_later_thread_inherits_nothing);
    RUN(an_ended_owner_is_a_dead_one);
    ramet_rlock_close(rlock);
    ramet_sweep();
    CHECK(blocks_in_use() == none);
    OK(ramet_arena_check(2));
    return 0;
}
