/* SPDX-License-Identifier: MIT
 *
 * sched_pool.c: two workers claim ranges of a job, work them off and publish, and its submitter
 * waits for the results.  Each item is finished once, or has failed since a dead worker was at it;
 * and what else was in a dead one's hands is worked off by the other.
 */
#include "../kill/square.h"
#include "arena/local.h"
#include "channel/message.h"
#include "pool/claim.h"
#include "schedule.h"

enum { ITEMS = 4, BATCH = 2 };
enum { FIRST, SECOND, SUBMITTER };

static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static struct rmt_handle pool;
static uint64_t job;
static int hold;
static struct rmt_worker worker[SCHED_WORKERS + 1]; /* the last is the driver */
static unsigned seen[ITEMS], deaths;
static bool ended;

static void feed(uint64_t first)
{
    uint64_t items[BATCH], offset;
    int packet;
    for (uint64_t i = 0; i < BATCH; i++)
        items[i] = first + i;
    struct iovec segment = {items, sizeof items};
    OK(rmt_message_build(step_self(), &segment, 1, NULL, 0, &packet, &offset));
    OK(rmt_job_feed(step_self(), job, packet, BATCH, 0));
}

static void setup(void)
{
    struct rmt_job_options options = {
        .chunk = BATCH, .batch = BATCH, .slots = ITEMS / BATCH, .item_size = 8, .result_size = 8};
    OK(rmt_pool_make(step_self(), 2, &pool));
    long before = (long)sched_blocks();
    OK(rmt_job_make(step_self(), pool.offset, &options, &hold, &job));
    for (uint64_t first = 0; first < ITEMS; first += BATCH)
        feed(first);
    OK(rmt_job_end(step_self(), job));
    rmt_store64(&rmt_job_at(job)->want, ITEMS);
    OK(rmt_job_submit(step_self(), job, hold));
    sched_blocks_more = before - (long)sched_blocks(); /* the job is dropped in the end */
}

/* ---- actors */

/* Until there is nothing left, or if `wait` is NULL until the pool has ended. */
static void work(struct rmt_worker *w, uint64_t number, const ramet_wait *wait)
{
    int r;
    OK(rmt_worker_join(w, pool.offset, number));
    while ((r = rmt_worker_claim(w, wait)) == 0)
        for (uint64_t i = w->first; i < w->end; i++) {
            rmt_worker_begin(w, i);
            square(w, i);
            OK(rmt_worker_pause(w));
        }
    CHECK(r == (wait ? -ETIMEDOUT : -ENOENT));
    rmt_worker_leave(w);
}

static void work_on(void)
{
    work(&worker[sched_me()], (uint64_t)sched_me(), NULL);
}

static void wait_for_results(void)
{
    OK(rmt_pool_wait(step_self(), pool.offset, &job, 1, 0, NULL, NULL));
}

static bool may_sleep(int i, uint64_t word)
{
    const struct rmt_pool *p = rmt_pool_at(pool.offset);
    if (i == SUBMITTER)
        return word == RMT_POOL_WORD(pool.offset, event) && rmt_load64(&p->departed) == 0 &&
               rmt_load64(&rmt_job_at(job)->finished) < ITEMS;
    return word == RMT_POOL_WORD(pool.offset, wake) && !ended && rmt_load64(&p->returned) == 0 &&
           rmt_load64(&p->queue_first) == 0;
}

static void enable(void)
{
    CHECK(rmt_load64(&rmt_job_at(job)->finished) == ITEMS); /* or the workers had gone on */
    ended = true;
    OK(rmt_pool_set_state(step_self(), pool.offset, RMT_POOL_ENDED));
    rmt_pool_notify(step_self(), pool.offset);
}

/* ---- the end */

static void take_pack(uint64_t at, uint64_t first)
{
    const struct rmt_pack_block *pack = rmt_payload(at);
    for (uint64_t i = 0; i < rmt_pack_done(rmt_load64(&pack->state)); i++) {
        uint64_t value;
        memcpy(&value, pack->data + i * 8, 8);
        CHECK(first + i < ITEMS && value == (first + i) * (first + i));
        seen[first + i]++;
    }
}

static void take_results(void)
{
    int results;
    uint64_t at;
    OK(rmt_job_take(step_self(), job, &results, &at));
    for (; at != 0; at = rmt_load64(&rmt_block_at(at)->next)) {
        const struct rmt_block *b = rmt_block_at(at);
        uint64_t first = b->arg[RMT_RESULT_FIRST];
        CHECK(first < ITEMS);
        if (b->arg[RMT_RESULT_KIND] == RMT_RESULT_PACK) {
            take_pack(at, first);
        } else {
            CHECK(b->arg[RMT_RESULT_KIND] == RMT_RESULT_DEATH);
            deaths++;
            seen[first]++;
        }
    }
    rmt_block_free(step_self(), results);
}

static void verify(void)
{
    struct rmt_pool *p = rmt_pool_at(pool.offset);
    if (!ended)
        work(&worker[SCHED_WORKERS], SCHED_WORKERS, &try);
    CHECK(rmt_job_finished(job) == 1);
    take_results();
    for (int i = 0; i < ITEMS; i++)
        CHECK(seen[i] == 1);
    CHECK(deaths <= (unsigned)sched_is_dead(FIRST) + (unsigned)sched_is_dead(SECOND));
    rmt_job_drop(step_self(), job);
    CHECK(rmt_load64(&p->jobs) == 0 && rmt_load64(&p->records) == 0);
    CHECK(rmt_load64(&p->returned) == 0);
}

const struct sched_case sched_cases[] = {
    {.name = "pool, two workers",
     .setup = setup,
     .actor = {{"the first worker", work_on},
               {"the second worker", work_on},
               {"the submitter", wait_for_results}},
     .may_sleep = may_sleep,
     .enable = enable,
     .verify = verify,
     .brief = {0, 0, -1},
     .full = {1, 1, -1},
     .stride = 1024,
     .large = true},
};
const int sched_case_count = sizeof sched_cases / sizeof sched_cases[0];
