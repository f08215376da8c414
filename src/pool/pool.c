/* SPDX-License-Identifier: MIT
 *
 * pool.c: the C pool as its maker has it: processes that are started and replaced.
 */
#include "pool/pool.h"
#include "pool/work.h"

#include "base/os.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

/* Between two looks at whether a worker has died. */
#define LOOK_NS 50000000

/* ---- workers */

static int start_worker(ramet_pool *pool, struct rmt_pool_worker *w)
{
    struct rmt_worker_arg arg = {rmt_handle_ref(&pool->shared), pool->numbers++};
    ramet_process_options options = {
        .size = sizeof(options),
        .method = pool->method,
        .task = RAMET_POOL_WORKER_NAME,
        .arg = &arg,
        .arg_size = sizeof(arg),
        .refs = &arg.pool,
        .ref_count = 1,
        .daemon = 1,
    };
    uint64_t bit = 1ull << (arg.number % 64);
    rmt_and64(&rmt_pool_shared(pool)->joined[arg.number % RMT_JOINED_BITS / 64], ~bit);
    w->number = arg.number;
    return ramet_process_start(&options, &w->process);
}

static void note_end(ramet_pool *pool, struct rmt_pool_worker *w, int code)
{
    uint64_t word = rmt_load64(&rmt_pool_shared(pool)->joined[w->number % RMT_JOINED_BITS / 64]);
    pool->exits[pool->exit_count % RMT_POOL_EXITS].pid = ramet_process_pid(w->process);
    pool->exits[pool->exit_count % RMT_POOL_EXITS].code = code;
    pool->exit_count++;
    (void)ramet_process_close(w->process);
    w->process = NULL;
    if (word & 1ull << (w->number % 64)) {
        pool->failed_starts = 0;
    } else if (code != 0 && pool->state != RMT_POOL_ENDED) {
        /* Who kills workers from outside is granted more of them. */
        unsigned patience = code == -SIGKILL || code == -SIGTERM ? 64 : 2;
        pool->failed_starts++;
        if (pool->failed_starts >= (pool->size > patience ? pool->size : patience))
            rmt_store64(&pool->broken, 1);
    }
}

/* Under the mutex: notes which workers have ended; returns how many are there. */
static unsigned collect_workers(ramet_pool *pool)
{
    const ramet_wait no_wait = {.size = sizeof(no_wait), .deadline = 0};
    unsigned there = 0;
    rmt_store64(&pool->departed, rmt_load64(&rmt_pool_shared(pool)->departed));
    for (unsigned i = 0; i < pool->size; i++) {
        struct rmt_pool_worker *w = &pool->worker[i];
        int code;
        if (w->process && ramet_process_join(w->process, &no_wait, &code) == 0)
            note_end(pool, w, code);
        there += w->process != NULL;
    }
    return there;
}

int rmt_pool_maintain(ramet_pool *pool, struct rmt_self *self)
{
    int r = 0;
    pthread_mutex_lock(&pool->mutex);
    unsigned there = collect_workers(pool);
    bool needed = pool->state == RMT_POOL_OPEN;
    if (pool->state == RMT_POOL_CLOSED)
        needed = rmt_pool_idle(self, pool->shared.offset) == 0;
    for (unsigned i = 0; r == 0 && needed && i < pool->size; i++) {
        if (rmt_load64(&pool->broken) != 0) {
            r = -EPIPE;
        } else if (!pool->worker[i].process) {
            r = start_worker(pool, &pool->worker[i]);
            there += r == 0;
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    return r < 0 ? r : (int)there;
}

/* Whatever stands in the way: a worker that was not waited for would outlive the pool. */
static void await_end(ramet_process *process, int *ret_code)
{
    int r;
    do {
        r = ramet_process_join(process, NULL, ret_code);
    } while (r == -EINTR || r == -ENOMEM);
}

int rmt_pool_exit_code(ramet_pool *pool, struct rmt_self *self, pid_t pid)
{
    int code = 0;
    const rmt_a64 *cancel = rmt_cancel_mask(self);
    pthread_mutex_lock(&pool->mutex);
    for (unsigned i = 0; i < pool->size; i++) {
        struct rmt_pool_worker *w = &pool->worker[i];
        if (w->process && ramet_process_pid(w->process) == pid)
            await_end(w->process, &code); /* it is proven dead: this does not block */
    }
    (void)collect_workers(pool);
    for (uint64_t i = 0; i < RMT_POOL_EXITS && i < pool->exit_count; i++)
        if (pool->exits[i].pid == pid)
            code = pool->exits[i].code;
    pthread_mutex_unlock(&pool->mutex);
    rmt_cancel_unmask(self, cancel);
    return code;
}

/* ---- the pool */

int ramet_pool_create(const ramet_pool_options *options, ramet_pool **ret_pool)
{
    if (!options || options->size != sizeof(*options) || options->method < RAMET_FORK ||
        options->method > RAMET_FORKSERVER || options->workers > 4096)
        return -EINVAL;
    unsigned size = options->workers ? options->workers : rmt_os_cpus();
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    ramet_pool *pool = calloc(1, sizeof(*pool) + size * sizeof(struct rmt_pool_worker));
    if (!pool)
        return -ENOMEM;
    pool->owner = rmt_word_process(self->word);
    pool->size = size;
    pool->method = options->method;
    pthread_mutex_init(&pool->mutex, NULL);
    r = rmt_pool_make(self, size, &pool->shared);
    for (unsigned i = 0; r == 0 && i < size; i++)
        r = start_worker(pool, &pool->worker[i]);
    if (r < 0) {
        if (pool->shared.offset != 0)
            (void)ramet_pool_free(pool);
        else
            free(pool);
        return r;
    }
    *ret_pool = pool;
    return 0;
}

static int set_state(ramet_pool *pool, struct rmt_self *self, enum rmt_pool_state state)
{
    pthread_mutex_lock(&pool->mutex);
    if (pool->state < state)
        pool->state = state;
    int r = rmt_pool_set_state(self, pool->shared.offset, state);
    pthread_mutex_unlock(&pool->mutex);
    rmt_pool_notify(self, pool->shared.offset);
    return r;
}

enum rmt_pool_state rmt_pool_state_of(ramet_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    enum rmt_pool_state state = pool->state;
    pthread_mutex_unlock(&pool->mutex);
    return state;
}

int ramet_pool_close(ramet_pool *pool)
{
    struct rmt_self *self;
    int r = rmt_pool_self(pool, &self);
    return r < 0 ? r : set_state(pool, self, RMT_POOL_CLOSED);
}

int ramet_pool_terminate(ramet_pool *pool)
{
    struct rmt_self *self;
    int r = rmt_pool_self(pool, &self);
    if (r == 0)
        r = set_state(pool, self, RMT_POOL_ENDED);
    if (r < 0)
        return r;
    const rmt_a64 *cancel = rmt_cancel_mask(self);
    pthread_mutex_lock(&pool->mutex);
    for (unsigned i = 0; i < pool->size; i++)
        if (pool->worker[i].process)
            (void)ramet_process_terminate(pool->worker[i].process);
    for (unsigned i = 0; i < pool->size; i++) {
        if (pool->worker[i].process)
            await_end(pool->worker[i].process, NULL);
    }
    (void)collect_workers(pool);
    pthread_mutex_unlock(&pool->mutex);
    rmt_cancel_unmask(self, cancel);
    rmt_pool_notify(self, pool->shared.offset);
    return 0;
}

int rmt_pool_sleep(ramet_pool *pool, struct rmt_self *self, const uint64_t *job, uint32_t seen,
                   int64_t deadline)
{
    int64_t slice = rmt_os_now() + LOOK_NS;
    ramet_wait wait = {.size = sizeof(wait), .deadline = slice < deadline ? slice : deadline};
    int r = rmt_pool_wait(self, pool->shared.offset, job, job ? 1 : 0, rmt_load64(&pool->departed),
                          &seen, &wait);
    if (r == -ETIMEDOUT && rmt_os_now() < deadline)
        r = 0;
    return r;
}

int rmt_pool_deadline(const ramet_wait *wait, int64_t *ret_deadline)
{
    if (wait && wait->size != sizeof(*wait))
        return -EINVAL;
    *ret_deadline = wait ? wait->deadline : RAMET_FOREVER;
    return 0;
}

int ramet_pool_join(ramet_pool *pool, const ramet_wait *wait)
{
    struct rmt_self *self;
    int64_t deadline;
    int r = rmt_pool_self(pool, &self);
    if (r == 0)
        r = rmt_pool_deadline(wait, &deadline);
    if (r == 0 && rmt_pool_state_of(pool) == RMT_POOL_OPEN)
        r = -EBUSY;
    while (r == 0) {
        uint32_t seen = rmt_load32(&rmt_pool_shared(pool)->event);
        r = rmt_pool_maintain(pool, self);
        if (r <= 0)
            break;
        r = rmt_pool_sleep(pool, self, NULL, seen, deadline);
    }
    return r;
}

int ramet_pool_free(ramet_pool *pool)
{
    struct rmt_self *self;
    int r = rmt_pool_self(pool, &self);
    if (r == 0) {
        if (rmt_load64(&pool->jobs) != 0)
            return -EBUSY;
        r = ramet_pool_terminate(pool);
        rmt_handle_close(self, &pool->shared);
    }
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
    return r == -ECHILD ? 0 : r;
}
