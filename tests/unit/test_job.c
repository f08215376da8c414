/* SPDX-License-Identifier: MIT
 *
 * Jobs: claims by workers in forked processes, results, and what is left when a worker is killed at
 * each place of its way.
 */
#include "channel/message.h"
#include "pool/claim.h"
#include <ramet/arena.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static struct rmt_self *self_of(void)
{
    struct rmt_self *self;
    CHECK(rmt_self(&self) == 0);
    return self;
}

static uint64_t message(const void *data, size_t size, int *hold)
{
    struct iovec segment = {(void *)(uintptr_t)data, size};
    uint64_t offset;
    CHECK(rmt_message_build(self_of(), &segment, 1, NULL, 0, hold, &offset) == 0);
    return offset;
}

/* A job of the numbers first, first + 1, ... in packets of `batch`. */
static uint64_t make(uint64_t pool, uint64_t n, uint64_t chunk, uint64_t batch)
{
    struct rmt_job_options options = {
        .chunk = chunk, .batch = batch, .slots = n / batch + 1, .item_size = 8, .result_size = 8};
    int hold;
    uint64_t job;
    CHECK(rmt_job_make(self_of(), pool, &options, &hold, &job) == 0);
    for (uint64_t first = 0; first < n; first += batch) {
        uint64_t items[4096], count = n - first < batch ? n - first : batch;
        int packet;
        for (uint64_t i = 0; i < count; i++)
            items[i] = first + i;
        message(items, count * 8, &packet);
        CHECK(rmt_job_feed(self_of(), job, packet, count, 0) == 0);
    }
    CHECK(rmt_job_end(self_of(), job) == 0);
    CHECK(rmt_job_submit(self_of(), job, hold) == 0);
    return job;
}

static uint64_t input(const struct rmt_worker *w, uint64_t i)
{
    uint64_t packet, first, value;
    const uint8_t *data;
    size_t size;
    CHECK(rmt_worker_packet(w, i, &packet, &first) == 0);
    CHECK(rmt_message_data(packet, &data, &size) == 0);
    CHECK((i - first + 1) * 8 <= size);
    memcpy(&value, data + (i - first) * 8, 8);
    return value;
}

static void complete(struct rmt_worker *w, uint64_t value)
{
    uint8_t *to;
    CHECK(rmt_worker_room(w, 8, &to) == 0);
    memcpy(to, &value, 8);
    rmt_worker_done(w, 8);
}

/* What a worker does with item i, besides squaring it. */
typedef void act_fn(struct rmt_worker *w, uint64_t i);

static void work(uint64_t pool, uint64_t number, act_fn *act)
{
    struct rmt_worker w;
    int r;
    r = rmt_worker_join(&w, pool, number);
    if (r == -ECHILD) /* the parent died before this process was anybody */
        return;
    CHECK(r == 0);
    while ((r = rmt_worker_claim(&w, NULL)) == 0) {
        for (uint64_t i = w.first; i < w.end; i++) {
            rmt_worker_begin(&w, i);
            if (act)
                act(&w, i);
            uint64_t value = input(&w, i);
            complete(&w, value * value);
            CHECK(rmt_worker_pause(&w) == 0);
        }
    }
    CHECK(r == -ENOENT || r == -EPIPE);
    rmt_worker_leave(&w);
}

static pid_t start(uint64_t pool, uint64_t number, act_fn *act)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(600);
        work(pool, number, act);
        _exit(0);
    }
    return pid;
}

static int reap(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(ramet_reap(pid) >= 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

struct outcome {
    uint64_t squares, errors, deaths, last_dead, blocks;
    pid_t last_pid;
    uint8_t seen[70000];
};

static void take(uint64_t job, struct outcome *o)
{
    int hold;
    uint64_t at;
    if (rmt_job_take(self_of(), job, &hold, &at) < 0)
        return;
    for (; at != 0; at = rmt_load64(&rmt_block_at(at)->next)) {
        uint64_t first = rmt_block_at(at)->arg[RMT_RESULT_FIRST];
        const struct rmt_pack_block *pack = rmt_payload(at);
        o->blocks++;
        switch (rmt_block_at(at)->arg[RMT_RESULT_KIND]) {
        case RMT_RESULT_PACK:
            for (uint64_t i = 0; i < rmt_pack_done(rmt_load64(&pack->state)); i++) {
                uint64_t value;
                memcpy(&value, pack->data + i * 8, 8);
                CHECK(value == (first + i) * (first + i));
                CHECK(o->seen[first + i]++ == 0);
                o->squares++;
            }
            break;
        case RMT_RESULT_VALUE:
            CHECK(o->seen[first]++ == 0);
            o->squares++;
            break;
        case RMT_RESULT_ERROR:
            CHECK(o->seen[first]++ == 0);
            o->errors++;
            break;
        default:
            CHECK(o->seen[first]++ == 0);
            o->deaths++;
            o->last_dead = first;
            o->last_pid = (pid_t)rmt_block_at(at)->arg[RMT_RESULT_DETAIL];
        }
    }
    rmt_block_free(self_of(), hold);
}

/* Waits for all results of a job whose workers live, or were reaped. */
static void finish(uint64_t pool, uint64_t job, struct outcome *o)
{
    struct rmt_job *j = rmt_job_at(job);
    rmt_store64(&j->want, rmt_load64(&j->total));
    while (!rmt_job_finished(job)) {
        uint64_t departed = rmt_load64(&rmt_pool_at(pool)->departed);
        int r = rmt_pool_wait(self_of(), pool, &job, 1, departed, NULL, NULL);
        CHECK(r == 0 || r == -EINTR);
    }
    take(job, o);
    CHECK(o->squares + o->errors + o->deaths == rmt_load64(&j->total));
}

static struct rmt_handle make_pool(unsigned size)
{
    struct rmt_handle pool;
    CHECK(rmt_pool_make(self_of(), size, &pool) == 0);
    return pool;
}

static uint64_t blocks_in_use(void)
{
    ramet_usage usage = {.size = sizeof(usage)};
    CHECK(ramet_arena_usage(&usage) == 0);
    return usage.blocks;
}

static struct outcome outcome;
static struct outcome *fresh(void)
{
    memset(&outcome, 0, sizeof(outcome));
    return &outcome;
}

static void test_map(uint64_t n, uint64_t chunk, uint64_t batch, int workers)
{
    uint64_t before = blocks_in_use();
    struct rmt_handle pool = make_pool((unsigned)workers);
    pid_t pid[8];
    for (int i = 0; i < workers; i++)
        pid[i] = start(pool.offset, (uint64_t)i, NULL);
    for (int round = 0; round < 3; round++) {
        struct outcome *o = fresh();
        uint64_t job = make(pool.offset, n, chunk, batch);
        finish(pool.offset, job, o);
        CHECK(o->squares == n);
        if (chunk)
            CHECK(o->blocks >= (n + chunk - 1) / chunk);
        rmt_job_drop(self_of(), job);
    }
    CHECK(rmt_pool_set_state(self_of(), pool.offset, RMT_POOL_CLOSED) == 0);
    for (int i = 0; i < workers; i++)
        CHECK(reap(pid[i]) == 0);
    CHECK(rmt_pool_idle(self_of(), pool.offset) == 1);
    CHECK(rmt_load64(&rmt_pool_at(pool.offset)->joined[0]) == (1ull << workers) - 1);
    rmt_handle_close(self_of(), &pool);
    CHECK(blocks_in_use() == before);
}

static uint64_t fatal;

static void die_begun(struct rmt_worker *w, uint64_t i)
{
    (void)w;
    if (i == fatal)
        kill(getpid(), SIGKILL);
}

/* Dies between two items: the one that would be `fatal` was not begun. */
static void die_before(struct rmt_worker *w, uint64_t i)
{
    if (i + 1 == fatal) {
        complete(w, i * i);
        kill(getpid(), SIGKILL);
    }
}

static void die_posted(struct rmt_worker *w, uint64_t i)
{
    int hold;
    if (i == fatal) {
        message("no", 2, &hold);
        CHECK(rmt_worker_post(w, hold, RMT_RESULT_ERROR) == 0);
        kill(getpid(), SIGKILL);
    }
}

static void test_death(act_fn *act, uint64_t n, uint64_t chunk, uint64_t at, uint64_t deaths,
                       uint64_t errors)
{
    uint64_t before = blocks_in_use();
    struct outcome *o = fresh();
    struct rmt_handle pool = make_pool(1);
    fatal = at;
    uint64_t job = make(pool.offset, n, chunk, 16);
    pid_t victim = start(pool.offset, 0, act);
    CHECK(reap(victim) == -SIGKILL);
    CHECK(!rmt_job_finished(job));
    pid_t other = start(pool.offset, 1, NULL);
    finish(pool.offset, job, o);
    CHECK(o->deaths == deaths && o->errors == errors && o->squares == n - deaths - errors);
    CHECK(deaths == 0 || (o->last_dead == at && o->last_pid == victim));
    CHECK(rmt_load64(&rmt_pool_at(pool.offset)->returned) == 0);
    CHECK(rmt_load64(&rmt_pool_at(pool.offset)->departed) == 1);
    rmt_job_drop(self_of(), job);
    CHECK(rmt_pool_set_state(self_of(), pool.offset, RMT_POOL_ENDED) == 0);
    CHECK(reap(other) == 0);
    CHECK(ramet_arena_check(2) == 0);
    rmt_handle_close(self_of(), &pool);
    CHECK(blocks_in_use() == before);
}

/* A job that nobody waits for runs to its end and frees itself; one that is cancelled stops. */
static void test_dropped(void)
{
    uint64_t before = blocks_in_use();
    struct rmt_handle pool = make_pool(1);
    uint64_t job = make(pool.offset, 1000, 0, 64);
    rmt_job_drop(self_of(), job);
    job = make(pool.offset, 1000, 10, 64);
    CHECK(rmt_job_cancel(self_of(), job) == 0);
    CHECK(rmt_job_finished(job));
    rmt_job_drop(self_of(), job);
    pid_t pid = start(pool.offset, 0, NULL);
    CHECK(rmt_pool_set_state(self_of(), pool.offset, RMT_POOL_CLOSED) == 0);
    CHECK(reap(pid) == 0);
    CHECK(rmt_load64(&rmt_pool_at(pool.offset)->jobs) == 0);
    rmt_handle_close(self_of(), &pool);
    CHECK(blocks_in_use() == before);
}

/* Neither a range that a dead worker left of a dropped job nor a death between the two steps of a
 * drop keeps the job. */
static void test_dropped_and_left(void)
{
    uint64_t before = blocks_in_use();
    struct rmt_handle pool = make_pool(1);
    fatal = 5;
    uint64_t job = make(pool.offset, 1000, 100, 64);
    CHECK(reap(start(pool.offset, 0, die_begun)) == -SIGKILL);
    CHECK(rmt_load64(&rmt_pool_at(pool.offset)->returned) == 1);
    CHECK(rmt_job_cancel(self_of(), job) == 0);
    rmt_job_drop(self_of(), job);
    CHECK(rmt_load64(&rmt_pool_at(pool.offset)->jobs) == job);
    pid_t pid = start(pool.offset, 1, NULL);
    finish(pool.offset, job = make(pool.offset, 10, 0, 64), fresh());
    CHECK(rmt_load64(&rmt_pool_at(pool.offset)->jobs) == job);
    CHECK(rmt_load64(&rmt_job_at(job)->next_job) == 0);

    rmt_store64(&rmt_job_at(job)->flags, RMT_JOB_ABANDONED);
    pid_t next = start(pool.offset, 2, NULL);
    CHECK(rmt_pool_set_state(self_of(), pool.offset, RMT_POOL_CLOSED) == 0);
    CHECK(reap(pid) == 0 && reap(next) == 0);
    CHECK(rmt_load64(&rmt_pool_at(pool.offset)->jobs) == 0);
    rmt_handle_close(self_of(), &pool);
    CHECK(blocks_in_use() == before);
}

/* Inputs that come while others are worked on, in a table that is smaller than all of them. */
static void test_stream(void)
{
    uint64_t before = blocks_in_use();
    struct outcome *o = fresh();
    struct rmt_handle pool = make_pool(2);
    struct rmt_job_options options = {.chunk = 1, .batch = 4, .slots = 2, .item_size = 8};
    pid_t pid[2] = {start(pool.offset, 0, NULL), start(pool.offset, 1, NULL)};
    int hold, packet;
    uint64_t job, fed = 0, floor = 0;
    CHECK(rmt_job_make(self_of(), pool.offset, &options, &hold, &job) == 0);
    CHECK(rmt_job_submit(self_of(), job, hold) == 0);
    struct rmt_job *j = rmt_job_at(job);
    while (fed < 400) {
        uint64_t items[4] = {fed, fed + 1, fed + 2, fed + 3};
        message(items, sizeof(items), &packet);
        while (rmt_job_feed(self_of(), job, packet, 4, floor) == -EAGAIN) {
            rmt_store64(&j->want, o->squares + 1);
            CHECK(rmt_pool_wait(self_of(), pool.offset, &job, 1, 0, NULL, NULL) == 0);
            take(job, o);
            while (o->seen[floor])
                floor++;
        }
        fed += 4;
    }
    CHECK(!rmt_job_finished(job));
    CHECK(rmt_job_end(self_of(), job) == 0);
    finish(pool.offset, job, o);
    CHECK(o->squares == 400);
    rmt_job_drop(self_of(), job);
    while (rmt_load64(&rmt_pool_at(pool.offset)->joined[0]) != 3)
        usleep(1000); /* who is killed before it is a member is found at the next fork only */
    rmt_handle_close(self_of(), &pool); /* the workers have it open still */
    CHECK(kill(pid[0], SIGKILL) == 0 && kill(pid[1], SIGKILL) == 0);
    CHECK(reap(pid[0]) == -SIGKILL && reap(pid[1]) == -SIGKILL);
    CHECK(blocks_in_use() == before);
}

/* Workers leave when the process that made the pool dies. */
static void test_orphans(void)
{
    int fds[2];
    char byte;
    CHECK(pipe(fds) == 0);
    pid_t parent = fork();
    CHECK(parent >= 0);
    if (parent == 0) {
        struct rmt_handle pool = make_pool(2);
        start(pool.offset, 0, NULL);
        start(pool.offset, 1, NULL);
        close(fds[1]);
        kill(getpid(), SIGKILL);
    }
    close(fds[1]);
    CHECK(reap(parent) == -SIGKILL);
    CHECK(read(fds[0], &byte, 1) == 0); /* end of file: the last of them is gone */
    close(fds[0]);
}

int main(void)
{
    alarm(600);
    CHECK(ramet_join() == 0);
    struct rmt_handle first =
        make_pool(1); /* with it comes what the process keeps for its handles */
    rmt_handle_close(self_of(), &first);
    test_map(1, 0, 1, 1);
    test_map(7, 3, 2, 2);
    test_map(1000, 1, 64, 3);
    test_map(60000, 0, 4096, 4);
    test_map(5000, 100, 7, 2);
    test_death(die_begun, 100, 0, 0, 1, 0);
    test_death(die_begun, 100, 0, 57, 1, 0);
    test_death(die_begun, 100, 50, 49, 1, 0);
    test_death(die_begun, 100, 50, 75, 1, 0);
    test_death(die_begun, 100, 100, 98, 1, 0);
    test_death(die_before, 100, 100, 57, 0, 0);
    test_death(die_before, 100, 10, 50, 0, 0);
    test_death(die_posted, 100, 100, 33, 0, 1);
    test_death(die_posted, 100, 10, 39, 0, 1);
    test_dropped();
    test_dropped_and_left();
    test_stream();
    test_orphans();
    CHECK(ramet_sweep() >= 0);
    puts("ok");
    return 0;
}
