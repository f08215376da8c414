/* SPDX-License-Identifier: MIT
 *
 * test_condition.c: exact notifications, with a lock and with a recursive lock; waiters that time
 * out, are interrupted, and die in the list, or notified and before they had the lock.
 */
#include "sync/condition.h"
#include "sync_unit.h"

static ramet_condition *cond;
static rmt_a64 *word; /* [0] came, [1] notified, [2] timed out */

/* With all children ended: one that sleeps may at any time be recovering another. */
static void check_all(void)
{
    OK(ramet_sweep());
    OK(ramet_arena_check(2));
}

static void clear_words(void)
{
    for (int i = 0; i < 3; i++)
        rmt_store64(&word[i], 0);
}

static void acquire(void)
{
    OK(ramet_condition_acquire(cond, NULL));
}

static void release(void)
{
    OK(ramet_condition_release(cond));
}

static void notify(uint64_t count)
{
    acquire();
    OK(ramet_condition_notify(cond, count));
    release();
}

static void wait_once(void *arg)
{
    const int64_t *ms = arg;
    acquire();
    rmt_add64(&word[0], 1);
    int r = ramet_condition_wait(cond, ms ? in_ms(*ms) : NULL);
    CHECK(r == 0 || (ms && r == -ETIMEDOUT));
    rmt_add64(&word[r == 0 ? 1 : 2], 1);
    release();
}

static void *wait_once_in_thread(void *arg)
{
    wait_once(arg);
    return NULL;
}

static void not_held(void)
{
    CHECK(ramet_condition_wait(cond, NULL) == -EPERM);
    CHECK(ramet_condition_notify(cond, 1) == -EPERM);
    acquire();
    CHECK(ramet_condition_wait(cond, at_once()) == -ETIMEDOUT);
    CHECK(ramet_condition_wait(cond, in_ms(20)) == -ETIMEDOUT);
    OK(ramet_condition_notify(cond, UINT64_MAX)); /* nobody there: forgotten */
    CHECK(ramet_condition_wait(cond, at_once()) == -ETIMEDOUT);
    ramet_wait wait = {.size = 2};
    CHECK(ramet_condition_wait(cond, &wait) == -EINVAL);
    release();
}

static void exactly_as_many(void)
{
    enum { N = 6 };
    pid_t pids[N];
    clear_words();
    for (int i = 0; i < N; i++)
        pids[i] = child(wait_once, NULL);
    while (ramet_condition_waiters(cond) != N)
        pause_ms(1);
    notify(0);
    notify(1);
    await_value(&word[1], 1);
    notify(2);
    await_value(&word[1], 3);
    pause_ms(30);
    CHECK(rmt_load64(&word[1]) == 3);
    CHECK(ramet_condition_waiters(cond) == 3);
    notify(UINT64_MAX);
    for (int i = 0; i < N; i++)
        CHECK(finish(pids[i]) == 0);
    CHECK(rmt_load64(&word[1]) == N);
}

static void the_late_leave_from_anywhere(void)
{
    int64_t ms = 20;
    pid_t pids[5];
    pthread_t threads[2];
    clear_words();
    for (int i = 0; i < 5; i++)
        pids[i] = child(wait_once, i % 2 ? &ms : NULL);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, wait_once_in_thread, &ms) == 0);
    await_value(&word[2], 4);
    while (ramet_condition_waiters(cond) != 3)
        pause_ms(1);
    notify(UINT64_MAX);
    for (int i = 0; i < 5; i++)
        CHECK(finish(pids[i]) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(rmt_load64(&word[1]) == 3 && rmt_load64(&word[2]) == 4);
    check_all();
}

static void kill_at(int position)
{
    pid_t pids[3];
    clear_words();
    for (int i = 0; i < 3; i++) {
        pids[i] = child(wait_once, NULL);
        while (ramet_condition_waiters(cond) != i + 1)
            pause_ms(1);
    }
    kill_child(pids[position]);
    CHECK(ramet_reap(pids[position]) >= 0); /* 0: one of the others was quicker */
    while (ramet_condition_waiters(cond) != 2)
        pause_ms(1);
    notify(2);
    for (int i = 0; i < 3; i++)
        if (i != position)
            CHECK(finish(pids[i]) == 0);
    CHECK(rmt_load64(&word[1]) == 2);
    check_all();
}

static void dead_waiters_are_taken_out(void)
{
    for (int i = 0; i < 3; i++)
        kill_at(i);
}

/* Notified while the notifier has the lock, the first waiter cannot act on it before it is killed.
 */
static void a_dead_ones_notification_goes_on(bool reap)
{
    clear_words();
    pid_t first = child(wait_once, NULL);
    while (ramet_condition_waiters(cond) != 1)
        pause_ms(1);
    pid_t second = child(wait_once, NULL);
    while (ramet_condition_waiters(cond) != 2)
        pause_ms(1);
    acquire();
    OK(ramet_condition_notify(cond, 1));
    CHECK(ramet_condition_waiters(cond) == 1);
    CHECK(rmt_load64(&rmt_condition_of(cond)->pending) == 1);
    kill_child(first);
    if (reap)
        CHECK(ramet_reap(first) >= 0); /* 0: the other one was quicker */
    release();
    CHECK(finish(second) == 0); /* it finds out by itself where nobody reaps */
    CHECK(rmt_load64(&word[1]) == 1);
    CHECK(rmt_load64(&rmt_condition_of(cond)->pending) == 0);
}

static void a_notification_survives_reaped(void)
{
    a_dead_ones_notification_goes_on(true);
}

static void a_notification_survives_unreaped(void)
{
    a_dead_ones_notification_goes_on(false);
}

static void wait_interrupted(void *arg)
{
    (void)arg;
    interruptible();
    acquire();
    rmt_add64(&word[0], 1);
    CHECK(ramet_condition_wait(cond, NULL) == -EINTR);
    CHECK(ramet_condition_notify(cond, 0) == 0); /* holds the lock */
    release();
}

static void a_signal_interrupts(void)
{
    clear_words();
    pid_t pid = child(wait_interrupted, NULL);
    while (ramet_condition_waiters(cond) != 1)
        pause_ms(1);
    int status;
    do {
        kill(pid, SIGUSR1);
        pause_ms(5);
    } while (waitpid(pid, &status, WNOHANG) == 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(ramet_condition_waiters(cond) == 0);
}

static void nothing_within_a_wait(void)
{
    struct rmt_condition_wait outer, inner;
    struct rmt_self *self;
    OK(rmt_self(&self));
    acquire();
    OK(rmt_condition_begin(&outer, self, rmt_condition_of(cond), cond->object.at));
    CHECK(rmt_condition_begin(&inner, self, rmt_condition_of(cond), cond->object.at) == -EDEADLK);
    CHECK(rmt_condition_leave(&outer) == 0);
    release();
}

static void passed_on_by_the_living(void)
{
    struct rmt_condition_wait cw;
    struct rmt_self *self;
    OK(rmt_self(&self));
    clear_words();
    acquire();
    OK(rmt_condition_begin(&cw, self, rmt_condition_of(cond), cond->object.at));
    release();
    pid_t other = child(wait_once, NULL);
    while (ramet_condition_waiters(cond) != 2)
        pause_ms(1);
    notify(1);
    CHECK(rmt_condition_leave(&cw) == 1);
    OK(rmt_condition_end(&cw, false));
    CHECK(finish(other) == 0);
}

static void take_and_die(void *arg)
{
    (void)arg;
    acquire();
    OK(ramet_condition_notify(cond, 1));
    raise(SIGKILL);
}

/* The one who notified dies with the lock: the waiter gets it, and is told. */
static void a_dead_owner_is_told(void)
{
    acquire();
    pid_t pid = child(take_and_die, NULL);
    CHECK(ramet_condition_wait(cond, NULL) == -EOWNERDEAD);
    CHECK(finish(pid) == -SIGKILL);
    release();
}

static void produce(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++) {
        acquire();
        rmt_add64(&word[0], 1);
        OK(ramet_condition_notify(cond, 1));
        release();
    }
}

static void consume(void *arg)
{
    (void)arg;
    acquire();
    while (rmt_load64(&word[1]) < 1000) {
        if (rmt_load64(&word[0]) == 0) {
            OK(ramet_condition_wait(cond, NULL));
        } else {
            rmt_add64(&word[0], UINT64_MAX);
            if (rmt_add64(&word[1], 1) + 1 == 1000)
                OK(ramet_condition_notify(cond, UINT64_MAX));
        }
    }
    release();
}

static void no_notification_is_lost(void)
{
    pid_t pids[5];
    clear_words();
    for (int i = 0; i < 5; i++)
        pids[i] = child(i < 2 ? produce : consume, NULL);
    for (int i = 0; i < 5; i++)
        CHECK(finish(pids[i]) == 0);
    CHECK(rmt_load64(&word[1]) == 1000 && rmt_load64(&word[0]) == 0);
}

static void all_of_it(void)
{
    RUN(not_held);
    RUN(exactly_as_many);
    RUN(the_late_leave_from_anywhere);
    RUN(dead_waiters_are_taken_out);
    RUN(a_notification_survives_reaped);
    RUN(a_notification_survives_unreaped);
    RUN(a_signal_interrupts);
    RUN(nothing_within_a_wait);
    RUN(passed_on_by_the_living);
    RUN(a_dead_owner_is_told);
    RUN(no_notification_is_lost);
    check_all();
}

static void recursion_is_restored(void)
{
    for (int i = 0; i < 3; i++)
        acquire();
    CHECK(ramet_condition_wait(cond, in_ms(10)) == -ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        release();
    CHECK(ramet_condition_release(cond) == -EPERM);
}

int main(void)
{
    watchdog();
    OK(ramet_join());
    word = words(3);
    use_threads();
    uint64_t none = blocks_in_use();
    ramet_lock *lock;
    OK(ramet_lock_create(NULL, &lock));
    ramet_condition_options options = {.size = sizeof options};
    CHECK(ramet_condition_create(&options, &cond) == -EINVAL);
    options.lock = lock;
    OK(ramet_condition_create(&options, &cond));
    ramet_lock_close(lock); /* the condition keeps it */
    all_of_it();
    ramet_condition_close(cond);

    OK(ramet_condition_create(NULL, &cond));
    ramet_ref ref = ramet_condition_ref(cond);
    ramet_condition *other;
    OK(ramet_condition_open(&ref, &other));
    ramet_condition_close(cond);
    cond = other;
    all_of_it();
    RUN(recursion_is_restored);
    ramet_condition_close(cond);
    ramet_sweep();
    CHECK(blocks_in_use() == none);
    return 0;
}
