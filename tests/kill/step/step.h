/* SPDX-License-Identifier: MIT
 *
 * step.h: a death after every instruction that changed the arena (x86-64).
 *
 * Two programs come from each step_<noun>.c.  The *victim* is linked with the library as it is
 * shipped, without hooks, so that it is the compiler's own order of stores that is tried: it
 * attaches to the driver's arena, prepares, and then does one operation under the trap flag, with
 * the arena mapped read-only, so that each store faults, is let through alone, and is seen.  After
 * every one that changed something it stops and shows its state to the *driver*, which is linked
 * with the hooked library: there, in a forked process that has the arena as a private copy, the
 * victim counts as dead, recovery runs, and everything is checked.  Equal states are tried once.
 * What this shows and what it cannot is in docs/kill-step.md.
 */
#ifndef RAMET_TEST_STEP_H
#define RAMET_TEST_STEP_H

#include "../../unit/unit.h"
#include <ramet/base.h>

#include <stdbool.h>
#include <stdint.h>

struct rmt_self;

struct step_case {
    const char *name;
    /* In the driver: makes the objects, leaves their references in step_shared->ref. */
    void (*setup)(void);
    /* In the victim: opens them, and gets what the operation needs. */
    void (*prepare)(void);
    /* In the victim: the operation.  It says how far it has come in step_shared->did. */
    void (*operate)(void);
    /* In the driver, on a copy, after recovery: accounts for everything, and uses it again. */
    void (*verify)(void);
    /* The sleeper, or NULL: a live peer that fell asleep before the victim began (in `sleeps`,
     * which comes back when it has been woken and done); whether the present state lets it go on;
     * what makes it so if it does not. */
    void (*sleeps)(void);
    bool (*enabled)(void);
    void (*enable)(void);
    /* The peer of the pairs, or NULL: what a live process does to the same object meanwhile. */
    void (*peer)(void);
    /* The wake is owed only once the operation has come back (`did[0]`): docs/decisions/012. */
    bool owes_later;
    /* The operation is done by a thread that begins and ends with it, and is no member before. */
    bool in_thread;
    /* Its stores are mostly those of other cases, too: the short form tries some of its states. */
    bool alike;
    /* Its second deaths and pairs are tried in the long form alone: many states. */
    bool large;
    /* Where its peer has many operations: the long form has it stand at one in so many, others at
     * each state (the victim first) or for each case (the peer first).  0: at every one. */
    unsigned stride;
};

#define STEP_NAMES 4
#define STEP_WAKES 32

/* What driver and victim share beside the arena. */
extern struct step_shared {
    ramet_ref ref[STEP_NAMES];
    uint64_t offset[STEP_NAMES]; /* for the case */
    int fd[STEP_NAMES];          /* that the victim inherits; 0: none */
    uint64_t sleeper;            /* offset of the sleeper's sub-slot */
    uint64_t peer_first;      /* 1: a peer stands inside the object since before the victim began */
    volatile uint64_t did[4]; /* by the operation: how far it is */
    volatile uint64_t state;  /* hash of all changes to the arena since it began */
    volatile uint64_t steps;  /* instructions so far */
    volatile uint64_t stores; /* those that changed the arena */
    volatile uint64_t at,
        offset_at;           /* the last of those, from the start of the program; what it changed */
    volatile uint64_t woken; /* futex words that the victim woke while `enabled` held */
    volatile uint64_t wake[STEP_WAKES];
} *step_shared;

extern const struct step_case step_cases[];
extern const int step_case_count;

/* ---- stepper.c: the arena read-only, and each store to it seen.  `change` is called after every
 * instruction that changed the arena, in a signal handler. */
struct step_seen {
    uint64_t state; /* hash */
    uint64_t steps, stores;
    uintptr_t ip;    /* of the instruction */
    uint64_t offset; /* in the arena, of the first word that it changed */
};
extern struct step_seen step_seen;
void step_begin(bool every_instruction, void (*change)(void),
                void (*syscall)(uintptr_t *registers));
void step_end(void);
void step_over_futex(
    void); /* called before a futex system call, where not every instruction is stepped */
uint64_t step_mix(uint64_t a, uint64_t b);

/* ---- for the cases, in the driver */
extern bool step_peer_ran;  /* the peer has been through */
uint64_t step_blocks(void); /* blocks in use */
extern uint64_t
    step_blocks_less;        /* set by setup: blocks there then that go until all is verified */
uint64_t step_members(void); /* that live and have a handle of what setup has opened */
/* A process that lives until the case ends, and does nothing after `first`, which may be NULL. */
pid_t step_idle(void (*first)(void));
struct rmt_self *step_self(void);

#endif
