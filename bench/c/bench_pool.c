/* SPDX-License-Identifier: MIT
 *
 * bench_pool.c: tasks that do nothing, on each int of an array: what a pool of two workers adds.
 * Beside it two forked processes that call the same function on half of the array each, knowing
 * beforehand which half, and copy the results.
 */
#include "bench.h"
#include <ramet/pool.h>

#define ITEMS_MAX 100000000ull

static int nothing(const void *in, void *out, const void *arg, size_t arg_size)
{
    (void)in;
    (void)out;
    (void)arg;
    (void)arg_size;
    return 0;
}

static int same(const void *in, void *out, const void *arg, size_t arg_size)
{
    (void)arg;
    (void)arg_size;
    *(int *)out = *(const int *)in;
    return 0;
}

static const ramet_pool_task pool_tasks[] = {{"nothing", nothing}, {"same", same}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER};

static ramet_pool *pool; /* one for all rounds: its workers are warm */

static void ready(void)
{
    ramet_pool_options options = {.size = sizeof options, .workers = 2, .method = RAMET_FORK};
    if (!pool)
        MUST(ramet_pool_create(&options, &pool));
}

static int64_t map(const char *task, size_t out_size, uint64_t count)
{
    ramet_job *job;
    int *in = calloc(count, sizeof *in), *out = calloc(count, sizeof *out);
    if (!in || !out || count > ITEMS_MAX)
        bench_fail(__FILE__, __LINE__, "the array");
    for (uint64_t i = 0; i < count; i++)
        out[i] = in[i] = (int)i;
    ready();
    int64_t start = bench_now();
    MUST(ramet_pool_map(pool, task, in, sizeof *in, count, out, out_size, NULL, &job));
    int failed = ramet_job_wait(job, NULL);
    int64_t ns = bench_now() - start;
    if (failed != 0 || memcmp(in, out, count * sizeof *in) != 0)
        bench_fail(__FILE__, __LINE__, "the results");
    ramet_job_free(job);
    free(in);
    free(out);
    return ns;
}

static int64_t map_nothing(uint64_t count)
{
    return map("nothing", 0, count);
}

static int64_t map_same(uint64_t count)
{
    return map("same", sizeof(int), count);
}

static int *shared_in, *shared_out;
static uint64_t total;
static ramet_pool_fn *volatile function; /* called through a pointer, as the pool has to */

static void half(unsigned index)
{
    for (uint64_t i = index * total / 2; i < (index + 1) * total / 2; i++)
        if (function(&shared_in[i], &shared_out[i], NULL, 0) != 0)
            exit(1);
}

static int64_t bare(uint64_t count)
{
    size_t size = count * sizeof(int);
    shared_in = bench_shared(size);
    shared_out = bench_shared(size);
    total = count;
    function = same;
    int64_t ns = bench_together(2, half);
    bench_unshare(shared_in, size);
    bench_unshare(shared_out, size);
    return ns;
}

static const struct bench_case cases[] = {
    {.name = "pool, no-op tasks on ints, 2 workers",
     .count = 1000000,
     .subject = {{.name = "ramet", .run = map_nothing},
                 {.name = "30 ns", .most = 1, .ns = 30},
                 {.name = "bare loops in 2 processes", .run = bare},
                 {.name = "ramet, each int a result", .run = map_same}}},
};

int main(int argc, char **argv)
{
    ramet_pool_tasks(pool_tasks, sizeof pool_tasks / sizeof *pool_tasks);
    MUST(ramet_enter(argc, argv, tasks, 1));
    int r = bench_main(argc, argv, cases, sizeof cases / sizeof *cases);
    if (pool)
        MUST(ramet_pool_free(pool));
    return r;
}
