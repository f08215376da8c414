/* SPDX-License-Identifier: MIT
 *
 * job.c: a job as its submitter has it: made, fed, submitted, emptied and dropped.  Touches the
 * words of job.h; each change is one commit under the pool's guard.
 */
#include "pool/job.h"
#include "arena/source.h"
#include <ramet/view.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

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
    rmt_store64(&self->thread->wakes, RMT_POOL_WORD(j->pool, wake));
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
        rmt_redo(&p->guard, 2, RMT_JOB_WORD(job, published), published + count);
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
    rmt_store64(&self->thread->wakes, RMT_POOL_WORD(j->pool, wake));
    int r = rmt_guard_lock(self, &p->guard);
    if (r < 0)
        return r;
    uint64_t published = rmt_load64_relaxed(&j->published);
    uint64_t old = rmt_load64_relaxed(&p->jobs);
    uint64_t last = rmt_load64_relaxed(&p->queue_last);
    unsigned n = 0;
    rmt_store64_relaxed(&j->next_job, old);
    rmt_redo(&p->guard, n++, RMT_POOL_WORD(j->pool, jobs), job);
    if (old != 0)
        rmt_redo(&p->guard, n++, RMT_JOB_WORD(old, prev_job), job);
    rmt_redo(&p->guard, n++, rmt_hold_what(self, hold), 0);
    rmt_redo(&p->guard, n++, last ? RMT_JOB_WORD(last, link) : RMT_POOL_WORD(j->pool, queue_first),
             job);
    rmt_redo(&p->guard, n++, RMT_POOL_WORD(j->pool, queue_last), job);
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
             before ? RMT_JOB_WORD(before, link) : RMT_POOL_WORD(j->pool, queue_first), link);
    if (link == 0)
        rmt_redo(&p->guard, (*redo)++, RMT_POOL_WORD(j->pool, queue_last), before);
    rmt_redo(&p->guard, (*redo)++, RMT_JOB_WORD(job, flags), flags);
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
        rmt_redo(&p->guard, n++, RMT_JOB_WORD(job, total), published);
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
        rmt_redo(&p->guard, 1, RMT_JOB_WORD(job, results), 0);
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
    rmt_redo(&p->guard, n++, prev ? RMT_JOB_WORD(prev, next_job) : RMT_POOL_WORD(j->pool, jobs),
             next);
    if (next != 0)
        rmt_redo(&p->guard, n++, RMT_JOB_WORD(next, prev_job), prev);
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
        rmt_redo(&p->guard, n++, RMT_JOB_WORD(job, total), rmt_load64_relaxed(&j->next));
        rmt_job_unlink(p, job, &n);
        n--; /* the flags are the last word of the unlinking: written again below */
    }
    flags &= ~(uint64_t)RMT_JOB_QUEUED;
    rmt_redo(&p->guard, n++, RMT_JOB_WORD(job, flags), flags | RMT_JOB_CANCELLED);
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

/* ---- destroyed */

static void destroy_job(struct rmt_self *self, uint64_t job)
{
    struct rmt_job *j = rmt_job_at(job);
    struct rmt_guard *g = &rmt_pool_at(j->pool)->guard;
    for (uint64_t i = 0; i < j->slots; i++)
        if (free_word(self, g, rmt_word_in(job, offsetof(struct rmt_job, slot) + i * 8)) < 0)
            return;
    (void)free_word(self, g, RMT_JOB_WORD(job, results));
}

/* ---- for the view */

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

__attribute__((constructor)) static void register_kind(void)
{
    static const struct rmt_kind job = {
        .id = RAMET_KIND_JOB, .name = "job", .destroy = destroy_job, .describe = describe_job};
    rmt_kind_register(&job);
}
