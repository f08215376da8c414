/* SPDX-License-Identifier: MIT
 *
 * queue_put.c: putting: the protocol that queue.h describes.  Touches struct rmt_queue, the cells
 * of its rings, and the holds of the calling thread.
 */
#include "base/seeded.h"
#include "channel/message.h"
#include "channel/queue.h"
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

struct spare { /* a ring that was allocated to be linked; hold -1: none */
    int hold;
    uint64_t offset;
};

/* For how many items there is room in the queue and in its last ring.  Under the put guard. */
static inline void find_room(struct rmt_queue *q, const struct rmt_ring *ring, uint64_t tail,
                             size_t want, uint64_t *ret_queue, uint64_t *ret_ring)
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

static inline void write_cell(struct rmt_cell *cell, const struct rmt_parcel *parcel)
{
    if (parcel->hold >= 0) {
        cell->size = 0;
        cell->block = 1;
        cell->of = parcel->message;
        return;
    }
    cell->size = parcel->size;
    cell->block = 0;
    const uint8_t *from = parcel->bytes;
    if (RMT_LIKELY(parcel->size - 4 <= 4)) { /* 4 to 8, the usual ones, without a call */
        uint32_t low, high;
        memcpy(&low, from, 4);
        memcpy(&high, from + parcel->size - 4, 4);
        memcpy(cell->bytes, &low, 4);
        memcpy(cell->bytes + parcel->size - 4, &high, 4);
    } else if (parcel->size > 0) {
        memcpy(cell->bytes, from, parcel->size);
    }
}

/* Under the put guard: how many were put; 0: the queue is full; -EXFULL: its ring is, and there is
 * no spare; -ESHUTDOWN. */
static inline ptrdiff_t put_locked(struct rmt_self *self, uint64_t queue, struct rmt_queue *q,
                                   const struct rmt_parcel *parcels, size_t count,
                                   struct spare *spare)
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
    if (n == 1 && in_ring > RMT_QUEUE_AHEAD + 1)
        rmt_prefetch_store(rmt_ring_cell(ring, tail + RMT_QUEUE_AHEAD));
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

static inline ptrdiff_t put_once(struct rmt_self *self, const struct ramet_queue *queue,
                                 const struct rmt_parcel *parcels, size_t count,
                                 struct spare *spare)
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
 * let go first, part of the bound and no more than takes some microseconds. */
#define LINGER_MOST 256 /* pauses, of about 20 ns: as long as a get takes */
static void linger(const struct rmt_queue *q)
{
    for (unsigned i = 0; i < q->max_items / 2 && i < LINGER_MOST; i++)
        rmt_pause();
}

/* As put_once, again and again until all are put or there is something else to say.  `r` is what
 * the put before said, that put nothing. */
static __attribute__((noinline)) ptrdiff_t put_later(struct rmt_self *self,
                                                     const struct ramet_queue *queue,
                                                     const struct rmt_parcel *parcels, size_t count,
                                                     const ramet_wait *wait, ptrdiff_t r)
{
    struct rmt_queue *q = queue->shared;
    struct spare spare = {.hold = -1};
    struct rmt_rest rest = {
        .self = self,
        .wait = wait,
        .bell = &q->put_bell,
        .bell_offset = RMT_QUEUE_WORD(queue->offset, put_bell),
        .word = &q->head,
        .ready = put_ready,
        .object = q,
    };
    size_t done = 0;
    for (;;) {
        if (r == -EXFULL) {
            r = make_spare(self, queue->offset, q, &spare);
        } else if (r == 0) {
            r = rmt_rest(&rest);
            if (r == 0 && !rest.slept)
                linger(q);
        }
        if (r < 0)
            break;
        done += (size_t)r;
        if (done == count)
            break;
        r = put_once(self, queue, parcels + done, count - done, &spare);
    }
    rmt_rest_end(&rest, rmt_load64(&q->state) != 0 ? INT_MAX : 1);
    if (RMT_UNLIKELY(spare.hold >= 0))
        rmt_block_free(self, spare.hold);
    return done > 0 ? (ptrdiff_t)done : r;
}

/* `count` is a constant where one is put, so that there is no loop. */
static inline ptrdiff_t put(struct rmt_self *self, const struct ramet_queue *queue,
                            const struct rmt_parcel *parcels, size_t count, const ramet_wait *wait)
{
    struct spare none = {.hold = -1};
    ptrdiff_t n = put_once(self, queue, parcels, count, &none);
    return RMT_LIKELY(n == (ptrdiff_t)count) ? n : put_later(self, queue, parcels, count, wait, n);
}

ptrdiff_t rmt_queue_put(struct rmt_self *self, const struct ramet_queue *queue,
                        const struct rmt_parcel *parcels, size_t count, const ramet_wait *wait)
{
    return put(self, queue, parcels, count, wait);
}

int rmt_queue_put_one(struct rmt_self *self, const struct ramet_queue *queue,
                      const struct rmt_parcel *parcel, const ramet_wait *wait)
{
    return (int)put(self, queue, parcel, 1, wait);
}
