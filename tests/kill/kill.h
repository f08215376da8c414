/* SPDX-License-Identifier: MIT
 *
 * kill.h: killing a process at its Nth atomic operation, for N = 1, 2, ... until the operation is
 * through.
 *
 * For each N: setup; two peers start to use the same objects; a victim is forked, whose Nth access
 * to a shared word is preceded by a real SIGKILL of itself; when it is dead (and waited for, but
 * announced to nobody), the peers are told and go on for a while: they must neither hang nor find
 * anything wrong; then the parent announces the deaths and verifies.
 */
#ifndef RAMET_TEST_KILL_H
#define RAMET_TEST_KILL_H

#include "../unit/unit.h"
#include "base/atomic.h"

#include <stdbool.h>

struct kill_case {
    const char *name;
    void (*setup)(void);
    void (*victim)(void);    /* killed somewhere in it */
    void (*peer)(int index); /* one turn of a peer: called again and again; may be NULL */
    void (*verify)(
        bool finished); /* all are dead and recovered; finished: the victim came through */
};

/* A page that the parent, the victim and the peers share, outside the arena. */
extern struct kill_shared {
    rmt_a64 stop;        /* the victim is dead: some more turns, then the end */
    rmt_a64 turns[2];    /* made by each peer */
    rmt_a64 count[2][4]; /* for the case: what each peer counted */
    rmt_a64 victim[4];   /* for the case: what the victim counted */
    rmt_a64 seen[4096];  /* for the case: how often each item was seen */
} *kill_shared;

void kill_make_shared(void); /* kill_run does so, too */

/* Runs the case for every N and prints how many there were; exits with 1 if anything is wrong. */
void kill_run(const struct kill_case *c);

/* In the victim: from here on operations count (harness: at the start of victim). */
void kill_arm(uint64_t nth);
void kill_arm_stop(uint64_t nth); /* there it is stopped, not killed */
void kill_disarm(void);

#endif
