/* SPDX-License-Identifier: MIT
 *
 * kill_fork_race.c: a fork while another thread opens a handle.  The thread is delayed at each
 * atomic operation of that in turn, so that it goes on between the copying of the handles and the
 * fork.  If the child finds the handle open it has a count of its own.
 */
#include "arena/handle.h"
#include "kill.h"
#include <ramet/arena.h>

#include <pthread.h>

#define DELAY 20000 /* us */

static struct rmt_handle object, opened;
static rmt_a32 state; /* 1: the thread is where it is delayed, or past that; 2: it is through */
static uint64_t left;
static _Thread_local bool is_opener;

static void delay(enum rmt_hook_kind kind, const volatile void *word)
{
    (void)kind;
    (void)word;
    if (is_opener && left > 0 && --left == 0) {
        atomic_store(&state, 1);
        usleep(DELAY);
    }
}

static void *open_it(void *unused)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    is_opener = true;
    OK(rmt_handle_dup(self, &object, &opened));
    is_opener = false;
    bool through = left > 0;
    atomic_store(&state, 2);
    (void)unused;
    return through ? &state : NULL;
}

/* Registered before the library's own, and so called after it. */
static void before_fork(void)
{
    usleep(3 * DELAY);
}

static void check_child(void)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    if (opened.offset != 0) {
        uint64_t refs = rmt_load64(&rmt_block_at(opened.offset)->refs);
        CHECK(refs == 4); /* the parent's two and ours */
        rmt_handle_close(self, &opened);
    }
}

static void make_object(void)
{
    struct rmt_self *self;
    uint64_t offset;
    int hold;
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, 100, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_handle_create(self, hold, &object));
    opened.offset = 0;
}

/* True if the thread was through before its turn to be delayed. */
static bool one(uint64_t nth)
{
    pthread_t thread;
    void *through;
    make_object();
    left = nth;
    atomic_store(&state, 0);
    rmt_hook = delay;
    CHECK(pthread_create(&thread, NULL, open_it, NULL) == 0);
    while (atomic_load(&state) == 0)
        usleep(100);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        rmt_hook = NULL;
        check_child();
        _exit(0);
    }
    CHECK(pthread_join(thread, &through) == 0);
    rmt_hook = NULL;
    CHECK(finish(pid) == 0);
    ramet_reap(pid);
    struct rmt_self *self;
    OK(rmt_self(&self));
    CHECK(rmt_load64(&rmt_block_at(opened.offset)->refs) == 2);
    rmt_handle_close(self, &opened);
    rmt_handle_close(self, &object);
    OK(ramet_arena_check(2));
    return through != NULL;
}

int main(void)
{
    CHECK(pthread_atfork(before_fork, NULL, NULL) == 0);
    watchdog();
    OK(ramet_join());
    uint64_t n = 1;
    while (!one(n))
        n++;
    printf("%-24s beside a thread that opens a handle, delayed at %lu points\n", "fork",
           (unsigned long)(n - 1));
    return 0;
}
