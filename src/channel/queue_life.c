/* SPDX-License-Identifier: MIT
 *
 * queue_life.c: making and destroying queues, shutting them down, and taking back what a dead
 * process had got from one.  Everything here can be killed anywhere and done again by somebody
 * else.
 */
#include "arena/kind.h"
#include "channel/bell.h"
#include "channel/message.h"
#include "channel/queue.h"
#include <ramet/view.h>

#include <errno.h>

/* ---- making */

static uint64_t largest_ring(uint64_t max_items)
{
    uint64_t capacity = 1;
    while (capacity < RMT_RING_LARGEST && (max_items == 0 || capacity < max_items))
        capacity *= 2;
    return capacity;
}

/* Fills the queue in hold `hold`.  get_ring, which is set last, makes it one that destroy looks at.
 */
static int fill(struct rmt_self *self, uint64_t queue, uint64_t max_items)
{
    struct rmt_queue *q = rmt_payload(queue);
    int hold;
    uint64_t ring;
    int r = rmt_ring_alloc(self, queue, rmt_ring_first(max_items), &hold, &ring);
    if (r < 0)
        return r;
    q->max_items = max_items;
    q->largest = largest_ring(max_items);
    rmt_guard_init(&q->put, RMT_QUEUE_WORD(queue, put));
    rmt_guard_init(&q->get, RMT_QUEUE_WORD(queue, get));
    rmt_store64(&q->put_ring, ring);
    r = rmt_guard_lock(self, &q->get);
    if (r < 0) {
        rmt_block_free(self, hold);
        return r;
    }
    rmt_redo(&q->get, 0, RMT_QUEUE_WORD(queue, get_ring), ring);
    rmt_redo(&q->get, 1, rmt_hold_what(self, hold), 0);
    rmt_commit(&q->get, 2);
    rmt_guard_unlock(self, &q->get);
    return 0;
}

int rmt_queue_create(struct rmt_self *self, const ramet_queue_options *options,
                     struct ramet_queue *ret_queue)
{
    if (options && options->size != sizeof *options)
        return -EINVAL;
    uint64_t max_items = options ? options->max_items : 0;
    if (max_items > INT64_MAX)
        return -EINVAL;
    int hold;
    uint64_t queue;
    struct rmt_handle handle;
    int r = rmt_block_alloc(self, sizeof(struct rmt_queue), RAMET_KIND_QUEUE, &hold, &queue);
    if (r < 0)
        return r;
    r = fill(self, queue, max_items);
    if (r == 0)
        r = rmt_handle_create(self, hold, &handle);
    if (r < 0) {
        rmt_block_free(self, hold);
        return r;
    }
    ret_queue->handle = handle;
    ret_queue->offset = queue;
    ret_queue->shared = rmt_payload(queue);
    return 0;
}

int rmt_queue_open(struct rmt_self *self, const ramet_ref *ref, struct ramet_queue *ret_queue)
{
    struct rmt_handle handle;
    int r = rmt_handle_open(self, ref, RAMET_KIND_QUEUE, &handle);
    if (r < 0)
        return r;
    ret_queue->handle = handle;
    ret_queue->offset = handle.offset;
    ret_queue->shared = rmt_payload(handle.offset);
    return 0;
}

/* ---- throwing away what is left */

/* Whoever frees a ring, be it the getter that moved on or the recovery of that one: a putter may
 * have died while it applied the record that closed this ring.  Then the record is applied again,
 * into the ring, by whoever takes the put guard next.  That is us: after this, no record names the
 * ring. */
static void ring_destroy(struct rmt_self *self, uint64_t offset)
{
    const struct rmt_ring *ring = rmt_payload(offset);
    uint64_t queue = ring->queue;
    if (queue == 0 || !rmt_block_valid(queue) || rmt_block_at(queue)->kind != RAMET_KIND_QUEUE ||
        rmt_block_at(queue)->generation != ring->generation)
        return; /* it was never linked, or the queue went first */
    struct rmt_queue *q = rmt_payload(queue);
    if (rmt_load64_relaxed(&q->put.self) == RMT_QUEUE_WORD(queue, put) &&
        rmt_guard_lock(self, &q->put) >= 0)
        rmt_guard_unlock(self, &q->put);
}

/* Under the get guard: takes the first message into the hold, or drops the first bytes, or takes a
 * ring that is used up.  0: the queue is empty, 1: the hold is to be freed, 2: the ring in it is,
 * 3: go on. */
static int drain_locked(struct rmt_self *self, uint64_t queue, struct rmt_queue *q, int hold)
{
    uint64_t head = rmt_load64_relaxed(&q->head);
    uint64_t tail = rmt_load64(&q->tail); /* pairs-with: queue.tail (acquire) */
    if (head == tail)
        return 0;
    uint64_t offset = rmt_load64_relaxed(&q->get_ring);
    struct rmt_ring *ring = rmt_payload(offset);
    uint64_t end = rmt_load64(&ring->end);
    if (head == end) {
        rmt_redo(&q->get, 0, rmt_hold_what(self, hold), offset | RMT_HOLD_BLOCK);
        rmt_redo(&q->get, 1, RMT_QUEUE_WORD(queue, get_ring), rmt_load64(&ring->next));
        rmt_commit(&q->get, 2);
        return 2;
    }
    const struct rmt_cell *cell = rmt_ring_cell(ring, head);
    uint64_t done = rmt_load64_relaxed(&q->done);
    bool block = cell->block != 0;
    unsigned words = 0;
    if (done < tail)
        rmt_redo(&q->get, words++, RMT_QUEUE_WORD(queue, done), done + 1);
    if (block)
        rmt_redo(&q->get, words++, rmt_hold_what(self, hold), cell->of | RMT_HOLD_BLOCK);
    rmt_redo(&q->get, words++, RMT_QUEUE_WORD(queue, head), head + 1);
    rmt_commit(&q->get, words);
    return block ? 1 : 3;
}

int rmt_queue_drain(struct rmt_self *self, uint64_t queue)
{
    struct rmt_queue *q = rmt_payload(queue);
    int hold = rmt_hold_find(self);
    if (hold < 0)
        return hold;
    for (;;) {
        int r = rmt_guard_lock(self, &q->get);
        if (r < 0)
            return r;
        int what = drain_locked(self, queue, q, hold);
        rmt_guard_unlock(self, &q->get);
        if (what == 1 &&
            !rmt_message_known(rmt_load64_relaxed(&self->thread->hold[hold].what) & ~RMT_TAG_MASK))
            return -ENOTRECOVERABLE;
        if (what == 1 || what == 2)
            rmt_block_free(self, hold);
        else if (what == 0)
            break;
    }
    if (rmt_queue_unfinished(q) == 0)
        rmt_bell_ring(&q->done_bell, INT_MAX);
    return 0;
}

int rmt_queue_shutdown(struct rmt_self *self, const struct ramet_queue *queue, bool immediate)
{
    struct rmt_queue *q = queue->shared;
    int r = rmt_guard_lock(self, &q->put);
    if (r < 0)
        return r;
    uint64_t state = rmt_load64_relaxed(&q->state) | RMT_QUEUE_SHUT;
    if (immediate)
        state |= RMT_QUEUE_DISCARD;
    rmt_store64(&self->thread->wakes, RMT_QUEUE_WORD(queue->offset, get_bell));
    uint64_t owed = rmt_load64_relaxed(&self->thread->wakes_too); /* by a notification */
    if (owed == 0)
        rmt_store64(&self->thread->wakes_too, RMT_QUEUE_WORD(queue->offset, put_bell));
    rmt_store64(&q->state, state);
    rmt_guard_unlock(self, &q->put);
    rmt_bell_ring(&q->get_bell, INT_MAX);
    rmt_bell_ring(&q->put_bell, INT_MAX);
    if (owed == 0)
        rmt_store64_relaxed(&self->thread->wakes_too, 0);
    return immediate ? rmt_queue_drain(self, queue->offset) : 0;
}

/* ---- the end of a queue */

/* The caller has the queue in a hold, and nobody else knows it. */
static void queue_destroy(struct rmt_self *self, uint64_t queue)
{
    struct rmt_queue *q = rmt_payload(queue);
    if (rmt_load64(&q->get_ring) == 0)
        return; /* its maker died before it was one, or it has been destroyed */
    if (rmt_queue_drain(self, queue) < 0)
        return;
    int hold = rmt_hold_find(self);
    if (hold < 0 || rmt_guard_lock(self, &q->get) < 0)
        return;
    uint64_t ring = rmt_load64_relaxed(&q->get_ring);
    rmt_redo(&q->get, 0, rmt_hold_what(self, hold), ring | RMT_HOLD_BLOCK);
    rmt_redo(&q->get, 1, RMT_QUEUE_WORD(queue, get_ring), 0);
    rmt_commit(&q->get, 2);
    rmt_guard_unlock(self, &q->get);
    rmt_block_free(self, hold);
}

/* ---- the end of a user: what it had got and not released is counted as lost */

static void lose_item(struct rmt_self *self, uint64_t dead_offset, int index)
{
    struct rmt_thread *dead = rmt_at(dead_offset);
    struct rmt_hold *hold = &dead->hold[index];
    uint64_t what = rmt_load64(&hold->what);
    if ((what & RMT_TAG_MASK) != RMT_HOLD_ITEM)
        return;
    uint64_t queue = what & ~RMT_TAG_MASK;
    struct rmt_queue *q = rmt_payload(queue);
    if (rmt_guard_lock(self, &q->get) < 0)
        return;
    uint64_t arg = rmt_load64(&hold->arg);
    uint64_t message = arg & ~RMT_TAG_MASK;
    uint64_t count = message != 0 ? 1 : arg;
    uint64_t done = rmt_load64_relaxed(&q->done);
    uint64_t open = rmt_load64(&q->tail) - done;
    uint64_t what_word =
        dead_offset + offsetof(struct rmt_thread, hold) + (uint64_t)index * sizeof(struct rmt_hold);
    rmt_redo(&q->get, 0, RMT_QUEUE_WORD(queue, lost), rmt_load64_relaxed(&q->lost) + count);
    rmt_redo(&q->get, 1, RMT_QUEUE_WORD(queue, done), done + (count < open ? count : open));
    rmt_redo(&q->get, 2, what_word, message != 0 ? message | RMT_HOLD_BLOCK : 0);
    rmt_commit(&q->get, 3);
    rmt_guard_unlock(self, &q->get);
    if (rmt_queue_unfinished(q) == 0)
        rmt_bell_ring(&q->done_bell, INT_MAX);
    if (message != 0 && rmt_message_known(message))
        rmt_block_free_of(self, dead_offset, index);
}

/* ---- for tests and for the live view */

static int queue_check(uint64_t queue)
{
    const struct rmt_queue *q = rmt_payload(queue);
    uint64_t head = rmt_load64(&q->head), tail = rmt_load64(&q->tail);
    uint64_t get_ring = rmt_load64(&q->get_ring);
    if (get_ring == 0)
        return 0; /* being made, or destroyed */
    if (head > tail || rmt_load64(&q->done) > tail || rmt_load64(&q->lost) > head)
        return -ENOTRECOVERABLE;
    if (rmt_load64(&q->seen_head) > head || rmt_load64(&q->seen_tail) > tail)
        return -ENOTRECOVERABLE;
    if (q->max_items != 0 && tail - head > q->max_items)
        return -ENOTRECOVERABLE;
    if (rmt_load64(&q->put.armed) != 0 || rmt_load64(&q->get.armed) != 0)
        return -ENOTRECOVERABLE;
    return rmt_ring_check(get_ring, rmt_load64(&q->put_ring), head, tail);
}

static void queue_describe(const struct rmt_source *source, const struct rmt_block *block,
                           uint64_t offset, const void *payload, size_t size,
                           struct rmt_facts *facts)
{
    (void)source;
    (void)block;
    (void)offset;
    const struct rmt_queue *q = payload;
    if (size < sizeof *q)
        return;
    /* Of a copy whose words may be of different moments: both only grow, and head <= tail. */
    uint64_t head = rmt_load64_relaxed(&q->head), tail = rmt_load64_relaxed(&q->tail);
    uint64_t state = rmt_load64_relaxed(&q->state);
    facts->total = tail > head ? tail : head;
    facts->done = head;
    facts->depth = (state & RMT_QUEUE_DISCARD) != 0 ? 0 : facts->total - head;
    facts->limit = q->max_items;
    facts->lost = rmt_load64_relaxed(&q->lost);
    facts->flags = state != 0 ? RAMET_VIEW_CLOSED : 0;
}

static bool queue_is_bell(uint64_t queue, uint64_t word)
{
    return word == RMT_QUEUE_WORD(queue, get_bell) || word == RMT_QUEUE_WORD(queue, put_bell) ||
           word == RMT_QUEUE_WORD(queue, done_bell);
}

__attribute__((constructor)) static void queue_register(void)
{
    static const struct rmt_kind kind = {
        .id = RAMET_KIND_QUEUE,
        .name = "queue",
        .clear = sizeof(struct rmt_queue),
        .destroy = queue_destroy,
        .is_bell = queue_is_bell,
        .check = queue_check,
        .describe = queue_describe,
    };
    static const struct rmt_kind ring = {
        .id = RMT_KIND_RING,
        .name = "ring",
        .clear = sizeof(struct rmt_ring),
        .destroy = ring_destroy,
    };
    rmt_kind_register(&kind);
    rmt_kind_register(&ring);
    rmt_hold_register(RMT_HOLD_ITEM, lose_item);
}
