/* SPDX-License-Identifier: MIT
 *
 * stress_pool.c: several threads submit jobs to one pool and wait for them, several of each under
 * way at once, some cancelled.  (A process has no part in its parent's pool: as processes, each has
 * its own.)
 */
#include "stress.h"

#include <ramet/pool.h>

#include <errno.h>
#include <string.h>

enum { SUBMITTERS = 3, JOBS = 3, ITEMS = 400, ROUNDS = 40, POOL_WORKERS = 2 };

static ramet_pool *pool; /* that of all threads; NULL for processes */
static unsigned rounds;

/* Item times factor; multiples of 100 fail. */
static int multiply(const void *in, void *out, const void *arg, size_t arg_size)
{
    uint32_t number, factor;
    CHECK(arg_size == sizeof factor);
    memcpy(&number, in, sizeof number);
    memcpy(&factor, arg, sizeof factor);
    uint64_t product = (uint64_t)number * factor;
    memcpy(out, &product, sizeof product);
    return number % 100 == 0 ? 7 : 0;
}

static const ramet_pool_task pool_tasks[] = {{"multiply", multiply}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER};

struct submitted {
    ramet_job *job;
    uint32_t in[ITEMS], factor;
    uint64_t out[ITEMS];
};

static void submit(ramet_pool *to, struct submitted *s, uint32_t factor, size_t chunk)
{
    ramet_map_options options = {
        .size = sizeof options, .chunk = chunk, .arg = &factor, .arg_size = sizeof factor};
    s->factor = factor;
    for (uint32_t i = 0; i < ITEMS; i++) {
        s->in[i] = factor + i;
        s->out[i] = 0;
    }
    OK(ramet_pool_map(to, "multiply", s->in, sizeof s->in[0], ITEMS, s->out, sizeof s->out[0],
                      &options, &s->job));
}

static void collect(struct submitted *s)
{
    ramet_failure failures[ITEMS];
    long failed = OK(ramet_job_wait(s->job, NULL));
    CHECK(ramet_job_failures(s->job, failures, ITEMS) == failed);
    long expected = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        bool fails = s->in[i] % 100 == 0;
        if (fails)
            CHECK(failures[expected].item == i && failures[expected].result == 7);
        expected += fails;
        CHECK(s->out[i] == (fails ? 0 : (uint64_t)s->in[i] * s->factor));
    }
    CHECK(failed == expected);
    ramet_job_free(s->job);
}

static void give_up(struct submitted *s)
{
    OK(ramet_job_cancel(s->job));
    int r = ramet_job_wait(s->job, NULL);
    CHECK(r >= 0 || r == -ECANCELED);
    ramet_job_free(s->job);
}

static void use(ramet_pool *its, unsigned index)
{
    static __thread struct submitted jobs[JOBS];
    unsigned random = index;
    for (unsigned round = 0; round < rounds; round++) {
        for (uint32_t j = 0; j < JOBS; j++)
            submit(its, &jobs[j], index * 1000 + round * JOBS + j, stress_random(&random) % 20);
        for (int j = JOBS; j-- > 0;)
            stress_random(&random) % 8 == 0 ? give_up(&jobs[j]) : collect(&jobs[j]);
    }
}

static ramet_pool *open_pool(enum ramet_start_method method)
{
    ramet_pool_options options = {
        .size = sizeof options, .workers = POOL_WORKERS, .method = method};
    ramet_pool *made;
    OK(ramet_pool_create(&options, &made));
    return made;
}

static void close_pool(ramet_pool *which)
{
    OK(ramet_pool_close(which));
    OK(ramet_pool_join(which, NULL));
    OK(ramet_pool_free(which));
}

static void work(unsigned index)
{
    ramet_pool *its = pool ? pool : open_pool(RAMET_FORK);
    use(its, index);
    if (!pool)
        close_pool(its);
}

int main(int argc, char **argv)
{
    ramet_pool_tasks(pool_tasks, 1);
    OK(ramet_enter(argc, argv, tasks, 1));
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    close_pool(open_pool(RAMET_FORK)); /* tables that stay are made with the first */
    uint64_t blocks = stress_blocks();
    if (stress_threads)
        pool = open_pool(RAMET_FORK);
    stress_run(SUBMITTERS, work);
    if (pool)
        close_pool(pool);
    stress_end(blocks);
    return 0;
}
