/* SPDX-License-Identifier: MIT
 *
 * kill_identity.c: who looks dead and is not keeps what he holds: a process whose main thread has
 * ended, and the owner of a lock as seen by a process that sees no /proc.  A child made by a raw
 * clone changes nothing of its parent's when its thread ends.
 */
#include "arena/local.h"
#include "arena/self.h"
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/lock.h>

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* Long enough for several looks at the owner, also thorough ones. */
#define A_WHILE 2000000000

static ramet_lock *lock;
static rmt_a32 *told; /* shared by all: 1 held, 2 let go */

static void wait_until(uint32_t value)
{
    while (atomic_load(told) != value)
        usleep(1000);
}

static void check_that_it_is_held(void)
{
    ramet_wait wait = ramet_within(A_WHILE);
    CHECK(ramet_lock_acquire(lock, &wait) == -ETIMEDOUT);
}

static void *hold(void *unused)
{
    OK(ramet_lock_acquire(lock, NULL));
    atomic_store(told, 1);
    wait_until(2);
    OK(ramet_lock_release(lock));
    _exit(0); /* of the process */
    return unused;
}

static void hold_in_second_thread(void *unused)
{
    (void)unused;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, hold, NULL) == 0);
    pthread_exit(NULL);
}

static void without_main_thread(void)
{
    atomic_store(told, 0);
    pid_t pid = child(hold_in_second_thread, NULL);
    wait_until(1);
    struct rmt_self *self;
    OK(rmt_self(&self));
    rmt_sweep_thorough(self); /* does not take it for one that called exec, either */
    check_that_it_is_held();
    CHECK(ramet_sweep() == 0);
    atomic_store(told, 2);
    CHECK(finish(pid) == 0);
    OK(ramet_lock_acquire(lock, NULL));
    OK(ramet_lock_release(lock));
    ramet_reap(pid);
    printf("%-24s lives on in its other threads\n", "no main thread");
}

static void look_without_proc(void *unused)
{
    (void)unused;
    OK(ramet_join());
    if (chroot("/sys") < 0 && chroot("/dev") < 0) /* any place without /proc */
        _exit(77);
    check_that_it_is_held();
    CHECK(ramet_sweep() == 0);
}

static void dies_with_lock(void *unused)
{
    (void)unused;
    OK(ramet_lock_acquire(lock, NULL));
    kill(getpid(), SIGKILL);
}

static void inherits_without_proc(void *unused)
{
    (void)unused;
    OK(ramet_join());
    if (chroot("/sys") < 0 && chroot("/dev") < 0)
        _exit(77);
    CHECK(ramet_lock_acquire(lock, NULL) == -EOWNERDEAD);
    OK(ramet_lock_release(lock));
}

static void without_proc(void)
{
    OK(ramet_lock_acquire(lock, NULL));
    pid_t pid = child(look_without_proc, NULL);
    int status = finish(pid);
    CHECK(status == 0 || status == 77);
    ramet_reap(pid);
    OK(ramet_lock_release(lock));
    if (status == 77) {
        printf("%-24s skipped: needs the right to chroot\n", "no /proc");
        return;
    }
    pid_t dead = child(dies_with_lock, NULL);
    siginfo_t info;
    CHECK(waitid(P_PID, (id_t)dead, &info, WEXITED | WNOWAIT) == 0);
    CHECK(finish(child(inherits_without_proc, NULL)) == 0); /* from a zombie */
    CHECK(finish(dead) == -SIGKILL);
    while (OK(ramet_sweep()) > 0)
        ;
    printf("%-24s nobody alive is taken for dead, nobody dead for alive\n", "no /proc");
}

static uint32_t slot_of(pid_t pid)
{
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++) {
        uint64_t state = rmt_load64(&rmt_member_at(slot)->state);
        if (rmt_member_pid_of(state) == pid && rmt_member_state_of(state) == RMT_MEMBER_LIVE)
            return slot;
    }
    return 0;
}

static void wait_for_signal(void *unused)
{
    (void)unused;
    OK(ramet_join());
    pause();
}

static void dies_when_told(void *unused)
{
    (void)unused;
    OK(ramet_lock_acquire(lock, NULL));
    atomic_store(told, 1);
    pause();
}

/* The dead owner's slot belongs to somebody who lives: the lock is a dead one's all the same. */
static void slot_taken_again(void)
{
    enum { TRIES = 64 };
    pid_t others[TRIES];
    int n = 0;
    atomic_store(told, 0);
    pid_t owner = child(dies_when_told, NULL);
    wait_until(1);
    uint32_t slot = slot_of(owner);
    CHECK(slot != 0);
    CHECK(kill(owner, SIGKILL) == 0);
    CHECK(finish(owner) == -SIGKILL);
    ramet_reap(owner);
    do { /* slots are given out in turn: it is its turn once */
        CHECK(n < TRIES);
        others[n] = child(wait_for_signal, NULL);
        while (slot_of(others[n]) == 0)
            usleep(100);
    } while (slot_of(others[n++]) != slot);
    ramet_wait now = {.size = sizeof now, .deadline = 0};
    CHECK(ramet_lock_acquire(lock, &now) == -EOWNERDEAD);
    OK(ramet_lock_release(lock));
    while (n > 0) {
        CHECK(kill(others[--n], SIGKILL) == 0);
        CHECK(finish(others[n]) == -SIGKILL);
        ramet_reap(others[n]);
    }
    printf("%-24s is not taken for who had it before\n", "an owner's next");
}

static void raw_clone(void)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    uint64_t word = rmt_load64(&self->thread->word);
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    CHECK(pid >= 0);
    if (pid == 0)
        pthread_exit(NULL);
    CHECK(finish((pid_t)pid) == 0);
    CHECK(rmt_load64(&self->thread->word) == word);
    printf("%-24s ends without its parent's name\n", "raw clone");
}

/* Pids of another namespace mean nothing here: its processes could not be told from dead ones. */
static void in_another_namespace(void *unused)
{
    (void)unused;
    OK(ramet_join());
    if (unshare(CLONE_NEWPID) < 0)
        _exit(77);
    pid_t init = 0;
    for (int i = 0; i < 2; i++) { /* the first of them is the init of the others: it stays */
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            CHECK(ramet_join() == -EXDEV);
            if (i == 0)
                pause();
            _exit(0);
        }
        if (i == 0) {
            init = pid;
        } else {
            CHECK(finish(pid) == 0);
            kill(init, SIGKILL);
            CHECK(finish(init) == -SIGKILL);
        }
    }
}

static void pid_namespace(void)
{
    int status = finish(child(in_another_namespace, NULL));
    CHECK(status == 0 || status == 77);
    while (OK(ramet_sweep()) > 0)
        ;
    printf("%-24s %s\n", "another pid namespace", status ? "skipped: needs rights" : "is refused");
}

int main(void)
{
    watchdog();
    OK(ramet_join());
    OK(ramet_lock_create(NULL, &lock));
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(told != MAP_FAILED);
    setvbuf(stdout, NULL, _IONBF, 0);
    without_main_thread();
    without_proc();
    slot_taken_again();
    raw_clone();
    pid_namespace();
    return 0;
}
