/* SPDX-License-Identifier: MIT
 *
 * schedule.h: a deterministic scheduler of the library's own code.  A case has a few actors
 * (members of the arena in one process: ../kill/step/actor.h), each of which does some operations;
 * the scheduler decides at each atomic operation who goes on, and who dies there, and tries all
 * such schedules within bounds.  What this shows and what it cannot is in docs/scheduler.md.
 *
 * explore.c enumerates schedules, run.c runs one of them, in a forked process with an arena of its
 * own, trace.c tells which of them come to the same state.
 */
#ifndef RAMET_TEST_SCHED_H
#define RAMET_TEST_SCHED_H

#include "../kill/step/step.h"
#include "base/atomic.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SCHED_WORKERS = 3, /* actors of a case, at most */
    SCHED_KILLS = 2,   /* deaths in a schedule, at most; each brings a recoverer along */
    SCHED_ACTORS = SCHED_WORKERS + SCHED_KILLS,
    SCHED_KILL = 15,    /* the choice that kills who would go on; others are actors */
    SCHED_POINTS = 8192 /* at which there is a choice, in one schedule */
};

struct sched_actor {
    const char *name;
    void (*run)(void);
};

struct sched_case {
    const char *name;
    /* Once, by the driver: makes the objects.  Everybody else may use its handles. */
    void (*setup)(void);
    /* By the driver at the start of each schedule; may be NULL. */
    void (*begin)(void);
    struct sched_actor actor[SCHED_WORKERS];
    /* All who live sleep or are through, and the dead are recovered: whether actor i may rightly
     * sleep on the word at that offset, since its condition does not hold. */
    bool (*may_sleep)(int i, uint64_t word);
    /* Then, by the driver: makes everybody's condition true.  Called until all are through. */
    void (*enable)(void);
    /* By the driver, when all are dead or through and recovered: accounts for everything. */
    void (*verify)(void);
    /* Preemptions at most, with 0, 1 and 2 kills; -1: no such schedules. */
    signed char brief[SCHED_KILLS + 1], full[SCHED_KILLS + 1];
    bool large; /* the short form kills at a fixed part of the points only */
    /* Of the schedules with a preemption and a kill, one in so many is tried; 0: all. */
    unsigned stride;
};

extern const struct sched_case sched_cases[];
extern const int sched_case_count;

/* ---- for the cases */
extern bool sched_long;      /* the long form */
bool sched_is_dead(int i);   /* that actor was killed */
int sched_me(void);          /* which actor runs; -1: the driver */
uint64_t sched_blocks(void); /* blocks in use */
/* Set by a case, in setup or verify: blocks that are there at the end and were not when setup was
 * over. */
extern long sched_blocks_more;

/* ---- run.c */
struct sched_choice {
    uint16_t at; /* the point */
    uint8_t choice;
};

struct sched_point {
    uint64_t state; /* and choice: the key of seen_add */
    uint8_t others; /* bit i: actor i might go on instead */
    bool costs;     /* another is a preemption: who would go on could */
    bool killable;
};

/* What the process of a schedule tells the explorer. */
extern struct sched_told {
    uint64_t steps, kills; /* sums over all schedules */
    uint32_t points;       /* of this one */
    struct sched_point point[SCHED_POINTS];
} *sched_told;

/* In the case's process: makes arena, objects and actors. */
void sched_prepare(const struct sched_case *c);
void sched_end(void); /* and their processes */
/* In a process of its own, which it ends: 0, or 1 with what was wrong on stderr.  Where the choices
 * do not say, who goes on goes on.  `say`: prints the schedule's steps. */
_Noreturn void sched_run(const struct sched_choice *choices, unsigned count, bool say);

/* ---- trace.c: states by what happened before them, not by what is in memory */
void trace_start(void);
/* Actor a's next operation is one on that word (any address that stands for something shared). */
void trace_access(int a, const volatile void *word, bool writes);
void trace_all(void); /* something has happened before all that comes, and after all that was */
uint64_t trace_state(void); /* equal after equivalent orders of the same operations; never 0 */

void seen_make(void);          /* empty */
bool seen_add(uint64_t state); /* false if it was there */
uint64_t seen_count(void);

#endif
