/* SPDX-License-Identifier: MIT
 *
 * kill_exec.c: members that leave by exec and live on as other programs, which no pidfd tells: with
 * an owned permit, with a lock that others only poll, at each atomic operation of a recovery while
 * another thread calls exec, and to join the same arena again.  What they held comes back.
 */
#include "arena/local.h"
#include "base/os.h"
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/lock.h>
#include <ramet/semaphore.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#define MOMENT 20000000 /* ns: less than the slices after which the wait loop looks by itself */

static ramet_lock *lock;
static ramet_semaphore *permits;
static int ready[2]; /* by whom it is told that somebody has what he shall take away */

/* What the next program does: `what` is its first argument. */
static void become(const char *what, const char *arg)
{
    execl("/proc/thread-self/exe", "kill_exec", what, arg, (char *)NULL);
    CHECK(!"exec");
}

static void say(void)
{
    CHECK(write(ready[1], "", 1) == 1);
}

static void hear(void)
{
    char c;
    CHECK(read(ready[0], &c, 1) == 1);
}

static void end(pid_t pid)
{
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(finish(pid) == -SIGKILL);
    ramet_reap(pid);
}

/* ---- what it held comes to who waits */

static void leave_with_all(void *unused)
{
    (void)unused;
    OK(ramet_lock_acquire(lock, NULL));
    OK(ramet_semaphore_acquire_owned(permits, NULL));
    say();
    become("--pause", NULL);
}

static void permit_is_waited_for(void)
{
    pid_t pid = child(leave_with_all, NULL);
    hear();
    OK(ramet_semaphore_acquire(permits, NULL));
    OK(ramet_semaphore_release(permits, 1));
    CHECK(ramet_lock_acquire(lock, NULL) == -EOWNERDEAD);
    OK(ramet_lock_release(lock));
    end(pid);
    printf("%-24s brings its permit back\n", "exec, waited for");
}

static void lock_is_polled(void)
{
    for (int sleep = 0; sleep < 2; sleep++) {
        int r;
        pid_t pid = child(leave_with_all, NULL);
        hear();
        do {
            ramet_wait wait = {.size = sizeof wait, .deadline = 0};
            if (sleep)
                wait = ramet_within(MOMENT);
            else
                usleep(1000);
            r = ramet_lock_acquire(lock, &wait);
        } while (r == -ETIMEDOUT);
        CHECK(r == -EOWNERDEAD);
        OK(ramet_lock_release(lock));
        do { /* the same for the permit; it came back when the lock's owner was found */
            ramet_wait wait = {.size = sizeof wait, .deadline = 0};
            r = ramet_semaphore_acquire(permits, &wait);
        } while (r == -ETIMEDOUT);
        OK(r);
        OK(ramet_semaphore_release(permits, 1));
        end(pid);
    }
    printf("%-24s leaves a dead owner's lock\n", "exec, polled");
}

static void sweep_tells(void)
{
    pid_t pid = child(leave_with_all, NULL);
    hear();
    while (OK(ramet_sweep()) == 0) /* it may not have come to its exec yet */
        usleep(100);
    ramet_wait now = {.size = sizeof now, .deadline = 0};
    CHECK(ramet_lock_acquire(lock, &now) == -EOWNERDEAD);
    OK(ramet_lock_release(lock));
    OK(ramet_semaphore_acquire(permits, &now));
    OK(ramet_semaphore_release(permits, 1));
    CHECK(OK(ramet_sweep()) == 0);
    end(pid);
    printf("%-24s is found by a sweep\n", "exec");
}

/* ---- in the midst of a recovery */

static uint64_t nth; /* in the recoverer: exec at this operation */
static rmt_a32 leaving;

static void *leave(void *unused)
{
    while (atomic_load(&leaving) == 0)
        sched_yield();
    become("--pause", NULL);
    return unused;
}

static void stop_there(enum rmt_hook_kind kind, const volatile void *word)
{
    (void)kind;
    (void)word;
    if (--nth != 0)
        return;
    rmt_hook = NULL;
    atomic_store(&leaving, 1);
    for (;;)
        pause(); /* the other thread calls exec, and this one is gone */
}

static pid_t dead;

static void recover_and_leave(void *arg)
{
    pthread_t thread;
    struct rmt_self *self;
    OK(rmt_self(&self));
    CHECK(pthread_create(&thread, NULL, leave, NULL) == 0);
    nth = *(const uint64_t *)arg;
    rmt_hook = stop_there;
    ramet_reap(dead);
    rmt_hook = NULL;
    _exit(0); /* it came through */
}

static void hold_and_die(void *unused)
{
    (void)unused;
    OK(ramet_semaphore_acquire_owned(permits, NULL));
    kill(getpid(), SIGKILL);
}

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

/* 1 if `pid` has ended, 0 if it has become another program. */
static bool came_through(pid_t pid)
{
    for (;;) {
        siginfo_t info = {0};
        CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
        if (info.si_pid == pid)
            return true;
        if (rmt_os_maps_inode(pid, rmt_local.dev, rmt_local.ino) == 0)
            return false;
        usleep(100);
    }
}

/* Nobody sweeps: each death that is told is told once, and the one by exec to nobody. */
static void at_each_operation_of_a_recovery(void)
{
    uint64_t n = 1, before = blocks();
    for (bool through = false; !through; n++) {
        dead = child(hold_and_die, NULL);
        CHECK(finish(dead) == -SIGKILL);
        pid_t recoverer = child(recover_and_leave, &n);
        through = came_through(recoverer);
        ramet_reap(dead);
        ramet_wait now = {.size = sizeof now, .deadline = 0};
        OK(ramet_semaphore_acquire(permits, &now));
        OK(ramet_semaphore_release(permits, 1));
        if (through) {
            CHECK(finish(recoverer) == 0);
            ramet_reap(recoverer);
        } else {
            end(recoverer);
        }
        CHECK(blocks() == before);
    }
    OK(ramet_arena_check(2));
    printf("%-24s at %lu operations, and what it recovered comes back\n", "exec in a recovery",
           (unsigned long)(n - 2));
}

/* ---- to join again */

static void leave_to_join_again(void *unused)
{
    (void)unused;
    OK(ramet_lock_acquire(lock, NULL));
    int fd = dup(ramet_arena_fd()), tell = dup(ready[1]);
    char text[32];
    CHECK(fd >= 0 && tell >= 0);
    snprintf(text, sizeof text, "%d %d", fd, tell);
    become("--join", text);
}

static int join_again(const char *text)
{
    int fd, tell;
    CHECK(sscanf(text, "%d %d", &fd, &tell) == 2);
    OK(ramet_attach(fd));
    CHECK(write(tell, "", 1) == 1);
    for (;;)
        pause();
}

static void joins_again(void)
{
    ramet_wait now = {.size = sizeof now, .deadline = 0};
    pid_t pid = child(leave_to_join_again, NULL);
    hear();
    CHECK(ramet_lock_acquire(lock, &now) == -EOWNERDEAD);
    OK(ramet_lock_release(lock));
    end(pid);
    OK(ramet_arena_check(2));
    printf("%-24s is not who it was\n", "exec and attach");
}

int main(int argc, char **argv)
{
    watchdog(); /* goes on after exec */
    if (argc > 1 && strcmp(argv[1], "--pause") == 0)
        for (;;)
            pause();
    if (argc > 2 && strcmp(argv[1], "--join") == 0)
        return join_again(argv[2]);
    setvbuf(stdout, NULL, _IONBF, 0);
    OK(ramet_join());
    OK(ramet_lock_create(NULL, &lock));
    ramet_semaphore_options options = {.size = sizeof options, .value = 1, .max = 1};
    OK(ramet_semaphore_create(&options, &permits));
    CHECK(pipe2(ready, O_CLOEXEC) == 0);
    permit_is_waited_for();
    lock_is_polled();
    sweep_tells();
    at_each_operation_of_a_recovery();
    joins_again();
    return 0;
}
