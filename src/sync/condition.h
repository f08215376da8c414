/* SPDX-License-Identifier: MIT
 *
 * condition.h (internal): the condition's shared struct, and a wait in its steps, so that the
 * Python layer can run signal handlers in between.  The public side is ramet/condition.h.
 *
 * A list of waiting threads, linked through their sub-slots, first come first: head and tail here,
 * list_next, list_prev and list_of there.  All of these words are changed by commits under the
 * guard, and so is a dead thread's by its recovery.
 *
 * A waiting thread is, by its hold {RMT_HOLD_WAITER, this} and its list_of:
 *     hold  list_of = this   in the list
 *     hold  list_of = 0      notified; has not acted upon it: if it dies now, the notification goes
 * on
 *     -     list_of = 0      not waiting
 * list_of is also the futex word: a notification is the store of 0, whoever made it and then died.
 *
 * Invariants, whenever the guard is free:
 *     waiting = the length of the list;  pending = holds {WAITER, this} whose thread is not in it
 */
#ifndef RMT_CONDITION_H
#define RMT_CONDITION_H

#include "arena/guard.h"
#include "arena/wait.h"
#include "sync/lock.h"
#include "sync/rlock.h"
#include <ramet/condition.h>

struct rmt_condition {
    struct rmt_guard guard;
    rmt_a64 head, tail; /* sub-slots' offsets; 0 none */
    rmt_a64 waiting;    /* a read without the guard is a hint */
    rmt_a64 pending;
    rmt_a64
        lock; /* a count on the lock's block, whose kind says which it is.  Constant once made */
};

struct ramet_condition {
    struct rmt_object object;
    struct rmt_object lock; /* this process's own handle of the lock */
    uint32_t lock_kind;
};

static inline struct rmt_condition *rmt_condition_of(const ramet_condition *condition)
{
    return condition->object.shared;
}

/* A wait under way; process-local.  rmt_condition_begin ... sleep ... end, in this order. */
struct rmt_condition_wait {
    struct rmt_self *self;
    struct rmt_condition *c;
    uint64_t at;
    uint64_t word; /* of the thread: another one in a child that a signal handler forked */
    int hold;      /* the WAITER hold */
};

/* Enters the list.  The caller holds the lock and gives it back after this.  -ENOSPC, -EDEADLK, ...
 */
int rmt_condition_begin(struct rmt_condition_wait *cw, struct rmt_self *self,
                        struct rmt_condition *c, uint64_t at);

/* Sleeps until notified: 0, or -ETIMEDOUT, -EINTR, still in the list: call again, or leave.
 * -ECHILD, here and below: a fork's child does not wait. */
int rmt_condition_sleep(struct rmt_condition_wait *cw, const ramet_wait *wait);

/* Leaves the list, before the lock is taken again: 1 if notified (now or before), 0 if not: then
 * the wait is over.  -ENOTRECOVERABLE. */
int rmt_condition_leave(struct rmt_condition_wait *cw);

/* After the lock was taken again, where leave said 1: `use` the notification, or hand it to the
 * next. */
int rmt_condition_end(struct rmt_condition_wait *cw, bool use);

/* Notifies up to `count` of those who wait now. */
int rmt_condition_notify(struct rmt_self *self, struct rmt_condition *c, uint64_t at,
                         uint64_t count);

/* The condition's lock, whichever it is. */
bool rmt_condition_owned(const ramet_condition *condition, const struct rmt_self *self);
int rmt_condition_unlock(const ramet_condition *condition, struct rmt_self *self,
                         uint64_t *ret_count);
int rmt_condition_relock(const ramet_condition *condition, struct rmt_self *self, uint64_t count);

#endif
