/* SPDX-License-Identifier: MIT
 *
 * bench.h: what the benchmarks in C have in common.  A program has a table of cases; a case
 * compares one operation of ramet's with others that do the same work, measured in turn, round
 * after round, so that all of them meet the same load of the machine.
 *
 *     bench_NOUN                      its cases, one a line: the name
 *     bench_NOUN CASE ROUNDS PERCENT  measures; PERCENT of the usual number of operations (and
 *                                     ROUNDS times the case's slices, each so much shorter).  A
 * line a subject, separated by tabs: name, the most that ramet's time may be as a ratio to it (0:
 * no such bound), then the nanoseconds for one operation in each round.  The first is ramet.  A
 * time in ns that stands for itself is a subject with no function.  "skipped" in place of times:
 * why, in the name
 */
#ifndef RAMET_BENCH_H
#define RAMET_BENCH_H

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define BENCH_SUBJECTS 6

struct bench_subject {
    const char *name;
    double most; /* ramet's time / this one's is to be at most that; 0: no bound */
    int64_t (*run)(uint64_t count); /* ns for `count` operations; < 0: this machine cannot */
    uint64_t slower;                /* > 1: so many times fewer operations than the case says */
    double ns;                      /* no function: a figure to be held against */
};

struct bench_case {
    const char *name;
    uint64_t count; /* operations a round: some ten milliseconds */
    struct bench_subject subject[BENCH_SUBJECTS];
    unsigned slices; /* > 1: a round is so many short ones.  Two processes that need each other run
                        at the same time only now and then where others want the processors */
};

/* Runs what the command line asks for; what main returns. */
int bench_main(int argc, char **argv, const struct bench_case *cases, size_t count);

/* Anything that fails ends the program: a benchmark of half of the work says nothing. */
#define MUST(x)                                                                                    \
    do {                                                                                           \
        if ((x) < 0)                                                                               \
            bench_fail(__FILE__, __LINE__, #x);                                                    \
    } while (0)
_Noreturn void bench_fail(const char *file, int line, const char *what);

static inline int64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* The processor time of this process: for what one process does alone, it leaves out the time that
 * other programs took. */
static inline int64_t bench_cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static inline void bench_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* While a peer spins: for a while without a system call, then gives the core to whoever wants it,
 * since on a loaded machine the one that is waited for may not be running. */
static inline void bench_relax(unsigned *spins)
{
    if (++*spins % 4096 == 0)
        sched_yield();
    else
        bench_pause();
}

/* Memory that forked children share, zeroed. */
void *bench_shared(size_t size);
void bench_unshare(void *memory, size_t size);

/* Binds the calling process to one of the processors that it was given: those of a 1:1 benchmark
 * are to be two, in every subject the same. */
void bench_bind(unsigned index);

/* Runs `work` in `count` children, child i on processor i; returns the ns from the moment that all
 * are ready until all have ended their work. */
int64_t bench_together(unsigned count, void (*work)(unsigned index));

#endif
