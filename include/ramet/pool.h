/* SPDX-License-Identifier: MIT
 *
 * ramet/pool.h: processes that apply a function to many items.
 *
 *     static int square(const void *in, void *out, const void *arg, size_t arg_size)
 *     {
 *         *(double *)out = *(const double *)in * *(const double *)in;
 *         return 0;
 *     }
 *     static const ramet_pool_task pool_tasks[] = {{"square", square}};
 *     static const ramet_task tasks[] = {RAMET_POOL_WORKER};
 *
 *     int main(int argc, char **argv)
 *     {
 *         ramet_pool_tasks(pool_tasks, 1);
 *         ramet_enter(argc, argv, tasks, 1);
 *         ramet_pool_create(&(ramet_pool_options){.size = sizeof(ramet_pool_options), .workers = 4,
 *                                                 .method = RAMET_SPAWN}, &pool);
 *         ramet_pool_map(pool, "square", in, sizeof(double), n, out, sizeof(double), NULL, &job);
 *         ramet_job_wait(job, NULL);
 *
 * Threads: all calls may be made by any thread; calls on one pool or job may run at the same time,
 * but for ramet_pool_free and ramet_job_free, which come last.  No call starts a thread: the
 * workers are looked after (dead ones are replaced) by whoever waits for a job or for the pool.
 * Fork: a forked child has no part in its parent's pools: its inherited handles answer -ECHILD.
 * If a worker dies: the item that it was working on fails, and nothing else; see
 * ramet_job_failures. If the process that made the pool dies: the workers end.
 *
 * Errors, of all calls that take part in the arena: -ENOMEM; -ENOSPC: the thread holds too much
 * (about 20 things, such as items of a queue that it has not released); -ENOTRECOVERABLE: the arena
 * was found damaged.  Of those that wait also -EINVAL for a wait of an unknown size.  Workers are
 * started by ramet_pool_create and by those who wait: errors of ramet_process_start.
 */
#ifndef RAMET_POOL_H
#define RAMET_POOL_H

#include <ramet/process.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Runs in a worker, once per item.  `in`: the item; `out`: where its result goes, not cleared;
 * `arg`: the bytes given to ramet_pool_map.  All are aligned for any type if sizes are those of
 * types.  Returns 0, or a non-zero number, by which the item fails. */
typedef int ramet_pool_fn(const void *in, void *out, const void *arg, size_t arg_size);

typedef struct ramet_pool_task {
    const char *name; /* unique in the table, at most 63 bytes */
    ramet_pool_fn *run;
} ramet_pool_task;

/* Sets the table of functions.  Call it before ramet_enter; `tasks` must outlive the process. */
RAMET_API void ramet_pool_tasks(const ramet_pool_task *tasks, size_t count);

/* What a worker process runs: an entry for the table of ramet_enter. */
RAMET_API int ramet_pool_worker(const void *arg, size_t size);
#define RAMET_POOL_WORKER_NAME "ramet-pool-worker"
#define RAMET_POOL_WORKER {RAMET_POOL_WORKER_NAME, ramet_pool_worker}

typedef struct ramet_pool_options {
    size_t size;      /* sizeof(ramet_pool_options) */
    unsigned workers; /* 0: as many as this process may use processors.  At most 4096 */
    enum ramet_start_method method;
} ramet_pool_options;

typedef struct ramet_map_options {
    size_t size;     /* sizeof(ramet_map_options) */
    size_t chunk;    /* items that a worker takes at a time; 0: as the pool sees fit */
    const void *arg; /* for every call; copied */
    size_t arg_size;
} ramet_map_options;

typedef struct ramet_pool ramet_pool;
typedef struct ramet_job ramet_job;

/* Makes a pool and starts its workers.  -EINVAL (a method that does not exist, RAMET_POOL_WORKER is
 * not in the table, too many workers), -ENOMEM, -EAGAIN, -EMFILE, ... */
RAMET_API int ramet_pool_create(const ramet_pool_options *options, ramet_pool **ret_pool);

/* Submits `count` items of `in_size` bytes each, which are copied; results of `out_size` bytes each
 * are put into `out` by the threads that wait for the job, in the order of the items.  What failed
 * leaves its place in `out` as it was.  Sizes may be 0.  Returns at once.  options may be NULL.
 * -EINVAL (unknown task, more than INT32_MAX items), -ESHUTDOWN (the pool was closed), -EPIPE (see
 * ramet_job_wait), -ECHILD, -ENOMEM. */
RAMET_API int ramet_pool_map(ramet_pool *pool, const char *task, const void *in, size_t in_size,
                             size_t count, void *out, size_t out_size,
                             const ramet_map_options *options, ramet_job **ret_job);

/* Waits until every item has its result or has failed: the number of those that failed.
 * -ETIMEDOUT, -EINTR; -ECANCELED: the pool was terminated, or the job was cancelled; -EPIPE:
 * workers cannot be started: as many in a row as the pool has, but at least 2, ended with a failure
 * before they took any work (at least 64 where that was SIGKILL or SIGTERM). */
RAMET_API int ramet_job_wait(ramet_job *job, const ramet_wait *wait);

typedef struct ramet_failure {
    size_t item;
    int result; /* what the function returned; 0 if its worker died */
    pid_t pid;  /* of the worker that died; 0 if the function returned */
    int code;   /* its exit code, or minus the number of the signal that killed it */
} ramet_failure;

/* The failures so far, sorted by item: puts up to `room` of them into `failures` and returns how
 * many there are. */
RAMET_API int ramet_job_failures(ramet_job *job, ramet_failure *failures, size_t room);

/* Has no more of its items begun.  0 also if it is finished. */
RAMET_API int ramet_job_cancel(ramet_job *job);

/* Frees the handle; what was submitted is worked on all the same, unless it was cancelled. */
RAMET_API void ramet_job_free(ramet_job *job);

/* Takes no more jobs; the workers leave when those that there are have been finished. */
RAMET_API int ramet_pool_close(ramet_pool *pool);

/* Waits until every worker has left.  -EBUSY if the pool was neither closed nor terminated;
 * -ETIMEDOUT, -EINTR, -EPIPE. */
RAMET_API int ramet_pool_join(ramet_pool *pool, const ramet_wait *wait);

/* Ends the workers with SIGTERM, whatever they do, and waits for their end. */
RAMET_API int ramet_pool_terminate(ramet_pool *pool);

/* Terminates the pool, unless it was joined, and frees it.  -EBUSY if a job of it is not freed. */
RAMET_API int ramet_pool_free(ramet_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
