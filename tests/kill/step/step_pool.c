/* SPDX-License-Identifier: MIT
 *
 * step_pool.c: a death at each store of what a pool's workers and submitters do.  Each item is
 * finished once, or has failed because the victim died at it; whatever else was in the victim's
 * hands is worked off by others.
 *
 * The pool belongs to a process that lives through everything, since workers leave when it dies;
 * but for the cases in which it is the victim's own.
 */
#include "../square.h"
#include "channel/message.h"
#include "pool/claim.h"
#include "step.h"

enum { ITEMS = 12, BATCH = 4 };

static struct rmt_handle pool;
static struct rmt_worker worker;
static uint64_t job;
static int hold;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static uint64_t seen[ITEMS], deaths;
static bool slept;

/* ---- pools and jobs */

static void make_pool(void)
{
    OK(rmt_pool_make(step_self(), 3, &pool));
}

static void make_and_name_pool(void)
{
    make_pool();
    step_shared->ref[0] = rmt_handle_ref(&pool);
}

static void pool_of_another(void)
{
    CHECK(step_idle(make_and_name_pool) > 0);
    OK(rmt_handle_open(step_self(), &step_shared->ref[0], RAMET_KIND_POOL, &pool));
}

static void make_job(void)
{
    struct rmt_job_options options = {
        .chunk = BATCH, .batch = BATCH, .slots = ITEMS / BATCH, .item_size = 8, .result_size = 8};
    OK(rmt_job_make(step_self(), pool.offset, &options, &hold, &job));
    step_shared->offset[0] = job;
}

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

static void make_whole_job(void)
{
    make_job();
    for (uint64_t first = 0; first < ITEMS; first += BATCH)
        feed(first);
    OK(rmt_job_end(step_self(), job));
}

static void submit(void)
{
    OK(rmt_job_submit(step_self(), job, hold));
    step_shared->did[0] = 1;
}

static void setup_job(void)
{
    pool_of_another();
    uint64_t before = step_blocks();
    make_whole_job();
    OK(rmt_job_submit(step_self(), job, hold));
    step_blocks_less = step_blocks() - before;
}

static void no_pool(void) {}

/* ---- working */

static void work_range(struct rmt_worker *w)
{
    for (uint64_t i = w->first; i < w->end; i++) {
        rmt_worker_begin(w, i);
        square(w, i);
        OK(rmt_worker_pause(w));
    }
}

/* ---- the victim */

static void open_pool(void)
{
    OK(rmt_handle_open(step_self(), &step_shared->ref[0], RAMET_KIND_POOL, &pool));
    job = step_shared->offset[0];
}
static void be_worker(void)
{
    open_pool();
    OK(rmt_worker_join(&worker, pool.offset, 0));
}
static void have_range(void)
{
    be_worker();
    OK(rmt_worker_claim(&worker, &try));
}
static void have_done_range(void)
{
    have_range();
    work_range(&worker);
}
static void have_last_range(void)
{
    have_done_range();
    for (int i = 1; i < ITEMS / BATCH; i++) {
        OK(rmt_worker_claim(&worker, &try));
        work_range(&worker);
    }
}
static void have_last_range_to_do(void)
{
    have_done_range();
    for (int i = 1; i < ITEMS / BATCH; i++) {
        OK(rmt_worker_claim(&worker, &try));
        if (worker.end < ITEMS)
            work_range(&worker);
    }
}
static void have_job(void)
{
    open_pool();
    make_whole_job();
}
static void have_results(void)
{
    have_last_range();
    CHECK(rmt_worker_claim(&worker, &try) == -ETIMEDOUT);
    rmt_worker_leave(&worker);
}
static void have_own_pool(void)
{
    make_pool();
    make_whole_job();
    OK(rmt_job_submit(step_self(), job, hold));
}

static void join(void)
{
    OK(rmt_worker_join(&worker, pool.offset, 0));
}
static void claim(void)
{
    OK(rmt_worker_claim(&worker, &try));
}
static void claim_none(void)
{
    CHECK(rmt_worker_claim(&worker, &try) == -ETIMEDOUT);
}
static void work(void)
{
    work_range(&worker);
}
static void post_error(void)
{
    uint64_t offset;
    char text[] = "no";
    struct iovec segment = {text, 2};
    int error;
    rmt_worker_begin(&worker, worker.first);
    OK(rmt_message_build(step_self(), &segment, 1, NULL, 0, &error, &offset));
    OK(rmt_worker_post(&worker, error, RMT_RESULT_ERROR));
}
static void leave(void)
{
    rmt_worker_leave(&worker);
}
static void make_and_submit(void)
{
    make_whole_job();
    submit();
}
static void cancel(void)
{
    OK(rmt_job_cancel(step_self(), job));
    step_shared->did[0] = 1;
}
static void take_results(void)
{
    int results;
    uint64_t first;
    OK(rmt_job_take(step_self(), job, &results, &first));
    step_shared->did[0] = 1;
    rmt_block_free(step_self(), results);
}
static void drop(void)
{
    rmt_job_drop(step_self(), job);
    step_shared->did[0] = 1;
}
static void close_pool(void)
{
    rmt_handle_close(step_self(), &pool);
}

/* ---- the driver's side */

static void take(void)
{
    int results;
    uint64_t at;
    if (rmt_job_take(step_self(), job, &results, &at) < 0)
        return;
    for (; at != 0; at = rmt_load64(&rmt_block_at(at)->next)) {
        const struct rmt_block *b = rmt_block_at(at);
        const struct rmt_pack_block *pack = rmt_payload(at);
        uint64_t first = b->arg[RMT_RESULT_FIRST];
        CHECK(first < ITEMS);
        if (b->arg[RMT_RESULT_KIND] != RMT_RESULT_PACK) {
            deaths += b->arg[RMT_RESULT_KIND] == RMT_RESULT_DEATH;
            seen[first]++;
            continue;
        }
        for (uint64_t i = 0; i < rmt_pack_done(rmt_load64(&pack->state)); i++) {
            uint64_t value;
            memcpy(&value, pack->data + i * 8, 8);
            CHECK(first + i < ITEMS && value == (first + i) * (first + i));
            seen[first + i]++;
        }
    }
    rmt_block_free(step_self(), results);
}

/* What is left, and what was given back. */
static void work_off(void)
{
    struct rmt_worker w;
    OK(rmt_worker_join(&w, pool.offset, 2));
    int r;
    while ((r = rmt_worker_claim(&w, &try)) == 0)
        work_range(&w);
    CHECK(r == -ETIMEDOUT);
    rmt_worker_leave(&w);
}

static void peer(void)
{
    struct rmt_worker w;
    OK(rmt_worker_join(&w, pool.offset, 1));
    if (rmt_worker_claim(&w, &try) == 0)
        work_range(&w);
    rmt_worker_leave(&w);
}

static void drop_all(void)
{
    struct rmt_pool *p = rmt_pool_at(pool.offset);
    while ((job = rmt_load64(&p->jobs)) != 0)
        rmt_job_drop(step_self(), job);
    CHECK(rmt_load64(&p->records) == 0 && rmt_load64(&p->returned) == 0);
}

static void after(void)
{
    work_off();
    CHECK(rmt_job_finished(job) == 1);
    take();
    for (int i = 0; i < ITEMS; i++)
        CHECK(seen[i] == 1);
    CHECK(deaths <= 1);
    drop_all();
}

/* The job is there, whole, or not at all. */
static void after_submit(void)
{
    struct rmt_pool *p = rmt_pool_at(pool.offset);
    job = rmt_load64(&p->jobs);
    CHECK(job != 0 || !step_shared->did[0]);
    work_off();
    if (job != 0) {
        CHECK(rmt_job_finished(job) == 1);
        take();
        for (int i = 0; i < ITEMS; i++)
            CHECK(seen[i] == 1);
        CHECK(deaths == 0);
    }
    drop_all();
}

/* Some of it is done, and the rest is not any more; or its submitter has let go of it. */
static void after_end(void)
{
    work_off();
    for (int i = 0; i < ITEMS; i++)
        CHECK(seen[i] <= 1);
    drop_all();
}

static void after_nothing(void) {}

/* ---- sleepers: a worker without work, and who waits for results */

static void sleeps_for_work(void)
{
    struct rmt_worker w;
    OK(rmt_worker_join(&w, pool.offset, 1));
    OK(rmt_worker_claim(&w, NULL));
    work_range(&w);
    rmt_worker_leave(&w);
    slept = true;
}

static bool has_work(void)
{
    const struct rmt_pool *p = rmt_pool_at(pool.offset);
    return rmt_load64(&p->queue_first) != 0 || rmt_load64(&p->returned) != 0;
}

static void enable_work(void)
{
    make_whole_job();
    OK(rmt_job_submit(step_self(), job, hold));
}

static void sleeps_for_results(void)
{
    rmt_store64(&rmt_job_at(job)->want, ITEMS);
    OK(rmt_pool_wait(step_self(), pool.offset, &job, 1,
                     rmt_load64(&rmt_pool_at(pool.offset)->departed), NULL, NULL));
    slept = true;
}

/* Or the worker's departure, which is what it waits for, too. */
static bool has_results(void)
{
    return rmt_load64(&rmt_job_at(job)->finished) >= ITEMS ||
           rmt_load64(&rmt_pool_at(pool.offset)->departed) > 0;
}

static void after_work(void)
{
    CHECK(slept);
    after_submit();
}

static void after_results(void)
{
    CHECK(slept);
    after();
}

#define CASE(title, made, have, act, check)                                                        \
    .name = "pool " title, .setup = made, .prepare = have, .operate = act, .verify = check

const struct step_case step_cases[] = {
    {CASE("worker joins", setup_job, open_pool, join, after), .peer = peer, .large = true,
     .stride = 7},
    {CASE("worker claims", setup_job, be_worker, claim, after), .peer = peer, .stride = 7},
    {CASE("worker works", setup_job, have_range, work, after), .peer = peer, .large = true,
     .stride = 7},
    {CASE("worker claims the next", setup_job, have_done_range, claim, after), .peer = peer,
     .stride = 7},
    {CASE("worker claims, none left", setup_job, have_last_range, claim_none, after), .peer = peer,
     .stride = 7},
    {CASE("worker posts an error", setup_job, have_range, post_error, after), .peer = peer,
     .stride = 7},
    {CASE("worker leaves", setup_job, be_worker, leave, after), .peer = peer, .stride = 7},
    {CASE("worker leaves a range", setup_job, have_range, leave, after), .peer = peer, .stride = 7,
     .large = true},
    {CASE("submit", pool_of_another, have_job, submit, after_submit), .peer = peer, .stride = 7},
    {CASE("make a job and submit", pool_of_another, open_pool, make_and_submit, after_submit),
     .peer = peer, .large = true, .stride = 7},
    {CASE("take results", setup_job, have_results, take_results, after_end), .peer = peer,
     .stride = 7},
    {CASE("cancel a job", setup_job, open_pool, cancel, after_end), .peer = peer, .stride = 7},
    {CASE("drop a job", setup_job, open_pool, drop, after_end), .peer = peer, .stride = 7},
    {CASE("make", no_pool, after_nothing, make_pool, after_nothing), .large = true},
    {CASE("close, with a job", no_pool, have_own_pool, close_pool, after_nothing), .large = true},
    {CASE("submit, to a sleeper", pool_of_another, have_job, submit, after_work),
     .sleeps = sleeps_for_work, .enabled = has_work, .enable = enable_work},
    {CASE("worker finishes, to a sleeper", setup_job, have_last_range, claim_none, after_results),
     .sleeps = sleeps_for_results, .enabled = has_results},
    {CASE("worker gives back, to a sleeper", setup_job, have_last_range_to_do, leave,
          after_results),
     .sleeps = sleeps_for_work, .enabled = has_work},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
