/* SPDX-License-Identifier: MIT
 *
 * job.c: pools and jobs as their submitter has them: made, fed, submitted, emptied and dropped.
 * Touches the words of job.h; each change is one commit under the pool's guard.
 */
#include "pool/job.h"
#include "arena/source.h"
#include <ramet/view.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

#define JOB_WORD(job, field) rmt_word_in((job), offsetof(struct rmt_job, field))
#define POOL_WORD(pool, field) rmt_word_in((pool), offsetof(struct rmt_pool, field))

/* A wake is owed from before the commit that gives cause for it until it was made: should this
 * thread be killed in between, recovery makes it.  Several words may be owed for: the last noted is
 * the one that somebody could otherwise sleep on for ever; the parent also looks by itself. */
void rmt_pool_wake_workers(struct rmt_self *self, uint64_t pool, uint64_t items)
{
    struct rmt_pool *p = rmt_pool_at(pool);
    rmt_store64(&self->thread->wakes, POOL_WORD(pool, wake));
    rmt_add32(&p->wake, 1); /* full barrier: then look for sleepers */
    if (items != 0 && rmt_load32(&p->sleepers) != 0)
        rmt_wake(&p->wake, items < INT_MAX ? (int)items : INT_MAX);
    rmt_store64(&self->thread->wakes, 0);
}

void rmt_pool_tell(struct rmt_self *self, uint64_t pool)
{
    struct rmt_pool *p = rmt_pool_at(pool);
    rmt_store64(&self->thread->wakes, POOL_WORD(pool, event));
    rmt_add32(&p->event, 1); /* full barrier, as above */
    if (rmt_load32(&p->watchers) != 0)
        rmt_wake(&p->event, INT_MAX);
    rmt_store64(&self->thread->wakes, 0);
}

int rmt_pool_make(struct rmt_self *self, unsigned size, struct rmt_handle *ret_pool)
{
    int hold;
    uint64_t pool;
    int r = rmt_block_alloc(self, sizeof(struct rmt_pool), RMT_KIND_PART, &hold, &pool);
    if (r < 0)
        return r;
    struct rmt_pool *p = rmt_pool_at(pool);
    memset(p, 0, sizeof(*p));
    rmt_guard_init(&p->guard, POOL_WORD(pool, guard));
    rmt_store64_relaxed(&p->parent, rmt_word_process(self->word));
    rmt_store64_relaxed(&p->size, size);
    rmt_block_at(pool)->kind = RAMET_KIND_POOL; /* from here on destroy may read it */
    r = rmt_handle_create(self, hold, ret_pool);
    if (r < 0)
        rmt_block_free(self, hold);
    return r;
}

int rmt_pool_set_state(struct rmt_self *self, uint64_t pool, enum rmt_pool_state state)
{
    struct rmt_pool *p = rmt_pool_at(pool);
    rmt_store64(&self->thread->wakes, POOL_WORD(pool, wake));
    int r = rmt_guard_lock(self, &p->guard);
    if (r < 0)
        return r;
    if (rmt_load64_relaxed(&p->state) < state)
        rmt_store64(&p->state, state);
    rmt_guard_unlock(self, &p->guard);
    rmt_pool_wake_workers(self, pool, INT_MAX);
    return 0;
}

void rmt_pool_notify(struct rmt_self *self, uint64_t pool)
{
    rmt_pool_tell(self, pool);
}

int rmt_pool_idle(struct rmt_self *self, uint64_t pool)
{
    struct rmt_pool *p = rmt_pool_at(pool);
    int r = rmt_guard_lock(self, &p->guard);
    if (r < 0)
        return r;
    int idle = rmt_load64_relaxed(&p->queue_first) == 0 && rmt_load64_relaxed(&p->returned) == 0;
    uint64_t at = rmt_load64_relaxed(&p->records);
    while (idle && at != 0) {
        const struct rmt_record *record = rmt_record_at(at);
        idle = rmt_load64_relaxed(&record->state) == RMT_RECORD_IDLE;
        at = rmt_load64_relaxed(&record->link);
    }
    rmt_guard_unlock(self, &p->guard);
    return idle;
}

int rmt_pool_workers(struct rmt_self *self, uint64_t pool, uint64_t *pids, int room)
{
    struct rmt_pool *p = rmt_pool_at(pool);
    int r = rmt_guard_lock(self, &p->guard);
    if (r < 0)
        return r;
    int count = 0;
    for (uint64_t at = rmt_load64_relaxed(&p->records); at != 0 && count < room;) {
        const struct rmt_record *record = rmt_record_at(at);
        if (rmt_load64_relaxed(&record->state) != RMT_RECORD_RETURNED)
            pids[count++] = rmt_load64_relaxed(&record->pid);
        at = rmt_load64_relaxed(&record->link);
    }
    rmt_guard_unlock(self, &p->guard);
    return count;
}

/* ---- made and fed */

int rmt_job_make(struct rmt_self *self, uint64_t pool, const struct rmt_job_options *options,
                 int *ret_hold, uint64_t *ret_job)
{
    size_t size = sizeof(struct rmt_job) + options->slots * sizeof(rmt_a64);
    int hold;
    uint64_t job;
    if (options->batch == 0 || options->slots == 0 || options->slots > (1u << 28))
        return -EINVAL;
    int r = rmt_block_alloc(self, size, RMT_KIND_PART, &hold, &job);
    if (r < 0)
        return r;
    struct rmt_job *j = rmt_job_at(job);
    memset(j, 0, size);
    j->pool = pool;
    j->chunk = options->chunk;
    j->batch = options->batch;
    j->slots = options->slots;
    j->item_size = options->item_size;
    j->result_size = options->result_size;
    j->user = options->user;
    j->expected = options->expected;
    rmt_store64_relaxed(&j->published, options->given);
    rmt_store64_relaxed(&j->total, options->given ? options->given : RMT_OPEN);
    rmt_store64_relaxed(&j->want, RMT_OPEN);
    rmt_block_at(job)->kind = RAMET_KIND_JOB; /* from here on destroy may read it */
    *ret_hold = hold;
    *ret_job = job;
    return 0;
}

int rmt_job_set_function(struct rmt_self *self, uint64_t job, int from)
{
    uint64_t message = rmt_load64_relaxed(&self->thread->hold[from].what) & ~RMT_TAG_MASK;
    int r = rmt_block_chain(self, job, from);
    if (r == 0)
        rmt_job_at(job)->function = message;
    return r;
}

int rmt_job_feed(struct rmt_self *self, uint64_t job, int from, uint64_t count, uint64_t floor)
{
    struct rmt_job *j = rmt_job_at(job);
    struct rmt_pool *p = rmt_pool_at(j->pool);
    uint64_t packet = rmt_load64_relaxed(&self->thread->hold[from].what) & ~RMT_TAG_MASK;
    rmt_store64(&self->thread->wakes, POOL_WORD(j->pool, wake));
    int r = rmt_guard_lock(self, &p->guard);
    if (r < 0)
        return r;
    uint64_t published = rmt_load64_relaxed(&j->published);
    uint64_t number = published / j->batch, slot = number % j->slots;
    uint64_t old = rmt_load64_relaxed(&j->slot[slot]);
    bool queued = (rmt_load64_relaxed(&j->flags) & RMT_JOB_QUEUED) != 0;
    if (old != 0 && (number - j->slots + 1) * j->batch > floor) {
        r = -EAGAIN;
    } else {
        uint64_t word = rmt_word_in(job, offsetof(struct rmt_job, slot) + slot * 8);
        rmt_redo(&p->guard, 0, word, packet);
        rmt_redo(&p->guard, 1, rmt_hold_what(self, from), old ? old | RMT_HOLD_BLOCK : 0);
        rmt_redo(&p->guard, 2, JOB_WORD(job, published), published + count);
        rmt_commit(&p->guard, 3);
        r = 0;
    }
    rmt_guard_unlock(self, &p->guard);
    if (r == 0 && queued)
        rmt_pool_wake_workers(self, j->pool, j->chunk ? (count + j->chunk - 1) / j->chunk : count);
    else
        rmt_store64(&self->thread->wakes, 0);
    if (r == 0 && old != 0)
        rmt_block_free(self, from);
    return r;
}

int rmt_job_submit(struct rmt_self *self, uint64_t job, int hold)
{
    struct rmt_job *j = rmt_job_at(job);
    struct rmt_pool *p = rmt_pool_at(j->pool);
    rmt_store64_relaxed(&j->flags, RMT_JOB_QUEUED);
    rmt_store64(&self->thread->wakes, POOL_WORD(j->pool, wake));
    int r = rmt_guard_lock(self, &p->guard);
    if (r < 0)
        return r;
    uint64_t published = rmt_load64_relaxed(&j->published);
    uint64_t old = rmt_load64_relaxed(&p->jobs);
    uint64_t last = rmt_load64_relaxed(&p->queue_last);
    unsigned n = 0;
    rmt_store64_relaxed(&j->next_job, old);
    rmt_redo(&p->guard, n++, POOL_WORD(j->pool, jobs), job);
    if (old != 0)
        rmt_redo(&p->guard, n++, JOB_WORD(old, prev_job), job);
    rmt_redo(&p->guard, n++, rmt_hold_what(self, hold), 0);
    rmt_redo(&p->guard, n++, last ? JOB_WORD(last, link) : POOL_WORD(j->pool, queue_first), job);
    rmt_redo(&p->guard, n++, POOL_WORD(j->pool, queue_last), job);
    rmt_commit(&p->guard, n);
    rmt_guard_unlock(self, &p->guard);
    rmt_pool_wake_workers(self, j->pool,
                          j->chunk ? (published + j->chunk - 1) / j->chunk : published);
    return 0;
}

/* Prepares the removal of a QUEUED job from the queue: up to three redo words. */
void rmt_job_unlink(struct rmt_pool *p, uint64_t job, unsigned *redo)
{
    struct rmt_job *j = rmt_job_at(job);
    uint64_t before = 0, at = rmt_load64_relaxed(&p->queue_first);
    while (at != job) {
        before = at;
        at = rmt_load64_relaxed(&rmt_job_at(at)->link);
    }
    uint64_t link = rmt_load64_relaxed(&j->link);
    uint64_t flags = rmt_load64_relaxed(&j->flags) & ~(uint64_t)RMT_JOB_QUEUED;
    rmt_redo(&p->guard, (*redo)++,
             before ? JOB_WORD(before, link) : POOL_WORD(j->pool, queue_first), link);
    if (link == 0)
        rmt_redo(&p->guard, (*redo)++, POOL_WORD(j->pool, queue_last), before);
    rmt_redo(&p->guard, (*redo)++, JOB_WORD(job, flags), flags);
}

int rmt_job_end(struct rmt_self *self, uint64_t job)
{
    struct rmt_job *j = rmt_job_at(job);
    struct rmt_pool *p = rmt_pool_at(j->pool);
    int r = rmt_guard_lock(self, &p->guard);
    if (r < 0)
        return r;
    uint64_t published = rmt_load64_relaxed(&j->published);
    unsigned n = 0;
    bool queued = (rmt_load64_relaxed(&j->flags) & RMT_JOB_QUEUED) != 0;
    if (rmt_load64_relaxed(&j->total) == RMT_OPEN) {
        rmt_redo(&p->guard, n++, JOB_WORD(job, total), published);
        if (queued && rmt_load64_relaxed(&j->next) == published)
            rmt_job_unlink(p, job, &n);
        rmt_commit(&p->guard, n);
    }
    bool closed = rmt_load64_relaxed(&p->state) != RMT_POOL_OPEN;
    rmt_guard_unlock(self, &p->guard);
    if (closed)
        rmt_pool_wake_workers(self, j->pool, INT_MAX); /* those who wait for this to leave */
    return 0;
}

/* ---- emptied and dropped */

int rmt_job_take(struct rmt_self *self, uint64_t job, int *ret_hold, uint64_t *ret_first)
{
    struct rmt_job *j = rmt_job_at(job);
    struct rmt_pool *p = rmt_pool_at(j->pool);
    if (rmt_load64(&j->results) == 0)
        return -EAGAIN;
    int hold = rmt_hold_find(self);
    if (hold < 0)
        return hold;
    int r = rmt_guard_lock(self, &p->guard);
    if (r < 0)
        return r;
    uint64_t first = rmt_load64_relaxed(&j->results);
    if (first != 0) {
        rmt_redo(&p->guard, 0, rmt_hold_what(self, hold), first | RMT_HOLD_BLOCK);
        rmt_redo(&p->guard, 1, JOB_WORD(job, results), 0);
        rmt_commit(&p->guard, 2);
    }
    rmt_guard_unlock(self, &p->guard);
    if (first == 0)
        return -EAGAIN;
    *ret_hold = hold;
    *ret_first = first;
    return 0;
}

/* Moves the block named by the word at `word` into a hold and frees it. */
static int free_word(struct rmt_self *self, struct rmt_guard *g, uint64_t word)
{
    if (rmt_load64((rmt_a64 *)rmt_at(word)) == 0)
        return 0;
    int hold = rmt_hold_find(self);
    if (hold < 0)
        return hold;
    int r = rmt_guard_lock(self, g);
    if (r < 0)
        return r;
    uint64_t block = rmt_load64((rmt_a64 *)rmt_at(word));
    if (block != 0) {
        rmt_redo(g, 0, rmt_hold_what(self, hold), block | RMT_HOLD_BLOCK);
        rmt_redo(g, 1, word, 0);
        rmt_commit(g, 2);
    }
    rmt_guard_unlock(self, g);
    if (block != 0)
        rmt_block_free(self, hold);
    return 0;
}

int rmt_job_finished(uint64_t job)
{
    const struct rmt_job *j = rmt_job_at(job);
    return rmt_load64(&j->finished) == rmt_load64(&j->total);
}

bool rmt_job_over(const struct rmt_pool *p, uint64_t job)
{
    if (rmt_load64_relaxed(&rmt_job_at(job)->flags) & RMT_JOB_QUEUED)
        return false;
    for (uint64_t at = rmt_load64_relaxed(&p->records); at != 0;) {
        const struct rmt_record *r = rmt_record_at(at);
        if (rmt_load64_relaxed(&r->state) != RMT_RECORD_IDLE && rmt_load64_relaxed(&r->job) == job)
            return false;
        at = rmt_load64_relaxed(&r->link);
    }
    return true;
}

/* Moves a job that is over out of the pool into a hold of the caller, which is returned; -ENOSPC.
 */
int rmt_job_remove(struct rmt_self *self, struct rmt_pool *p, uint64_t job)
{
    struct rmt_job *j = rmt_job_at(job);
    int hold = rmt_hold_find(self);
    if (hold < 0)
        return hold;
    uint64_t next = rmt_load64_relaxed(&j->next_job), prev = rmt_load64_relaxed(&j->prev_job);
    unsigned n = 0;
    rmt_redo(&p->guard, n++, prev ? JOB_WORD(prev, next_job) : POOL_WORD(j->pool, jobs), next);
    if (next != 0)
        rmt_redo(&p->guard, n++, JOB_WORD(next, prev_job), prev);
    rmt_redo(&p->guard, n++, rmt_hold_what(self, hold), job | RMT_HOLD_BLOCK);
    rmt_commit(&p->guard, n);
    return hold;
}

int rmt_job_remove_left(struct rmt_self *self, struct rmt_pool *p)
{
    uint64_t job = rmt_load64_relaxed(&p->jobs);
    while (job != 0) {
        const struct rmt_job *j = rmt_job_at(job);
        if (rmt_load64_relaxed(&j->flags) & RMT_JOB_ABANDONED && rmt_job_over(p, job))
            return rmt_job_remove(self, p, job);
        job = rmt_load64_relaxed(&j->next_job);
    }
    return -ENOENT;
}

int rmt_job_cancel(struct rmt_self *self, uint64_t job)
{
    struct rmt_job *j = rmt_job_at(job);
    struct rmt_pool *p = rmt_pool_at(j->pool);
    int r = rmt_guard_lock(self, &p->guard);
    if (r < 0)
        return r;
    unsigned n = 0;
    uint64_t flags = rmt_load64_relaxed(&j->flags);
    if (flags & RMT_JOB_QUEUED) {
        rmt_redo(&p->guard, n++, JOB_WORD(job, total), rmt_load64_relaxed(&j->next));
        rmt_job_unlink(p, job, &n);
        n--; /* the flags are the last word of the unlinking: written again below */
    }
    flags &= ~(uint64_t)RMT_JOB_QUEUED;
    rmt_redo(&p->guard, n++, JOB_WORD(job, flags), flags | RMT_JOB_CANCELLED);
    rmt_commit(&p->guard, n);
    rmt_guard_unlock(self, &p->guard);
    rmt_pool_wake_workers(self, j->pool,
                          INT_MAX); /* RETURNED ranges of it are dropped by who looks */
    return 0;
}

void rmt_job_drop(struct rmt_self *self, uint64_t job)
{
    struct rmt_job *j = rmt_job_at(job);
    struct rmt_pool *p = rmt_pool_at(j->pool);
    int hold = -ENOENT;
    if (rmt_guard_lock(self, &p->guard) < 0)
        return; /* poisoned: nothing is given back any more */
    uint64_t flags = rmt_load64_relaxed(&j->flags);
    rmt_store64(&j->flags, flags | RMT_JOB_ABANDONED); /* one word: its own commit */
    if (rmt_job_over(p, job))
        hold = rmt_job_remove(self, p, job);
    rmt_guard_unlock(self, &p->guard);
    if (hold >= 0)
        rmt_block_free(self, hold);
}

/* ---- waited for */

static bool wanted(const uint64_t *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct rmt_job *j = rmt_job_at(jobs[i]);
        if (rmt_load64(&j->finished) >= rmt_load64(&j->want))
            return true;
    }
    return false;
}

int rmt_pool_wait(struct rmt_self *self, uint64_t pool, const uint64_t *jobs, size_t count,
                  uint64_t departed, const uint32_t *seen, const ramet_wait *wait)
{
    struct rmt_pool *p = rmt_pool_at(pool);
    struct rmt_waiter w;
    int r = rmt_wait_start(&w, self, wait);
    if (r < 0)
        return r;
    rmt_fence(); /* the wants of the jobs, before their finished: pairs with the unlock of a
                    publisher */
    rmt_add32(&p->watchers, 1);
    for (;;) {
        uint32_t now = rmt_load32(&p->event);
        if ((seen && now != *seen) || wanted(jobs, count) || rmt_load64(&p->departed) != departed) {
            r = 0;
            break;
        }
        r = rmt_sleep(&w, &p->event, now, POOL_WORD(pool, event), 0);
        if (r < 0)
            break;
    }
    rmt_add32(&p->watchers, (uint32_t)-1);
    return r;
}

/* ---- destroyed */

static void destroy_job(struct rmt_self *self, uint64_t job)
{
    struct rmt_job *j = rmt_job_at(job);
    struct rmt_guard *g = &rmt_pool_at(j->pool)->guard;
    for (uint64_t i = 0; i < j->slots; i++)
        if (free_word(self, g, rmt_word_in(job, offsetof(struct rmt_job, slot) + i * 8)) < 0)
            return;
    (void)free_word(self, g, JOB_WORD(job, results));
}

/* Takes the head off a list whose links are at `link` in the payloads, and frees it. */
static int free_head(struct rmt_self *self, struct rmt_guard *g, uint64_t head, size_t link)
{
    uint64_t block = rmt_load64((rmt_a64 *)rmt_at(head));
    int hold = rmt_hold_find(self);
    if (hold < 0)
        return hold;
    int r = rmt_guard_lock(self, g);
    if (r < 0)
        return r;
    rmt_redo(g, 0, rmt_hold_what(self, hold), block | RMT_HOLD_BLOCK);
    rmt_redo(g, 1, head, rmt_load64((rmt_a64 *)rmt_at(rmt_word_in(block, link))));
    rmt_commit(g, 2);
    rmt_guard_unlock(self, g);
    rmt_block_free(self, hold);
    return 0;
}

static void destroy_pool(struct rmt_self *self, uint64_t pool)
{
    struct rmt_pool *p = rmt_pool_at(pool);
    while (rmt_load64(&p->records) != 0)
        if (free_head(self, &p->guard, POOL_WORD(pool, records), offsetof(struct rmt_record, link)))
            return;
    while (rmt_load64(&p->jobs) != 0)
        if (free_head(self, &p->guard, POOL_WORD(pool, jobs), offsetof(struct rmt_job, next_job)))
            return;
}

static int check_job(const struct rmt_pool *p, uint64_t job)
{
    const struct rmt_job *j = rmt_job_at(job);
    uint64_t next = rmt_load64(&j->next), published = rmt_load64(&j->published);
    uint64_t finished = rmt_load64(&j->finished), total = rmt_load64(&j->total), claimed = 0;
    if (finished > next || next > published || (total != RMT_OPEN && next > total))
        return -ENOTRECOVERABLE;
    for (uint64_t at = rmt_load64(&p->records); at != 0;) {
        const struct rmt_record *r = rmt_record_at(at);
        if (rmt_load64(&r->state) != RMT_RECORD_IDLE && rmt_load64(&r->job) == job) {
            if (rmt_load64(&r->first) > rmt_load64(&r->end) || rmt_load64(&r->end) > next)
                return -ENOTRECOVERABLE;
            claimed += rmt_load64(&r->end) - rmt_load64(&r->first);
        }
        at = rmt_load64(&r->link);
    }
    bool cancelled = (rmt_load64(&j->flags) & RMT_JOB_CANCELLED) != 0;
    return finished + claimed == next || cancelled ? 0 : -ENOTRECOVERABLE;
}

static int check_pool(uint64_t pool)
{
    const struct rmt_pool *p = rmt_pool_at(pool);
    uint64_t returned = 0, queued = 0, last = 0, flagged = 0;
    for (uint64_t at = rmt_load64(&p->records); at != 0;) {
        const struct rmt_record *r = rmt_record_at(at);
        returned += rmt_load64(&r->state) == RMT_RECORD_RETURNED;
        at = rmt_load64(&r->link);
    }
    for (uint64_t at = rmt_load64(&p->queue_first); at != 0;) {
        last = at;
        queued++;
        at = rmt_load64(&rmt_job_at(at)->link);
    }
    for (uint64_t at = rmt_load64(&p->jobs); at != 0;) {
        if (check_job(p, at) < 0)
            return -ENOTRECOVERABLE;
        flagged += rmt_load64(&rmt_job_at(at)->flags) & RMT_JOB_QUEUED;
        at = rmt_load64(&rmt_job_at(at)->next_job);
    }
    bool sound = returned == rmt_load64(&p->returned) && last == rmt_load64(&p->queue_last) &&
                 queued == flagged;
    return sound ? 0 : -ENOTRECOVERABLE;
}

/* ---- for the view */

#define LIST_LIMIT 4096 /* a list that others change is not followed for ever */

/* How many blocks of a list there are, and of those with a word at `state` how many are ACTIVE. */
static uint64_t count_list(const struct rmt_source *source, uint64_t first, size_t link,
                           uint64_t *ret_active)
{
    uint64_t n = 0;
    for (uint64_t at = first; at != 0 && n < LIST_LIMIT; n++) {
        uint64_t state = rmt_word_in(at, offsetof(struct rmt_record, state));
        if (ret_active && rmt_source_word(source, state) == RMT_RECORD_ACTIVE)
            ++*ret_active;
        at = rmt_source_word(source, rmt_word_in(at, link));
    }
    return n;
}

static void describe_pool(const struct rmt_source *source, const struct rmt_block *block,
                          uint64_t offset, const void *payload, size_t size,
                          struct rmt_facts *facts)
{
    (void)block;
    (void)offset;
    const struct rmt_pool *p = payload;
    if (size < sizeof *p)
        return;
    facts->depth =
        count_list(source, rmt_load64_relaxed(&p->jobs), offsetof(struct rmt_job, next_job), NULL);
    facts->total = count_list(source, rmt_load64_relaxed(&p->records),
                              offsetof(struct rmt_record, link), &facts->done);
    facts->limit = rmt_load64_relaxed(&p->size);
    facts->lost = rmt_load64_relaxed(&p->departed);
    facts->flags = rmt_load64_relaxed(&p->state) != RMT_POOL_OPEN ? RAMET_VIEW_CLOSED : 0;
}

static void describe_job(const struct rmt_source *source, const struct rmt_block *block,
                         uint64_t offset, const void *payload, size_t size, struct rmt_facts *facts)
{
    (void)source;
    (void)block;
    (void)offset;
    const struct rmt_job *j = payload;
    if (size < sizeof *j)
        return;
    uint64_t next = rmt_load64_relaxed(&j->next), finished = rmt_load64_relaxed(&j->finished);
    uint64_t total = rmt_load64_relaxed(&j->total);
    facts->depth = next > finished ? next - finished : 0;
    facts->done = finished;
    facts->total = total == RMT_OPEN ? rmt_load64_relaxed(&j->published) : total;
    facts->of = j->pool;
    if (total == RMT_OPEN)
        facts->flags |= RAMET_VIEW_OPEN;
    if (rmt_load64_relaxed(&j->flags) & RMT_JOB_CANCELLED)
        facts->flags |= RAMET_VIEW_CANCELLED;
}

__attribute__((constructor)) static void register_kinds(void)
{
    static const struct rmt_kind pool = {.id = RAMET_KIND_POOL,
                                         .name = "pool",
                                         .destroy = destroy_pool,
                                         .check = check_pool,
                                         .describe = describe_pool};
    static const struct rmt_kind job = {
        .id = RAMET_KIND_JOB, .name = "job", .destroy = destroy_job, .describe = describe_job};
    rmt_kind_register(&pool);
    rmt_kind_register(&job);
}
