/* SPDX-License-Identifier: MIT
 *
 * actor.h: several members of the arena in one process, of which one acts at a time.  Each has the
 * slot of a real live process that does nothing, and a stack of its own.  So a live peer can stand
 * at any of its atomic operations, in the same memory image as those who try what comes of it, and
 * is copied with it by a fork.
 */
#ifndef RAMET_TEST_STEP_ACTOR_H
#define RAMET_TEST_STEP_ACTOR_H

#include "arena/self.h"

#include <sys/types.h>
#include <ucontext.h>

struct actor {
    pid_t pid;                    /* of the process whose name it bears */
    struct rmt_self self, keeper; /* while it does not act: its rmt_self and its bookkeeper */
    uint32_t slot, epoch;
    ucontext_t context;
    struct actor *back; /* who resumed it */
    void (*fn)(void);
    bool done;
};

extern struct actor *actor_now;

/* Ends all processes of step_idle(). */
void actor_end_idle(void);
/* The calling process itself, which acts now. */
void actor_first(struct actor *a);
/* A new idle process, and an actor in its name. */
void actor_make(struct actor *a);
/* Gives the present actor's stack and place to the name of `a`, whose process-local tables of
 * handles are read anew: for good. */
void actor_become(struct actor *a);
/* Lets `a` begin with fn; let it go on: both return when it has ended or yields. */
void actor_start(struct actor *a, void (*fn)(void));
void actor_resume(struct actor *a);
/* Back to who resumed the present actor. */
void actor_yield(void);

/* The slot in which process `pid` lives; 0 none. */
uint32_t actor_slot_of(pid_t pid);

#endif
