/* SPDX-License-Identifier: MIT
 *
 * submit.c: jobs of the C pool as who submits them has them: arrays go in as packets, results come
 * out in their places, and who fails is listed.
 */
#include "channel/message.h"
#include "pool/pool.h"
#include "pool/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PACKET_BYTES 65536

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
    int r = rmt_pool_self(pool, &self);
    if (r < 0)
        return r;
    if (!rmt_pool_function(task) || strlen(task) > 63 || (in_size > 0 && count > 0 && !in) ||
        (out_size > 0 && count > 0 && !out) || count > INT32_MAX ||
        (options && (options->size != sizeof(*options) || (options->arg_size && !options->arg))))
        return -EINVAL;
    if (rmt_pool_state_of(pool) != RMT_POOL_OPEN)
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
    rmt_block_received(block);
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
        failure.code = rmt_pool_exit_code(handle->pool, self, failure.pid);
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
    int r = rmt_pool_self(pool, &self);
    if (r == 0)
        r = rmt_pool_deadline(wait, &deadline);
    while (r == 0) {
        uint32_t seen = rmt_load32(&rmt_pool_shared(pool)->event);
        r = take(handle, self);
        if (r != 0)
            break;
        if (rmt_load64(&handle->cancelled) != 0 || rmt_pool_state_of(pool) == RMT_POOL_ENDED)
            return -ECANCELED;
        r = rmt_pool_maintain(pool, self);
        if (r >= 0)
            r = rmt_pool_sleep(pool, self, &handle->job, seen, deadline);
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
    int r = rmt_pool_self(handle->pool, &self);
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
    if (rmt_pool_self(handle->pool, &self) == 0) {
        if (handle->count > 0)
            rmt_job_drop(self, handle->job);
        rmt_add64(&handle->pool->jobs, (uint64_t)-1);
    }
    pthread_mutex_destroy(&handle->mutex);
    free(handle->failures);
    free(handle);
}
