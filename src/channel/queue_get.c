/* SPDX-License-Identifier: MIT
 *
 * queue_get.c: getting, and letting go of what was got: the protocol that queue.h describes.
 * Touches struct rmt_queue, the cells of its rings, and the holds of the calling thread.
 */
#include "base/seeded.h"
#include "channel/message.h"
#include "channel/queue.h"
#include "channel/rest.h"

#include <errno.h>
#include <string.h>

/* Of bytes: as many of them as it has, or more. */
static inline void copy_cell(struct rmt_cell *to, const struct rmt_cell *cell)
{
    if (RMT_LIKELY(cell->size <= sizeof(uint64_t))) { /* the usual one, in two words */
        to->size = cell->size;
        to->block = 0;
        memcpy(to->bytes, cell->bytes, sizeof(uint64_t));
    } else {
        *to = *cell;
    }
}

/* Copies cells with bytes from the head on: at least one.  Short, and bounded by RMT_QUEUE_BATCH.
 */
static inline uint32_t copy_cells(struct rmt_ring *ring, uint64_t head, uint64_t stop,
                                  struct rmt_cell *cells)
{
    uint32_t n = 0;
    for (; head + n < stop; n++) {
        const struct rmt_cell *cell = rmt_ring_cell(ring, head + n);
        if (cell->block || cell->size > RMT_CELL_BYTES)
            break;
        copy_cell(&cells[n], cell);
    }
    return n;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Under the get guard: what lies below `head` from now on is in the hold: its message, or so many
 * cells. */
static inline void commit_take(struct rmt_self *self, uint64_t queue, struct rmt_queue *q,
                               int hold_index, uint64_t arg, uint64_t head)
{
    struct rmt_hold *hold = &self->thread->hold[hold_index];
    uint64_t item = queue | RMT_HOLD_ITEM;
#if RMT_SEEDED(HOLD_LATE)
    rmt_store64(&q->head, head);
#endif
    rmt_redo(&q->get, 0, rmt_hold_arg(self, hold_index), arg);
    rmt_redo(&q->get, 1, rmt_hold_what(self, hold_index), item);
    rmt_redo(&q->get, 2, RMT_QUEUE_WORD(queue, head), head);
    if (q->max_items != 0)
        rmt_store64(&self->thread->wakes, RMT_QUEUE_WORD(queue, put_bell));
    /* rmt_commit, by hand: whose words these are is known here. */
    rmt_arm(&q->get, 3);
    rmt_store64(&hold->arg, arg);
    rmt_store64(&hold->what, item);
    rmt_store64(&q->head, head); /* pairs-with: queue.head (release) */
    rmt_disarm(&q->get);
}

/* Under the get guard: 1 if something was taken, 0 if the queue is empty, -EAGAIN if only a ring
 * that is used up was taken, -ESHUTDOWN; -ECANCELED if what is left is to be thrown away. */
static inline int get_locked(struct rmt_self *self, uint64_t queue, struct rmt_queue *q,
                             struct rmt_cell *cells, size_t max, struct rmt_taken *taken)
{
    uint64_t state = rmt_load64(&q->state); /* before tail: once it is shut, tail stays */
    if (RMT_UNLIKELY((state & RMT_QUEUE_DISCARD) != 0))
        return -ECANCELED;
    uint64_t head = rmt_load64_relaxed(&q->head);
    uint64_t tail = rmt_load64_relaxed(&q->seen_tail);
    if (head == tail) {
        /* Stored by a put, alone or in a replay.  pairs-with: queue.tail (acquire) */
        tail = rmt_load64(&q->tail);
        if (head == tail) {
            taken->awaited = rmt_ring_cell(rmt_payload(rmt_load64_relaxed(&q->get_ring)), head);
            return state != 0 ? -ESHUTDOWN : 0;
        }
        rmt_store64_relaxed(&q->seen_tail, tail);
    }
    uint64_t offset = rmt_load64_relaxed(&q->get_ring);
    struct rmt_ring *ring = rmt_payload(offset);
    uint64_t end = rmt_load64(&ring->end);
    if (RMT_UNLIKELY(head == end)) {
        rmt_redo(&q->get, 0, rmt_hold_what(self, taken->hold), offset | RMT_HOLD_BLOCK);
        rmt_redo(&q->get, 1, RMT_QUEUE_WORD(queue, get_ring), rmt_load64(&ring->next));
        rmt_commit(&q->get, 2);
        return -EAGAIN;
    }
    const struct rmt_cell *first = rmt_ring_cell(ring, head);
    if (max == 1 && tail - head > RMT_QUEUE_AHEAD)
        rmt_prefetch_load(rmt_ring_cell(ring, head + RMT_QUEUE_AHEAD));
    if (RMT_UNLIKELY(first->block ? first->of == 0 : first->size > RMT_CELL_BYTES)) {
        rmt_poison("a queue holds what is no item");
        return -ENOTRECOVERABLE;
    }
    uint64_t arg;
    taken->count = 1;
    taken->message = 0;
    if (first->block) {
        arg = taken->message = first->of;
    } else if (max == 1) {
        copy_cell(cells, first);
        arg = 1;
    } else {
        arg = taken->count = copy_cells(ring, head, least(least(tail, end), head + max), cells);
    }
    commit_take(self, queue, q, taken->hold, arg, head + taken->count);
    return 1;
}

/* As get_locked, with everything that follows from what it returned done. */
static inline int get_once(struct rmt_self *self, const struct ramet_queue *queue,
                           struct rmt_cell *cells, size_t max, struct rmt_taken *taken)
{
    struct rmt_queue *q = queue->shared;
    for (;;) {
        int r = rmt_guard_lock(self, &q->get);
        if (RMT_UNLIKELY(r < 0))
            return r;
        r = get_locked(self, queue->offset, q, cells, max, taken);
        rmt_guard_unlock(self, &q->get);
        if (RMT_LIKELY(r == 1)) {
            if (q->max_items != 0)
                rmt_bell_ring(&q->put_bell, (int)taken->count);
            return 1;
        }
        if (r == -EAGAIN) {
            rmt_block_free(self, taken->hold); /* passes through the put guard: ring_destroy */
        } else if (r == -ECANCELED) {
            r = rmt_queue_drain(self, queue->offset);
            return r < 0 ? r : -ESHUTDOWN;
        } else {
            return r;
        }
    }
}

/* When in doubt true: head is read before tail, and both only grow, so that "empty" was the truth
 * when tail was read. */
static bool get_ready(const void *object)
{
    const struct rmt_queue *q = object;
    uint64_t head = rmt_load64(&q->head);
    return rmt_load64(&q->tail) != head || rmt_load64(&q->state) != 0;
}

/* As get_once, again and again, with a rest before each, until there is more to say than that the
 * queue is empty. */
static __attribute__((noinline)) int get_later(struct rmt_self *self,
                                               const struct ramet_queue *queue,
                                               struct rmt_cell *cells, size_t max,
                                               const ramet_wait *wait, struct rmt_taken *taken)
{
    struct rmt_queue *q = queue->shared;
    struct rmt_rest rest = {
        .self = self,
        .wait = wait,
        .bell = &q->get_bell,
        .bell_offset = RMT_QUEUE_WORD(queue->offset, get_bell),
        .word = &q->tail,
        .ready = get_ready,
        .object = q,
    };
    int r;
    do {
        rest.ahead = taken->awaited;
        r = rmt_rest(&rest);
        if (r == 0)
            r = get_once(self, queue, cells, max, taken);
    } while (r == 0);
    rmt_rest_end(&rest, rmt_load64(&q->state) != 0 ? INT_MAX : 1);
    return r;
}

/* `max` is a constant where it is called, so that what gets singly has no loop in it. */
static inline int get(struct rmt_self *self, const struct ramet_queue *queue,
                      struct rmt_cell *cells, size_t max, const ramet_wait *wait,
                      struct rmt_taken *taken)
{
    taken->hold = rmt_hold_find(self);
    if (RMT_UNLIKELY(taken->hold < 0))
        return taken->hold;
    taken->owner = self->word;
    int r = get_once(self, queue, cells, max, taken);
    if (RMT_UNLIKELY(r == 0))
        r = get_later(self, queue, cells, max, wait, taken);
    if (RMT_LIKELY(r >= 0) && taken->message != 0 && !rmt_message_known(taken->message))
        r = -ENOTRECOVERABLE;
    return r < 0 ? r : 0;
}

int rmt_queue_get_one(struct rmt_self *self, const struct ramet_queue *queue, struct rmt_cell *cell,
                      const ramet_wait *wait, struct rmt_taken *ret_taken)
{
    return get(self, queue, cell, 1, wait, ret_taken);
}

int rmt_queue_get(struct rmt_self *self, const struct ramet_queue *queue, struct rmt_cell *cells,
                  size_t max, const ramet_wait *wait, struct rmt_taken *ret_taken)
{
    return get(self, queue, cells, max < RMT_QUEUE_BATCH ? max : RMT_QUEUE_BATCH, wait, ret_taken);
}

void rmt_taken_release(struct rmt_self *self, const struct rmt_taken *taken)
{
    if (taken->owner != self->word)
        return; /* a child that was forked in between: the item is its parent's */
    if (taken->message != 0) {
        rmt_taken_keep(self, taken);
        rmt_block_free(self, taken->hold);
    } else {
        rmt_store64(&self->thread->hold[taken->hold].what, 0);
    }
}

uint64_t rmt_queue_size(const struct ramet_queue *queue)
{
    const struct rmt_queue *q = queue->shared;
    uint64_t head = rmt_load64(&q->head);
    for (;;) {
        uint64_t tail = rmt_load64(&q->tail);
        uint64_t again = rmt_load64(&q->head);
        if (again == head) /* so it was that when tail was read */
            return (rmt_load64(&q->state) & RMT_QUEUE_DISCARD) != 0 ? 0 : tail - head;
        head = again;
    }
}
