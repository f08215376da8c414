/* SPDX-License-Identifier: MIT
 *
 * pipe_io.c: how messages move through the ways of a pipe; see pipe.h for the rules.
 */
#include "base/seeded.h"
#include "channel/doorbell.h"
#include "channel/message.h"
#include "channel/pipe.h"

#include <ramet/arena.h>

#include <errno.h>
#include <string.h>

#define WORD 8u
#define ENTRY_OF_BLOCK (3 * WORD) /* header, offset, size */
#define SLICE_THOROUGH                                                                             \
    100000000 /* ns: sleeps of this length are followed by a sweep for deaths                      \
               */

static uint64_t padded(uint64_t size)
{
    return (size + WORD - 1) & ~(uint64_t)(WORD - 1);
}

static uint64_t position(uint64_t word)
{
    return word & RMT_PIPE_POSITION;
}

#define FIELD(lane, field) ((lane).offset + offsetof(struct rmt_pipe_way, field))

/* ---- bytes of a ring */

static void ring_write(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t at,
                       const void *data, size_t size)
{
    uint64_t index = at % bytes;
    size_t first = size < bytes - index ? size : bytes - index;
    if (first > 0)
        memcpy(lane->ring + index, data, first);
    if (size > first)
        memcpy(lane->ring, (const uint8_t *)data + first, size - first);
}

static void ring_read(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t at, void *data,
                      size_t size)
{
    uint64_t index = at % bytes;
    size_t first = size < bytes - index ? size : bytes - index;
    if (first > 0)
        memcpy(data, lane->ring + index, first);
    if (size > first)
        memcpy((uint8_t *)data + first, lane->ring, size - first);
}

static uint64_t word_read(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t at)
{
    uint64_t word;
    memcpy(&word, lane->ring + at % bytes, WORD); /* positions are multiples of WORD: never wraps */
    return word;
}

/* ---- entries */

struct entry {
    uint32_t tag;
    uint64_t size;
    uint64_t block;  /* offset; 0 inline */
    uint64_t length; /* in the ring */
};

/* The entry at `head`, of which all below `tail` is published. false: it cannot be one. */
static bool entry_read(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t head,
                       uint64_t tail, struct entry *ret_entry)
{
    uint64_t header = word_read(lane, bytes, head);
    struct entry e = {.tag = (uint32_t)(header >> RMT_PIPE_TAG_SHIFT) & 255};
    if (header & RMT_PIPE_IS_BLOCK) {
        e.length = ENTRY_OF_BLOCK;
        if (tail - head < e.length)
            return false;
        e.block = word_read(lane, bytes, head + WORD);
        e.size = word_read(lane, bytes, head + 2 * WORD);
        if (e.block == 0)
            return false;
    } else {
        e.size = header & RMT_PIPE_SIZE;
        e.length = WORD + padded(e.size);
    }
    *ret_entry = e;
    return e.length <= tail - head;
}

static void entry_write(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t tail,
                        const struct rmt_pipe_message *m)
{
    uint64_t header = (uint64_t)m->tag << RMT_PIPE_TAG_SHIFT;
    if (m->block) {
        uint64_t words[3] = {header | RMT_PIPE_IS_BLOCK, m->block, m->size};
        ring_write(lane, bytes, tail, words, sizeof words);
        return;
    }
    header |= m->size;
    ring_write(lane, bytes, tail, &header, sizeof header);
    tail += WORD;
    for (int i = 0; i < m->count; i++) {
        ring_write(lane, bytes, tail, m->parts[i].iov_base, m->parts[i].iov_len);
        tail += m->parts[i].iov_len;
    }
}

/* ---- the doorbell, under the put guard: see pipe.h */

/* Makes (2) and (3) true for a message about to be published. */
static int ring_before_publishing(const ramet_end *end, bool *ret_hung_up)
{
    struct rmt_pipe_way *way = end->out.way;
    uint64_t bell = rmt_load64_relaxed(&way->bell);
    if (RMT_LIKELY((bell & RMT_PIPE_BELL_SURE) != 0))
        return 0;
    if (end->fd < 0)
        return -ENOTCONN;
    rmt_store64(&way->bell, bell + 2);
    int r = rmt_doorbell_ring(end->fd);
    if (r == 0)
        rmt_store64(&way->bell, (bell + 2) | RMT_PIPE_BELL_SURE);
    else if (r == -EAGAIN) /* full: readable as it is */
        rmt_store64(&way->bell, bell | RMT_PIPE_BELL_SURE);
    else if (r == -EPIPE) /* there is no descriptor any more that could be polled, for ever */
        rmt_store64(&way->bell, bell | RMT_PIPE_BELL_SURE);
    else
        return r;
    *ret_hung_up = r == -EPIPE;
    return 0;
}

/* Takes the bytes out of the receiver's socket if the way is empty and polled.  It waits for the
 * guard even where that is a sender's who has published and not yet left: without it the byte would
 * stay when we have taken his message, and a program that relies on poll(2) would wait for the next
 * one in recv. */
static int hush(struct rmt_self *self, const ramet_end *end)
{
    struct rmt_pipe_way *way = end->in.way;
    if (RMT_LIKELY(rmt_load32_relaxed(&way->polled) == 0) || end->fd < 0 ||
        rmt_load64_relaxed(&way->bell) == 0)
        return 0;
    int r = rmt_guard_lock(self, &way->put);
    if (r < 0)
        return r;
    uint64_t bell = rmt_load64_relaxed(&way->bell);
    uint64_t tail = rmt_load64_relaxed(&way->tail);
    if (position(tail) == position(rmt_load64(&way->head)) && bell != 0) {
        rmt_store64(&way->bell, bell & ~RMT_PIPE_BELL_SURE);
        rmt_doorbell_drain(end->fd, bell / 2);
        rmt_store64(&way->bell, 0);
    }
    rmt_guard_unlock(self, &way->put);
    return 0;
}

int rmt_pipe_listen(struct rmt_self *self, ramet_end *end)
{
    rmt_store32(&end->in.way->polled, 1);
    return hush(self, end);
}

/* ---- put */

static bool fits(const ramet_end *end, uint64_t tail, uint64_t head,
                 const struct rmt_pipe_message *m)
{
    const struct rmt_pipe_way *way = end->out.way;
    uint64_t used = position(tail) - position(head);
    if (!m->block)
        return WORD + padded(m->size) <= end->bytes - used;
    if (ENTRY_OF_BLOCK > end->bytes - used)
        return false;
    uint64_t waiting = rmt_load64_relaxed(&way->blocks_put) - rmt_load64(&way->blocks_taken);
    uint64_t budget = RMT_PIPE_BLOCKS * end->bytes;
    return waiting == 0 || (waiting < budget && m->size <= budget - waiting);
}

static void publish(struct rmt_self *self, const ramet_end *end, uint64_t tail,
                    const struct rmt_pipe_message *m)
{
    struct rmt_pipe_way *way = end->out.way;
    entry_write(&end->out, end->bytes, tail, m);
    rmt_store64_relaxed(&self->thread->wakes, FIELD(end->out, news));
    if (!m->block) {
        /* The entry before it, for rmt_pipe_take.  pairs-with: pipe.tail (release) */
        rmt_store64(&way->tail, tail + WORD + padded(m->size));
        return;
    }
    uint64_t put = rmt_load64_relaxed(&way->blocks_put);
    /* In this order: the block leaves our hold before anybody can take it into his. */
    rmt_redo(&way->put, 0, rmt_hold_what(self, m->hold), 0);
    rmt_redo(&way->put, 1, FIELD(end->out, blocks_put), put + m->size);
    rmt_redo(&way->put, 2, FIELD(end->out, tail), tail + ENTRY_OF_BLOCK);
    rmt_commit(&way->put, 3);
}

int rmt_pipe_put(struct rmt_self *self, ramet_end *end, const struct rmt_pipe_message *m)
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
        r = ring_before_publishing(end, &hung_up);
#else
    else
        r = ring_before_publishing(end, &hung_up);
    if (r == 0)
        publish(self, end, tail, m);
#endif
    rmt_guard_unlock(self, &way->put);
    if (r == 0)
        rmt_bell_ring(&way->news, INT_MAX);
    if (hung_up)
        ramet_sweep(); /* the receivers may all be dead: if so, the next call says so */
    return r < 0 ? r : 0;
}

/* ---- take */

static void take_block(struct rmt_self *self, const ramet_end *end, uint64_t head,
                       const struct entry *e, int hold)
{
    struct rmt_pipe_way *way = end->in.way;
    uint64_t taken = rmt_load64_relaxed(&way->blocks_taken);
    rmt_redo(&way->take, 0, FIELD(end->in, blocks_taken), taken + e->size);
    rmt_redo(&way->take, 1, rmt_hold_arg(self, hold), 0);
    rmt_redo(&way->take, 2, rmt_hold_what(self, hold), e->block | RMT_HOLD_BLOCK);
    rmt_redo(&way->take, 3, FIELD(end->in, head), head + e->length);
    rmt_commit(&way->take, 4);
}

/* Under the take guard, with the entry at `head` read. */
static int take_entry(struct rmt_self *self, const ramet_end *end, uint64_t head,
                      const struct entry *e, void *into, size_t room,
                      struct rmt_pipe_taken *ret_taken)
{
    struct rmt_pipe_way *way = end->in.way;
    struct rmt_pipe_taken t = {.tag = e->tag, .size = e->size, .hold = -1, .data = into};
    rmt_store64_relaxed(&self->thread->wakes, FIELD(end->in, room));
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
        ring_read(&end->in, end->bytes, head + WORD, into, e->size);
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
    if (position(tail) == position(rmt_load64(&way->head))) {
        int r = hush(self, end);
        return r < 0 ? r : nothing(tail);
    }
    int r = rmt_guard_lock(self, &way->take);
    if (r < 0)
        return r;
    struct entry e;
    uint64_t head = rmt_load64_relaxed(&way->head);
    tail = rmt_load64(&way->tail);
    if (position(tail) == position(head))
        r = nothing(tail);
    else if (!entry_read(&end->in, end->bytes, head, position(tail), &e))
        r = -ENOTRECOVERABLE;
    else if (e.size > longest)
        r = -EMSGSIZE;
    else
        r = take_entry(self, end, head, &e, into, room, ret_taken);
    bool emptied = r == 0 && head + e.length == position(tail);
    rmt_guard_unlock(self, &way->take);
    if (r != 0)
        return r == -ENOTRECOVERABLE ? damaged() : r;
    rmt_bell_ring(&way->room, INT_MAX);
    if (emptied)
        (void)hush(self, end); /* the message is ours, whatever comes of this */
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
    struct entry e;
    int r = rmt_guard_lock(self, &way->take);
    if (r < 0)
        return r;
    uint64_t head = rmt_load64_relaxed(&way->head);
    uint64_t tail = rmt_load64(&way->tail);
    if (position(head) == position(tail))
        r = nothing(tail);
    else
        r = entry_read(&end->in, end->bytes, head, position(tail), &e) ? 0 : -ENOTRECOVERABLE;
    rmt_guard_unlock(self, &way->take);
    if (r == 0)
        *ret_size = e.size;
    return r == -ENOTRECOVERABLE ? damaged() : r;
}

/* ---- waiting */

/* After a sleep that brought nothing: recovers what is dead, so that the end of it shows.  A pipe
 * that is hung up while its other side counts as open is one whose other side is dying, has called
 * exec, or is on its way into a process. */
static void look_for_the_dead(const ramet_end *end, const struct rmt_waiter *w)
{
    bool hung_up = end->fd >= 0 && rmt_doorbell_hung_up(end->fd);
    if (hung_up && w->slice >= SLICE_THOROUGH)
        rmt_sweep_thorough(w->self);
    else if (hung_up || w->slice >= SLICE_THOROUGH)
        ramet_sweep();
}

/* Sleeps while *word is `seen`; both sides move positions and then ring. */
static int await(const ramet_end *end, struct rmt_waiter *w, rmt_a64 *word, uint64_t seen,
                 rmt_a32 *bell, uint64_t bell_offset)
{
    if (w->spins > 0)
        return rmt_sleep(w, rmt_low32(word), (uint32_t)seen, 0, 0);
    uint32_t v = rmt_bell_arm(bell);
    if (rmt_load64(word) != seen)
        return 0;
    uint32_t before = w->slept;
    int r = rmt_sleep(w, bell, v, bell_offset, 0);
    if (w->slept != before && rmt_load64_relaxed(word) == seen)
        look_for_the_dead(end, w);
    return r;
}

int rmt_pipe_await_news(ramet_end *end, struct rmt_waiter *w)
{
    struct rmt_pipe_way *way = end->in.way;
    uint64_t tail = rmt_load64(&way->tail);
    if (position(tail) != position(rmt_load64(&way->head)) || (tail & RMT_PIPE_CLOSED))
        return 0;
    return await(end, w, &way->tail, tail, &way->news, FIELD(end->in, news));
}

int rmt_pipe_await_room(ramet_end *end, struct rmt_waiter *w)
{
    struct rmt_pipe_way *way = end->out.way;
    uint64_t head = rmt_load64(&way->head);
    return await(end, w, &way->head, head, &way->room, FIELD(end->out, room));
}

static bool ready(const struct rmt_pipe_way *way)
{
    uint64_t tail = rmt_load64(&way->tail);
    return position(tail) != position(rmt_load64(&way->head)) || (tail & RMT_PIPE_CLOSED);
}

int rmt_pipe_ready(struct rmt_self *self, ramet_end *end)
{
    if (ready(end->in.way))
        return 1;
    int r = hush(self, end);
    if (r < 0)
        return r;
    if (end->fd >= 0 && rmt_doorbell_hung_up(end->fd))
        ramet_sweep();
    return ready(end->in.way);
}

/* ---- the end of a way */

void rmt_pipe_close_tail(struct rmt_self *self, struct rmt_pipe_lane lane)
{
    struct rmt_pipe_way *way = lane.way;
    if (rmt_guard_lock(self, &way->put) < 0)
        return;
    rmt_store64_relaxed(&self->thread->wakes, FIELD(lane, news));
    rmt_store64(&way->tail, rmt_load64_relaxed(&way->tail) | RMT_PIPE_CLOSED);
    rmt_guard_unlock(self, &way->put);
    rmt_bell_ring(&way->news, INT_MAX);
}

/* Frees the first message, if it is a block; 0: there was none. */
static int discard_one(struct rmt_self *self, struct rmt_pipe_lane lane, uint64_t bytes)
{
    struct rmt_pipe_way *way = lane.way;
    ramet_end end = {.bytes = bytes, .in = lane, .fd = -1}; /* as take_block() wants it */
    struct entry e;
    int hold = -1;
    if (rmt_guard_lock(self, &way->take) < 0)
        return 0;
    uint64_t word = rmt_load64_relaxed(&way->head);
    uint64_t tail = position(rmt_load64(&way->tail));
    bool some = position(word) != tail && entry_read(&lane, bytes, position(word), tail, &e);
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
    rmt_store64_relaxed(&self->thread->wakes, FIELD(lane, room));
    rmt_store64(&way->head, rmt_load64_relaxed(&way->head) | RMT_PIPE_CLOSED);
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
    uint64_t head = position(rmt_load64(&lane.way->head));
    uint64_t tail = position(rmt_load64(&lane.way->tail));
    uint64_t waiting = 0;
    if (head > tail || tail - head > bytes)
        return -ENOTRECOVERABLE;
    if (head != tail && !(rmt_load64(&lane.way->bell) & RMT_PIPE_BELL_SURE))
        return -ENOTRECOVERABLE;
    while (head != tail) {
        struct entry e;
        if (!entry_read(&lane, bytes, head, tail, &e))
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
