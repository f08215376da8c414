/* SPDX-License-Identifier: MIT
 *
 * pool.c: the C pool as its maker has it: processes that are started and replaced, jobs that are
 * submitted and waited for.  Process-local; what is shared is in job.h.
 */
#include "channel/message.h"
#include "pool/job.h"
#include "pool/work.h"

#include "base/os.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Between two looks at whether a worker has died. */
#define LOOK_NS 50000000
#define PACKET_BYTES 65536
#define EXITS 256

struct worker {
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
    } exits[EXITS]; /* of the workers that ended last */
    uint64_t exit_count;
    struct worker worker[];
};

struct ramet_job {
    ramet_pool *pool;
    uint64_t job;
    uint8_t *out;
    size_t out_size;
    uint64_t count;
    rmt_a64 cancelled;
    pthread_mutex_t mutex; /* of all below */
    uint64_t taken;
    ramet_failure *failures;
    size_t failed, room;
};

/* The calling thread, if this process made the pool. */
static int self_of(const ramet_pool *pool, struct rmt_self **ret_self)
{
    int r = rmt_self(ret_self);
    if (r == 0 && rmt_word_process((*ret_self)->word) != pool->owner)
        r = -ECHILD;
    return r;
}

static struct rmt_pool *shared_of(const ramet_pool *pool)
{
    return rmt_pool_at(pool->shared.offset);
}

/* ---- workers */

static int start_worker(ramet_pool *pool, struct worker *w)
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
    rmt_and64(&shared_of(pool)->joined[arg.number % RMT_JOINED_BITS / 64], ~bit);
    w->number = arg.number;
    return ramet_process_start(&options, &w->process);
}

static void note_end(ramet_pool *pool, struct worker *w, int code)
{
    uint64_t word = rmt_load64(&shared_of(pool)->joined[w->number % RMT_JOINED_BITS / 64]);
    pool->exits[pool->exit_count % EXITS].pid = ramet_process_pid(w->process);
    pool->exits[pool->exit_count % EXITS].code = code;
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
    rmt_store64(&pool->departed, rmt_load64(&shared_of(pool)->departed));
    for (unsigned i = 0; i < pool->size; i++) {
        struct worker *w = &pool->worker[i];
        int code;
        if (w->process && ramet_process_join(w->process, &no_wait, &code) == 0)
            note_end(pool, w, code);
        there += w->process != NULL;
    }
    return there;
}

/* Starts as many workers as there should be.  Returns how many there are, or why one did not start.
 */
static int maintain(ramet_pool *pool, struct rmt_self *self)
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

/* The exit code of a worker that has died. */
static int exit_code(ramet_pool *pool, struct rmt_self *self, pid_t pid)
{
    int code = 0;
    const rmt_a64 *cancel = rmt_cancel_mask(self);
    pthread_mutex_lock(&pool->mutex);
    for (unsigned i = 0; i < pool->size; i++) {
        struct worker *w = &pool->worker[i];
        if (w->process && ramet_process_pid(w->process) == pid)
            await_end(w->process, &code); /* it is proven dead: this does not block */
    }
    (void)collect_workers(pool);
    for (uint64_t i = 0; i < EXITS && i < pool->exit_count; i++)
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
    ramet_pool *pool = calloc(1, sizeof(*pool) + size * sizeof(struct worker));
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

static enum rmt_pool_state state_of(ramet_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    enum rmt_pool_state state = pool->state;
    pthread_mutex_unlock(&pool->mutex);
    return state;
}

int ramet_pool_close(ramet_pool *pool)
{
    struct rmt_self *self;
    int r = self_of(pool, &self);
    return r < 0 ? r : set_state(pool, self, RMT_POOL_CLOSED);
}

int ramet_pool_terminate(ramet_pool *pool)
{
    struct rmt_self *self;
    int r = self_of(pool, &self);
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

/* Sleeps until something of the pool may have changed, or the deadline: 0, -ETIMEDOUT, -EINTR. */
static int sleep_a_while(ramet_pool *pool, struct rmt_self *self, const uint64_t *job,
                         uint32_t seen, int64_t deadline)
{
    int64_t slice = rmt_os_now() + LOOK_NS;
    ramet_wait wait = {.size = sizeof(wait), .deadline = slice < deadline ? slice : deadline};
    int r = rmt_pool_wait(self, pool->shared.offset, job, job ? 1 : 0, rmt_load64(&pool->departed),
                          &seen, &wait);
    if (r == -ETIMEDOUT && rmt_os_now() < deadline)
        r = 0;
    return r;
}

static int deadline_of(const ramet_wait *wait, int64_t *ret_deadline)
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
    int r = self_of(pool, &self);
    if (r == 0)
        r = deadline_of(wait, &deadline);
    if (r == 0 && state_of(pool) == RMT_POOL_OPEN)
        r = -EBUSY;
    while (r == 0) {
        uint32_t seen = rmt_load32(&shared_of(pool)->event);
        r = maintain(pool, self);
        if (r <= 0)
            break;
        r = sleep_a_while(pool, self, NULL, seen, deadline);
    }
    return r;
}

int ramet_pool_free(ramet_pool *pool)
{
    struct rmt_self *self;
    int r = self_of(pool, &self);
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

/* ---- jobs */

static int make_function(struct rmt_self *self, const char *task, const ramet_map_options *options,
                         int *ret_hold)
{
    struct rmt_call call = {.name = {0}};
    struct iovec segments[2] = {{&call, sizeof(call)}, {NULL, 0}};
    uint64_t offset;
    memcpy(call.name, task, strlen(task)); /* a name in the table is shorter */
    if (options && options->arg_size > 0) {
        segments[1].iov_base = (void *)(uintptr_t)options->arg;
        segments[1].iov_len = options->arg_size;
    }
    return rmt_message_build(self, segments, segments[1].iov_len ? 2 : 1, NULL, 0, ret_hold,
                             &offset);
}

static int feed(struct rmt_self *self, uint64_t job, const uint8_t *in, uint64_t count)
{
    const struct rmt_job *j = rmt_job_at(job);
    int r = 0;
    for (uint64_t first = 0; r == 0 && first < count; first += j->batch) {
        uint64_t n = count - first < j->batch ? count - first : j->batch, offset;
        struct iovec segment = {(void *)(uintptr_t)(in + first * j->item_size), n * j->item_size};
        int hold;
        r = rmt_message_build(self, &segment, 1, NULL, 0, &hold, &offset);
        if (r == 0) {
            r = rmt_job_feed(self, job, hold, n, 0);
            if (r < 0)
                rmt_block_free(self, hold);
        }
    }
    return r == 0 ? rmt_job_end(self, job) : r;
}

static int submit(ramet_job *handle, struct rmt_self *self, const char *task, const uint8_t *in,
                  size_t in_size, const ramet_map_options *options)
{
    uint64_t batch = in_size == 0 ? 1 : PACKET_BYTES / in_size + 1;
    struct rmt_job_options shape = {
        .chunk = options ? options->chunk : 0,
        .batch = batch,
        .slots = in_size == 0 ? 1 : (handle->count + batch - 1) / batch,
        .item_size = in_size,
        .result_size = handle->out_size,
        .expected = handle->count,
        .given = in_size == 0 ? handle->count : 0,
    };
    uint64_t job;
    int function, hold;
    int r = make_function(self, task, options, &function);
    if (r < 0)
        return r;
    r = rmt_job_make(self, handle->pool->shared.offset, &shape, &hold, &job);
    if (r < 0) {
        rmt_block_free(self, function);
        return r;
    }
    r = rmt_job_set_function(self, job, function);
    if (r < 0)
        rmt_block_free(self, function);
    else
        r = rmt_job_submit(self, job, hold);
    if (r < 0) {
        rmt_block_free(self, hold);
        return r;
    }
    handle->job = job;
    if (in_size != 0)
        r = feed(self, job, in, handle->count);
    if (r < 0) {
        (void)rmt_job_cancel(self, job);
        rmt_job_drop(self, job);
    }
    return r;
}

int ramet_pool_map(ramet_pool *pool, const char *task, const void *in, size_t in_size, size_t count,
                   void *out, size_t out_size, const ramet_map_options *options,
                   ramet_job **ret_job)
{
    struct rmt_self *self;
    int r = self_of(pool, &self);
    if (r < 0)
        return r;
    if (!rmt_pool_function(task) || strlen(task) > 63 || (in_size > 0 && count > 0 && !in) ||
        (out_size > 0 && count > 0 && !out) || count > INT32_MAX ||
        (options && (options->size != sizeof(*options) || (options->arg_size && !options->arg))))
        return -EINVAL;
    if (state_of(pool) != RMT_POOL_OPEN)
        return -ESHUTDOWN;
    if (rmt_load64(&pool->broken) != 0)
        return -EPIPE;
    ramet_job *handle = calloc(1, sizeof(*handle));
    if (!handle)
        return -ENOMEM;
    handle->pool = pool;
    handle->out = out;
    handle->out_size = out_size;
    handle->count = count;
    pthread_mutex_init(&handle->mutex, NULL);
    if (count > 0)
        r = submit(handle, self, task, in, in_size, options);
    if (r < 0) {
        pthread_mutex_destroy(&handle->mutex);
        free(handle);
        return r;
    }
    rmt_add64(&pool->jobs, 1);
    *ret_job = handle;
    return 0;
}

static int add_failure(ramet_job *handle, ramet_failure failure)
{
    if (handle->failed == handle->room) {
        size_t room = handle->room ? 2 * handle->room : 16;
        ramet_failure *grown = realloc(handle->failures, room * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        handle->failures = grown;
        handle->room = room;
    }
    size_t at = handle->failed++;
    for (; at > 0 && handle->failures[at - 1].item > failure.item; at--)
        handle->failures[at] = handle->failures[at - 1];
    handle->failures[at] = failure;
    return 0;
}

/* One block of results: how many items it settles. */
static int take_block(ramet_job *handle, struct rmt_self *self, uint64_t block)
{
    const struct rmt_block *header = rmt_block_at(block);
    ramet_failure failure = {.item = header->arg[RMT_RESULT_FIRST]};
    const uint8_t *data;
    size_t size;
    int r = 0;

    if (header->arg[RMT_RESULT_KIND] == RMT_RESULT_PACK) {
        const struct rmt_pack_block *pack = rmt_payload(block);
        uint64_t done = rmt_pack_done(rmt_load64(&pack->state));
        if (handle->out_size != 0)
            memcpy(handle->out + failure.item * handle->out_size, pack->data,
                   done * handle->out_size);
        return (int)done;
    }
    if (header->arg[RMT_RESULT_KIND] == RMT_RESULT_DEATH) {
        failure.pid = (pid_t)header->arg[RMT_RESULT_DETAIL];
        failure.code = exit_code(handle->pool, self, failure.pid);
    } else {
        r = rmt_message_data(block, &data, &size);
        if (r == 0 && size != sizeof(failure.result))
            r = -EPROTO;
        if (r == 0)
            memcpy(&failure.result, data, size);
    }
    if (r == 0)
        r = add_failure(handle, failure);
    return r < 0 ? r : 1;
}

/* Takes what is there.  1 if that was all. */
static int take(ramet_job *handle, struct rmt_self *self)
{
    uint64_t at;
    int hold, r = 0;
    pthread_mutex_lock(&handle->mutex);
    if (handle->taken < handle->count && rmt_job_take(self, handle->job, &hold, &at) == 0) {
        for (; r >= 0 && at != 0; at = rmt_load64(&rmt_block_at(at)->next)) {
            r = take_block(handle, self, at);
            handle->taken += r > 0 ? (uint64_t)r : 0;
        }
        rmt_block_free(self, hold);
    }
    if (r >= 0) {
        uint64_t left = handle->count - handle->taken;
        r = left == 0;
        if (left != 0) /* some wakes on the way: results are copied while others are computed */
            rmt_store64(&rmt_job_at(handle->job)->want, handle->taken + (left + 1) / 2);
    }
    pthread_mutex_unlock(&handle->mutex);
    return r;
}

int ramet_job_wait(ramet_job *handle, const ramet_wait *wait)
{
    ramet_pool *pool = handle->pool;
    struct rmt_self *self;
    int64_t deadline;
    int r = self_of(pool, &self);
    if (r == 0)
        r = deadline_of(wait, &deadline);
    while (r == 0) {
        uint32_t seen = rmt_load32(&shared_of(pool)->event);
        r = take(handle, self);
        if (r != 0)
            break;
        if (rmt_load64(&handle->cancelled) != 0 || state_of(pool) == RMT_POOL_ENDED)
            return -ECANCELED;
        r = maintain(pool, self);
        if (r >= 0)
            r = sleep_a_while(pool, self, &handle->job, seen, deadline);
    }
    return r < 0 ? r : ramet_job_failures(handle, NULL, 0);
}

int ramet_job_failures(ramet_job *handle, ramet_failure *failures, size_t room)
{
    pthread_mutex_lock(&handle->mutex);
    size_t failed = handle->failed;
    for (size_t i = 0; i < failed && i < room; i++)
        failures[i] = handle->failures[i];
    pthread_mutex_unlock(&handle->mutex);
    return (int)failed;
}

int ramet_job_cancel(ramet_job *handle)
{
    struct rmt_self *self;
    int r = self_of(handle->pool, &self);
    if (r < 0 || handle->count == 0)
        return r;
    r = take(handle, self);
    if (r != 0)
        return r < 0 ? r : 0;
    rmt_store64(&handle->cancelled, 1);
    r = rmt_job_cancel(self, handle->job);
    rmt_pool_notify(self, handle->pool->shared.offset);
    return r;
}

void ramet_job_free(ramet_job *handle)
{
    struct rmt_self *self;
    if (!handle)
        return;
    if (self_of(handle->pool, &self) == 0) {
        if (handle->count > 0)
            rmt_job_drop(self, handle->job);
        rmt_add64(&handle->pool->jobs, (uint64_t)-1);
    }
    pthread_mutex_destroy(&handle->mutex);
    free(handle->failures);
    free(handle);
}
