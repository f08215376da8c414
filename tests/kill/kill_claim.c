/* SPDX-License-Identifier: MIT
 *
 * kill_claim.c: a death at each atomic operation of a worker: joining a pool, claiming, working,
 * publishing, failing an item, leaving in the middle of a range, while two peers work on the same
 * job.  Each item is finished exactly once, or failed because the victim died at it; everything
 * else is worked off by others.
 */
#include "channel/message.h"
#include "kill.h"
#include "pool/claim.h"
#include "square.h"
#include <ramet/arena.h>

#define ITEMS 24
#define BATCH 4

static struct rmt_handle pool;
static uint64_t job, blocks_before;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};

static struct rmt_self *self_of(void)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    return self;
}

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

static void setup(void)
{
    struct rmt_self *self = self_of();
    blocks_before = blocks();
    OK(rmt_pool_make(self, 3, &pool));
    struct rmt_job_options options = {
        .chunk = BATCH, .batch = BATCH, .slots = ITEMS / BATCH, .item_size = 8, .result_size = 8};
    int hold;
    OK(rmt_job_make(self, pool.offset, &options, &hold, &job));
    for (uint64_t first = 0; first < ITEMS; first += BATCH) {
        uint64_t items[BATCH], offset;
        int packet;
        for (uint64_t i = 0; i < BATCH; i++)
            items[i] = first + i;
        struct iovec segment = {items, sizeof items};
        OK(rmt_message_build(self, &segment, 1, NULL, 0, &packet, &offset));
        OK(rmt_job_feed(self, job, packet, BATCH, 0));
    }
    OK(rmt_job_end(self, job));
    OK(rmt_job_submit(self, job, hold));
}

/* Claims and works off up to `ranges` ranges. */
static void work(struct rmt_worker *w, int ranges)
{
    while (ranges-- > 0) {
        int r = rmt_worker_claim(w, &try);
        if (r == -ETIMEDOUT)
            return;
        CHECK(r == 0);
        for (uint64_t i = w->first; i < w->end; i++) {
            rmt_worker_begin(w, i);
            square(w, i);
            OK(rmt_worker_pause(w));
        }
    }
}

static void victim(void)
{
    struct rmt_worker w;
    OK(rmt_worker_join(&w, pool.offset, 0));
    work(&w, 2);
    if (rmt_worker_claim(&w, &try) == 0) { /* publishes the last range */
        uint64_t offset;
        char text[] = "no";
        struct iovec segment = {text, 2};
        int hold;
        rmt_worker_begin(&w, w.first);
        OK(rmt_message_build(w.self, &segment, 1, NULL, 0, &hold, &offset));
        OK(rmt_worker_post(&w, hold, RMT_RESULT_ERROR));
        rmt_worker_begin(&w, w.first + 1);
        square(&w, w.first + 1);
    }
    rmt_worker_leave(&w); /* gives the rest of that range back */
}

static void peer(int index)
{
    static struct rmt_worker w;
    static bool joined;
    if (!joined)
        OK(rmt_worker_join(&w, pool.offset, 1 + (uint64_t)index));
    joined = true;
    /* Leaves something for the victim as long as it lives. */
    if (atomic_load(&kill_shared->turns[index]) < 2 || atomic_load(&kill_shared->stop))
        work(&w, 1);
    else
        usleep(50);
}

static uint64_t take(void)
{
    int hold;
    uint64_t at, deaths = 0;
    if (rmt_job_take(self_of(), job, &hold, &at) < 0)
        return 0;
    for (; at != 0; at = rmt_load64(&rmt_block_at(at)->next)) {
        const struct rmt_block *b = rmt_block_at(at);
        const struct rmt_pack_block *pack = rmt_payload(at);
        uint64_t first = b->arg[RMT_RESULT_FIRST];
        if (b->arg[RMT_RESULT_KIND] == RMT_RESULT_DEATH) {
            deaths++;
            CHECK(atomic_fetch_add(&kill_shared->seen[first], 1) == 0);
            continue;
        }
        if (b->arg[RMT_RESULT_KIND] == RMT_RESULT_ERROR) {
            CHECK(atomic_fetch_add(&kill_shared->seen[first], 1) == 0);
            continue;
        }
        CHECK(b->arg[RMT_RESULT_KIND] == RMT_RESULT_PACK);
        for (uint64_t i = 0; i < rmt_pack_done(rmt_load64(&pack->state)); i++) {
            uint64_t value;
            memcpy(&value, pack->data + i * 8, 8);
            CHECK(value == (first + i) * (first + i));
            CHECK(atomic_fetch_add(&kill_shared->seen[first + i], 1) == 0);
        }
    }
    rmt_block_free(self_of(), hold);
    return deaths;
}

static void verify(bool finished)
{
    struct rmt_worker w; /* what is left, and what was given back, is worked off here */
    OK(rmt_worker_join(&w, pool.offset, 3));
    work(&w, ITEMS);
    (void)rmt_worker_claim(&w, &try);
    rmt_worker_leave(&w);
    CHECK(rmt_job_finished(job) == 1);
    uint64_t deaths = take();
    CHECK(deaths <= 1 && (!finished || deaths == 0));
    for (int i = 0; i < ITEMS; i++)
        CHECK(atomic_load(&kill_shared->seen[i]) == 1);
    rmt_job_drop(self_of(), job);
    rmt_handle_close(self_of(), &pool);
    CHECK(blocks() == blocks_before);
}

int main(void)
{
    OK(ramet_join());
    struct rmt_handle warm; /* what a first handle allocates for good */
    OK(rmt_pool_make(self_of(), 1, &warm));
    rmt_handle_close(self_of(), &warm);
    kill_run(&(struct kill_case){"claim, alone", setup, victim, NULL, verify});
    kill_run(&(struct kill_case){"claim", setup, victim, peer, verify});
    return 0;
}
