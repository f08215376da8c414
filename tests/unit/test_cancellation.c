/* SPDX-License-Identifier: MIT
 *
 * test_cancellation.c: no function of the library is a cancellation point: a thread that
 * pthread_cancel() was called for comes through all of them, and is cancelled at its own next one.
 */
#include "arena/local.h"
#include "unit.h"
#include <ramet/ramet.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#define LARGE (1 << 20)

static bool came_through; /* of the thread that runs now; read after it was joined */
static char *large;

static const ramet_wait at_once = {.size = sizeof at_once, .deadline = 0};

static void *cancelled(void *fn)
{
    CHECK(pthread_cancel(pthread_self()) == 0);
    ((void (*)(void))(uintptr_t)fn)();
    came_through = true;
    pthread_testcancel();
    CHECK(!"the thread is not cancelled afterwards, either");
    return NULL;
}

static void in_cancelled_thread(const char *what, void (*fn)(void))
{
    pthread_t thread;
    void *result;
    came_through = false;
    CHECK(pthread_create(&thread, NULL, cancelled, (void *)(uintptr_t)fn) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    if (!came_through) {
        fprintf(stderr, "%s: a cancellation point\n", what);
        exit(1);
    }
}

static void join(void)
{
    ramet_usage usage = {.size = sizeof usage};
    OK(ramet_join());
    OK(ramet_attach(ramet_arena_fd()));
    OK(ramet_arena_usage(&usage));
}

static void synchronise(void)
{
    ramet_lock *lock;
    ramet_rlock *rlock;
    ramet_semaphore *semaphore;
    ramet_event *event;
    ramet_wait moment = ramet_within(3000000);
    OK(ramet_lock_create(NULL, &lock));
    OK(ramet_rlock_create(NULL, &rlock));
    OK(ramet_semaphore_create(NULL, &semaphore));
    OK(ramet_event_create(NULL, &event));
    OK(ramet_lock_acquire(lock, NULL));
    CHECK(ramet_lock_acquire(lock, &moment) == -ETIMEDOUT);
    OK(ramet_lock_release(lock));
    OK(ramet_rlock_acquire(rlock, NULL));
    OK(ramet_rlock_release(rlock));
    OK(ramet_semaphore_acquire_owned(semaphore, NULL));
    moment = ramet_within(600000000); /* long enough for a look at all members */
    CHECK(ramet_semaphore_acquire(semaphore, &moment) == -ETIMEDOUT);
    OK(ramet_semaphore_release_owned(semaphore));
    CHECK(ramet_event_wait(event, &at_once) == -ETIMEDOUT);
    OK(ramet_event_set(event));
    OK(ramet_event_wait(event, NULL));
    ramet_event_close(event);
    ramet_semaphore_close(semaphore);
    ramet_rlock_close(rlock);
    ramet_lock_close(lock);
}

static void put_and_get(void)
{
    ramet_queue *queue;
    ramet_item item;
    ramet_queue_options options = {.size = sizeof options};
    OK(ramet_queue_create(&options, &queue));
    for (int i = 0; i < 100; i++) { /* some grow the arena, and go back to the machine */
        OK(ramet_queue_put(queue, large, i % 2 ? LARGE : 8, NULL));
        OK(ramet_queue_put(queue, large, LARGE, NULL));
    }
    for (int i = 0; i < 200; i++) {
        OK(ramet_queue_get(queue, NULL, &item));
        ramet_item_release(&item);
        OK(ramet_queue_task_done(queue));
    }
    CHECK(ramet_queue_get(queue, &at_once, &item) == -ETIMEDOUT);
    OK(ramet_queue_join(queue, NULL));
    ramet_queue_close(queue);
}

static void send_and_receive(void)
{
    ramet_end *a, *b;
    size_t size;
    ramet_wait moment = ramet_within(3000000);
    OK(ramet_pipe_create(NULL, &a, &b));
    OK(ramet_end_fd(b)); /* from now on the doorbell is rung */
    OK(ramet_end_send(a, large, 100, NULL));
    OK(ramet_end_poll(b, NULL));
    OK(ramet_end_recv(b, large, LARGE, &size, NULL));
    CHECK(ramet_end_recv(b, large, LARGE, &size, &moment) == -ETIMEDOUT);
    ramet_end_close(a);
    CHECK(ramet_end_recv(b, large, LARGE, &size, NULL) == -ENODATA);
    ramet_end_close(b);
}

static int nap(const void *arg, size_t size)
{
    for (int i = 0; i < (int)size; i++)
        sched_yield();
    return arg != NULL ? 7 : 8;
}

static void start_and_join(void)
{
    for (int m = RAMET_FORK; m <= RAMET_FORKSERVER; m++) {
        ramet_process_options options = {
            .size = sizeof options, .method = (enum ramet_start_method)m, .task = "nap"};
        ramet_process *process;
        int code;
        OK(ramet_process_start(&options, &process));
        OK(ramet_process_join(process, NULL, &code));
        CHECK(code == 7 || code == 8);
        OK(ramet_process_close(process));
    }
}

static FILE *to;

static void look(void)
{
    ramet_view *view;
    OK(ramet_view_open(getpid(), &view));
    OK(ramet_view_refresh(view));
    OK(ramet_view_print(view, to));
    ramet_view_close(view);
    OK(ramet_arena_check(-1));
}

/* Somebody who died, and somebody who left by exec, both with a lock. */
static pid_t dead, left;
static ramet_lock *locks[2];
static int told[2];

static void die(void *unused)
{
    (void)unused;
    OK(ramet_lock_acquire(locks[0], NULL));
    raise(SIGKILL);
}

static void leave(void *unused)
{
    (void)unused;
    CHECK(dup2(told[1], STDOUT_FILENO) >= 0);
    OK(ramet_lock_acquire(locks[1], NULL));
    char name[] = "test_cancellation", what[] = "--pause", *argv[] = {name, what, NULL};
    execve("/proc/self/exe", argv, environ); /* not execl: tests/qemu/preload.c */
    _exit(127);
}

static void recover(void)
{
    ramet_sweep();
    ramet_reap(dead);
    ramet_wait wait = ramet_within(INT64_C(1000000000) * 500);
    for (int i = 0; i < 2; i++) {
        CHECK(ramet_lock_acquire(locks[i], &wait) == -EOWNERDEAD);
        OK(ramet_lock_release(locks[i]));
    }
}

static void pause_for_ever(void)
{
    CHECK(write(STDOUT_FILENO, "", 1) == 1); /* the watchdog goes on after exec */
    for (;;)
        pause();
}

/* A fork that is none of ours, whose handlers are. */
static void fork_by_itself(void)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(0);
    siginfo_t info;
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state); /* waitid is a point */
    CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED) == 0);
    pthread_setcancelstate(state, &state);
    ramet_reap(pid);
}

int main(int argc, char **argv)
{
    static const ramet_task tasks[] = {{"nap", nap}};
    if (argc == 2 && strcmp(argv[1], "--pause") == 0)
        pause_for_ever();
    OK(ramet_enter(argc, argv, tasks, 1));
    watchdog();
    large = calloc(1, LARGE);
    CHECK(large);
    in_cancelled_thread("join", join);
    for (int i = 0; i < 2; i++)
        OK(ramet_lock_create(NULL, &locks[i]));
    CHECK(pipe2(told, O_CLOEXEC) == 0);
    dead = child(die, NULL);
    CHECK(finish(dead) == -SIGKILL);
    left = child(leave, NULL);
    char c;
    CHECK(read(told[0], &c, 1) == 1); /* the other program runs */
    in_cancelled_thread("recover", recover);
    kill(left, SIGKILL);
    CHECK(finish(left) == -SIGKILL);
    in_cancelled_thread("synchronise", synchronise);
    in_cancelled_thread("put and get", put_and_get);
    in_cancelled_thread("send and receive", send_and_receive);
    in_cancelled_thread("start and join", start_and_join);
    in_cancelled_thread("fork", fork_by_itself);
    to = fopen("/dev/null", "we");
    CHECK(to);
    in_cancelled_thread("look", look);
    for (int i = 0; i < 2; i++)
        ramet_lock_close(locks[i]);
    fclose(to);
    free(large);
    OK(ramet_arena_check(2));
    return 0;
}
