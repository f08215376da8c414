/* SPDX-License-Identifier: MIT
 *
 * join.c: a worker's first and last act: its record comes into the pool's list, and leaves it.
 */
#include "pool/claim.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

int rmt_worker_join(struct rmt_worker *w, uint64_t pool, uint64_t number)
{
    struct rmt_pool *p = rmt_pool_at(pool);
    struct rmt_self *self;
    int hold, notice;
    uint64_t record, death;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    r = rmt_block_alloc(self, sizeof(struct rmt_record), RMT_KIND_PART, &hold, &record);
    if (r < 0)
        return r;
    /* The notice of this worker's death, so that recovery needs no memory. */
    r = rmt_block_alloc(self, 64, RMT_KIND_PART, &notice, &death);
    if (r == 0) {
        rmt_block_at(death)->arg[RMT_RESULT_KIND] = RMT_RESULT_DEATH;
        rmt_block_at(death)->arg[RMT_RESULT_DETAIL] = (uint64_t)getpid();
        r = rmt_block_chain(self, record, notice);
        if (r < 0)
            rmt_block_free(self, notice);
    }
    struct rmt_record *mine = rmt_record_at(record);
    memset(mine, 0, sizeof(*mine));
    rmt_store64_relaxed(&mine->pool, pool);
    rmt_store64_relaxed(&mine->pid, (uint64_t)getpid());
    rmt_store64_relaxed(&mine->current, RMT_NO_ITEM);
    if (r == 0)
        r = rmt_guard_lock(self, &p->guard);
    if (r < 0) {
        rmt_block_free(self, hold);
        return r;
    }
    rmt_store64_relaxed(&mine->link, rmt_load64_relaxed(&p->records));
    rmt_redo(&p->guard, 0, RMT_POOL_WORD(pool, records), record);
    rmt_redo(&p->guard, 1, rmt_hold_what(self, hold), record | RMT_HOLD_CLAIM);
    rmt_commit(&p->guard, 2);
    /* Here, since a worker that joins is what follows a worker's death. */
    int left = rmt_job_remove_left(self, p);
    rmt_guard_unlock(self, &p->guard);
    if (left >= 0)
        rmt_block_free(self, left);
    rmt_or64(&p->joined[number % RMT_JOINED_BITS / 64], 1ull << (number % 64));
    memset(w, 0, sizeof(*w));
    w->self = self;
    w->word = self->word;
    w->pool = pool;
    w->record = record;
    w->r = mine;
    w->hold = hold;
    w->at = RMT_NO_ITEM;
    w->result_bytes = 16;
    return 0;
}

void rmt_worker_leave(struct rmt_worker *w)
{
    if (!rmt_worker_mine(w))
        return;
    struct rmt_pool *p = rmt_pool_at(w->pool);
    if (rmt_load64_relaxed(&w->r->state) == RMT_RECORD_ACTIVE) {
        if (w->at != RMT_NO_ITEM && w->pending + w->pack_done <= w->at)
            return;
        if (rmt_worker_give_back(w) < 0)
            return; /* no memory: the end of this process, which is near, gives it back */
    }
    if (rmt_guard_lock(w->self, &p->guard) < 0)
        return;
    int over = -1;
    if (rmt_load64_relaxed(&w->r->state) == RMT_RECORD_ACTIVE)
        over = rmt_worker_finish(w, p);
    uint64_t results = rmt_load64_relaxed(&w->r->results);
    int hold = results != 0 ? rmt_hold_find(w->self) : -1;
    if (hold >= 0) { /* empty: it was kept for the next range */
        rmt_redo(&p->guard, 0, rmt_hold_what(w->self, hold), results | RMT_HOLD_BLOCK);
        rmt_redo(&p->guard, 1, RMT_RECORD_WORD(w->record, results), 0);
        rmt_commit(&p->guard, 2);
    }
    uint64_t before = 0, at = rmt_load64_relaxed(&p->records);
    while (at != w->record) {
        before = at;
        at = rmt_load64_relaxed(&rmt_record_at(at)->link);
    }
    rmt_redo(&p->guard, 0, before ? RMT_RECORD_WORD(before, link) : RMT_POOL_WORD(w->pool, records),
             rmt_load64_relaxed(&w->r->link));
    rmt_redo(&p->guard, 1, rmt_hold_what(w->self, w->hold), w->record | RMT_HOLD_BLOCK);
    rmt_redo(&p->guard, 2, RMT_POOL_WORD(w->pool, departed), rmt_load64_relaxed(&p->departed) + 1);
    rmt_commit(&p->guard, 3);
    rmt_guard_unlock(w->self, &p->guard);
    rmt_block_free(w->self, w->hold);
    if (hold >= 0)
        rmt_block_free(w->self, hold);
    if (over >= 0)
        rmt_block_free(w->self, over);
    rmt_pool_tell(w->self, w->pool);
    rmt_pool_wake_workers(w->self, w->pool, INT_MAX);
    w->word = 0; /* nobody's from here on */
}
