/* SPDX-License-Identifier: MIT
 *
 * kill_wake.c: whoever makes true what somebody sleeps for wakes him; and if it dies at any atomic
 * operation on its way, its recovery does.  No clock: the sleeper is stopped (SIGSTOP) in its
 * sleep, so that nothing but the wake calls, which are counted, can show that it would have gone
 * on.  And since another may have looked at the same condition just before, and be about to
 * sleep, the word on which he would must have changed by then.
 */
#include "arena/local.h"
#include "arena/self.h"
#include "channel/queue.h"
#include "kill.h"

#include <ramet/arena.h>
#include <ramet/barrier.h>
#include <ramet/condition.h>
#include <ramet/event.h>
#include <ramet/lock.h>
#include <ramet/pipe.h>
#include <ramet/queue.h>
#include <ramet/semaphore.h>
#include <sys/prctl.h>

struct wake_case {
    const char *name;
    void (*setup)(void);
    void (*sleep)(void);   /* of the sleeper: must sleep in it; it is over only by `waker` */
    void (*waker)(void);   /* makes it go on */
    bool (*enabled)(void); /* whether the sleeper could go on, if it looked */
    void (*finish)(void);
};

static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static uint64_t left; /* in the waker: operations until the fatal one */

/* In the waker before its death, and in who recovers it: kill_shared->seen[0] counts the wakes of
 * the word on which the sleeper sleeps, at offset kill_shared->seen[1]. */
static void note_wakes(enum rmt_hook_kind kind, const volatile void *word)
{
    uint64_t offset = atomic_load(&kill_shared->seen[1]);
    if (kind == RMT_HOOK_FUTEX_WAKE && word == (const volatile void *)rmt_at(offset))
        atomic_fetch_add(&kill_shared->seen[0], 1);
}

static void note_and_die(enum rmt_hook_kind kind, const volatile void *word)
{
    if (--left == 0)
        kill(getpid(), SIGKILL); /* before the operation */
    note_wakes(kind, word);
}

static int find_sleep(uint64_t thread, void *ret_offset)
{
    uint64_t waits = rmt_load64(&((const struct rmt_thread *)rmt_at(thread))->waits);
    if (waits != 0)
        *(uint64_t *)ret_offset = waits;
    return 0;
}

/* What a thread of process `pid` sleeps on: an offset, or 0. */
static uint64_t sleeps_on(pid_t pid)
{
    uint64_t waits = 0, high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
        if (rmt_member_state_of(state) == RMT_MEMBER_LIVE && rmt_member_pid_of(state) == pid)
            rmt_threads_each(slot, find_sleep, &waits);
    }
    return waits;
}

static pid_t start_sleeper(const struct wake_case *c)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct rmt_self *self;
        CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0); /* stopped, it would outlive a failure */
        OK(rmt_self(&self));
        self->spin = 0;
        c->sleep();
        _exit(0);
    }
    for (;;) { /* until it is stopped between the announcement of its sleep and its end */
        int status;
        while (sleeps_on(pid) == 0)
            usleep(100);
        CHECK(kill(pid, SIGSTOP) == 0);
        CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
        if (sleeps_on(pid) != 0)
            break;
        CHECK(kill(pid, SIGCONT) == 0);
    }
    atomic_store(&kill_shared->seen[1], sleeps_on(pid));
    return pid;
}

/* True if the waker came through. */
static bool one(const struct wake_case *c, uint64_t nth)
{
    memset(kill_shared, 0, sizeof *kill_shared);
    c->setup();
    pid_t sleeper = start_sleeper(c);
    const rmt_a32 *word = rmt_at(atomic_load(&kill_shared->seen[1]));
    uint32_t seen = rmt_load32(word);
    CHECK(!c->enabled());
    pid_t waker = fork();
    CHECK(waker >= 0);
    if (waker == 0) {
        struct rmt_self *self;
        watchdog();
        OK(rmt_self(&self));
        left = nth;
        rmt_hook = note_and_die;
        c->waker();
        rmt_hook = NULL;
        _exit(0);
    }
    int status = finish(waker);
    CHECK(status == 0 || status == -SIGKILL);
    if (status != 0) { /* who came through has nothing left to wake for */
        rmt_hook = note_wakes;
        ramet_reap(waker);
        rmt_hook = NULL;
    }
    bool enabled = c->enabled();
    CHECK(enabled || status != 0);
    if (enabled && atomic_load(&kill_shared->seen[0]) == 0) {
        fprintf(stderr, "%s: a wake is lost, %s %lu\n", c->name,
                status ? "death at operation" : "without a death",
                (unsigned long)(status ? nth : 0));
        exit(1);
    }
    if (enabled && rmt_load32(word) == seen) {
        fprintf(stderr, "%s: who looked before would sleep now, death at operation %lu\n", c->name,
                (unsigned long)nth);
        exit(1);
    }
    ramet_reap(waker);
    CHECK(kill(sleeper, SIGCONT) == 0);
    if (!enabled)
        c->waker();
    CHECK(finish(sleeper) == 0);
    ramet_reap(sleeper);
    OK(ramet_arena_check(2));
    c->finish();
    return status == 0;
}

static void run(const struct wake_case *c)
{
    uint64_t n = 0;
    do {
        watchdog();
        n++;
    } while (!one(c, n));
    printf("%-24s killed at %lu points, no wake lost\n", c->name, (unsigned long)(n - 1));
    fflush(stdout);
}

/* ---- queue */

static ramet_queue *queue;
static uint64_t max_items;

static void queue_setup(void)
{
    ramet_queue_options options = {.size = sizeof options, .max_items = max_items};
    OK(ramet_queue_create(&options, &queue));
    for (uint64_t i = 0; i < max_items; i++)
        OK(ramet_queue_put(queue, "full", 4, &try));
}

static void queue_put(void)
{
    int r;
    do {
        r = ramet_queue_put(queue, "item", 4, NULL);
    } while (r == -EINTR);
    CHECK(r == 0);
}

static void queue_get(void)
{
    ramet_item item;
    int r;
    do {
        r = ramet_queue_get(queue, NULL, &item);
    } while (r == -EINTR);
    CHECK(r == 0);
    ramet_item_release(&item);
}

static bool queue_not_empty(void)
{
    return !ramet_queue_empty(queue);
}

static bool queue_not_full(void)
{
    return !ramet_queue_full(queue);
}

static void queue_shut(void)
{
    OK(ramet_queue_shutdown(queue, 0));
}

static void queue_get_shut(void)
{
    ramet_item item;
    int r;
    do {
        r = ramet_queue_get(queue, NULL, &item);
    } while (r == -EINTR);
    CHECK(r == -ESHUTDOWN);
}

static void queue_put_shut(void)
{
    int r;
    do {
        r = ramet_queue_put(queue, "item", 4, NULL);
    } while (r == -EINTR);
    CHECK(r == -ESHUTDOWN);
}

static bool queue_is_shut(void)
{
    return rmt_load64(&queue->shared->state) != 0;
}

static void queue_close(void)
{
    ramet_queue_close(queue);
}

/* ---- pipe */

static ramet_end *in, *out;

static void pipe_setup(void)
{
    OK(ramet_pipe_create(NULL, &in, &out));
}

static void pipe_send(void)
{
    OK(ramet_end_send(out, "message", 7, &try));
}

static void pipe_recv(void)
{
    char bytes[16];
    size_t size;
    int r;
    do {
        r = ramet_end_recv(in, bytes, sizeof bytes, &size, NULL);
    } while (r == -EINTR);
    CHECK(r == 0);
}

static bool pipe_not_empty(void)
{
    size_t size;
    return ramet_end_next(in, &size) == 0;
}

static void pipe_finish(void)
{
    ramet_end_close(in);
    ramet_end_close(out);
}

/* ---- lock: held by the waker, who takes it first */

static ramet_lock *lock;

static void lock_setup(void)
{
    OK(ramet_lock_create(NULL, &lock));
    OK(ramet_lock_acquire(lock, NULL));
}

static void lock_sleep(void)
{
    int r;
    do {
        r = ramet_lock_acquire(lock, NULL);
    } while (r == -EINTR);
    CHECK(r == 0);
    OK(ramet_lock_release(lock));
}

static void lock_release(void)
{
    OK(ramet_lock_release(lock)); /* of the parent: anybody may */
}

static bool lock_is_free(void)
{
    return ramet_lock_state(lock) == RAMET_LOCK_FREE;
}

static void lock_finish(void)
{
    ramet_lock_close(lock);
}

/* ---- semaphore */

static ramet_semaphore *semaphore;

static void semaphore_setup(void)
{
    ramet_semaphore_options options = {.size = sizeof options, .value = 0, .max = 4};
    OK(ramet_semaphore_create(&options, &semaphore));
}

static void semaphore_sleep(void)
{
    int r;
    do {
        r = ramet_semaphore_acquire(semaphore, NULL);
    } while (r == -EINTR);
    CHECK(r == 0);
}

static void semaphore_release(void)
{
    OK(ramet_semaphore_release(semaphore, 1));
}

static bool semaphore_is_up(void)
{
    return ramet_semaphore_value(semaphore) > 0;
}

static void semaphore_finish(void)
{
    ramet_semaphore_close(semaphore);
}

/* ---- event */

static ramet_event *event;

static void event_setup(void)
{
    OK(ramet_event_create(NULL, &event));
}

static void event_sleep(void)
{
    int r;
    do {
        r = ramet_event_wait(event, NULL);
    } while (r == -EINTR);
    CHECK(r == 0);
}

static void event_set(void)
{
    OK(ramet_event_set(event));
}

static bool event_is_set(void)
{
    return ramet_event_is_set(event);
}

static void event_finish(void)
{
    ramet_event_close(event);
}

/* ---- condition: the one notified is out of the list */

static ramet_condition *condition;

static void condition_setup(void)
{
    OK(ramet_condition_create(NULL, &condition));
}

static void condition_acquire(void)
{
    int r;
    do {
        r = ramet_condition_acquire(condition, NULL);
    } while (r == -EINTR);
    CHECK(r == 0 || r == -EOWNERDEAD);
}

static void condition_sleep(void)
{
    int r;
    condition_acquire();
    do {
        r = ramet_condition_wait(condition, NULL);
    } while (r == -EINTR);
    CHECK(r == 0 || r == -EOWNERDEAD);
    OK(ramet_condition_release(condition));
}

static void condition_notify(void)
{
    condition_acquire();
    OK(ramet_condition_notify(condition, 1));
    OK(ramet_condition_release(condition));
}

static bool condition_is_notified(void)
{
    return ramet_condition_waiters(condition) == 0;
}

static void condition_finish(void)
{
    ramet_condition_close(condition);
}

/* ---- barrier: the waker comes last, or dies in it, which breaks it */

static ramet_barrier *barrier;

static void barrier_setup(void)
{
    ramet_barrier_options options = {.size = sizeof options, .parties = 2};
    OK(ramet_barrier_create(&options, &barrier));
}

static void barrier_wait(void)
{
    int r;
    do {
        r = ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL);
    } while (r == -EINTR);
    CHECK(r >= 0 || r == -ECANCELED);
}

static bool barrier_is_open(void)
{
    return ramet_barrier_broken(barrier) || ramet_barrier_waiting(barrier) == 0;
}

static void barrier_finish(void)
{
    ramet_barrier_close(barrier);
}

int main(void)
{
    OK(ramet_join());
    kill_make_shared();
    run(&(struct wake_case){"wake: queue, get", queue_setup, queue_get, queue_put, queue_not_empty,
                            queue_close});
    run(&(struct wake_case){"wake: queue, shut", queue_setup, queue_get_shut, queue_shut,
                            queue_is_shut, queue_close});
    max_items = 2;
    run(&(struct wake_case){"wake: full queue, shut", queue_setup, queue_put_shut, queue_shut,
                            queue_is_shut, queue_close});
    run(&(struct wake_case){"wake: queue, put", queue_setup, queue_put, queue_get, queue_not_full,
                            queue_close});
    run(&(struct wake_case){"wake: pipe", pipe_setup, pipe_recv, pipe_send, pipe_not_empty,
                            pipe_finish});
    run(&(struct wake_case){"wake: lock", lock_setup, lock_sleep, lock_release, lock_is_free,
                            lock_finish});
    run(&(struct wake_case){"wake: semaphore", semaphore_setup, semaphore_sleep, semaphore_release,
                            semaphore_is_up, semaphore_finish});
    run(&(struct wake_case){"wake: event", event_setup, event_sleep, event_set, event_is_set,
                            event_finish});
    run(&(struct wake_case){"wake: condition", condition_setup, condition_sleep, condition_notify,
                            condition_is_notified, condition_finish});
    run(&(struct wake_case){"wake: barrier", barrier_setup, barrier_wait, barrier_wait,
                            barrier_is_open, barrier_finish});
    return 0;
}
