/* SPDX-License-Identifier: MIT
 *
 * recover.c: what becomes of a worker's claim when the worker is proven dead.  Touches the record
 * of the dead worker, its job and its pool.
 *
 * Each step is one commit and leaves words from which the next step follows, so that whoever goes
 * on after a recoverer that was killed as well just begins again: 1  results that are complete are
 * published; 2  the item that was begun and is not complete is published as failed, by the notice
 * that the worker had put into its record when it joined; 3  what was not begun is given back (the
 * record becomes RETURNED), or the record is freed; the dead thread's hold is emptied by the same
 * commit, which ends it.
 */
#include "pool/job.h"

#include <limits.h>

#define NEXT_WORD(block) ((block) + offsetof(struct rmt_block, next))

/* Blocks that recovery has in its hands, to be freed when the guard is released. */
struct spoils {
    int hold[3];
    int count;
};

static void publish(struct rmt_pool *p, uint64_t record, uint64_t block, uint64_t from,
                    uint64_t count)
{
    struct rmt_record *r = rmt_record_at(record);
    uint64_t job = rmt_load64_relaxed(&r->job);
    struct rmt_job *j = rmt_job_at(job);
    rmt_redo(&p->guard, 0, RMT_JOB_WORD(job, results), block);
    rmt_redo(&p->guard, 1, NEXT_WORD(block), rmt_load64_relaxed(&j->results));
    rmt_redo(&p->guard, 2, from, 0);
    rmt_redo(&p->guard, 3, RMT_JOB_WORD(job, finished), rmt_load64_relaxed(&j->finished) + count);
    rmt_redo(&p->guard, 4, RMT_RECORD_WORD(record, first), rmt_load64_relaxed(&r->first) + count);
    rmt_commit(&p->guard, 5);
}

/* Steps 1 and 2. */
static void settle(struct rmt_pool *p, uint64_t record)
{
    struct rmt_record *r = rmt_record_at(record);
    uint64_t results = rmt_load64_relaxed(&r->results);
    if (results != 0) {
        const struct rmt_pack_block *pack = rmt_payload(results);
        uint64_t done =
            rmt_pack_done(rmt_load64(&pack->state)); /* pairs-with: pack.state (acquire) */
        if (done != 0)
            publish(p, record, results, RMT_RECORD_WORD(record, results), done);
    }
    uint64_t current = rmt_load64_relaxed(&r->current);
    if (current != RMT_NO_ITEM && current >= rmt_load64_relaxed(&r->first)) {
        uint64_t notice = rmt_load64_relaxed(&rmt_block_at(record)->next);
        rmt_block_at(notice)->arg[RMT_RESULT_FIRST] = current;
        publish(p, record, notice, NEXT_WORD(record), 1);
    }
}

/* An empty block of results, which the worker had kept for what came next. */
static void take_results(struct rmt_self *self, struct rmt_pool *p, uint64_t record,
                         struct spoils *spoils)
{
    uint64_t results = rmt_load64_relaxed(&rmt_record_at(record)->results);
    int hold = results != 0 ? rmt_hold_find(self) : -1;
    if (hold < 0)
        return;
    rmt_redo(&p->guard, 0, rmt_hold_what(self, hold), results | RMT_HOLD_BLOCK);
    rmt_redo(&p->guard, 1, RMT_RECORD_WORD(record, results), 0);
    rmt_commit(&p->guard, 2);
    spoils->hold[spoils->count++] = hold;
}

/* The range is done: its job may have waited only for that. */
static void finish(struct rmt_self *self, struct rmt_pool *p, uint64_t record,
                   struct spoils *spoils)
{
    struct rmt_record *r = rmt_record_at(record);
    uint64_t job = rmt_load64_relaxed(&r->job);
    rmt_store64(&r->state, RMT_RECORD_IDLE);
    if (rmt_load64_relaxed(&rmt_job_at(job)->flags) & RMT_JOB_ABANDONED && rmt_job_over(p, job)) {
        int hold = rmt_job_remove(self, p, job);
        if (hold >= 0)
            spoils->hold[spoils->count++] = hold;
    }
}

/* The last commit: the record is out of the list, and out of the dead thread's hold `what`. */
static void discard(struct rmt_self *self, struct rmt_pool *p, uint64_t pool, uint64_t record,
                    uint64_t what, struct spoils *spoils)
{
    uint64_t before = 0, at = rmt_load64_relaxed(&p->records);
    int hold = rmt_hold_find(self);
    while (at != record) {
        before = at;
        at = rmt_load64_relaxed(&rmt_record_at(at)->link);
    }
    unsigned n = 0;
    rmt_redo(&p->guard, n++, before ? RMT_RECORD_WORD(before, link) : RMT_POOL_WORD(pool, records),
             rmt_load64_relaxed(&rmt_record_at(record)->link));
    rmt_redo(&p->guard, n++, what, 0);
    rmt_redo(&p->guard, n++, RMT_POOL_WORD(pool, departed), rmt_load64_relaxed(&p->departed) + 1);
    if (hold >= 0) {
        rmt_redo(&p->guard, n++, rmt_hold_what(self, hold), record | RMT_HOLD_BLOCK);
        spoils->hold[spoils->count++] = hold;
    }
    rmt_commit(&p->guard, n);
}

static void recover_claim(struct rmt_self *self, uint64_t dead_offset, int index)
{
    struct rmt_thread *dead = rmt_at(dead_offset);
    uint64_t record = rmt_load64(&dead->hold[index].what) & ~RMT_TAG_MASK;
    uint64_t what = dead_offset + offsetof(struct rmt_thread, hold) +
                    (uint64_t)index * sizeof(struct rmt_hold) + offsetof(struct rmt_hold, what);
    struct rmt_record *r = rmt_record_at(record);
    uint64_t pool = rmt_load64_relaxed(&r->pool);
    struct rmt_pool *p = rmt_pool_at(pool);
    struct spoils spoils = {.count = 0};

    /* Two wakes are owed from the commit on: if this thread dies, too, both are made. */
    uint64_t owed_before = rmt_load64_relaxed(&self->thread->wakes_too);
    rmt_store64(&self->thread->wakes, RMT_POOL_WORD(pool, wake));
    rmt_store64(&self->thread->wakes_too, RMT_POOL_WORD(pool, event));
    if (rmt_guard_lock(self, &p->guard) < 0)
        return;
    if (rmt_load64(&dead->hold[index].what) ==
        0) { /* an armed commit that emptied it was replayed */
        rmt_guard_unlock(self, &p->guard);
        rmt_store64(&self->thread->wakes_too, owed_before);
        return;
    }
    bool active = rmt_load64_relaxed(&r->state) == RMT_RECORD_ACTIVE;
    if (active)
        settle(p, record);
    take_results(self, p, record, &spoils);
    if (active && rmt_load64_relaxed(&r->first) < rmt_load64_relaxed(&r->end)) {
        rmt_redo(&p->guard, 0, RMT_RECORD_WORD(record, state), RMT_RECORD_RETURNED);
        rmt_redo(&p->guard, 1, RMT_POOL_WORD(pool, returned), rmt_load64_relaxed(&p->returned) + 1);
        rmt_redo(&p->guard, 2, what, 0);
        rmt_redo(&p->guard, 3, RMT_POOL_WORD(pool, departed), rmt_load64_relaxed(&p->departed) + 1);
        rmt_commit(&p->guard, 4);
    } else {
        if (active)
            finish(self, p, record, &spoils);
        discard(self, p, pool, record, what, &spoils);
    }
    rmt_guard_unlock(self, &p->guard);
    rmt_pool_wake_workers(self, pool, INT_MAX);
    rmt_pool_tell(self, pool);
    rmt_store64(&self->thread->wakes_too, owed_before);
    for (int i = 0; i < spoils.count; i++)
        rmt_block_free(self, spoils.hold[i]);
}

__attribute__((constructor)) static void register_claims(void)
{
    rmt_hold_register(RMT_HOLD_CLAIM, recover_claim);
}
