/* SPDX-License-Identifier: MIT
 *
 * publish.c: a worker's results, which it gathers in packs and publishes to the job, and the end of
 * a range.  What happens to them when the worker dies is in recover.c.
 */
#include "pool/claim.h"

#include "base/os.h"

#define PACK_SMALL 448u
#define PACK_LARGE 30000u /* stays in the size classes of small blocks */

/* Under the guard: moves the block `block` of `count` results to the job, with it out of the word
 * `from`, and the record past them.  `over`: the range is done.  One commit. */
static void publish(struct rmt_worker *w, struct rmt_pool *p, uint64_t block, uint64_t from,
                    uint64_t count, bool over)
{
    struct rmt_job *j = rmt_job_at(w->job);
    unsigned n = 0;
    w->pending += count;
    if (block != 0) {
        uint64_t next = block + offsetof(struct rmt_block, next);
        rmt_redo(&p->guard, n++, RMT_JOB_WORD(w->job, results), block);
        rmt_redo(&p->guard, n++, next, rmt_load64_relaxed(&j->results));
        rmt_redo(&p->guard, n++, from, 0);
        rmt_redo(&p->guard, n++, RMT_JOB_WORD(w->job, finished),
                 rmt_load64_relaxed(&j->finished) + count);
    }
    if (over)
        rmt_redo(&p->guard, n++, RMT_RECORD_WORD(w->record, state), RMT_RECORD_IDLE);
    else
        rmt_redo(&p->guard, n++, RMT_RECORD_WORD(w->record, first), w->pending);
    rmt_commit(&p->guard, n);
}

/* Under the guard: publishes the pack, if there is anything in it. */
static void publish_pack(struct rmt_worker *w, struct rmt_pool *p, bool over)
{
    if (w->pack_done != 0) {
        publish(w, p, rmt_load64_relaxed(&w->r->results), RMT_RECORD_WORD(w->record, results),
                w->pack_done, over);
        w->pack = NULL;
        w->pack_done = w->pack_used = w->pack_capacity = 0;
    } else if (over) {
        publish(w, p, 0, 0, 0, true);
    }
}

/* After a publish, outside the guard: tells the submitter if it has what it waits for. */
void rmt_worker_tell(struct rmt_worker *w, uint64_t finished, uint64_t want)
{
    if (finished >= want)
        rmt_pool_tell(w->self, w->pool);
    else
        rmt_store64(&w->self->thread->wakes, 0);
}

int rmt_worker_flush(struct rmt_worker *w, int hold)
{
    struct rmt_pool *p = rmt_pool_at(w->pool);
    struct rmt_job *j = rmt_job_at(w->job);
    rmt_store64(&w->self->thread->wakes, RMT_POOL_WORD(w->pool, event));
    int r = rmt_guard_lock(w->self, &p->guard);
    if (r < 0)
        return r;
    publish_pack(w, p, false);
    if (hold >= 0) {
        uint64_t what = rmt_hold_what(w->self, hold);
        uint64_t block = rmt_load64_relaxed(&w->self->thread->hold[hold].what) & ~RMT_TAG_MASK;
        publish(w, p, block, what, 1, false);
    }
    uint64_t finished = rmt_load64_relaxed(&j->finished);
    rmt_guard_unlock(w->self, &p->guard); /* full barrier: then look at what is wanted */
    rmt_worker_tell(w, finished, rmt_load64(&j->want)); /* an ACTIVE record keeps the job there */
    w->flushed = rmt_os_now_coarse();
    return 0;
}

int rmt_worker_room(struct rmt_worker *w, uint64_t size, uint8_t **ret_to)
{
    if (w->pack_done != 0 &&
        (size > w->pack_capacity - w->pack_used || w->pack_done == RMT_PACK_MAX)) {
        int r = rmt_worker_flush(w, -1);
        if (r < 0)
            return r;
    }
    if (w->pack == NULL || size > w->pack_capacity) {
        struct rmt_pool *p = rmt_pool_at(w->pool);
        uint64_t room = (w->end - w->at) * w->result_bytes * 5 / 4;
        uint64_t block, old;
        int hold;
        room = room < PACK_SMALL ? PACK_SMALL : room > PACK_LARGE ? PACK_LARGE : room;
        room = room < size ? size : room;
        int r = rmt_block_alloc(w->self, sizeof(struct rmt_pack_block) + room, RMT_KIND_PART, &hold,
                                &block);
        if (r < 0)
            return r;
        w->pack = rmt_payload(block);
        w->pack_capacity = room;
        rmt_store64_relaxed(&w->pack->state, 0);
        rmt_block_at(block)->arg[RMT_RESULT_KIND] = RMT_RESULT_PACK;
        r = rmt_guard_lock(w->self, &p->guard);
        if (r < 0)
            return r;
        /* The old one, if any, was empty and too small. */
        old = rmt_load64_relaxed(&w->r->results);
        rmt_redo(&p->guard, 0, RMT_RECORD_WORD(w->record, results), block);
        rmt_redo(&p->guard, 1, rmt_hold_what(w->self, hold), old ? old | RMT_HOLD_BLOCK : 0);
        rmt_commit(&p->guard, 2);
        rmt_guard_unlock(w->self, &p->guard);
        if (old != 0)
            rmt_block_free(w->self, hold);
    }
    *ret_to = w->pack->data + w->pack_used;
    return 0;
}

void rmt_worker_done(struct rmt_worker *w, uint64_t size)
{
    if (w->pack_done == 0)
        rmt_block_at(rmt_load64_relaxed(&w->r->results))->arg[RMT_RESULT_FIRST] = w->at;
    w->pack_done++;
    w->pack_used += size;
    /* The result before it.  pairs-with: pack.state (release) */
    rmt_store64(&w->pack->state, w->pack_done << 40 | w->pack_used);
    w->result_bytes = (w->result_bytes * 7 + size + 7) / 8;
}

int rmt_worker_post(struct rmt_worker *w, int hold, enum rmt_result_kind kind)
{
    uint64_t block = rmt_load64_relaxed(&w->self->thread->hold[hold].what) & ~RMT_TAG_MASK;
    rmt_block_at(block)->arg[RMT_RESULT_FIRST] = w->at;
    rmt_block_at(block)->arg[RMT_RESULT_KIND] = kind;
    return rmt_worker_flush(w, hold);
}

/* Under the guard: what the end of the last range means for its job.  Returns a hold to be freed,
 * or -1. */
int rmt_worker_finish(struct rmt_worker *w, struct rmt_pool *p)
{
    publish_pack(w, p, true);
    const struct rmt_job *j = rmt_job_at(w->job);
    if (rmt_load64_relaxed(&j->flags) & RMT_JOB_ABANDONED && rmt_job_over(p, w->job))
        return rmt_job_remove(w->self, p, w->job);
    return -1;
}
