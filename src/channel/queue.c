/* SPDX-License-Identifier: MIT
 *
 * queue.c: putting and getting: the protocol that queue.h describes.  Touches struct rmt_queue, the
 * cells of its rings, and the holds of the calling thread.
 */
#include "channel/queue.h"
#include "base/seeded.h"
#include "channel/message.h"
#include "channel/rest.h"

#include <errno.h>
#include <string.h>

int rmt_parcel_message(struct rmt_self *self, const struct iovec *segments, int count,
                       const uint64_t *refs, size_t ref_count, struct rmt_parcel *ret_parcel)
{
    int hold;
    uint64_t message;
    int r = rmt_message_build(self, segments, count, refs, ref_count, &hold, &message);
    if (r < 0)
        return r;
    ret_parcel->bytes = NULL;
    ret_parcel->size = 0;
    ret_parcel->hold = hold;
    ret_parcel->message = message;
    return 0;
}

#define AHEAD 4 /* cells */

/* ---- put */

struct spare { /* a ring that was allocated to be linked; hold -1: none */
    int hold;
    uint64_t offset;
};

/* For how many items there is room in the queue and in its last ring.  Under the put guard. */
static void find_room(struct rmt_queue *q, const struct rmt_ring *ring, uint64_t tail, size_t want,
                      uint64_t *ret_queue, uint64_t *ret_ring)
{
    uint64_t head = rmt_load64_relaxed(&q->seen_head);
    for (int pass = 0;; pass++) {
        *ret_queue = q->max_items != 0 ? q->max_items - (tail - head) : UINT64_MAX;
        *ret_ring = rmt_ring_room(ring, head, tail);
        if (pass == 1 || (*ret_queue >= want && *ret_ring >= want))
            return;
        /* A get's copy out of the cells is over.  pairs-with: queue.head (acquire) */
        head = rmt_load64(&q->head);
        rmt_store64_relaxed(&q->seen_head, head);
    }
}

/* Prepares the link of the spare ring behind the present one; true with the caller's commit. */
static struct rmt_ring *prepare_link(struct rmt_self *self, uint64_t queue, struct rmt_queue *q,
                                     const struct spare *spare, uint64_t tail)
{
    uint64_t old = rmt_load64_relaxed(&q->put_ring) + RMT_BLOCK_HEADER;
    struct rmt_ring *ring = rmt_payload(spare->offset);
    ring->base = tail;
    rmt_redo(&q->put, 0, old + offsetof(struct rmt_ring, next), spare->offset);
    rmt_redo(&q->put, 1, old + offsetof(struct rmt_ring, end), tail);
    rmt_redo(&q->put, 2, RMT_QUEUE_WORD(queue, put_ring), spare->offset);
    rmt_redo(&q->put, 3, rmt_hold_what(self, spare->hold), 0);
    return ring;
}

static void write_cell(struct rmt_cell *cell, const struct rmt_parcel *parcel)
{
    if (parcel->hold >= 0) {
        cell->size = 0;
        cell->block = 1;
        cell->of = parcel->message;
        return;
    }
    cell->size = parcel->size;
    cell->block = 0;
    if (parcel->size == sizeof(uint64_t)) /* the usual one, without a call */
        memcpy(cell->bytes, parcel->bytes, sizeof(uint64_t));
    else if (parcel->size > 0)
        memcpy(cell->bytes, parcel->bytes, parcel->size);
}

/* Under the put guard: how many were put; 0: the queue is full; -EXFULL: its ring is, and there is
 * no spare; -ESHUTDOWN. */
static ptrdiff_t put_locked(struct rmt_self *self, uint64_t queue, struct rmt_queue *q,
                            const struct rmt_parcel *parcels, size_t count, struct spare *spare)
{
    if (rmt_load64_relaxed(&q->state) != 0)
        return -ESHUTDOWN;
    uint64_t tail = rmt_load64_relaxed(&q->tail);
    struct rmt_ring *ring = rmt_payload(rmt_load64_relaxed(&q->put_ring));
    if (count > RMT_QUEUE_BATCH)
        count = RMT_QUEUE_BATCH;
    uint64_t in_queue, in_ring;
    find_room(q, ring, tail, count, &in_queue, &in_ring);
    if (in_queue == 0)
        return 0;
    unsigned words = 0; /* of the commit record */
    if (in_ring == 0) {
        if (spare->hold < 0)
            return -EXFULL;
        ring = prepare_link(self, queue, q, spare, tail);
        spare->hold = -1;
        in_ring = ring->capacity;
        words = 4;
    }
    if (count > in_queue)
        count = in_queue;
    if (count > in_ring)
        count = in_ring;

#if RMT_SEEDED(COMMIT_EARLY)
    rmt_store64(&q->tail, tail + count);
#endif
    size_t n = 0;
    for (; n < count; n++) {
        if (parcels[n].hold >= 0) {
            if (words == RMT_REDO_WORDS - 1)
                break;
            rmt_redo(&q->put, words++, rmt_hold_what(self, parcels[n].hold), 0);
        }
        write_cell(rmt_ring_cell(ring, tail + n), &parcels[n]);
    }
    if (n == 1 && in_ring > AHEAD + 1)
        rmt_prefetch_store(rmt_ring_cell(ring, tail + AHEAD));
    rmt_store64(&self->thread->wakes, RMT_QUEUE_WORD(queue, get_bell));
    if (words == 0) {
        /* The commit.  pairs-with: queue.tail (release) */
        rmt_store64(&q->tail, tail + n);
    } else {
        /* tail is last: who sees it sees the ring's end and next.
         * pairs-with: queue.tail (release) */
        rmt_redo(&q->put, words++, RMT_QUEUE_WORD(queue, tail), tail + n);
        rmt_commit(&q->put, words);
    }
    return (ptrdiff_t)n;
}

static ptrdiff_t put_once(struct rmt_self *self, const struct ramet_queue *queue,
                          const struct rmt_parcel *parcels, size_t count, struct spare *spare)
{
    struct rmt_queue *q = queue->shared;
    int r = rmt_guard_lock(self, &q->put);
    if (RMT_UNLIKELY(r < 0))
        return r;
    ptrdiff_t n = put_locked(self, queue->offset, q, parcels, count, spare);
    rmt_guard_unlock(self, &q->put);
#if !RMT_SEEDED(WAKE_LOST)
    if (n > 0)
        rmt_bell_ring(&q->get_bell, (int)n);
#endif
    return n;
}

/* A ring of twice the size of the last, which is full.  Its putters may be linking another
 * meanwhile; then ours is needed later, or not. */
static int make_spare(struct rmt_self *self, uint64_t queue, struct rmt_queue *q,
                      struct spare *spare)
{
    /* Not under the guard: the last ring may be drained and freed by now, so its size is not read.
     */
    uint64_t size = rmt_load64(&q->tail) - rmt_load64(&q->head);
    uint64_t capacity = RMT_RING_FIRST;
    while (capacity < 2 * size && capacity < q->largest)
        capacity *= 2;
    return rmt_ring_alloc(self, queue, capacity, &spare->hold, &spare->offset);
}

/* When in doubt true: tail is read before head, and both only grow, so that "full" was the truth
 * when head was read. */
static bool put_ready(const void *object)
{
    const struct rmt_queue *q = object;
    uint64_t tail = rmt_load64(&q->tail);
    uint64_t head = rmt_load64(&q->head);
    return (int64_t)(tail - head) < (int64_t)q->max_items || rmt_load64(&q->state) != 0;
}

/* After a spin at a full queue.  Who came back for each cell that a getter frees would take the
 * line with `head` away from him at each of his gets, and be no quicker for it: so some more are
 * let go first.  It takes about a microsecond, and is not done where it would be much of a queue's
 * bound. */
#define LINGER 48
#define LINGER_FROM 128 /* max_items */
static void linger(const struct rmt_queue *q)
{
    for (unsigned i = 0; q->max_items >= LINGER_FROM && i < LINGER; i++)
        rmt_pause();
}

ptrdiff_t rmt_queue_put(struct rmt_self *self, const struct ramet_queue *queue,
                        const struct rmt_parcel *parcels, size_t count, const ramet_wait *wait)
{
    struct rmt_queue *q = queue->shared;
    struct spare spare = {.hold = -1};
    struct rmt_rest rest;
    rest.started = rest.slept = false;
    size_t done = 0;
    ptrdiff_t r = 0;
    while (done < count) {
        r = put_once(self, queue, parcels + done, count - done, &spare);
        if (RMT_LIKELY(r > 0)) {
            done += (size_t)r;
            continue;
        }
        if (r == -EXFULL) {
            r = make_spare(self, queue->offset, q, &spare);
        } else if (r == 0) {
            if (!rest.started) {
                rest.self = self;
                rest.wait = wait;
                rest.bell = &q->put_bell;
                rest.bell_offset = RMT_QUEUE_WORD(queue->offset, put_bell);
                rest.word = &q->head;
                rest.ready = put_ready;
                rest.object = q;
            }
            r = rmt_rest(&rest);
            if (r == 0 && !rest.slept)
                linger(q);
        }
        if (r < 0)
            break;
    }
    if (RMT_UNLIKELY(rest.slept))
        rmt_rest_end(&rest, rmt_load64(&q->state) != 0 ? INT_MAX : 1);
    if (RMT_UNLIKELY(spare.hold >= 0))
        rmt_block_free(self, spare.hold);
    return done > 0 ? (ptrdiff_t)done : r;
}

/* ---- get */

/* Copies cells with bytes from the head on: at least one.  Short, and bounded by RMT_QUEUE_BATCH.
 */
static uint32_t copy_cells(struct rmt_ring *ring, uint64_t head, uint64_t stop,
                           struct rmt_cell *cells)
{
    uint32_t n = 0;
    for (; head + n < stop; n++) {
        const struct rmt_cell *cell = rmt_ring_cell(ring, head + n);
        if (cell->block || cell->size > RMT_CELL_BYTES)
            break;
        cells[n] = *cell;
    }
    return n;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Under the get guard: 1 if something was taken, 0 if the queue is empty, -EAGAIN if only a ring
 * that is used up was taken, -ESHUTDOWN; -ECANCELED if what is left is to be thrown away. */
static int get_locked(struct rmt_self *self, uint64_t queue, struct rmt_queue *q,
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
        if (head == tail)
            return state != 0 ? -ESHUTDOWN : 0;
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
    if (max == 1 && tail - head > AHEAD)
        rmt_prefetch_load(rmt_ring_cell(ring, head + AHEAD));
    if (RMT_UNLIKELY(first->block ? first->of == 0 : first->size > RMT_CELL_BYTES)) {
        rmt_poison("a queue holds what is no item");
        return -ENOTRECOVERABLE;
    }
    if (first->block) {
        taken->message = first->of;
        taken->count = 1;
        rmt_redo(&q->get, 0, rmt_hold_arg(self, taken->hold), taken->message);
    } else {
        taken->message = 0;
        taken->count = copy_cells(ring, head, least(least(tail, end), head + max), cells);
        rmt_redo(&q->get, 0, rmt_hold_arg(self, taken->hold), taken->count);
    }
#if RMT_SEEDED(HOLD_LATE)
    rmt_store64(&q->head, head + taken->count);
#endif
    rmt_redo(&q->get, 1, rmt_hold_what(self, taken->hold), queue | RMT_HOLD_ITEM);
    rmt_redo(&q->get, 2, RMT_QUEUE_WORD(queue, head), head + taken->count);
    if (q->max_items != 0)
        rmt_store64(&self->thread->wakes, RMT_QUEUE_WORD(queue, put_bell));
    rmt_commit(&q->get, 3); /* pairs-with: queue.head (release) */
    return 1;
}

/* As get_locked, with everything that follows from what it returned done. */
static int get_once(struct rmt_self *self, const struct ramet_queue *queue, struct rmt_cell *cells,
                    size_t max, struct rmt_taken *taken)
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

int rmt_queue_get(struct rmt_self *self, const struct ramet_queue *queue, struct rmt_cell *cells,
                  size_t max, const ramet_wait *wait, struct rmt_taken *ret_taken)
{
    struct rmt_queue *q = queue->shared;
    struct rmt_taken taken = {.owner = self->word, .hold = rmt_hold_find(self)};
    if (RMT_UNLIKELY(taken.hold < 0))
        return taken.hold;
    if (max > RMT_QUEUE_BATCH)
        max = RMT_QUEUE_BATCH;
    int r = get_once(self, queue, cells, max, &taken);
    if (RMT_UNLIKELY(r == 0)) {
        struct rmt_rest rest = {
            .self = self,
            .wait = wait,
            .bell = &q->get_bell,
            .bell_offset = RMT_QUEUE_WORD(queue->offset, get_bell),
            .word = &q->tail,
            .ready = get_ready,
            .object = q,
        };
        do {
            r = rmt_rest(&rest);
            if (r == 0)
                r = get_once(self, queue, cells, max, &taken);
        } while (r == 0);
        rmt_rest_end(&rest, rmt_load64(&q->state) != 0 ? INT_MAX : 1);
    }
    if (RMT_LIKELY(r >= 0) && taken.message != 0 && !rmt_message_known(taken.message))
        r = -ENOTRECOVERABLE;
    if (RMT_UNLIKELY(r < 0))
        return r;
    *ret_taken = taken;
    return 0;
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

void rmt_taken_release_one(struct rmt_self *self, struct rmt_taken *taken)
{
    if (taken->owner != self->word)
        return;
    if (--taken->count == 0)
        rmt_store64(&self->thread->hold[taken->hold].what, 0);
    else
        rmt_store64(&self->thread->hold[taken->hold].arg, taken->count);
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
