/* SPDX-License-Identifier: MIT
 *
 * work.c: what a worker of a C pool runs, and the table of the functions that it can run.
 */
#include "pool/work.h"

#include "channel/message.h"
#include "pool/claim.h"

#include <errno.h>
#include <string.h>

static const ramet_pool_task *tasks;
static size_t task_count;

void ramet_pool_tasks(const ramet_pool_task *table, size_t count)
{
    tasks = table;
    task_count = count;
}

ramet_pool_fn *rmt_pool_function(const char *name)
{
    for (size_t i = 0; name && i < task_count; i++)
        if (strcmp(tasks[i].name, name) == 0)
            return tasks[i].run;
    return NULL;
}

struct function {
    ramet_pool_fn *run; /* NULL: not in this program's table */
    const void *arg;
    size_t arg_size;
};

static int find_function(const struct rmt_job *j, struct function *ret_function)
{
    const uint8_t *data;
    size_t size;
    int r = rmt_message_data(j->function, &data, &size);
    if (r < 0)
        return r;
    const struct rmt_call *call = (const void *)data;
    if (size < sizeof(*call) || call->name[sizeof(call->name) - 1] != 0)
        return -EPROTO;
    ret_function->run = rmt_pool_function(call->name);
    ret_function->arg = call->arg;
    ret_function->arg_size = size - sizeof(*call);
    return 0;
}

/* The inputs of items first <= i < end, in the packet that was looked at last.  It lies there until
 * the last of them is finished, and so as long as one of them is being worked on. */
struct inputs {
    const uint8_t *data;
    uint64_t first, end;
};

static int find_inputs(const struct rmt_worker *w, const struct rmt_job *j, uint64_t i,
                       struct inputs *inputs)
{
    uint64_t packet, first;
    const uint8_t *data;
    size_t size;
    int r = rmt_worker_packet(w, i, &packet, &first);
    if (r == 0)
        r = rmt_message_data(packet, &data, &size);
    if (r < 0)
        return r;
    uint64_t there = size / j->item_size;
    if (i - first >= there)
        return -EPROTO;
    *inputs = (struct inputs){data, first, first + (there < j->batch ? there : j->batch)};
    return 0;
}

static int input(const struct rmt_worker *w, const struct rmt_job *j, uint64_t i,
                 struct inputs *inputs, const void **ret_in)
{
    *ret_in = NULL;
    if (j->item_size == 0)
        return 0;
    if (i < inputs->first || i >= inputs->end) {
        int r = find_inputs(w, j, i, inputs);
        if (r < 0)
            return r;
    }
    *ret_in = inputs->data + (i - inputs->first) * j->item_size;
    return 0;
}

static int fail(struct rmt_worker *w, int result)
{
    struct iovec segment = {&result, sizeof(result)};
    uint64_t offset;
    int hold;
    int r = rmt_message_build(w->self, &segment, 1, NULL, 0, &hold, &offset);
    return r < 0 ? r : rmt_worker_post(w, hold, RMT_RESULT_ERROR);
}

static int run_item(struct rmt_worker *w, const struct function *function, struct inputs *inputs,
                    uint64_t i)
{
    const struct rmt_job *j = rmt_job_at(w->job);
    const void *in;
    uint8_t *out;
    rmt_worker_begin(w, i);
    int r = input(w, j, i, inputs, &in);
    if (r == 0)
        r = rmt_worker_room(w, j->result_size, &out);
    if (r < 0)
        return r;
    int result = -ENOENT;
    if (function->run)
        result = function->run(in, out, function->arg, function->arg_size);
    if (!rmt_worker_mine(w))
        return -ESRCH; /* the function forked, and this is its child */
    if (result != 0)
        return fail(w, result);
    rmt_worker_done(w, j->result_size);
    return 0;
}

static int pause_between(struct rmt_worker *w)
{
    int r = rmt_worker_pause(w);
    return r == -ENOMEM ? 0 : r; /* it could not leave the rest to others: it does it by itself */
}

static int run_range(struct rmt_worker *w)
{
    struct function function;
    struct inputs inputs = {NULL, 0, 0};
    int r = find_function(rmt_job_at(w->job), &function);
    for (uint64_t i = w->first; r == 0 && i < w->end; i++) {
        /* If it fails the item has no result: this worker leaves. */
        r = run_item(w, &function, &inputs, i);
        if (r == 0 && i + 1 < w->end)
            r = pause_between(w);
    }
    return r;
}

int ramet_pool_worker(const void *arg, size_t size)
{
    struct rmt_worker_arg given;
    struct rmt_handle pool;
    struct rmt_worker w;
    struct rmt_self *self;
    if (size != sizeof(given))
        return 1;
    memcpy(&given, arg, sizeof(given));
    int r = rmt_self(&self);
    if (r == 0)
        r = rmt_handle_open(self, &given.pool, RAMET_KIND_POOL, &pool);
    if (r == 0)
        r = rmt_worker_join(&w, pool.offset, given.number);
    if (r < 0)
        return 1;
    for (;;) {
        r = rmt_worker_claim(&w, NULL);
        if (r == 0)
            r = run_range(&w);
        if (r < 0 && r != -EINTR)
            break;
    }
    rmt_worker_leave(&w);
    return r == -ENOENT || r == -EPIPE ? 0 : 1;
}
