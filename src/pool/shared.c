/* SPDX-License-Identifier: MIT
 *
 * shared.c: what the processes of a pool share beside its jobs: state, the list of its workers, and
 * the two words that workers and submitters sleep on.  Touches the words of struct rmt_pool.
 */
#include "arena/source.h"
#include "pool/job.h"
#include <ramet/view.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

/* A wake is owed from before the commit that gives cause for it until it was made: should this
 * thread be killed in between, recovery makes it.  Several words may be owed for: the last noted is
 * the one that somebody could otherwise sleep on for ever; the parent also looks by itself. */
void rmt_pool_wake_workers(struct rmt_self *self, uint64_t pool, uint64_t items)
{
    struct rmt_pool *p = rmt_pool_at(pool);
    rmt_store64(&self->thread->wakes, RMT_POOL_WORD(pool, wake));
    rmt_add32(&p->wake, 1); /* full barrier: then look for sleepers */
    if (items != 0 && rmt_load32(&p->sleepers) != 0)
        rmt_wake(&p->wake, items < INT_MAX ? (int)items : INT_MAX);
    rmt_store64(&self->thread->wakes, 0);
}

void rmt_pool_tell(struct rmt_self *self, uint64_t pool)
{
    struct rmt_pool *p = rmt_pool_at(pool);
    rmt_store64(&self->thread->wakes, RMT_POOL_WORD(pool, event));
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
    rmt_guard_init(&p->guard, RMT_POOL_WORD(pool, guard));
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
    rmt_store64(&self->thread->wakes, RMT_POOL_WORD(pool, wake));
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
        r = rmt_sleep(&w, &p->event, now, RMT_POOL_WORD(pool, event), 0);
        if (r < 0)
            break;
    }
    rmt_add32(&p->watchers, (uint32_t)-1);
    return r;
}

/* ---- destroyed and checked */

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
        if (free_head(self, &p->guard, RMT_POOL_WORD(pool, records),
                      offsetof(struct rmt_record, link)))
            return;
    while (rmt_load64(&p->jobs) != 0)
        if (free_head(self, &p->guard, RMT_POOL_WORD(pool, jobs),
                      offsetof(struct rmt_job, next_job)))
            return;
}

static bool is_bell(uint64_t pool, uint64_t word)
{
    return word == RMT_POOL_WORD(pool, wake) || word == RMT_POOL_WORD(pool, event);
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

__attribute__((constructor)) static void register_kind(void)
{
    static const struct rmt_kind pool = {.id = RAMET_KIND_POOL,
                                         .name = "pool",
                                         .destroy = destroy_pool,
                                         .is_bell = is_bell,
                                         .check = check_pool,
                                         .describe = describe_pool};
    rmt_kind_register(&pool);
}
