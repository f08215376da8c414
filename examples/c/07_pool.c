/* SPDX-License-Identifier: MIT
 *
 * 07_pool.c: four worker processes apply a function to many items.
 *
 *     07_pool [fork|spawn|forkserver]
 *
 * The pool chooses how many items a worker takes at a time; `chunk` says it by hand.
 */
#include "example.h"

static int square(const void *in, void *out, const void *arg, size_t arg_size)
{
    (void)arg;
    (void)arg_size;
    long number;
    memcpy(&number, in, sizeof number);
    number *= number;
    memcpy(out, &number, sizeof number);
    return 0;
}

static const ramet_pool_task pool_tasks[] = {{"square", square}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER};

static void map(ramet_pool *pool, const long *in, size_t count, long *out,
                const ramet_map_options *options)
{
    ramet_job *job;
    MUST(ramet_pool_map(pool, "square", in, sizeof *in, count, out, sizeof *out, options, &job));
    long failed = MUST(ramet_job_wait(job, NULL));
    ramet_job_free(job);
    if (failed > 0) {
        fprintf(stderr, "%ld items failed\n", failed);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    ramet_pool_tasks(pool_tasks, 1);
    MUST(ramet_enter(argc, argv, tasks, 1));
    ramet_pool_options options = {
        .size = sizeof options, .workers = 4, .method = method_of(argc, argv)};
    ramet_pool *pool;
    MUST(ramet_pool_create(&options, &pool));

    long in[1000], out[1000], sum = 0;
    for (long i = 0; i < 1000; i++)
        in[i] = i;
    map(pool, in, 10, out, NULL);
    for (int i = 0; i < 10; i++)
        printf("%ld%s", out[i], i < 9 ? ", " : "\n");

    ramet_map_options by_hand = {.size = sizeof by_hand, .chunk = 5};
    map(pool, in, 1000, out, &by_hand);
    for (int i = 0; i < 1000; i++)
        sum += out[i];
    printf("the sum of 1000 squares is %ld\n", sum);

    MUST(ramet_pool_close(pool));
    MUST(ramet_pool_join(pool, NULL));
    MUST(ramet_pool_free(pool));
    return sum == 332833500 ? 0 : 1;
}
