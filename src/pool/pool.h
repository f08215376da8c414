/* SPDX-License-Identifier: MIT
 *
 * pool.h: the C pool as its maker has it.  Process-local; what is shared is in job.h.
 */
#ifndef RMT_POOL_H
#define RMT_POOL_H

#include "pool/job.h"

#include <errno.h>
#include <pthread.h>
#include <ramet/pool.h>

#define RMT_POOL_EXITS 256

struct rmt_pool_worker {
    ramet_process *process; /* NULL: none */
    uint64_t number;
};

struct ramet_pool {
    uint64_t owner; /* process */
    struct rmt_handle shared;
    unsigned size;
    enum ramet_start_method method;
    rmt_a64 jobs;          /* handles that are not freed */
    rmt_a64 departed;      /* as of the last look at the workers */
    rmt_a64 broken;        /* workers cannot be started */
    pthread_mutex_t mutex; /* of all below; processes are started and collected under it */
    enum rmt_pool_state state;
    uint64_t numbers;       /* of the next worker */
    unsigned failed_starts; /* in a row */
    struct {
        pid_t pid;
        int code;
    } exits[RMT_POOL_EXITS]; /* of the workers that ended last */
    uint64_t exit_count;
    struct rmt_pool_worker worker[];
};

/* The calling thread, if this process made the pool. */
static inline int rmt_pool_self(const ramet_pool *pool, struct rmt_self **ret_self)
{
    int r = rmt_self(ret_self);
    if (r == 0 && rmt_word_process((*ret_self)->word) != pool->owner)
        r = -ECHILD;
    return r;
}

static inline struct rmt_pool *rmt_pool_shared(const ramet_pool *pool)
{
    return rmt_pool_at(pool->shared.offset);
}

/* Starts as many workers as there should be.  Returns how many there are, or why one did not start.
 */
int rmt_pool_maintain(ramet_pool *pool, struct rmt_self *self);
/* The exit code of a worker that has died. */
int rmt_pool_exit_code(ramet_pool *pool, struct rmt_self *self, pid_t pid);
enum rmt_pool_state rmt_pool_state_of(ramet_pool *pool);
/* Sleeps until something of the pool may have changed, or the deadline: 0, -ETIMEDOUT, -EINTR. */
int rmt_pool_sleep(ramet_pool *pool, struct rmt_self *self, const uint64_t *job, uint32_t seen,
                   int64_t deadline);
int rmt_pool_deadline(const ramet_wait *wait, int64_t *ret_deadline);

#endif
