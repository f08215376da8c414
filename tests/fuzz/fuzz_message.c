/* SPDX-License-Identifier: MIT
 *
 * fuzz_message.c: messages, as a queue's cells, as its blocks and as a pipe's entries, with words
 * that another process wrote: the words of a message's header, the words of a cell, the bytes in a
 * ring. Whoever takes such a thing gets an error, or bytes that are all inside the message; or the
 * arena is poisoned, of which the target then heals it.
 */
#include "arena/local.h"
#include "channel/message.h"
#include "channel/pipe.h"
#include "channel/queue.h"
#include "fuzz.h"

#include <errno.h>
#include <ramet/ramet.h>
#include <unistd.h>

static const ramet_wait now = {.size = sizeof now, .deadline = 0};

/* What is damaged is not used any more, and not given back either. */
static bool heal(void)
{
    struct rmt_self *self = rmt_self_now;
    bool was = rmt_load64(&rmt_header()->poisoned) != 0;
    rmt_store64(&rmt_header()->poisoned, 0);
    for (int i = 0; was && i < RMT_HOLDS; i++)
        rmt_store64(&self->thread->hold[i].what, 0);
    return was;
}

static void inside(uint64_t message, const uint8_t *data, size_t size)
{
    const struct rmt_block *b = rmt_block_at(message);
    const uint8_t *first = rmt_payload(message);
    MUST(data >= first && size <= b->capacity && data + size <= first + b->capacity);
    read_all(data, size);
}

/* A word of some bytes: small, about a block's size, of an object, or any. */
static uint64_t take_value(struct input *in, uint64_t object)
{
    uint8_t how = take_byte(in);
    if (how < 64)
        return how;
    if (how < 128)
        return 64u * (how - 64u);
    if (how < 160)
        return object;
    uint64_t any = take_word(in);
    return how < 200 ? any & 0xfffffff : any;
}

/* ---- a message's header */

static ramet_lock *lock; /* what messages mention */
static uint64_t lock_block;

static void message_header(struct rmt_self *self, struct input *in)
{
    char text[300] = "text";
    const struct iovec part = {text, take_byte(in) + 1u};
    int hold;
    uint64_t message;
    const uint8_t *data;
    size_t size;
    MUST(rmt_message_build(self, &part, 1, &lock_block, 1, &hold, &message) == 0);
    struct rmt_message *m = rmt_payload(message);
    uint64_t counted = rmt_load64(&m->ref[0]);
    if (take_byte(in) & 1)
        rmt_store64(&m->size, take_value(in, message));
    if (take_byte(in) & 1)
        rmt_store64(&m->data, take_value(in, message));
    if (take_byte(in) & 1)
        rmt_store64(&m->refs, take_value(in, message));
    if (take_byte(in) & 1) {
        rmt_count_drop(self, message + RMT_BLOCK_HEADER + offsetof(struct rmt_message, ref));
        counted = take_value(in, message);
        if (counted == lock_block)
            counted = 0;
        rmt_store64(&m->ref[0], counted);
    }
    if (rmt_message_data(message, &data, &size) == 0)
        inside(message, data, size);
    rmt_block_free(self, hold);
    heal();
}

/* ---- a queue's cell */

static void queue_cell(struct rmt_self *self, struct input *in)
{
    ramet_queue *queue;
    ramet_item item;
    (void)self;
    MUST(ramet_queue_create(NULL, &queue) == 0);
    for (int i = 0; i < 3; i++)
        MUST(ramet_queue_put(queue, "12345678", 8, NULL) == 0);
    struct rmt_ring *ring = rmt_payload(rmt_load64(&queue->shared->put_ring));
    struct rmt_cell *cell = rmt_ring_cell(ring, take_byte(in) % 3);
    cell->size = (uint32_t)take_value(in, lock_block);
    cell->block = take_byte(in) % 3;
    if (take_byte(in) & 1)
        cell->of = take_value(in, lock_block);
    int r = 0;
    for (int i = 0; i < 3 && r == 0; i++) {
        r = take_byte(in) % 2 ? ramet_queue_get(queue, &now, &item)
                              : (int)ramet_queue_get_many(queue, &now, &item, 1);
        if (r == 1)
            r = 0;
        if (r == 0) {
            MUST(item.size <= RAMET_ITEM_INLINE || item.data != item.bytes);
            read_all(item.data, item.size);
            ramet_item_release(&item);
        }
    }
    if (r == 0)
        r = ramet_queue_shutdown(queue, 1);
    bool damaged = heal();
    MUST(r == 0 || damaged);
    if (damaged) /* its memory stays: what is in it is not known */
        free(queue);
    else
        ramet_queue_close(queue);
}

/* ---- a queue that is thrown away with what is in it */

static void queue_dropped(struct rmt_self *self, struct input *in)
{
    ramet_queue *queue;
    (void)self;
    MUST(ramet_queue_create(NULL, &queue) == 0);
    MUST(ramet_queue_put(queue, "12345678", 8, NULL) == 0);
    struct rmt_ring *ring = rmt_payload(rmt_load64(&queue->shared->put_ring));
    struct rmt_cell *cell = rmt_ring_cell(ring, 0);
    cell->size = (uint32_t)take_value(in, lock_block);
    cell->block = take_byte(in) % 3;
    if (take_byte(in) & 1)
        cell->of = take_value(in, lock_block);
    ramet_queue_close(queue);
    heal();
}

/* ---- a pipe's ring */

static void pipe_entry(struct rmt_self *self, struct input *in)
{
    static char to[8192];
    ramet_end *a, *b;
    size_t size;
    (void)self;
    MUST(ramet_pipe_create(NULL, &a, &b) == 0);
    for (int i = 0; i < 3; i++)
        MUST(ramet_end_send(a, "12345678", 8, NULL) == 0);
    for (unsigned i = take_byte(in) % 4; i > 0; i--) {
        uint64_t value = take_value(in, lock_block), at = take_byte(in) % 6u * 8;
        if (take_byte(in) & 1)
            value |= 1ull << 32; /* a block */
        memcpy(b->in.ring + at, &value, sizeof value);
    }
    int r = 0;
    for (int i = 0; i < 4 && r == 0; i++) {
        (void)ramet_end_next(b, &size);
        r = ramet_end_recv(b, to, sizeof to, &size, &now);
        if (r == 0) {
            MUST(size <= sizeof to);
            read_all((const uint8_t *)to, size);
        }
    }
    if (heal()) {
        close(a->fd);
        close(b->fd);
        free(a);
        free(b);
        return;
    }
    ramet_end_close(a);
    ramet_end_close(b);
    heal();
}

static void set_up(void)
{
    MUST(ramet_lock_create(NULL, &lock) == 0);
    lock_block = ramet_lock_ref(lock).offset;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const what[])(struct rmt_self *, struct input *) = {message_header, queue_cell,
                                                                      queue_dropped, pipe_entry};
    struct input in = {data, size};
    struct rmt_self *self;
    if (!lock)
        set_up();
    MUST(rmt_self(&self) == 0);
    what[take_byte(&in) % (sizeof what / sizeof *what)](self, &in);
    for (int i = 0; i < RMT_HOLDS; i++)
        MUST(rmt_load64(&self->thread->hold[i].what) == 0);
    return 0;
}
