/* SPDX-License-Identifier: MIT
 *
 * driver.h: what the parts of the driver share: driver.c has one process a case, which makes the
 * arena, the actors and the victim; tries.c has what is tried at a state; pairs.c the same with a
 * live peer inside.  A try is a process that has the arena as a private copy.
 */
#ifndef RAMET_TEST_STEP_DRIVER_H
#define RAMET_TEST_STEP_DRIVER_H

#include "actor.h"
#include "base/atomic.h"
#include "step.h"

#define SEEN (1u << 20) /* of the table of second deaths; a power of two */
#define BAD_ENOUGH 8
#define TRY_LIMIT 600 /* seconds: a try that hangs */

extern struct tally { /* shared by all processes of a case */
    uint64_t states, second, third, pairs, wakes, bad;
    uint64_t first, points; /* tries with the peer first, and at how many of its operations */
    uint64_t peer;          /* operations of the peer, once it has been through */
    uint64_t seen_count;
    uint64_t seen[SEEN];
} *tally;

extern bool long_form;
extern unsigned stride; /* the long form: the peer stands at one in so many of its operations */
extern const struct step_case *the_case;
extern struct actor driver, second, sleeper, recoverer;
extern pid_t victim;
extern bool victim_is_dead, driver_is_dead, second_is_dead; /* in the present try */
extern uint64_t blocks_before, chunks_of_driver, chunks_of_second;

/* What the hook does, in the present process. */
enum hook_does {
    HOOK_NOTHING,
    HOOK_FALL_ASLEEP,
    HOOK_RECOVER,
    HOOK_STAND, /* the peer goes up to where it is to stand */
    HOOK_PAIR
};
extern enum hook_does hook_does;
void hook(enum rmt_hook_kind kind, const volatile void *word);
int is_dead(pid_t pid);

/* ---- tries.c */

uint64_t handle_chunks(uint32_t slot);
/* From here on the arena is this process's own copy. */
void take_copy(void);
void recover(void);
/* After recovery by the present actor. */
void check_all(void);
/* Prints where the victim had come to. */
void where(const char *what);
/* Waits for a try; its exit code. */
int judge(pid_t pid, const char *what);
/* After a sleep that ought to have an end. */
void enough_waits(void);
void try_recovery(bool again);

/* ---- pairs.c */

void pair_hook(enum rmt_hook_kind kind);
/* The peer after the victim: at its 1st, 2nd, ... operation. */
void try_pairs(void);
/* The peer before: it goes up to its nth operation, and there `serve` is called, which runs the
 * victim, calls try_first() at each of its states, returns where that returned true, and else does
 * not.  False if the peer is through before. */
bool stand(uint64_t nth, void (*serve)(void));
bool try_first(uint64_t nth);
extern bool peer_sleeps; /* it fell asleep where it stands */

#endif
