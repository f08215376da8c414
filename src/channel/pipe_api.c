/* SPDX-License-Identifier: MIT
 *
 * pipe_api.c: the public calls that send and receive: attempts (pipe_io.c), and waiting between
 * them.
 */
#include "channel/message.h"
#include "channel/pipe.h"

#include <errno.h>
#include <string.h>

static int send_message(struct rmt_self *self, ramet_end *end, struct rmt_pipe_message *m,
                        const ramet_wait *wait)
{
    struct rmt_waiter w;
    int r = rmt_pipe_put(self, end, m);
    if (RMT_LIKELY(r != -EAGAIN))
        return r;
    r = rmt_wait_start(&w, self, wait);
    while (r == 0 && (r = rmt_pipe_await_room(end, &w)) == 0 &&
           (r = rmt_pipe_put(self, end, m)) == -EAGAIN)
        r = 0;
    return r;
}

int ramet_end_send(ramet_end *end, const void *data, size_t size, const ramet_wait *wait)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    if (!end->out.way)
        return -EBADF;
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct rmt_pipe_message m = {.size = size, .parts = &part, .count = size > 0, .hold = -1};
    if (size > end->limit) {
        r = rmt_message_build(self, &part, 1, NULL, 0, &m.hold, &m.block);
        if (r < 0)
            return r;
    }
    r = send_message(self, end, &m, wait);
    if (r < 0 && m.block)
        rmt_block_free(self, m.hold);
    return r;
}

int ramet_end_recv(ramet_end *end, void *buffer, size_t capacity, size_t *ret_size,
                   const ramet_wait *wait)
{
    struct rmt_self *self;
    struct rmt_waiter w;
    struct rmt_pipe_taken t;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    if (!end->in.way)
        return -EBADF;
    r = rmt_pipe_take(self, end, buffer, capacity, capacity, &t);
    if (r == -EAGAIN) {
        r = rmt_wait_start(&w, self, wait);
        while (r == 0 && (r = rmt_pipe_await_news(end, &w)) == 0 &&
               (r = rmt_pipe_take(self, end, buffer, capacity, capacity, &t)) == -EAGAIN)
            r = 0;
    }
    if (r < 0)
        return r;
    if (t.hold >= 0) {
        if (t.size > 0)
            memcpy(buffer, t.data, t.size);
        rmt_block_free(self, t.hold);
    }
    *ret_size = t.size;
    return 0;
}

int ramet_end_next(ramet_end *end, size_t *ret_size)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    return end->in.way ? rmt_pipe_peek(self, end, ret_size) : -EBADF;
}

int ramet_end_poll(ramet_end *end, const ramet_wait *wait)
{
    struct rmt_self *self;
    struct rmt_waiter w;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    if (!end->in.way)
        return -EBADF;
    r = rmt_wait_start(&w, self, wait);
    if (r < 0)
        return r;
    while ((r = rmt_pipe_ready(self, end)) == 0) {
        r = rmt_pipe_await_news(end, &w);
        if (r == -ETIMEDOUT)
            return rmt_pipe_ready(self, end);
        if (r < 0)
            return r;
    }
    return r;
}
