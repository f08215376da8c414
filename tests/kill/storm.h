/* SPDX-License-Identifier: MIT
 *
 * storm.h: a busy system of processes whose workers are killed at random, and what is written down
 * beside it, in plain shared memory, so that afterwards everything can be accounted for.
 *
 * Everything written down is written before and after the act that it speaks of, since the writer
 * may be killed in between; the conductor, who has waited for the dead, knows from that which acts
 * are certain and which are in doubt, and storm_account.c holds both against what the arena says.
 */
#ifndef RAMET_TEST_STORM_H
#define RAMET_TEST_STORM_H

#include "../unit/unit.h"
#include "base/atomic.h"

#include <ramet/lock.h>
#include <ramet/pipe.h>
#include <ramet/queue.h>
#include <ramet/semaphore.h>

#include <stdbool.h>

enum {
    STORM_WORKERS = 6,
    STORM_LOCKS = 2,
    STORM_PERMITS = 3,
    STORM_ITEMS = 1 << 18,  /* ids in a round; when they are used up no more is put */
    STORM_JOB_ITEMS = 200,  /* of one pool job */
    STORM_POOL_WORKERS = 2, /* processes of the pool */
};

/* Where an item travels: queues first, then pipes. */
enum storm_channel {
    STORM_INLINE,  /* a queue without bound, of items that lie in its cells */
    STORM_BOUNDED, /* one of few items, small and large */
    STORM_BLOCKS,  /* one without bound, of items in blocks, some with an object of their own */
    STORM_QUEUES,
    STORM_PIPE = STORM_QUEUES,
    STORM_POLLED, /* a pipe whose descriptor was asked for */
    STORM_CHANNELS,
    STORM_PIPES = STORM_CHANNELS - STORM_QUEUES,
};

/* What is known of an item.  `put` is written by who puts it alone; `got` and `released` are
 * counts, since twice is what must not be. */
struct storm_item {
    _Atomic uint8_t channel;
    _Atomic uint8_t put;
    _Atomic uint8_t got;
    _Atomic uint8_t released;
};
enum { STORM_UNUSED, STORM_PUT_BEGUN, STORM_PUT_DONE, STORM_PUT_REFUSED };

enum storm_doubt { STORM_NO, STORM_PERHAPS, STORM_SURELY };

/* Of one worker: what it is in the middle of.  Written by it alone; read and cleared by the
 * conductor when it is dead. */
struct storm_slot {
    rmt_a32 lock[STORM_LOCKS]; /* enum storm_doubt: whether it holds the lock */
    rmt_a32 receiving;         /* 1 + the channel from which it may have taken an item unnoted; 0 */
    rmt_a32 execs;             /* it is about to become another program */
    uint8_t spare[48];
};

struct storm_guarded { /* written under the lock; `first` before `second` */
    volatile uint64_t first, second;
    rmt_a64 counted;    /* by those who came through */
    rmt_a64 taken_over; /* acquires that answered -EOWNERDEAD */
};

struct storm_shared {
    rmt_a32 stop;
    rmt_a32 next_item;
    rmt_a32 filling; /* more is put than got */
    uint32_t spare;
    struct storm_slot slot[STORM_WORKERS];
    struct storm_guarded guarded[STORM_LOCKS];
    rmt_a64 signals_begun, signals_done; /* plain permits released */
    rmt_a64 takes_begun, takes_done;     /* plain permits acquired; begun: less those that failed */
    rmt_a32 executed[STORM_JOB_ITEMS];   /* how often each item of the pool's job was begun */
    rmt_a32 pool_pid[STORM_POOL_WORKERS];
    struct storm_item item[STORM_ITEMS];
};

struct storm_objects { /* handles of the conductor, inherited by all */
    ramet_queue *queue[STORM_QUEUES];
    ramet_end *in[STORM_PIPES], *out[STORM_PIPES];
    ramet_lock *lock[STORM_LOCKS];
    ramet_semaphore *permits; /* taken owned */
    ramet_semaphore *signals; /* plain */
};

struct storm_toll { /* what the conductor has counted of the dead of a round */
    uint64_t deaths;
    uint64_t held[STORM_LOCKS], perhaps_held[STORM_LOCKS];
    uint64_t receiving[STORM_CHANNELS];
};

extern struct storm_shared *storm_shared;
extern struct storm_objects storm_objects;

/* Next number of a sequence that its start determines (splitmix64, S. Vigna, 2015). */
uint64_t storm_random(uint64_t *sequence);

/* ---- storm_work.c */

/* What a worker's life is like; from the conductor's sequence. */
struct storm_life {
    int index;
    pid_t parent; /* with which it ends */
    uint64_t sequence;
    uint64_t fuse; /* it kills itself before this many more atomic operations; 0: it does not */
    uint64_t exec_after; /* turns after which it calls exec, with all that it holds; 0: never */
    bool without_main;   /* works in a second thread, and its main thread ends */
};
_Noreturn void storm_work(const struct storm_life *life);

/* Gets one item and notes it.  1; 0: there was none in time. */
int storm_get(struct storm_slot *me, enum storm_channel channel, const ramet_wait *wait);

/* Takes the lock, notes it, changes what it guards. */
void storm_count(struct storm_slot *me, int lock);

/* ---- storm_pool.c: a pool of which workers are killed, too */
void storm_pool_enter(int argc, char **argv);
void storm_pool_start(void);
void storm_pool_turn(void); /* submits a job, or looks whether it is done and verifies it */
bool storm_pool_kill(uint64_t which);
void storm_pool_end(void);
extern uint64_t storm_pool_jobs,
    storm_pool_failed; /* so far: jobs finished; items failed in them */

/* ---- storm_account.c */
void storm_make(void);                            /* the objects of a round */
void storm_settle(const struct storm_toll *toll); /* all have ended: empties, verifies, closes */
extern struct storm_total {                       /* of all rounds, to be printed */
    uint64_t delivered, lost, told;
} storm_total;
void storm_baseline(bool first); /* what is in use between rounds is always the same */

#endif
