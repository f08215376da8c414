/* SPDX-License-Identifier: MIT
 *
 * queue_done.c: counting what has been worked off, and waiting until all has.  Every put makes an
 * item unfinished by its commit, since unfinished is tail - done; `done` grows under the get guard.
 */
#include "channel/queue.h"
#include "channel/rest.h"
#include "sync/waiter.h"

#include <errno.h>

int rmt_queue_task_done(struct rmt_self *self, const struct ramet_queue *queue)
{
    struct rmt_queue *q = queue->shared;
    int r = rmt_guard_lock(self, &q->get);
    if (r < 0)
        return r;
    uint64_t done = rmt_load64_relaxed(&q->done);
    uint64_t left = rmt_load64(&q->tail) - done; /* acquire: done <= tail, whoever puts meanwhile */
    if (left > 0) {
        rmt_store64(&self->thread->wakes, RMT_QUEUE_WORD(queue->offset, done_bell));
        rmt_store64(&q->done, done + 1); /* the commit */
    }
    rmt_guard_unlock(self, &q->get);
    if (left == 0)
        return -EINVAL;
    if (left == 1)
        rmt_bell_ring(&q->done_bell, INT_MAX);
    return 0;
}

static bool all_done(const void *object)
{
    return rmt_queue_unfinished(object) == 0;
}

int rmt_queue_join(struct rmt_self *self, const struct ramet_queue *queue, const ramet_wait *wait)
{
    struct rmt_queue *q = queue->shared;
    struct rmt_rest rest = {
        .self = self,
        .wait = wait,
        .bell = &q->done_bell,
        .bell_offset = RMT_QUEUE_WORD(queue->offset, done_bell),
        .word = &q->done,
        .ready = all_done,
        .object = q,
    };
    int r = 0;
    while (r == 0 && !all_done(q)) {
        if ((rmt_load64(&q->state) & RMT_QUEUE_DISCARD) != 0) {
            r = rmt_queue_drain(self, queue->offset); /* who shut it down may have died doing so */
            if (r < 0 || all_done(q))
                break;
        }
        r = rmt_rest(&rest);
        /* An item may be in the hands of one who died: it is done when that is found. */
        if (((r == 0 && rest.w.slept > 4) || r == -ETIMEDOUT) && rmt_look_for_dead(self) &&
            all_done(q))
            r = 0;
    }
    rmt_rest_end(&rest, INT_MAX);
    return r;
}
