/* SPDX-License-Identifier: MIT
 *
 * job.h: what a pool shares: jobs, the records of its workers, and who sleeps for what.
 *
 * A pool is an object (RAMET_KIND_POOL).  It owns, as blocks of its own:
 *   - jobs       each a table of inputs, a published count and the next unclaimed index;
 *   - records    one for each worker: which range of which job it works on, and at which item it
 * is. A job owns its inputs (packets), its function, and the results that nobody has taken yet.
 *
 * Everything that changes, changes under the one guard of the pool.  One guard, and not one for
 * each job, because guards never nest and a claim concerns three at once: the queue of jobs, the
 * job, and the record of the worker; sections are a few stores, and a worker comes by twice per
 * range.
 *
 * A worker's way, and what a death leaves at each step
 *   claim      record {job, first, end, current = none} written while the record is IDLE, where
 * nobody looks; one commit makes it ACTIVE and moves job.next. each item  current = i; the function
 * runs; its result goes into the record's result block, whose `state` says with one store how many
 * are complete. publish    one commit moves the result block to the job, counts its items as
 * finished and moves record.first past them (or makes the record IDLE). Items of an ACTIVE record,
 * by the words alone:
 *   [..., first)                    published
 *   [first, first + done)           complete, in record.results
 *   current, if >= first + done     begun: fails if the worker dies
 *   the rest up to end              not begun: given back if the worker dies
 *
 * Invariants (under the guard)
 *   finished <= next <= published <= total      (total is RMT_OPEN while inputs may still come)
 *   each index below `next` is in exactly one of: finished; [first, end) of one ACTIVE or RETURNED
 * record a job is QUEUED iff next < total pool.returned = number of records that are RETURNED
 */
#ifndef RMT_JOB_H
#define RMT_JOB_H

#include "arena/handle.h"
#include "arena/kind.h"
#include "arena/wait.h"

#define RMT_OPEN UINT64_MAX    /* job.total: more may come */
#define RMT_NO_ITEM UINT64_MAX /* record.current: none was begun */
#define RMT_JOINED_BITS 4096

enum rmt_pool_state {
    RMT_POOL_OPEN = 0,
    RMT_POOL_CLOSED = 1, /* workers leave when every job is finished */
    RMT_POOL_ENDED = 2   /* workers leave as soon as they look */
};

struct rmt_pool {
    struct rmt_guard guard;
    rmt_a64 parent; /* constant: the process that made it; workers leave when it dies */
    rmt_a64 state;  /* only grows; by the parent, under the guard */
    rmt_a64 size;   /* workers that there should be; by the parent */
    rmt_a64 queue_first, queue_last; /* QUEUED jobs, first in first out, through job.link */
    rmt_a64 jobs;                    /* all jobs, through job.next_job / prev_job */
    rmt_a64 records;                 /* all records, through record.link */
    rmt_a64 returned;
    rmt_a64 departed; /* workers that left or were recovered; only grows */
    rmt_a64
        joined[RMT_JOINED_BITS / 64]; /* bit n: the worker that was started as number n joined */
    /* Futex words: any thread adds 1.  The counts beside them are hints: too high is a superfluous
     * system call and is what a killed sleeper leaves; too low never happens. */
    rmt_a32 wake;     /* there may be work, or the state changed */
    rmt_a32 sleepers; /* workers that sleep on it */
    rmt_a32 event;    /* a job has as many results as its submitter wants; a worker departed */
    rmt_a32 watchers; /* threads of the parent that sleep on it */
};

enum {
    RMT_JOB_QUEUED = 1,    /* in the pool's queue */
    RMT_JOB_ABANDONED = 2, /* nobody will take the results: freed when the last range is done */
    RMT_JOB_CANCELLED = 4  /* nothing of it is claimed any more */
};

struct rmt_job {
    uint64_t pool;      /* offset of the pool's block; constant, as all that is not rmt_a64 */
    uint64_t chunk;     /* items in a range; 0: as the pool sees fit */
    uint64_t batch;     /* items in a packet: packet p has [p * batch, (p + 1) * batch) */
    uint64_t slots;     /* packets that the table holds at once */
    uint64_t item_size; /* C: bytes of an input; 0: packets are encoded by the layer above */
    uint64_t result_size;
    uint64_t user; /* for the layer above */
    uint64_t
        expected; /* how many items there will be, probably, while the end is open; 0 unknown */
    uint64_t function; /* offset of a message in this block's chain; 0 none */
    rmt_a64 flags;     /* RMT_JOB_*; under the guard */
    rmt_a64 link;      /* next in the queue */
    rmt_a64 next_job, prev_job;
    rmt_a64 next;      /* first index that was never claimed */
    rmt_a64 published; /* inputs below this are in the table */
    rmt_a64 total;
    rmt_a64 finished; /* items whose result (or failure) was published; read without the guard by
                         the submitter (acquire): results of these are in `results` or were taken */
    rmt_a64 want;     /* the submitter sleeps until `finished` is this many; by the submitter */
    rmt_a64 results;  /* newest block of results, chained through rmt_block.next; 0 none */
    rmt_a64 item_ns;  /* what an item has been taking, averaged; a hint, plain stores by workers */
    rmt_a64 slot[];   /* packet p is in slot[p % slots]: offset of a message, 0 empty */
};

enum rmt_record_state { RMT_RECORD_IDLE = 0, RMT_RECORD_ACTIVE = 1, RMT_RECORD_RETURNED = 2 };

/* Written by its worker alone, those below the line while IDLE or by commits; after the worker's
 * death by its recoverer under the guard.  A RETURNED record belongs to nobody: to whoever has the
 * guard. */
struct rmt_record {
    rmt_a64 link;    /* in pool.records; under the guard */
    rmt_a64 state;   /* enum rmt_record_state; by commit */
    rmt_a64 pool;    /* offset of the pool's block; constant */
    rmt_a64 pid;     /* constant */
    rmt_a64 current; /* item that was begun last, or RMT_NO_ITEM; a plain store before it begins */
    rmt_a64 results; /* block of results being filled, 0 none */
    /* ---- */
    rmt_a64 job;
    rmt_a64 first; /* first item that is not published */
    rmt_a64 end;
};

/* A block of results is any block whose header's arg says what it is. */
enum rmt_result_kind {
    RMT_RESULT_PACK =
        1, /* payload: struct rmt_pack_block, `done` results of items first, first+1, ... */
    RMT_RESULT_VALUE = 2, /* a message: the result of item `first` */
    RMT_RESULT_ERROR = 3, /* a message: how item `first` failed */
    RMT_RESULT_DEATH = 4  /* its worker, process `detail`, died while item `first` ran */
};
#define RMT_RESULT_FIRST 0 /* index in rmt_block.arg */
#define RMT_RESULT_KIND 1
#define RMT_RESULT_DETAIL 2

struct rmt_pack_block {
    rmt_a64 state; /* done << 40 | used: one release store after each result (pairs with the acquire
                      of recovery; whoever gets a published block has it by the commit) */
    uint64_t spare[7];
    uint8_t data[]; /* aligned to 64 */
};
#define RMT_PACK_MAX ((1ull << 24) - 1)
static inline uint64_t rmt_pack_done(uint64_t state)
{
    return state >> 40;
}
static inline uint64_t rmt_pack_used(uint64_t state)
{
    return state & ((1ull << 40) - 1);
}

/* ---- the pool (shared.c) */
int rmt_pool_make(struct rmt_self *self, unsigned size, struct rmt_handle *ret_pool);
static inline struct rmt_pool *rmt_pool_at(uint64_t pool)
{
    return rmt_payload(pool);
}
static inline struct rmt_job *rmt_job_at(uint64_t job)
{
    return rmt_payload(job);
}
static inline struct rmt_record *rmt_record_at(uint64_t record)
{
    return rmt_payload(record);
}
/* Raises the state and wakes every worker. */
int rmt_pool_set_state(struct rmt_self *self, uint64_t pool, enum rmt_pool_state state);
/* Ends the sleep of every thread in rmt_pool_wait. */
void rmt_pool_notify(struct rmt_self *self, uint64_t pool);
/* 1 if no item is waiting, being worked on or still expected; 0 if some is. */
int rmt_pool_idle(struct rmt_self *self, uint64_t pool);

/* The pids of the workers that have joined and not left: how many, at most `room`. */
int rmt_pool_workers(struct rmt_self *self, uint64_t pool, uint64_t *pids, int room);

/* ---- a job, as its submitter has it (job.c).  A job is named by its block's offset; it stays
 * until the submitter drops it. */
struct rmt_job_options {
    uint64_t chunk, batch, slots, item_size, result_size, user;
    uint64_t expected;
    uint64_t given; /* items that need no packet, since the function has them; 0: the job is fed */
};

/* Makes a job, with an open end unless its items are given, in one of the caller's holds. */
int rmt_job_make(struct rmt_self *self, uint64_t pool, const struct rmt_job_options *options,
                 int *ret_hold, uint64_t *ret_job);
/* Gives the message in hold `from` to the job, which is still held, as its function. */
int rmt_job_set_function(struct rmt_self *self, uint64_t job, int from);
/* Adds the packet in hold `from`: `count` items, `batch` of them except in the last packet.  All
 * items below `floor` are finished, so that the slots of their packets can be used again.  -EAGAIN:
 * the table is full. */
int rmt_job_feed(struct rmt_self *self, uint64_t job, int from, uint64_t count, uint64_t floor);
/* No more will come. */
int rmt_job_end(struct rmt_self *self, uint64_t job);
/* Puts the job that is in hold `hold` at the end of the pool's queue. */
int rmt_job_submit(struct rmt_self *self, uint64_t job, int hold);
/* Takes all results there are: in the caller's hold, a chain through rmt_block.next, newest first,
 * to be freed with rmt_block_free.  0, or -EAGAIN if there are none. */
int rmt_job_take(struct rmt_self *self, uint64_t job, int *ret_hold, uint64_t *ret_first);
/* Nothing of it is begun any more; what runs, runs to its end. */
int rmt_job_cancel(struct rmt_self *self, uint64_t job);
/* The submitter has no more use for it: freed now, or by the worker that finishes its last range.
 */
void rmt_job_drop(struct rmt_self *self, uint64_t job);
/* 1 if `finished` has reached the total. */
int rmt_job_finished(uint64_t job);

/* Waits until one of the `count` jobs has finished as many items as it wants (job.want), the number
 * of departed workers is not `departed` any more, or event is not `*seen` (NULL: no matter): 0.
 * -ETIMEDOUT, -EINTR. */
int rmt_pool_wait(struct rmt_self *self, uint64_t pool, const uint64_t *jobs, size_t count,
                  uint64_t departed, const uint32_t *seen, const ramet_wait *wait);

/* ---- between the files of this layer; the guard is held */
void rmt_job_unlink(struct rmt_pool *p, uint64_t job, unsigned *redo);
bool rmt_job_over(const struct rmt_pool *p, uint64_t job);
int rmt_job_remove(struct rmt_self *self, struct rmt_pool *p, uint64_t job);
/* Removes one job that is ABANDONED and over, which a death can have left in the list: the hold to
 * be freed, or negative if there is none. */
int rmt_job_remove_left(struct rmt_self *self, struct rmt_pool *p);
static inline uint64_t rmt_word_in(uint64_t block, size_t offset_in_payload)
{
    return block + RMT_BLOCK_HEADER + offset_in_payload;
}
#define RMT_JOB_WORD(job, field) rmt_word_in((job), offsetof(struct rmt_job, field))
#define RMT_POOL_WORD(pool, field) rmt_word_in((pool), offsetof(struct rmt_pool, field))
#define RMT_RECORD_WORD(record, field) rmt_word_in((record), offsetof(struct rmt_record, field))

/* ---- wakes; no guard is held (shared.c) */
void rmt_pool_wake_workers(struct rmt_self *self, uint64_t pool, uint64_t items);
void rmt_pool_tell(struct rmt_self *self, uint64_t pool);

#endif
