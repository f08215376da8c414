/* SPDX-License-Identifier: MIT
 *
 * claim.c: how a worker claims ranges of items, and gives the rest of one back.  What happens to
 * them when the worker dies is in recover.c.
 */
#include "pool/claim.h"

#include "base/os.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* A range of automatic length is meant to take this long: a claim and a publish cost about a
 * microsecond, so they vanish in it, and no worker ends much later than the others. */
#define BUDGET_NS 2000000
/* And is given back in part when it takes this many times as long. */
#define PATIENCE 4
/* Results are published at the latest when this much was spent on them. */
#define PUBLISH_NS (5 * BUDGET_NS)

/* A busy worker looks this often whether the parent lives. */
#define LOOK_NS 100000000

/* How many of `left` items, of which `there` can be had now. */
static uint64_t range_length(const struct rmt_pool *p, const struct rmt_job *j, uint64_t left,
                             uint64_t there)
{
    uint64_t length = j->chunk;
    if (length == 0) {
        uint64_t ns = rmt_load64_relaxed(&j->item_ns);
        uint64_t size = rmt_load64_relaxed(&p->size);
        length = left / (2 * (size ? size : 1));
        uint64_t most = ns == 0 ? 1 : BUDGET_NS / ns;
        length = length < most ? length : most;
    }
    length = length < there ? length : there;
    return length ? length : 1;
}

/* The record is IDLE: nobody looks at these until the commit. */
static void prepare(struct rmt_worker *w, uint64_t job, uint64_t first, uint64_t end)
{
    rmt_store64_relaxed(&w->r->job, job);
    rmt_store64_relaxed(&w->r->first, first);
    rmt_store64_relaxed(&w->r->end, end);
    rmt_store64_relaxed(&w->r->current, RMT_NO_ITEM);
    w->job = job;
    w->generation = rmt_block_at(job)->generation;
    w->first = w->pending = first;
    w->end = end;
    w->at = RMT_NO_ITEM;
}

/* Takes from what a dead worker left.  True if something was claimed; *ret_free is a hold to be
 * freed. */
static bool claim_returned(struct rmt_worker *w, struct rmt_pool *p, int *ret_free)
{
    uint64_t before = 0, at = rmt_load64_relaxed(&p->records);
    while (at != 0 && rmt_load64_relaxed(&rmt_record_at(at)->state) != RMT_RECORD_RETURNED) {
        before = at;
        at = rmt_load64_relaxed(&rmt_record_at(at)->link);
    }
    if (at == 0)
        return false;
    struct rmt_record *gone = rmt_record_at(at);
    uint64_t job = rmt_load64_relaxed(&gone->job);
    struct rmt_job *j = rmt_job_at(job);
    uint64_t first = rmt_load64_relaxed(&gone->first), end = rmt_load64_relaxed(&gone->end);
    bool cancelled = (rmt_load64_relaxed(&j->flags) & RMT_JOB_CANCELLED) != 0;
    uint64_t length = cancelled ? end - first : range_length(p, j, end - first, end - first);
    unsigned n = 0;
    if (!cancelled) {
        prepare(w, job, first, first + length);
        rmt_redo(&p->guard, n++, RMT_RECORD_WORD(w->record, state), RMT_RECORD_ACTIVE);
    }
    if (first + length < end) {
        rmt_redo(&p->guard, n++, RMT_RECORD_WORD(at, first), first + length);
    } else {
        int hold = rmt_hold_find(w->self);
        if (hold < 0)
            return false;
        rmt_redo(&p->guard, n++,
                 before ? RMT_RECORD_WORD(before, link) : RMT_POOL_WORD(w->pool, records),
                 rmt_load64_relaxed(&gone->link));
        rmt_redo(&p->guard, n++, RMT_POOL_WORD(w->pool, returned),
                 rmt_load64_relaxed(&p->returned) - 1);
        rmt_redo(&p->guard, n++, rmt_hold_what(w->self, hold), at | RMT_HOLD_BLOCK);
        *ret_free = hold;
    }
    rmt_commit(&p->guard, n);
    return !cancelled;
}

static bool claim_queued(struct rmt_worker *w, struct rmt_pool *p)
{
    uint64_t job = rmt_load64_relaxed(&p->queue_first);
    while (job != 0) {
        const struct rmt_job *j = rmt_job_at(job);
        uint64_t next = rmt_load64_relaxed(&j->next);
        uint64_t there = rmt_load64_relaxed(&j->published) - next;
        uint64_t total = rmt_load64_relaxed(&j->total);
        if (there != 0) {
            uint64_t left = (total == RMT_OPEN ? j->expected : total) - next;
            left = left < there || left > RMT_OPEN / 2 ? there : left;
            uint64_t length = range_length(p, j, left, there);
            unsigned n = 0;
            prepare(w, job, next, next + length);
            rmt_redo(&p->guard, n++, RMT_RECORD_WORD(w->record, state), RMT_RECORD_ACTIVE);
            rmt_redo(&p->guard, n++, RMT_JOB_WORD(job, next), next + length);
            if (next + length == total)
                rmt_job_unlink(p, job, &n);
            rmt_commit(&p->guard, n);
            return true;
        }
        job = rmt_load64_relaxed(&j->link);
    }
    return false;
}

/* True if no item is left that anybody could still be given. */
static bool drained(const struct rmt_pool *p)
{
    if (rmt_load64_relaxed(&p->queue_first) != 0 || rmt_load64_relaxed(&p->returned) != 0)
        return false;
    for (uint64_t at = rmt_load64_relaxed(&p->records); at != 0;) {
        if (rmt_load64_relaxed(&rmt_record_at(at)->state) == RMT_RECORD_ACTIVE)
            return false;
        at = rmt_load64_relaxed(&rmt_record_at(at)->link);
    }
    return true;
}

/* What a range has been taking per item, for the next ranges of its job. */
static void measure(struct rmt_worker *w)
{
    struct rmt_job *j = rmt_job_at(w->job);
    uint64_t items = w->at - w->first + 1;
    uint64_t ns = (uint64_t)(rmt_os_now() - w->started) / items;
    uint64_t old = rmt_load64_relaxed(&j->item_ns);
    ns = ns ? ns : 1;
    /* Down at once and up slowly: a range that took long was often just interrupted. */
    rmt_store64_relaxed(&j->item_ns, old == 0 || ns < old ? ns : (old * 3 + ns) / 4);
}

/* One look at the pool.  0 claimed; -EAGAIN nothing there; -EBUSY look again; -ENOENT ended; or as
 * rmt_guard_lock. */
static int try_claim(struct rmt_worker *w)
{
    struct rmt_pool *p = rmt_pool_at(w->pool);
    bool was_active = rmt_load64_relaxed(&w->r->state) == RMT_RECORD_ACTIVE;
    uint64_t finished = 0, want = RMT_OPEN;
    int freed = -1, over = -1, left = -1, r = -EAGAIN;

    if (was_active) {
        if (w->at != RMT_NO_ITEM && rmt_job_at(w->job)->chunk == 0)
            measure(w);
        rmt_store64(&w->self->thread->wakes, RMT_POOL_WORD(w->pool, event));
    }
    int locked = rmt_guard_lock(w->self, &p->guard);
    if (locked < 0)
        return locked;
    if (was_active) {
        over = rmt_worker_finish(w, p);
        finished = rmt_load64_relaxed(&rmt_job_at(w->job)->finished);
    }
    uint64_t state = rmt_load64_relaxed(&p->state), job = w->job;
    if (state == RMT_POOL_ENDED)
        r = -ENOENT;
    else if ((rmt_load64_relaxed(&p->returned) != 0 && claim_returned(w, p, &freed)) ||
             claim_queued(w, p))
        r = 0;
    else if (state == RMT_POOL_CLOSED && drained(p))
        r = -ENOENT;
    if (freed >= 0)
        left = rmt_job_remove_left(w->self, p); /* that range may have been its job's last */
    if (was_active) {
        /* Here and not after the guard: from then on the submitter, who has all, may free the job.
         */
        rmt_fence(); /* finished, before want: pairs with the fence in rmt_pool_wait */
        want = rmt_load64(&rmt_job_at(job)->want);
    }
    rmt_guard_unlock(w->self, &p->guard);
    if (over >= 0)
        rmt_block_free(w->self, over);
    if (freed >= 0)
        rmt_block_free(w->self, freed);
    if (left >= 0)
        rmt_block_free(w->self, left);
    if (was_active)
        rmt_worker_tell(w, finished, want);
    if (r == -EAGAIN && freed >= 0)
        r = -EBUSY; /* a range of a cancelled job was dropped: look again */
    if (r == -ENOENT && was_active)
        rmt_pool_wake_workers(w->self, w->pool, INT_MAX); /* they wait for the last to finish */
    return r;
}

int rmt_worker_claim(struct rmt_worker *w, const ramet_wait *wait)
{
    struct rmt_pool *p = rmt_pool_at(w->pool);
    uint64_t parent = rmt_load64_relaxed(&p->parent);
    struct rmt_waiter waiter;
    int r;

    if (!rmt_worker_mine(w))
        return -ESRCH;
    r = rmt_wait_start(&waiter, w->self, wait);
    if (r < 0)
        return r;
    waiter.cancel.word = NULL; /* what a task left in use does not end its worker */
    for (;;) {
        uint32_t seen =
            rmt_load32(&p->wake); /* before the look: what comes after it changes this */
        r = try_claim(w);
        if (r == -EBUSY)
            continue;
        if (r != -EAGAIN)
            break;
        rmt_add32(&p->sleepers, 1);
        r = rmt_sleep(&waiter, &p->wake, seen, RMT_POOL_WORD(w->pool, wake), parent);
        rmt_add32(&p->sleepers, (uint32_t)-1);
        if (r == RMT_OWNER_DIED)
            r = -EPIPE;
        if (r < 0)
            break;
    }
    if (r == 0) {
        w->started = rmt_os_now();
        w->begun = w->flushed = rmt_os_now_coarse();
        /* Who never sleeps has to look by himself whether anybody is left to work for. */
        if (w->begun - w->looked > LOOK_NS) {
            w->looked = w->begun;
            if (rmt_dead(parent))
                r = -EPIPE;
        }
    }
    return r;
}

int rmt_worker_packet(const struct rmt_worker *w, uint64_t i, uint64_t *ret_packet,
                      uint64_t *ret_first)
{
    const struct rmt_job *j = rmt_job_at(w->job);
    uint64_t packet = rmt_load64(&j->slot[i / j->batch % j->slots]);
    if (packet == 0)
        return -EPROTO;
    *ret_packet = packet;
    *ret_first = i / j->batch * j->batch;
    return 0;
}

/* Leaves what comes after the current item to others, as a RETURNED record of its own. */
int rmt_worker_give_back(struct rmt_worker *w)
{
    struct rmt_pool *p = rmt_pool_at(w->pool);
    uint64_t rest, from = w->at == RMT_NO_ITEM ? w->first : w->at + 1;
    int hold;
    if (from >= w->end)
        return 0;
    int r = rmt_block_alloc(w->self, sizeof(struct rmt_record), RMT_KIND_PART, &hold, &rest);
    if (r < 0)
        return r;
    struct rmt_record *other = rmt_record_at(rest);
    memset(other, 0, sizeof(*other));
    rmt_store64_relaxed(&other->state, RMT_RECORD_RETURNED);
    rmt_store64_relaxed(&other->pool, w->pool);
    rmt_store64_relaxed(&other->job, w->job);
    rmt_store64_relaxed(&other->first, from);
    rmt_store64_relaxed(&other->end, w->end);
    rmt_store64_relaxed(&other->current, RMT_NO_ITEM);
    rmt_store64(&w->self->thread->wakes, RMT_POOL_WORD(w->pool, wake));
    r = rmt_guard_lock(w->self, &p->guard);
    if (r < 0)
        return r;
    rmt_store64_relaxed(&other->link, rmt_load64_relaxed(&p->records));
    rmt_redo(&p->guard, 0, RMT_POOL_WORD(w->pool, records), rest);
    rmt_redo(&p->guard, 1, RMT_POOL_WORD(w->pool, returned), rmt_load64_relaxed(&p->returned) + 1);
    rmt_redo(&p->guard, 2, RMT_RECORD_WORD(w->record, end), from);
    rmt_redo(&p->guard, 3, rmt_hold_what(w->self, hold), 0);
    rmt_commit(&p->guard, 4);
    rmt_guard_unlock(w->self, &p->guard);
    w->end = from;
    rmt_pool_wake_workers(w->self, w->pool, INT_MAX);
    return 0;
}

/* A look at the clock costs as much as a quick item.  While nobody is idle there is nothing to give
 * back, and who waits for results gets them by some items later, or at the end of the range. */
#define LOOK_EVERY 8

int rmt_worker_pause(struct rmt_worker *w)
{
    uint32_t idle = rmt_load32(&rmt_pool_at(w->pool)->sleepers);
    if (idle == 0 && w->at % LOOK_EVERY != 0)
        return 0;
    int64_t now = rmt_os_now_coarse();
    int r = 0;
    if (now - w->begun > PATIENCE * BUDGET_NS && w->at + 1 < w->end &&
        rmt_job_at(w->job)->chunk == 0 && idle != 0) {
        measure(w);
        r = rmt_worker_give_back(w);
    }
    if (r == 0 && w->pack_done != 0 && now - w->flushed > PUBLISH_NS)
        r = rmt_worker_flush(w, -1);
    return r;
}
