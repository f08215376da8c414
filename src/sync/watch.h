/* SPDX-License-Identifier: MIT
 *
 * watch.h: descriptors that are readable when something of the arena may be there: for select and
 * event loops.
 *
 * A watch is process-local: an eventfd, and a function that tells whether what it stands for is
 * there.  One thread of the process, which runs while there are watches, sleeps for all of them on
 * a word of the member slot (arena/wait.h) and raises the eventfd of those that have become ready.
 * Who uses the descriptor lowers it by rmt_watch_settle, which looks again: after a try that found
 * nothing, and after one that took something.
 *
 *     ready() tells, and unless it is ready has done to the word what a sleeper does before it
 *     sleeps: so a change after that rings.
 *
 * A raised watch is not looked at again before it is settled, but for a look five times a
 * second, which also finds what no wake tells of (an owner who died, an item that others took).
 *
 * Processes and threads: every call may be made by any thread, but that a watch is closed last.
 * Fork: a child has descriptors of its own under the same numbers, raised; its own thread starts
 * when it first settles one.
 */
#ifndef RMT_WATCH_H
#define RMT_WATCH_H

#include "arena/wait.h"

enum rmt_watch_when {
    RMT_WATCH_RUNG,   /* the word may have changed */
    RMT_WATCH_SLICE,  /* some time has passed: dead owners are to be looked for */
    RMT_WATCH_SETTLE, /* the user asks, and knows what was until now */
};

struct rmt_watch;
typedef bool rmt_watch_fn(struct rmt_watch *watch, enum rmt_watch_when when);

struct rmt_watch { /* process-local */
    rmt_watch_fn *ready;
    void *object;        /* what ready() looks at; mapped as long as the watch is open */
    const rmt_a32 *word; /* that is woken when it becomes ready */
    uint64_t arg;        /* for ready() */
    int fd;
    bool raised; /* under the mutex of watch.c, as what follows */
    struct rmt_watch *next, *prev;
};

/* Opens a watch whose first four fields are filled.  -EMFILE, -ENOMEM, -EAGAIN (no thread), ... */
int rmt_watch_open(struct rmt_watch *watch);

/* Has the descriptor be readable if, and only if, it is ready: 1 or 0, or a negative errno. */
int rmt_watch_settle(struct rmt_watch *watch);

void rmt_watch_close(struct rmt_watch *watch);

#endif
