/* SPDX-License-Identifier: MIT
 *
 * claim.h: a job as a worker has it: ranges are claimed, items begun and completed, results
 * published.
 *
 *     rmt_worker_join(&w, pool, number);
 *     while ((r = rmt_worker_claim(&w, wait)) == 0)
 *         for (i = w.first; i < w.end; i++) {
 *             rmt_worker_begin(&w, i);
 *             ... the function, with the i-th input ...
 *             rmt_worker_room(&w, size, &to);  write the result;  rmt_worker_done(&w, size);
 *         }
 *     rmt_worker_leave(&w);
 *
 * A worker belongs to the thread that joined.  In a child forked by that thread it is nobody's:
 * every call answers -ESRCH there.
 */
#ifndef RMT_CLAIM_H
#define RMT_CLAIM_H

#include "pool/job.h"

struct rmt_worker { /* process-local */
    struct rmt_self *self;
    uint64_t word; /* of the thread, to notice a fork */
    uint64_t pool; /* offset; the caller keeps it open */
    uint64_t record;
    struct rmt_record *r;
    int hold; /* which names the record: it says that this thread is a worker */
    /* the range that was claimed last */
    uint64_t job;
    uint64_t generation; /* of the job's block: tells jobs apart */
    uint64_t first, end;
    uint64_t at;      /* item that was begun last, or RMT_NO_ITEM */
    uint64_t pending; /* first item whose result is not published */
    int64_t started;  /* when the range was begun; the other times are coarse ones */
    int64_t begun;    /* the same as a coarse time */
    int64_t flushed;  /* when something of it was published last */
    int64_t looked;   /* when the parent was last seen alive */
    /* the result block, as record.results */
    struct rmt_pack_block *pack;
    uint64_t pack_done, pack_used, pack_capacity;
    uint64_t result_bytes; /* what a result has been taking, averaged: sizes the next block */
};

/* `number`: which worker of the pool it is, for pool.joined. */
int rmt_worker_join(struct rmt_worker *w, uint64_t pool, uint64_t number);

/* Publishes what is complete and claims the next range: 0 with first and end set.  -ENOENT: the
 * pool has ended; -EPIPE: its parent died; -EINTR, -ETIMEDOUT, -ENOMEM, -ENOTRECOVERABLE. */
int rmt_worker_claim(struct rmt_worker *w, const ramet_wait *wait);

/* The packet in which item i of the range lies, and the number of its first item. */
int rmt_worker_packet(const struct rmt_worker *w, uint64_t i, uint64_t *ret_packet,
                      uint64_t *ret_first);

static inline void rmt_worker_begin(struct rmt_worker *w, uint64_t i)
{
    w->at = i;
    rmt_store64(&w->r->current, i);
}

/* Room for `size` more bytes of results.  Publishes the full block first.  -ENOMEM. */
int rmt_worker_room(struct rmt_worker *w, uint64_t size, uint8_t **ret_to);

/* The result of the item that was begun last is complete: it takes `size` bytes of that room. */
void rmt_worker_done(struct rmt_worker *w, uint64_t size);

/* The result of that item is the message in hold `hold`, an RMT_RESULT_VALUE or RMT_RESULT_ERROR.
 */
int rmt_worker_post(struct rmt_worker *w, int hold, enum rmt_result_kind kind);

/* Publishes what is complete, when that is worth it: called after each item by whoever knows that
 * somebody may wait.  Gives the rest of a range back that takes longer than was thought. */
int rmt_worker_pause(struct rmt_worker *w);

/* 1 if this thread is still the worker (it is not in a forked child). */
static inline bool rmt_worker_mine(const struct rmt_worker *w)
{
    return rmt_self_now == w->self && w->self->word == w->word;
}

/* Publishes what is complete, gives the rest of the range back and frees the record.  If an item
 * was begun and is not complete, it does nothing: the end of the process will tell of that item. */
void rmt_worker_leave(struct rmt_worker *w);

/* ---- between claim.c, publish.c and join.c */

/* Publishes the pack, and the message in hold `hold` (-1: none) as the result after it. */
int rmt_worker_flush(struct rmt_worker *w, int hold);
/* After a publish, outside the guard: tells the submitter if it has what it waits for. */
void rmt_worker_tell(struct rmt_worker *w, uint64_t finished, uint64_t want);
/* Under the guard: publishes what is left of the range, which is done; what that means for its job.
 * Returns a hold to be freed, or -1. */
int rmt_worker_finish(struct rmt_worker *w, struct rmt_pool *p);
/* Leaves what comes after the current item to others, as a RETURNED record of its own. */
int rmt_worker_give_back(struct rmt_worker *w);

#endif
