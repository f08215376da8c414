/* SPDX-License-Identifier: MIT
 *
 * claim.c: the worker's side of jobs: its record, claims, results.  What happens to all of this
 * when the worker dies is in recover.c.
 */
#include "pool/claim.h"

#include "base/os.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define JOB_WORD(job, field) rmt_word_in((job), offsetof(struct rmt_job, field))
#define POOL_WORD(pool, field) rmt_word_in((pool), offsetof(struct rmt_pool, field))
#define RECORD_WORD(record, field) rmt_word_in((record), offsetof(struct rmt_record, field))

/* A range of automatic length is meant to take this long: a claim and a publish cost about a
 * microsecond, so they vanish in it, and no worker ends much later than the others. */
#define BUDGET_NS 2000000
/* And is given back in part when it takes this many times as long. */
#define PATIENCE 4
/* Results are published at the latest when this much was spent on them. */
#define PUBLISH_NS (5 * BUDGET_NS)

/* A busy worker looks this often whether the parent lives. */
#define LOOK_NS 100000000

#define PACK_SMALL 448u
#define PACK_LARGE 30000u /* stays in the size classes of small blocks */

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
    rmt_redo(&p->guard, 0, POOL_WORD(pool, records), record);
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

/* ---- results */

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
        rmt_redo(&p->guard, n++, JOB_WORD(w->job, results), block);
        rmt_redo(&p->guard, n++, next, rmt_load64_relaxed(&j->results));
        rmt_redo(&p->guard, n++, from, 0);
        rmt_redo(&p->guard, n++, JOB_WORD(w->job, finished),
                 rmt_load64_relaxed(&j->finished) + count);
    }
    if (over)
        rmt_redo(&p->guard, n++, RECORD_WORD(w->record, state), RMT_RECORD_IDLE);
    else
        rmt_redo(&p->guard, n++, RECORD_WORD(w->record, first), w->pending);
    rmt_commit(&p->guard, n);
}

/* Under the guard: publishes the pack, if there is anything in it. */
static void publish_pack(struct rmt_worker *w, struct rmt_pool *p, bool over)
{
    if (w->pack_done != 0) {
        publish(w, p, rmt_load64_relaxed(&w->r->results), RECORD_WORD(w->record, results),
                w->pack_done, over);
        w->pack = NULL;
        w->pack_done = w->pack_used = w->pack_capacity = 0;
    } else if (over) {
        publish(w, p, 0, 0, 0, true);
    }
}

/* After a publish, outside the guard: tells the submitter if it has what it waits for. */
static void tell_if_wanted(struct rmt_worker *w, uint64_t finished, uint64_t want)
{
    if (finished >= want)
        rmt_pool_tell(w->self, w->pool);
    else
        rmt_store64(&w->self->thread->wakes, 0);
}

static int flush(struct rmt_worker *w, int hold)
{
    struct rmt_pool *p = rmt_pool_at(w->pool);
    struct rmt_job *j = rmt_job_at(w->job);
    rmt_store64(&w->self->thread->wakes, POOL_WORD(w->pool, event));
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
    tell_if_wanted(w, finished, rmt_load64(&j->want)); /* an ACTIVE record keeps the job there */
    w->flushed = rmt_os_now_coarse();
    return 0;
}

int rmt_worker_room(struct rmt_worker *w, uint64_t size, uint8_t **ret_to)
{
    if (w->pack_done != 0 &&
        (size > w->pack_capacity - w->pack_used || w->pack_done == RMT_PACK_MAX)) {
        int r = flush(w, -1);
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
        rmt_redo(&p->guard, 0, RECORD_WORD(w->record, results), block);
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
    return flush(w, hold);
}

/* ---- claims */

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
        rmt_redo(&p->guard, n++, RECORD_WORD(w->record, state), RMT_RECORD_ACTIVE);
    }
    if (first + length < end) {
        rmt_redo(&p->guard, n++, RECORD_WORD(at, first), first + length);
    } else {
        int hold = rmt_hold_find(w->self);
        if (hold < 0)
            return false;
        rmt_redo(&p->guard, n++, before ? RECORD_WORD(before, link) : POOL_WORD(w->pool, records),
                 rmt_load64_relaxed(&gone->link));
        rmt_redo(&p->guard, n++, POOL_WORD(w->pool, returned),
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
            rmt_redo(&p->guard, n++, RECORD_WORD(w->record, state), RMT_RECORD_ACTIVE);
            rmt_redo(&p->guard, n++, JOB_WORD(job, next), next + length);
            if (next + length == total)
                rmt_job_unlink(p, job, &n);
            rmt_commit(&p->guard, n);
            return true;
        }
        job = rmt_load64_relaxed(&j->link);
    }
    return false;
}

/* Under the guard: what the end of the last range means for its job.  Returns a hold to be freed,
 * or -1. */
static int finish(struct rmt_worker *w, struct rmt_pool *p)
{
    publish_pack(w, p, true);
    const struct rmt_job *j = rmt_job_at(w->job);
    if (rmt_load64_relaxed(&j->flags) & RMT_JOB_ABANDONED && rmt_job_over(p, w->job))
        return rmt_job_remove(w->self, p, w->job);
    return -1;
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
        rmt_store64(&w->self->thread->wakes, POOL_WORD(w->pool, event));
    }
    int locked = rmt_guard_lock(w->self, &p->guard);
    if (locked < 0)
        return locked;
    if (was_active) {
        over = finish(w, p);
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
        tell_if_wanted(w, finished, want);
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
        r = rmt_sleep(&waiter, &p->wake, seen, POOL_WORD(w->pool, wake), parent);
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
static int give_back_rest(struct rmt_worker *w)
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
    rmt_store64(&w->self->thread->wakes, POOL_WORD(w->pool, wake));
    r = rmt_guard_lock(w->self, &p->guard);
    if (r < 0)
        return r;
    rmt_store64_relaxed(&other->link, rmt_load64_relaxed(&p->records));
    rmt_redo(&p->guard, 0, POOL_WORD(w->pool, records), rest);
    rmt_redo(&p->guard, 1, POOL_WORD(w->pool, returned), rmt_load64_relaxed(&p->returned) + 1);
    rmt_redo(&p->guard, 2, RECORD_WORD(w->record, end), from);
    rmt_redo(&p->guard, 3, rmt_hold_what(w->self, hold), 0);
    rmt_commit(&p->guard, 4);
    rmt_guard_unlock(w->self, &p->guard);
    w->end = from;
    rmt_pool_wake_workers(w->self, w->pool, INT_MAX);
    return 0;
}

int rmt_worker_pause(struct rmt_worker *w)
{
    int64_t now = rmt_os_now_coarse();
    int r = 0;
    if (now - w->begun > PATIENCE * BUDGET_NS && w->at + 1 < w->end &&
        rmt_job_at(w->job)->chunk == 0 && rmt_load32(&rmt_pool_at(w->pool)->sleepers) != 0) {
        measure(w);
        r = give_back_rest(w);
    }
    if (r == 0 && w->pack_done != 0 && now - w->flushed > PUBLISH_NS)
        r = flush(w, -1);
    return r;
}

void rmt_worker_leave(struct rmt_worker *w)
{
    if (!rmt_worker_mine(w))
        return;
    struct rmt_pool *p = rmt_pool_at(w->pool);
    if (rmt_load64_relaxed(&w->r->state) == RMT_RECORD_ACTIVE) {
        if (w->at != RMT_NO_ITEM && w->pending + w->pack_done <= w->at)
            return;
        if (give_back_rest(w) < 0)
            return; /* no memory: the end of this process, which is near, gives it back */
    }
    if (rmt_guard_lock(w->self, &p->guard) < 0)
        return;
    int over = -1;
    if (rmt_load64_relaxed(&w->r->state) == RMT_RECORD_ACTIVE)
        over = finish(w, p);
    uint64_t results = rmt_load64_relaxed(&w->r->results);
    int hold = results != 0 ? rmt_hold_find(w->self) : -1;
    if (hold >= 0) { /* empty: it was kept for the next range */
        rmt_redo(&p->guard, 0, rmt_hold_what(w->self, hold), results | RMT_HOLD_BLOCK);
        rmt_redo(&p->guard, 1, RECORD_WORD(w->record, results), 0);
        rmt_commit(&p->guard, 2);
    }
    uint64_t before = 0, at = rmt_load64_relaxed(&p->records);
    while (at != w->record) {
        before = at;
        at = rmt_load64_relaxed(&rmt_record_at(at)->link);
    }
    rmt_redo(&p->guard, 0, before ? RECORD_WORD(before, link) : POOL_WORD(w->pool, records),
             rmt_load64_relaxed(&w->r->link));
    rmt_redo(&p->guard, 1, rmt_hold_what(w->self, w->hold), w->record | RMT_HOLD_BLOCK);
    rmt_redo(&p->guard, 2, POOL_WORD(w->pool, departed), rmt_load64_relaxed(&p->departed) + 1);
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
