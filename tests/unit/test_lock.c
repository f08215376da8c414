/* SPDX-License-Identifier: MIT
 *
 * test_lock.c: the lock: exclusion between processes and threads, owners that die, stop and exit,
 * waits that are interrupted and time out.
 */
#include "sync/lock.h"
#include "sync_unit.h"

static ramet_lock *lock;
static rmt_a64 *word;

static void taken_and_given_back(void)
{
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_FREE);
    OK(ramet_lock_acquire(lock, NULL));
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_MINE);
    CHECK(ramet_lock_acquire(lock, at_once()) == -ETIMEDOUT);
    int64_t before = ramet_now();
    CHECK(ramet_lock_acquire(lock, in_ms(30)) == -ETIMEDOUT);
    CHECK(ramet_now() - before >= 30 * MS);
    OK(ramet_lock_release(lock));
    CHECK(ramet_lock_release(lock) == -EPERM);
    CHECK(ramet_lock_mark_dead(lock) == -EPERM);
    OK(ramet_lock_acquire(lock, at_once()));
    OK(ramet_lock_release(lock));
}

static void bad_arguments(void)
{
    ramet_lock_options options = {.size = 1};
    ramet_lock *other = NULL;
    ramet_ref ref = ramet_lock_ref(lock), wrong = ref;
    CHECK(ramet_lock_create(&options, &other) == -EINVAL);
    wrong.kind = RAMET_KIND_QUEUE;
    CHECK(ramet_lock_open(&wrong, &other) < 0);
    wrong = ref;
    wrong.generation++;
    CHECK(ramet_lock_open(&wrong, &other) == -ESTALE);
    CHECK(other == NULL);
    OK(ramet_lock_acquire(lock, NULL));
    ramet_wait wait = {.size = 3};
    CHECK(ramet_lock_acquire(lock, &wait) == -EINVAL);
    OK(ramet_lock_release(lock));
    ramet_lock_close(NULL);
}

static void two_handles_one_lock(void)
{
    ramet_ref ref = ramet_lock_ref(lock);
    ramet_lock *other;
    OK(ramet_lock_open(&ref, &other));
    OK(ramet_lock_acquire(other, NULL));
    CHECK(ramet_lock_acquire(lock, at_once()) == -ETIMEDOUT);
    OK(ramet_lock_release(lock));
    ramet_lock_close(other);
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_FREE);
}

enum { ROUNDS = 20000, WORKERS = 4 };

static void add_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++) {
        OK(ramet_lock_acquire(lock, NULL));
        rmt_store64_relaxed(word, rmt_load64_relaxed(word) + 1);
        OK(ramet_lock_release(lock));
    }
}

static void *thread_adds(void *arg)
{
    add_many(arg);
    return NULL;
}

static void excludes_processes_and_threads(void)
{
    pid_t pids[WORKERS];
    pthread_t threads[2];
    rmt_store64(word, 0);
    for (int i = 0; i < WORKERS; i++)
        pids[i] = child(add_many, NULL);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, thread_adds, NULL) == 0);
    for (int i = 0; i < WORKERS; i++)
        CHECK(finish(pids[i]) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(rmt_load64(word) == (WORKERS + 2) * ROUNDS);
}

static void take_and_stay(void *arg)
{
    (void)arg;
    OK(ramet_lock_acquire(lock, NULL));
    rmt_store64(word, 1);
    for (;;)
        pause();
}

static pid_t owner(void)
{
    rmt_store64(word, 0);
    pid_t pid = child(take_and_stay, NULL);
    await_value(word, 1);
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_OTHER);
    return pid;
}

static void a_dead_owner_is_told_once(void)
{
    kill_child(owner());
    CHECK(ramet_lock_acquire(lock, at_once()) == -EOWNERDEAD); /* even who does not wait */
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_MINE);
    OK(ramet_lock_release(lock));
    OK(ramet_lock_acquire(lock, NULL));
    OK(ramet_lock_release(lock));
}

static void *wait_for_it(void *arg)
{
    *(int *)arg = ramet_lock_acquire(lock, NULL);
    return NULL;
}

static void an_owner_dies_while_others_sleep(void)
{
    pthread_t threads[3];
    int results[3], told = 0;
    pid_t pid = owner();
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, wait_for_it, &results[i]) == 0);
    pause_ms(30);
    kill_child(pid);
    /* Each of the three gets it; the first is told. Whoever has it lets it go: any thread may. */
    for (int i = 0; i < 3; i++) {
        while (ramet_lock_state(lock) != RAMET_LOCK_MY_PROCESS)
            pause_ms(1);
        OK(ramet_lock_release(lock));
    }
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(results[i] == 0 || results[i] == -EOWNERDEAD);
        told += results[i] == -EOWNERDEAD;
    }
    CHECK(told == 1);
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_FREE);
}

static void take_and_exit(void *arg)
{
    (void)arg;
    OK(ramet_lock_acquire(lock, NULL));
}

static void an_exit_with_the_lock_is_a_death(void)
{
    CHECK(finish(child(take_and_exit, NULL)) == 0);
    CHECK(ramet_lock_acquire(lock, NULL) == -EOWNERDEAD);
    /* Put back, it is told again, to whoever comes, and no more after that. */
    OK(ramet_lock_mark_dead(lock));
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_FREE);
    CHECK(ramet_lock_release(lock) == -EPERM);
    CHECK(ramet_lock_acquire(lock, at_once()) == -EOWNERDEAD);
    OK(ramet_lock_release(lock));
    OK(ramet_lock_acquire(lock, at_once()));
    OK(ramet_lock_release(lock));
}

static void a_dead_owners_lock_released_by_another(void)
{
    kill_child(owner());
    OK(ramet_lock_release(lock));
    OK(ramet_lock_acquire(lock, at_once()));
    OK(ramet_lock_release(lock));
}

static void a_stopped_owner_keeps_it(void)
{
    ramet_sweep();
    pid_t pid = owner();
    stop_child(pid);
    CHECK(ramet_lock_acquire(lock, in_ms(400)) == -ETIMEDOUT);
    CHECK(ramet_sweep() == 0);
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_OTHER);
    kill_child(pid);
    CHECK(ramet_lock_acquire(lock, NULL) == -EOWNERDEAD);
    OK(ramet_lock_release(lock));
}

static void wait_to_be_killed(void *arg)
{
    (void)arg;
    rmt_store64(word, 2);
    OK(ramet_lock_acquire(lock, NULL));
    pause();
}

/* A sleeper is killed at about the time at which it is woken: the wake must not be lost with it. */
static void dead_waiters_take_no_wake_with_them(void)
{
    for (int i = 0; i < 20; i++) {
        OK(ramet_lock_acquire(lock, NULL));
        rmt_store64(word, 0);
        pid_t victim = child(wait_to_be_killed, NULL);
        await_value(word, 2);
        pthread_t thread;
        int result;
        CHECK(pthread_create(&thread, NULL, wait_for_it, &result) == 0);
        pause_ms(5);
        OK(ramet_lock_release(lock));
        kill_child(victim);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(result == 0 || result == -EOWNERDEAD);
        OK(ramet_lock_release(lock));
    }
}

static void wait_interrupted(void *arg)
{
    (void)arg;
    interruptible();
    rmt_store64(word, 1);
    CHECK(ramet_lock_acquire(lock, NULL) == -EINTR);
}

static void a_signal_interrupts(void)
{
    rmt_store64(word, 0);
    OK(ramet_lock_acquire(lock, NULL));
    pid_t pid = child(wait_interrupted, NULL);
    await_value(word, 1);
    int status;
    do {
        pause_ms(5);
        kill(pid, SIGUSR1);
    } while (waitpid(pid, &status, WNOHANG) == 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(ramet_lock_release(lock));
}

static void say_who_and_wait(void *arg)
{
    struct rmt_self *self;
    (void)arg;
    OK(rmt_self(&self));
    rmt_store64(word, self->offset);
    OK(ramet_lock_acquire(lock, NULL));
}

/* From its first sleep on a waiter may have a wake in its hands, also when it does not sleep: if it
 * dies then, its recovery must know. */
static void a_waiter_notes_the_wake_that_it_may_get(void)
{
    OK(ramet_lock_acquire(lock, NULL));
    rmt_store64(word, 0);
    pid_t pid = child(say_who_and_wait, NULL);
    while (rmt_load64(word) == 0)
        pause_ms(1);
    const struct rmt_thread *waiter = rmt_at(rmt_load64(word));
    await_value(&waiter->waits, lock->object.at);
    CHECK(rmt_load64(&waiter->wakes) == lock->object.at);
    kill_child(pid);
    OK(ramet_lock_release(lock));
}

static void check_not_inherited(void *arg)
{
    (void)arg;
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_OTHER);
    CHECK(ramet_lock_acquire(lock, at_once()) == -ETIMEDOUT);
}

static void a_fork_does_not_inherit_it(void)
{
    OK(ramet_lock_acquire(lock, NULL));
    CHECK(finish(child(check_not_inherited, NULL)) == 0);
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_MINE);
    OK(ramet_lock_release(lock));
}

/* ---- threads that end with it: anybody may give it back, and nobody is taken for them */

static void *take(void *ret_word)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    OK(ramet_lock_acquire(lock, NULL));
    *(uint64_t *)ret_word = self->word;
    return NULL;
}

static void *inherits_nothing(void *former)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    CHECK(self->word != *(const uint64_t *)former);
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_MY_PROCESS);
    CHECK(ramet_lock_mark_dead(lock) == -EPERM);
    CHECK(ramet_lock_acquire(lock, at_once()) == -ETIMEDOUT);
    OK(ramet_lock_release(lock));
    return NULL;
}

static void *tell_word(void *ret_word)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    *(uint64_t *)ret_word = self->word;
    return NULL;
}

static void in_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, fn, arg) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void a_later_thread_inherits_nothing(void)
{
    uint64_t former, later, blocks = blocks_in_use();
    in_thread(take, &former);
    in_thread(inherits_nothing, &former);
    in_thread(tell_word, &later);
    CHECK(later == former); /* now that it owns nothing, its place can be had */
    for (int i = 0; i < 100; i++) {
        in_thread(take, &former);
        OK(ramet_lock_release(lock));
    }
    CHECK(blocks_in_use() == blocks);
}

int main(void)
{
    watchdog();
    OK(ramet_join());
    word = words(1);
    use_threads();
    uint64_t none = blocks_in_use();
    OK(ramet_lock_create(NULL, &lock));
    RUN(taken_and_given_back);
    RUN(bad_arguments);
    RUN(two_handles_one_lock);
    RUN(excludes_processes_and_threads);
    RUN(a_dead_owner_is_told_once);
    RUN(an_owner_dies_while_others_sleep);
    RUN(an_exit_with_the_lock_is_a_death);
    RUN(a_dead_owners_lock_released_by_another);
    RUN(a_stopped_owner_keeps_it);
    RUN(dead_waiters_take_no_wake_with_them);
    RUN(a_waiter_notes_the_wake_that_it_may_get);
    RUN(a_signal_interrupts);
    RUN(a_fork_does_not_inherit_it);
    RUN(a_later_thread_inherits_nothing);
    ramet_lock_close(lock);
    ramet_sweep();
    CHECK(blocks_in_use() == none);
    OK(ramet_arena_check(2));
    return 0;
}
