/* SPDX-License-Identifier: MIT
 *
 * fault_pool.c: making a pool, submitting to it, replacing a worker that died: while each call
 * fails in turn, in the parent and in the workers.
 */
#include "fault_calls.h"
#include "fault_run.h"

#include <pthread.h>
#include <ramet/ramet.h>

#define ITEMS 20
#define DEADLY 13 /* the item at which a worker dies, in a job that says so */

/* What no call gives: that items failed. */
#define ITEMS_FAILED (-EPERM)

static int twice(const void *in, void *out, const void *arg, size_t arg_size)
{
    int value;
    (void)arg;
    memcpy(&value, in, sizeof value);
    if (arg_size > 0 && value == DEADLY)
        raise(SIGKILL);
    value *= 2;
    memcpy(out, &value, sizeof value);
    return 0;
}

static const ramet_pool_task functions[] = {{"twice", twice}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER};

static void die(void *unused)
{
    (void)unused;
    OK(ramet_join());
    raise(SIGKILL);
}

static void prepare(void)
{
    OK(ramet_join());
    CHECK(finish(child(die, NULL)) == -SIGKILL);
    CHECK(ramet_sweep() == 1); /* now there is a cache of pidfds, once and for all */
}

static int work(ramet_pool *pool, bool deadly)
{
    const ramet_map_options options = {
        .size = sizeof options, .chunk = 5, .arg = "x", .arg_size = deadly};
    int in[ITEMS], out[ITEMS];
    ramet_job *job;
    for (int i = 0; i < ITEMS; i++)
        in[i] = i;
    int r = ramet_pool_map(pool, "twice", in, sizeof *in, ITEMS, out, sizeof *out, &options, &job);
    if (r < 0)
        return r;
    r = ramet_job_wait(job, NULL);
    ramet_failure failure;
    if (r == 1 && deadly && ramet_job_failures(job, &failure, 1) == 1 && failure.item == DEADLY)
        r = 0;
    for (int i = 0; i < ITEMS && r == 0; i++)
        CHECK(out[i] == 2 * i || (deadly && i == DEADLY));
    ramet_job_free(job);
    return r > 0 ? ITEMS_FAILED : r;
}

static int whole_pool(enum ramet_start_method method, bool deadly)
{
    const ramet_pool_options options = {.size = sizeof options, .workers = 2, .method = method};
    ramet_pool *pool;
    int r = ramet_pool_create(&options, &pool);
    if (r < 0)
        return r;
    r = work(pool, deadly);
    OK(ramet_pool_free(pool));
    return r;
}

static int by_fork(void)
{
    return whole_pool(RAMET_FORK, false);
}
static int by_spawn(void)
{
    return whole_pool(RAMET_SPAWN, false);
}
static int by_server(void)
{
    return whole_pool(RAMET_FORKSERVER, false);
}
static int with_a_death(void)
{
    return whole_pool(RAMET_FORK, true);
}

static const struct operation operations[] = {
    {"a pool by fork", prepare, by_fork, NULL, {0}, NULL},
    {"a pool by spawn", prepare, by_spawn, NULL, {0}, NULL},
    {"a pool by forkserver", prepare, by_server, NULL, {0}, NULL},
    {"a worker that dies is replaced", prepare, with_a_death, NULL, {0}, NULL},
    {"a worker, forked", prepare, by_fork, NULL, {ITEMS_FAILED, -EPIPE}, "forked"},
};

static void in_child(void)
{
    fault_start("forked");
}

int main(int argc, char **argv)
{
    CHECK(pthread_atfork(NULL, NULL, in_child) == 0);
    ramet_pool_tasks(functions, sizeof functions / sizeof *functions);
    OK(ramet_enter(argc, argv, tasks, sizeof tasks / sizeof *tasks));
    FAIL_EACH_CALL(operations);
    return 0;
}
