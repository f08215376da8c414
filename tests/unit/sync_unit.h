/* SPDX-License-Identifier: MIT
 *
 * sync_unit.h: what the tests of the sync layer share: words that a test and its children see, and
 * killing, stopping and outliving children.
 */
#ifndef RAMET_TEST_SYNC_UNIT_H
#define RAMET_TEST_SYNC_UNIT_H

#include "arena/self.h"
#include "unit.h"
#include <ramet/arena.h>
#include <ramet/data.h>

#include <pthread.h>
#include <sched.h>
#include <time.h>

#define MS INT64_C(1000000)
#define SECOND INT64_C(1000000000)

/* Zeroed words in the arena, for the rest of the program. */
static inline rmt_a64 *words(size_t count)
{
    static ramet_data *data;
    OK(ramet_data_create(count * sizeof(rmt_a64), &data));
    return ramet_data_address(data);
}

static inline void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Without a limit: the watchdog has it. */
static inline void await_value(const rmt_a64 *word, uint64_t value)
{
    while (rmt_load64(word) != value)
        pause_ms(1);
}

static inline const ramet_wait *in_ms(int64_t ms)
{
    static _Thread_local ramet_wait wait;
    wait = ramet_within(ms * MS);
    return &wait;
}

static inline const ramet_wait *at_once(void)
{
    static const ramet_wait wait = {.size = sizeof wait, .deadline = 0};
    return &wait;
}

/* Kills a child and waits for it, telling the arena nothing: whoever needs to know must find out.
 */
static inline void kill_child(pid_t pid)
{
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(finish(pid) == -SIGKILL);
}

/* Blocks until the child is stopped. */
static inline void stop_child(pid_t pid)
{
    int status;
    CHECK(kill(pid, SIGSTOP) == 0);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
}

static inline void ignore_signal(int signum)
{
    (void)signum;
}

/* Makes SIGUSR1 interrupt a wait, and do nothing else. */
static inline void interruptible(void)
{
    struct sigaction action = {.sa_handler = ignore_signal};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
}

static inline void *stand_and_go(void *all_here)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    pthread_barrier_wait(all_here);
    return NULL;
}

/* Blocks that a process needs for some threads at once are kept; have them before counting. */
static inline void use_threads(void)
{
    pthread_barrier_t all_here;
    pthread_t threads[8];
    CHECK(pthread_barrier_init(&all_here, NULL, 8) == 0);
    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, stand_and_go, &all_here) == 0);
    for (int i = 0; i < 8; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    pthread_barrier_destroy(&all_here);
}

static inline uint64_t blocks_in_use(void)
{
    ramet_usage usage = {.size = sizeof usage};
    OK(ramet_arena_usage(&usage));
    return usage.blocks;
}

#endif
