/* SPDX-License-Identifier: MIT
 *
 * bench_scale.c: whether an operation costs more where there are many objects or many processes,
 * dead ones among them.  Each is held against the same operation among few.
 */
#include "bench.h"
#include <ramet/arena.h>
#include <ramet/lock.h>
#include <ramet/queue.h>

#include <signal.h>
#include <sys/wait.h>

#define MANY 100000u

/* ---- objects.  Measured among the first n that there are; those above are made once, and stay. */

static ramet_queue *queue[MANY];
static ramet_lock *lock[MANY];
static unsigned made;

static void make(unsigned n)
{
    for (; made < n; made++) {
        MUST(ramet_queue_create(NULL, &queue[made]));
        MUST(ramet_lock_create(NULL, &lock[made]));
    }
    for (; made > n; made--) {
        ramet_queue_close(queue[made - 1]);
        ramet_lock_close(lock[made - 1]);
    }
}

static int64_t use(uint64_t count)
{
    ramet_item item;
    int64_t start = bench_cpu();
    for (uint64_t i = 0; i < count; i++) {
        unsigned k = i % 10; /* these are warm: what more there are is to cost nothing */
        MUST(ramet_lock_acquire(lock[k], NULL));
        MUST(ramet_queue_put(queue[k], &i, sizeof i, NULL));
        MUST(ramet_queue_get(queue[k], NULL, &item));
        ramet_item_release(&item);
        MUST(ramet_lock_release(lock[k]));
    }
    return bench_cpu() - start;
}

static int64_t make_one(uint64_t count)
{
    int64_t start = bench_cpu();
    for (uint64_t i = 0; i < count; i++) {
        ramet_queue *q;
        ramet_lock *l;
        MUST(ramet_queue_create(NULL, &q));
        MUST(ramet_lock_create(NULL, &l));
        ramet_queue_close(q);
        ramet_lock_close(l);
    }
    return bench_cpu() - start;
}

#define AMONG(name, n, what)                                                                       \
    static int64_t name(uint64_t count)                                                            \
    {                                                                                              \
        make(n);                                                                                   \
        return what(count);                                                                        \
    }

AMONG(use_10, 10, use)
AMONG(use_1000, 1000, use)
AMONG(use_many, MANY, use)
AMONG(make_10, 10, make_one)
AMONG(make_1000, 1000, make_one)
AMONG(make_many, MANY, make_one)

/* ---- processes: half of those beyond this one are dead, and nobody has been told */

static void among(unsigned n, void (*measure)(uint64_t, int64_t *), uint64_t count, int64_t *ret_ns)
{
    pid_t *pids = calloc(n, sizeof *pids);
    int ends[2];
    char byte;
    if (!pids)
        bench_fail(__FILE__, __LINE__, "calloc");
    MUST(pipe(ends));
    fflush(NULL);
    for (unsigned i = 1; i < n; i++) {
        pids[i] = fork();
        MUST(pids[i]);
        if (pids[i] == 0) {
            if (ramet_join() < 0 || write(ends[1], "", 1) != 1)
                _exit(1);
            for (;;)
                pause();
        }
    }
    for (unsigned i = 1; i < n; i++)
        MUST(read(ends[0], &byte, 1));
    for (unsigned i = 1; i < n; i += 2) {
        MUST(kill(pids[i], SIGKILL));
        MUST(waitpid(pids[i], NULL, 0));
    }
    measure(count, ret_ns);
    for (unsigned i = 2; i < n; i += 2) {
        MUST(kill(pids[i], SIGKILL));
        MUST(waitpid(pids[i], NULL, 0));
    }
    for (unsigned i = 1; i < n; i++)
        MUST(ramet_reap(pids[i]));
    MUST(close(ends[0]));
    MUST(close(ends[1]));
    free(pids);
}

static void measure_use(uint64_t count, int64_t *ret_ns)
{
    *ret_ns = use(count);
}

/* A process that dies with a lock, and the lock taken from it, with all that this is about. */
static void measure_death(uint64_t count, int64_t *ret_ns)
{
    int64_t ns = 0;
    for (uint64_t i = 0; i < count; i++) {
        pid_t pid = fork();
        MUST(pid);
        if (pid == 0) {
            MUST(ramet_lock_acquire(lock[0], NULL));
            kill(getpid(), SIGKILL);
        }
        MUST(waitpid(pid, NULL, 0));
        int64_t start = bench_now();
        if (ramet_lock_acquire(lock[0], NULL) != -EOWNERDEAD)
            bench_fail(__FILE__, __LINE__, "the dead owner");
        MUST(ramet_lock_release(lock[0]));
        ns += bench_now() - start;
        MUST(ramet_reap(pid));
    }
    *ret_ns = ns;
}

#define MEMBERS(name, n, what)                                                                     \
    static int64_t name(uint64_t count)                                                            \
    {                                                                                              \
        int64_t ns = 0;                                                                            \
        make(10);                                                                                  \
        among(n, what, count, &ns);                                                                \
        return ns;                                                                                 \
    }

MEMBERS(use_among_2, 2, measure_use)
MEMBERS(use_among_64, 64, measure_use)
MEMBERS(use_among_1000, 1000, measure_use)
MEMBERS(death_among_2, 2, measure_death)
MEMBERS(death_among_64, 64, measure_death)
MEMBERS(death_among_1000, 1000, measure_death)

static const struct bench_case cases[] = {
    {.name = "lock, put, get among 1,000 objects",
     .count = 200000,
     .subject = {{.name = "ramet", .run = use_1000},
                 {.name = "among 10", .most = 1.2, .run = use_10}}},
    {.name = "lock, put, get among 100,000 objects",
     .count = 200000,
     .subject = {{.name = "ramet", .run = use_many},
                 {.name = "among 10", .most = 1.2, .run = use_10}}},
    {.name = "make and close among 1,000 objects",
     .count = 10000,
     .subject = {{.name = "ramet", .run = make_1000},
                 {.name = "among 10", .most = 1.5, .run = make_10}}},
    {.name = "make and close among 100,000 objects",
     .count = 10000,
     .subject = {{.name = "ramet", .run = make_many},
                 {.name = "among 10", .most = 1.5, .run = make_10}}},
    {.name = "lock, put, get among 64 processes",
     .count = 200000,
     .subject = {{.name = "ramet", .run = use_among_64},
                 {.name = "among 2", .most = 1.2, .run = use_among_2}}},
    {.name = "lock, put, get among 1,000 processes",
     .count = 200000,
     .subject = {{.name = "ramet", .run = use_among_1000},
                 {.name = "among 2", .most = 1.2, .run = use_among_2}}},
    {.name = "lock of a dead owner, 64 processes",
     .count = 20,
     .subject = {{.name = "ramet", .run = death_among_64},
                 {.name = "among 2", .run = death_among_2}}},
    {.name = "lock of a dead owner, 1,000 processes",
     .count = 20,
     .subject = {{.name = "ramet", .run = death_among_1000},
                 {.name = "among 2", .run = death_among_2}}},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
