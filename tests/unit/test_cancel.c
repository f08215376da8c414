/* SPDX-License-Identifier: MIT
 *
 * test_cancel.c: the cancel object on everything that blocks: each call returns -ECANCELED, whether
 * it was fired before or while it slept, and has then done nothing.
 */
#include "arena/wait.h"
#include "sync_unit.h"
#include <ramet/ramet.h>

static ramet_cancel *cancel;
static ramet_lock *lock;
static ramet_rlock *rlock;
static ramet_semaphore *semaphore;
static ramet_condition *condition;
static ramet_event *event;
static ramet_barrier *barrier;
static ramet_queue *empty, *full;
static ramet_end *end_a, *end_b;
static ramet_process *sleeper;
static ramet_pool *pool;
static ramet_job *job;
static rmt_a64 *word;

enum { SLEEPER_AT, READY, FIRED, COUNT_A, COUNT_B, STOP, WORDS };

/* ---- every call that blocks, on objects that main() has made to block it */

static int acquire_lock(void)
{
    return ramet_lock_acquire(lock, NULL);
}
static int acquire_rlock(void)
{
    return ramet_rlock_acquire(rlock, NULL);
}
static int acquire_semaphore(void)
{
    return ramet_semaphore_acquire(semaphore, NULL);
}
static int acquire_owned(void)
{
    return ramet_semaphore_acquire_owned(semaphore, NULL);
}
static int wait_condition(void)
{
    OK(ramet_condition_acquire(condition, NULL));
    int r = ramet_condition_wait(condition, NULL);
    CHECK(ramet_condition_waiters(condition) == 0);
    OK(ramet_condition_release(condition)); /* it has the lock again */
    return r;
}
static int wait_event(void)
{
    return ramet_event_wait(event, NULL);
}
static int wait_barrier(void)
{
    int r = ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL);
    CHECK(ramet_barrier_waiting(barrier) == 0 && ramet_barrier_broken(barrier) == 0);
    return r;
}
static int put_item(void)
{
    return ramet_queue_put(full, "x", 1, NULL);
}
static int put_refs(void)
{
    ramet_ref ref = ramet_lock_ref(lock);
    return ramet_queue_put_refs(full, "x", 1, &ref, 1, NULL);
}
static int put_items(void)
{
    ramet_bytes items[2] = {{"x", 1}, {"y", 1}};
    return (int)ramet_queue_put_many(full, items, 2, NULL);
}
static int get_item(void)
{
    ramet_item item = {.size = sizeof item};
    return ramet_queue_get(empty, NULL, &item);
}
static int get_items(void)
{
    ramet_item items[2] = {{.size = sizeof items[0]}, {.size = sizeof items[0]}};
    return (int)ramet_queue_get_many(empty, NULL, items, 2);
}
static int join_queue(void)
{
    return ramet_queue_join(full, NULL);
}
static int send_bytes(void)
{
    return ramet_end_send(end_a, "0123456789", 10, NULL);
}
static int receive_bytes(void)
{
    char buffer[16];
    size_t size;
    return ramet_end_recv(end_a, buffer, sizeof buffer, &size, NULL);
}
static int poll_end(void)
{
    return ramet_end_poll(end_a, NULL);
}
static int join_process(void)
{
    int code;
    return ramet_process_join(sleeper, NULL, &code);
}
static int wait_job(void)
{
    return ramet_job_wait(job, NULL);
}
static int join_pool(void)
{
    return ramet_pool_join(pool, NULL);
}

static const struct call {
    const char *name;
    int (*make)(void);
    int polls; /* does not sleep on a word of the arena */
} calls[] = {
    {"lock_acquire", acquire_lock, 0},
    {"rlock_acquire", acquire_rlock, 0},
    {"semaphore_acquire", acquire_semaphore, 0},
    {"semaphore_acquire_owned", acquire_owned, 0},
    {"condition_wait", wait_condition, 0},
    {"event_wait", wait_event, 0},
    {"barrier_wait", wait_barrier, 0},
    {"queue_put", put_item, 0},
    {"queue_put_refs", put_refs, 0},
    {"queue_put_many", put_items, 0},
    {"queue_get", get_item, 0},
    {"queue_get_many", get_items, 0},
    {"queue_join", join_queue, 0},
    {"end_send", send_bytes, 0},
    {"end_recv", receive_bytes, 0},
    {"end_poll", poll_end, 0},
    {"process_join", join_process, 1},
    {"job_wait", wait_job, 0},
    {"pool_join", join_pool, 0},
};

static void nothing_has_changed(void)
{
    CHECK(ramet_lock_state(lock) == RAMET_LOCK_MINE && ramet_rlock_count(rlock) == 1);
    CHECK(ramet_semaphore_value(semaphore) == 0 && ramet_condition_waiters(condition) == 0);
    CHECK(ramet_barrier_waiting(barrier) == 0 && ramet_barrier_broken(barrier) == 0);
    CHECK(ramet_queue_size(empty) == 0 && ramet_queue_size(full) == 1);
}

static void fired_before(void)
{
    OK(ramet_cancel_fire(cancel));
    CHECK(ramet_cancel_fired(cancel) == 1);
    /* The locks are this thread's own: who asks for them is another one (below). */
    for (size_t i = 2; i < sizeof calls / sizeof calls[0]; i++) {
        OK(ramet_cancel_use(cancel, NULL));
        int r = calls[i].make();
        OK(ramet_cancel_use(NULL, NULL));
        if (r != -ECANCELED)
            fprintf(stderr, "%s: %d\n", calls[i].name, r);
        CHECK(r == -ECANCELED);
    }
    OK(ramet_cancel_reset(cancel));
    CHECK(ramet_cancel_fired(cancel) == 0);
    nothing_has_changed();
}

static void *make_call(void *arg)
{
    const struct call *call = arg;
    struct rmt_self *self;
    OK(rmt_self(&self));
    OK(ramet_cancel_use(cancel, NULL));
    rmt_store64(&word[SLEEPER_AT], self->offset);
    int r = call->make();
    if (r != -ECANCELED)
        fprintf(stderr, "%s: %d\n", call->name, r);
    CHECK(r == -ECANCELED);
    OK(ramet_cancel_use(NULL, NULL));
    return NULL;
}

/* Until the thread has gone to sleep on a word, at least once. */
static void await_sleep(int polls)
{
    while (rmt_load64(&word[SLEEPER_AT]) == 0)
        pause_ms(1);
    const struct rmt_thread *t = rmt_at(rmt_load64(&word[SLEEPER_AT]));
    while (!polls && rmt_load64(&t->waits) == 0)
        ;
    if (polls)
        pause_ms(20);
}

static void fire_in_child(void *arg)
{
    (void)arg;
    OK(ramet_cancel_fire(cancel));
}

static void fired_while_it_sleeps(void)
{
    for (size_t i = 0; i < 2 * sizeof calls / sizeof calls[0]; i++) {
        const struct call *call = &calls[i / 2];
        pthread_t thread;
        rmt_store64(&word[SLEEPER_AT], 0);
        CHECK(pthread_create(&thread, NULL, make_call, (void *)(uintptr_t)call) == 0);
        await_sleep(call->polls);
        if (i % 2 == 0)
            OK(ramet_cancel_fire(cancel));
        else
            CHECK(finish(child(fire_in_child, NULL)) == 0);
        if (call->make == wait_condition && i % 2 == 0)
            OK(ramet_cancel_reset(cancel)); /* it was cancelled all the same */
        CHECK(pthread_join(thread, NULL) == 0);
        OK(ramet_cancel_reset(cancel));
        nothing_has_changed();
    }
    OK(ramet_sweep());
}

/* ---- what is not cancelled */

static void only_who_uses_it(void)
{
    OK(ramet_cancel_fire(cancel));
    CHECK(ramet_event_wait(event, in_ms(5)) == -ETIMEDOUT);
    OK(ramet_cancel_use(cancel, NULL));
    CHECK(ramet_event_wait(event, at_once()) == -ETIMEDOUT); /* it would not have waited */
    CHECK(ramet_event_wait(event, in_ms(5)) == -ECANCELED);
    OK(ramet_queue_put(empty, "a", 1, NULL)); /* need not wait */
    ramet_item item = {.size = sizeof item};
    OK(ramet_queue_get(empty, NULL, &item));
    ramet_item_release(&item);
    OK(ramet_cancel_use(NULL, NULL));
    OK(ramet_cancel_reset(cancel));
}

static void one_at_a_time(void)
{
    ramet_cancel *other, *previous = cancel;
    ramet_ref ref = ramet_cancel_ref(cancel);
    OK(ramet_cancel_open(&ref, &other));
    OK(ramet_cancel_use(cancel, &previous));
    CHECK(previous == NULL);
    OK(ramet_cancel_use(other, &previous));
    CHECK(previous == cancel);
    OK(ramet_cancel_fire(cancel)); /* the same object by another handle */
    CHECK(ramet_event_wait(event, NULL) == -ECANCELED);
    OK(ramet_cancel_reset(other));
    OK(ramet_cancel_use(NULL, &previous));
    CHECK(previous == other);
    ramet_cancel_close(other);
    ref = ramet_lock_ref(lock);
    CHECK(ramet_cancel_open(&ref, &other) == -EINVAL);
    ramet_cancel_options options = {.size = 3};
    CHECK(ramet_cancel_create(&options, &other) == -EINVAL);
    ramet_cancel_close(NULL);
}

static void wait_in_child(void *arg)
{
    (void)arg;
    CHECK(ramet_event_wait(event, in_ms(5)) == -ETIMEDOUT); /* the parent's is not inherited */
    OK(ramet_cancel_use(cancel, NULL));
    CHECK(ramet_event_wait(event, NULL) == -ECANCELED);
}

static void not_by_a_fork(void)
{
    OK(ramet_cancel_use(cancel, NULL));
    OK(ramet_cancel_fire(cancel));
    pid_t pid = child(wait_in_child, NULL);
    CHECK(finish(pid) == 0);
    OK(ramet_cancel_reset(cancel));
    OK(ramet_cancel_use(NULL, NULL));
}

/* ---- signal handlers */

static void fire_in_handler(int signum)
{
    (void)signum;
    int saved = errno;
    errno = 0;
    if (ramet_cancel_fire(cancel) < 0 || errno != 0)
        _exit(9);
    errno = saved;
}

static void wait_for_handler(void *arg)
{
    (void)arg;
    struct sigaction action = {.sa_handler = fire_in_handler};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    OK(ramet_cancel_use(cancel, NULL));
    rmt_store64(&word[READY], 1);
    int r;
    do {
        r = ramet_event_wait(event, NULL);
    } while (r == -EINTR);
    CHECK(r == -ECANCELED);
}

static void fired_by_a_handler(void)
{
    rmt_store64(&word[READY], 0);
    pid_t pid = child(wait_for_handler, NULL);
    await_value(&word[READY], 1);
    CHECK(kill(pid, SIGUSR1) == 0);
    CHECK(finish(pid) == 0);
    OK(ramet_cancel_reset(cancel));
    OK(ramet_sweep());
}

/* ---- nothing is lost */

static void *hold_the_lock(void *unused)
{
    (void)unused;
    OK(ramet_condition_acquire(condition, NULL));
    OK(ramet_cancel_fire(cancel));
    rmt_store64(&word[FIRED], 1);
    pause_ms(20);
    rmt_store64(&word[STOP], 1);
    OK(ramet_condition_release(condition));
    return NULL;
}

static void a_condition_comes_back_with_its_lock(void)
{
    pthread_t thread;
    rmt_store64(&word[STOP], 0);
    OK(ramet_condition_acquire(condition, NULL));
    OK(ramet_cancel_use(cancel, NULL));
    CHECK(pthread_create(&thread, NULL, hold_the_lock, NULL) == 0);
    CHECK(ramet_condition_wait(condition, NULL) == -ECANCELED);
    CHECK(rmt_load64(&word[STOP]) == 1); /* the other one had given it back */
    OK(ramet_cancel_use(NULL, NULL));
    OK(ramet_condition_release(condition));
    CHECK(pthread_join(thread, NULL) == 0);
    OK(ramet_cancel_reset(cancel));
}

enum { NOTIFIED = 300 };

static void *count_notifications(void *mine)
{
    OK(ramet_condition_acquire(condition, NULL));
    OK(ramet_cancel_use(mine, NULL));
    while (rmt_load64(&word[STOP]) == 0) {
        int r = ramet_condition_wait(condition, NULL);
        CHECK(r == 0 || r == -ECANCELED || r == -EINTR);
        if (r == 0)
            rmt_add64(&word[mine ? COUNT_A : COUNT_B], 1);
    }
    OK(ramet_cancel_use(NULL, NULL));
    OK(ramet_condition_release(condition));
    return NULL;
}

/* One waiter is being cancelled all the time, the other never: each notification reaches one. */
static void no_notification_is_lost(void)
{
    pthread_t a, b;
    rmt_store64(&word[STOP], 0);
    CHECK(pthread_create(&a, NULL, count_notifications, cancel) == 0);
    CHECK(pthread_create(&b, NULL, count_notifications, NULL) == 0);
    for (uint64_t i = 0; i < NOTIFIED; i++) {
        for (bool done = false; !done;) {
            OK(ramet_condition_acquire(condition, NULL));
            done = ramet_condition_waiters(condition) > 0;
            if (done)
                OK(ramet_condition_notify(condition, 1));
            OK(ramet_condition_release(condition));
            OK(ramet_cancel_fire(cancel));
            OK(ramet_cancel_reset(cancel));
        }
        while (rmt_load64(&word[COUNT_A]) + rmt_load64(&word[COUNT_B]) < i + 1)
            sched_yield();
    }
    CHECK(rmt_load64(&word[COUNT_A]) + rmt_load64(&word[COUNT_B]) == NOTIFIED);
    OK(ramet_condition_acquire(condition, NULL));
    rmt_store64(&word[STOP], 1);
    OK(ramet_condition_notify(condition, 2));
    OK(ramet_condition_release(condition));
    CHECK(pthread_join(a, NULL) == 0 && pthread_join(b, NULL) == 0);
}

enum { ITEMS = 2000 };

static void *get_all(void *unused)
{
    (void)unused;
    OK(ramet_cancel_use(cancel, NULL));
    for (uint64_t next = 0; next < ITEMS;) {
        ramet_item item = {.size = sizeof item};
        int r = ramet_queue_get(empty, NULL, &item);
        CHECK(r == 0 || r == -ECANCELED);
        if (r < 0)
            continue;
        uint64_t got;
        memcpy(&got, item.data, sizeof got);
        CHECK(got == next++);
        ramet_item_release(&item);
    }
    OK(ramet_cancel_use(NULL, NULL));
    rmt_store64(&word[STOP], 1);
    return NULL;
}

static void no_item_is_lost(void)
{
    pthread_t thread;
    rmt_store64(&word[STOP], 0);
    CHECK(pthread_create(&thread, NULL, get_all, NULL) == 0);
    for (uint64_t i = 0; i < ITEMS; i++) {
        OK(ramet_cancel_fire(cancel));
        OK(ramet_cancel_reset(cancel));
        OK(ramet_queue_put(empty, &i, sizeof i, NULL));
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(ramet_queue_size(empty) == 0);
}

/* ---- a barrier whose round is full */

static int act_slowly(void *unused)
{
    (void)unused;
    rmt_store64(&word[READY], 1);
    await_value(&word[FIRED], 1);
    return 0;
}

static void *pass_barrier(void *unused)
{
    (void)unused;
    OK(ramet_cancel_use(cancel, NULL));
    int r = ramet_barrier_wait(barrier, NULL, act_slowly, NULL, NULL);
    OK(ramet_cancel_use(NULL, NULL));
    CHECK(r == 0); /* all were there before it was fired */
    return NULL;
}

static void a_full_barrier_is_not_left(void)
{
    pthread_t a, b;
    rmt_store64(&word[READY], 0);
    rmt_store64(&word[FIRED], 0);
    CHECK(pthread_create(&a, NULL, pass_barrier, NULL) == 0);
    CHECK(pthread_create(&b, NULL, pass_barrier, NULL) == 0);
    await_value(&word[READY], 1);
    OK(ramet_cancel_fire(cancel));
    /* Who comes while the round ends waits outside, and can go. */
    OK(ramet_cancel_use(cancel, NULL));
    CHECK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL) == -ECANCELED);
    OK(ramet_cancel_use(NULL, NULL));
    pause_ms(10);
    rmt_store64(&word[FIRED], 1);
    CHECK(pthread_join(a, NULL) == 0 && pthread_join(b, NULL) == 0);
    CHECK(ramet_barrier_broken(barrier) == 0);
    OK(ramet_cancel_reset(cancel));
}

/* ---- */

static int nap(const void *in, void *out, const void *arg, size_t arg_size)
{
    (void)in;
    (void)out;
    (void)arg;
    (void)arg_size;
    sleep(600);
    return 0;
}

static int sleep_long(const void *arg, size_t size)
{
    (void)arg;
    (void)size;
    sleep(600);
    return 0;
}

static const ramet_pool_task pool_tasks[] = {{"nap", nap}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER, {"sleep", sleep_long}};

static void make_objects(void)
{
    OK(ramet_cancel_create(NULL, &cancel));
    OK(ramet_lock_create(NULL, &lock));
    OK(ramet_lock_acquire(lock, NULL));
    OK(ramet_rlock_create(NULL, &rlock));
    OK(ramet_rlock_acquire(rlock, NULL));
    OK(ramet_semaphore_create(
        &(ramet_semaphore_options){.size = sizeof(ramet_semaphore_options), .value = 0},
        &semaphore));
    OK(ramet_condition_create(NULL, &condition));
    OK(ramet_event_create(NULL, &event));
    OK(ramet_barrier_create(
        &(ramet_barrier_options){.size = sizeof(ramet_barrier_options), .parties = 2}, &barrier));
    OK(ramet_queue_create(NULL, &empty));
    OK(ramet_queue_create(
        &(ramet_queue_options){.size = sizeof(ramet_queue_options), .max_items = 1}, &full));
    OK(ramet_queue_put(full, "0", 1, NULL));
    OK(ramet_pipe_create(NULL, &end_a, &end_b));
    int r;
    do {
        r = ramet_end_send(end_a, "0123456789", 10, at_once());
    } while (r == 0);
    CHECK(r == -ETIMEDOUT);
}

int main(int argc, char **argv)
{
    ramet_pool_tasks(pool_tasks, 1);
    OK(ramet_enter(argc, argv, tasks, 2));
    watchdog();
    OK(ramet_join());
    word = words(WORDS);
    make_objects();
    RUN(one_at_a_time);
    RUN(only_who_uses_it);
    RUN(not_by_a_fork);
    RUN(fired_by_a_handler);
    RUN(a_condition_comes_back_with_its_lock);
    RUN(no_notification_is_lost);
    RUN(no_item_is_lost);
    RUN(a_full_barrier_is_not_left);

    OK(ramet_process_start(&(ramet_process_options){.size = sizeof(ramet_process_options),
                                                    .method = RAMET_FORK,
                                                    .task = "sleep",
                                                    .daemon = 1},
                           &sleeper));
    OK(ramet_pool_create(&(ramet_pool_options){.size = sizeof(ramet_pool_options),
                                               .workers = 1,
                                               .method = RAMET_FORK},
                         &pool));
    OK(ramet_pool_map(pool, "nap", NULL, 0, 1, NULL, 0, NULL, &job));
    OK(ramet_pool_close(pool));
    RUN(fired_before);
    RUN(fired_while_it_sleeps);
    /* What must come to its end does, fired or not. */
    OK(ramet_cancel_use(cancel, NULL));
    OK(ramet_cancel_fire(cancel));
    OK(ramet_pool_terminate(pool));
    ramet_job_free(job);
    OK(ramet_pool_free(pool));
    OK(ramet_cancel_use(NULL, NULL));
    OK(ramet_process_kill(sleeper));
    OK(ramet_process_join(sleeper, NULL, NULL));
    OK(ramet_process_close(sleeper));
    ramet_cancel_close(cancel);
    OK(ramet_sweep());
    OK(ramet_arena_check(2));
    return 0;
}
