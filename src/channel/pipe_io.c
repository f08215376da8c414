/* SPDX-License-Identifier: MIT
 *
 * pipe_io.c: how messages move through the ways of a pipe; see pipe.h for the rules, pipe_entry.h
 * for what stands in a ring, and pipe_wait.c for who waits.
 */
#include "base/seeded.h"
#include "channel/message.h"
#include "channel/pipe_entry.h"

#include <errno.h>

/* ---- put */

static bool fits(const ramet_end *end, uint64_t tail, uint64_t head,
                 const struct rmt_pipe_message *m)
{
    const struct rmt_pipe_way *way = end->out.way;
    uint64_t used = rmt_pipe_position(tail) - rmt_pipe_position(head);
    if (!m->block)
        return RMT_PIPE_WORD + rmt_pipe_padded(m->size) <= end->bytes - used;
    if (RMT_PIPE_ENTRY_OF_BLOCK > end->bytes - used)
        return false;
    uint64_t waiting = rmt_load64_relaxed(&way->blocks_put) - rmt_load64(&way->blocks_taken);
    uint64_t budget = RMT_PIPE_BLOCKS * end->bytes;
    return waiting == 0 || (waiting < budget && m->size <= budget - waiting);
}

static void publish(struct rmt_self *self, const ramet_end *end, uint64_t tail,
                    struct rmt_pipe_message *m)
{
    struct rmt_pipe_way *way = end->out.way;
    rmt_pipe_entry_write(&end->out, end->bytes, tail, m);
    rmt_store64_relaxed(&self->thread->wakes, RMT_PIPE_FIELD(end->out, news));
    m->behind =
        tail + (m->block ? RMT_PIPE_ENTRY_OF_BLOCK : RMT_PIPE_WORD + rmt_pipe_padded(m->size));
    if (!m->block) {
        /* The entry before it, for rmt_pipe_take.  pairs-with: pipe.tail (release) */
        rmt_store64(&way->tail, m->behind);
        return;
    }
    uint64_t put = rmt_load64_relaxed(&way->blocks_put);
    /* In this order: the block leaves our hold before anybody can take it into his. */
    rmt_redo(&way->put, 0, rmt_hold_what(self, m->hold), 0);
    rmt_redo(&way->put, 1, RMT_PIPE_FIELD(end->out, blocks_put), put + m->size);
    rmt_redo(&way->put, 2, RMT_PIPE_FIELD(end->out, tail), m->behind);
    rmt_commit(&way->put, 3);
}

int rmt_pipe_put(struct rmt_self *self, ramet_end *end, struct rmt_pipe_message *m)
{
    struct rmt_pipe_way *way = end->out.way;
    bool hung_up = false;
    int r = rmt_guard_lock(self, &way->put);
    if (r < 0)
        return r;
    uint64_t tail = rmt_load64_relaxed(&way->tail);
    uint64_t head = rmt_load64(&way->head); /* pairs-with: pipe.head (acquire) */
    if (head & RMT_PIPE_CLOSED)
        r = -EPIPE;
    else if (!fits(end, tail, head, m))
        r = -EAGAIN;
#if RMT_SEEDED(BELL_LATE)
    else
        publish(self, end, tail, m);
    if (r == 0)
        r = rmt_pipe_ring(end, &hung_up);
#else
    else
        r = rmt_pipe_ring(end, &hung_up);
    if (r == 0)
        publish(self, end, tail, m);
#endif
    rmt_guard_unlock(self, &way->put);
    if (r == 0)
        rmt_bell_ring(&way->news, INT_MAX);
    if (hung_up)
        rmt_sweep_holders(self); /* the receivers may all be dead: if so, the next call says so */
    return r < 0 ? r : 0;
}

/* ---- take */

static void take_block(struct rmt_self *self, const ramet_end *end, uint64_t head,
                       const struct rmt_pipe_entry *e, int hold)
{
    struct rmt_pipe_way *way = end->in.way;
    uint64_t taken = rmt_load64_relaxed(&way->blocks_taken);
    rmt_redo(&way->take, 0, RMT_PIPE_FIELD(end->in, blocks_taken), taken + e->size);
    rmt_redo(&way->take, 1, rmt_hold_arg(self, hold), 0);
    rmt_redo(&way->take, 2, rmt_hold_what(self, hold), e->block | RMT_HOLD_BLOCK);
    rmt_redo(&way->take, 3, RMT_PIPE_FIELD(end->in, head), head + e->length);
    rmt_commit(&way->take, 4);
}

/* Under the take guard, with the entry at `head` read. */
static int take_entry(struct rmt_self *self, const ramet_end *end, uint64_t head,
                      const struct rmt_pipe_entry *e, void *into, size_t room,
                      struct rmt_pipe_taken *ret_taken)
{
    struct rmt_pipe_way *way = end->in.way;
    struct rmt_pipe_taken t = {.tag = e->tag, .size = e->size, .hold = -1, .data = into};
    rmt_store64_relaxed(&self->thread->wakes, RMT_PIPE_FIELD(end->in, room));
    if (e->block) {
        t.hold = rmt_hold_find(self);
        if (t.hold < 0)
            return t.hold;
        t.block = e->block;
        t.data = NULL;
        take_block(self, end, head, e, t.hold);
    } else {
        if (e->size > room)
            return -EMSGSIZE;
        rmt_pipe_ring_read(&end->in, end->bytes, head + RMT_PIPE_WORD, into, e->size);
        /* The copy before it, for rmt_pipe_put.  pairs-with: pipe.head (release) */
        rmt_store64(&way->head, head + e->length);
    }
    *ret_taken = t;
    return 0;
}

static int nothing(uint64_t tail)
{
    return tail & RMT_PIPE_CLOSED ? -ENODATA : -EAGAIN;
}

static int damaged(void)
{
    rmt_poison("a pipe holds what is no message");
    return -ENOTRECOVERABLE;
}

int rmt_pipe_take(struct rmt_self *self, ramet_end *end, void *into, size_t room, size_t longest,
                  struct rmt_pipe_taken *ret_taken)
{
    struct rmt_pipe_way *way = end->in.way;
    /* pairs-with: pipe.tail (acquire).  Empty now is empty, whoever else may take. */
    uint64_t tail = rmt_load64(&way->tail);
    if (rmt_pipe_position(tail) == rmt_pipe_position(rmt_load64(&way->head))) {
        int r = rmt_pipe_hush(self, end);
        return r < 0 ? r : nothing(tail);
    }
    int r = rmt_guard_lock(self, &way->take);
    if (r < 0)
        return r;
    struct rmt_pipe_entry e;
    uint64_t head = rmt_load64_relaxed(&way->head);
    tail = rmt_load64(&way->tail);
    if (rmt_pipe_position(tail) == rmt_pipe_position(head))
        r = nothing(tail);
    else if (!rmt_pipe_entry_read(&end->in, end->bytes, head, rmt_pipe_position(tail), &e))
        r = -ENOTRECOVERABLE;
    else if (e.size > longest)
        r = -EMSGSIZE;
    else
        r = take_entry(self, end, head, &e, into, room, ret_taken);
    bool emptied = r == 0 && head + e.length == rmt_pipe_position(tail);
    rmt_guard_unlock(self, &way->take);
    if (r != 0)
        return r == -ENOTRECOVERABLE ? damaged() : r;
    rmt_bell_ring(&way->room, INT_MAX);
    if (emptied)
        (void)rmt_pipe_hush(self, end); /* the message is ours, whatever comes of this */
    if (ret_taken->hold < 0)
        return 0;
    size_t size;
    if (!rmt_message_known(ret_taken->block) ||
        rmt_message_data(ret_taken->block, &ret_taken->data, &size) < 0 || size != ret_taken->size)
        return damaged();
    return 0;
}

int rmt_pipe_peek(struct rmt_self *self, ramet_end *end, size_t *ret_size)
{
    struct rmt_pipe_way *way = end->in.way;
    struct rmt_pipe_entry e;
    int r = rmt_guard_lock(self, &way->take);
    if (r < 0)
        return r;
    uint64_t head = rmt_load64_relaxed(&way->head);
    uint64_t tail = rmt_load64(&way->tail);
    if (rmt_pipe_position(head) == rmt_pipe_position(tail))
        r = nothing(tail);
    else
        r = rmt_pipe_entry_read(&end->in, end->bytes, head, rmt_pipe_position(tail), &e)
                ? 0
                : -ENOTRECOVERABLE;
    rmt_guard_unlock(self, &way->take);
    if (r == 0)
        *ret_size = e.size;
    return r == -ENOTRECOVERABLE ? damaged() : r;
}

/* ---- the end of a way */

void rmt_pipe_close_tail(struct rmt_self *self, struct rmt_pipe_lane lane)
{
    struct rmt_pipe_way *way = lane.way;
    if (rmt_guard_lock(self, &way->put) < 0)
        return;
    rmt_store64_relaxed(&self->thread->wakes, RMT_PIPE_FIELD(lane, news));
    rmt_store64(&way->tail, rmt_load64_relaxed(&way->tail) | RMT_PIPE_CLOSED);
    rmt_guard_unlock(self, &way->put);
    rmt_bell_ring(&way->news, INT_MAX);
}

/* Frees the first message, if it is a block; 0: there was none. */
static int discard_one(struct rmt_self *self, struct rmt_pipe_lane lane, uint64_t bytes)
{
    struct rmt_pipe_way *way = lane.way;
    ramet_end end = {.bytes = bytes, .in = lane, .fd = -1}; /* as take_block() wants it */
    struct rmt_pipe_entry e;
    int hold = -1;
    if (rmt_guard_lock(self, &way->take) < 0)
        return 0;
    uint64_t word = rmt_load64_relaxed(&way->head);
    uint64_t tail = rmt_pipe_position(rmt_load64(&way->tail));
    bool some = rmt_pipe_position(word) != tail &&
                rmt_pipe_entry_read(&lane, bytes, rmt_pipe_position(word), tail, &e);
    if (some && e.block) {
        hold = rmt_hold_find(self);
        some = hold >= 0;
        if (some)
            take_block(self, &end, word, &e, hold);
    } else if (some) {
        rmt_store64(&way->head, word + e.length);
    }
    rmt_guard_unlock(self, &way->take);
    if (hold < 0)
        return some;
    if (!rmt_message_known(e.block))
        return 0;
    rmt_block_free(self, hold);
    return 1;
}

void rmt_pipe_close_head(struct rmt_self *self, struct rmt_pipe_lane lane, uint64_t bytes)
{
    struct rmt_pipe_way *way = lane.way;
    if (rmt_guard_lock(self, &way->take) < 0)
        return;
    rmt_store64_relaxed(&self->thread->wakes, RMT_PIPE_FIELD(lane, room));
    uint64_t head = rmt_load64_relaxed(&way->head);
    if (!(head & RMT_PIPE_CLOSED)) { /* or we go on where another died, who may have freed some */
        rmt_store64_relaxed(&way->received, head);
        /* `received` before it, for rmt_pipe_taken.  pairs-with: pipe.head (release) */
        rmt_store64(&way->head, head | RMT_PIPE_CLOSED);
    }
    rmt_guard_unlock(self, &way->take);
    rmt_bell_ring(&way->room, INT_MAX);
    /* A sender inside the put guard may not have seen it: after this none publishes any more. */
    if (rmt_guard_lock(self, &way->put) < 0)
        return;
    rmt_guard_unlock(self, &way->put);
    while (discard_one(self, lane, bytes))
        ;
}

int rmt_pipe_check_lane(struct rmt_pipe_lane lane, uint64_t bytes)
{
    uint64_t head = rmt_pipe_position(rmt_load64(&lane.way->head));
    uint64_t tail = rmt_pipe_position(rmt_load64(&lane.way->tail));
    uint64_t waiting = 0;
    if (head > tail || tail - head > bytes)
        return -ENOTRECOVERABLE;
    if (head != tail && !(rmt_load64(&lane.way->bell) & RMT_PIPE_BELL_SURE))
        return -ENOTRECOVERABLE;
    while (head != tail) {
        struct rmt_pipe_entry e;
        if (!rmt_pipe_entry_read(&lane, bytes, head, tail, &e))
            return -ENOTRECOVERABLE;
        if (e.block &&
            (!rmt_block_valid(e.block) || rmt_block_at(e.block)->kind != RAMET_KIND_MESSAGE))
            return -ENOTRECOVERABLE;
        waiting += e.block ? e.size : 0;
        head += e.length;
    }
    uint64_t counted = rmt_load64(&lane.way->blocks_put) - rmt_load64(&lane.way->blocks_taken);
    return waiting == counted ? 0 : -ENOTRECOVERABLE;
}
