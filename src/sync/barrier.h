/* SPDX-License-Identifier: MIT
 *
 * barrier.h (internal): the barrier's shared struct, and a wait in its steps, so that the Python
 * layer can run the action and signal handlers in between.  The public side is ramet/barrier.h.
 *
 *   FILLING    threads come and wait                      -> ACTING when the last one comes
 *   ACTING     the last one runs the action; who comes waits outside   -> DRAINING
 *   DRAINING   threads go; who comes waits outside        -> FILLING when the last is out
 *   RESETTING  as DRAINING, but who goes gets an error    -> FILLING when the last is out
 *   BROKEN     who is in it, or comes, gets an error      -> FILLING or RESETTING by reset alone
 *   FILLING, ACTING -> RESETTING by reset;  any -> BROKEN by abort, by a time-out in FILLING, and
 * by the death of a thread that is inside while FILLING or ACTING
 *
 * The states of one round stand until all of its threads are out, so that a slow one still reads
 * how it ended. Each thread inside has a hold {RMT_HOLD_WAITER, this}.  All words are changed by
 * commits under the guard; invariant whenever it is free: count = the number of those holds.
 */
#ifndef RMT_BARRIER_H
#define RMT_BARRIER_H

#include "arena/guard.h"
#include "arena/wait.h"
#include "sync/object.h"
#include <ramet/barrier.h>

enum rmt_barrier_state {
    RMT_BARRIER_FILLING = 0,
    RMT_BARRIER_ACTING = 1,
    RMT_BARRIER_DRAINING = 2,
    RMT_BARRIER_RESETTING = 3,
    RMT_BARRIER_BROKEN = 4,
};

struct rmt_barrier {
    struct rmt_guard guard;
    rmt_a64 state; /* number of changes << 8 | enum rmt_barrier_state: the low half is the futex */
    rmt_a64 count; /* threads inside */
    uint64_t parties; /* constant */
};

struct ramet_barrier {
    struct rmt_object object;
};

static inline struct rmt_barrier *rmt_barrier_of(const ramet_barrier *barrier)
{
    return barrier->object.shared;
}

static inline enum rmt_barrier_state rmt_barrier_state(const struct rmt_barrier *b)
{
    return (enum rmt_barrier_state)(rmt_load64(&b->state) & 255);
}

/* A wait under way; process-local. */
struct rmt_barrier_wait {
    struct rmt_self *self;
    struct rmt_barrier *b;
    uint64_t at;
    uint64_t word; /* of the thread: another one in a child that a signal handler forked */
    int hold;      /* -1: a cancelled wait is out already */
    uint32_t index;
};

/* Comes in; sleeps while an earlier round has not drained, for as long as that takes.  0: wait with
 * rmt_barrier_await; 1: this is the last one, in ACTING: run the action and say so with
 * rmt_barrier_finish; after both, or instead of them, leave.  -ECANCELED, -EINTR, -ENOSPC, ...: not
 * in. */
int rmt_barrier_enter(struct rmt_barrier_wait *bw, struct rmt_self *self, struct rmt_barrier *b,
                      uint64_t at);

/* 0: let go; -ECANCELED; -ETIMEDOUT: broken by this call; -EINTR: still in, call again or leave;
 * -ECHILD, here and below: a fork's child is not in it.  -ECANCELED also if the wait was cancelled:
 * then it is out, and leave does nothing. */
int rmt_barrier_await(struct rmt_barrier_wait *bw, const ramet_wait *wait);

/* Goes before the end of the round: 0: it is out, and leave does nothing; 1: too late, all are
 * there: still in, and the round ends without its help. */
int rmt_barrier_withdraw(struct rmt_barrier_wait *bw);

/* The action has run, well or not: lets the others go or breaks the barrier.  -ECANCELED: it was
 * broken or reset meanwhile. */
int rmt_barrier_finish(struct rmt_barrier_wait *bw, bool well);

int rmt_barrier_leave(struct rmt_barrier_wait *bw);

int rmt_barrier_abort(struct rmt_self *self, struct rmt_barrier *b, uint64_t at);
int rmt_barrier_reset(struct rmt_self *self, struct rmt_barrier *b, uint64_t at);

#endif
