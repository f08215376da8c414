/* SPDX-License-Identifier: MIT
 *
 * queue_watch.c: descriptors that are readable when something can be got from a queue, or put into
 * it; see sync/watch.h.  A watcher arms the bell of the side like who is going to sleep there, so
 * that a queue which nobody watches does nothing for it.
 */
#include "channel/bell.h"
#include "channel/queue.h"

/* head before tail, both only grow: "empty" was the truth when tail was read. */
static bool some(const struct rmt_queue *q)
{
    uint64_t head = rmt_load64(&q->head);
    return rmt_load64(&q->tail) != head || rmt_load64(&q->state) != 0;
}

/* tail before head: "full" was the truth when head was read. */
static bool room(const struct rmt_queue *q)
{
    uint64_t tail = rmt_load64(&q->tail);
    uint64_t head = rmt_load64(&q->head);
    return q->max_items == 0 || (int64_t)(tail - head) < (int64_t)q->max_items ||
           rmt_load64(&q->state) != 0;
}

static bool get_ready(struct rmt_watch *watch, enum rmt_watch_when when)
{
    struct rmt_queue *q = watch->object;
    (void)when;
    if (some(q))
        return true;
    rmt_bell_arm(&q->get_bell);
    return some(q);
}

static bool put_ready(struct rmt_watch *watch, enum rmt_watch_when when)
{
    struct rmt_queue *q = watch->object;
    (void)when;
    if (room(q))
        return true;
    rmt_bell_arm(&q->put_bell);
    return room(q);
}

void rmt_queue_watch(const struct ramet_queue *queue, bool put, struct rmt_watch *ret_watch)
{
    struct rmt_queue *q = queue->shared;
    *ret_watch = (struct rmt_watch){.ready = put ? put_ready : get_ready,
                                    .object = q,
                                    .word = put ? &q->put_bell : &q->get_bell};
}
