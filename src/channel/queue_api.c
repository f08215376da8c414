/* SPDX-License-Identifier: MIT
 *
 * queue_api.c: the public functions of ramet/queue.h, on those of queue.h.
 */
#include "channel/message.h"
#include "channel/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What an item's reserved words hold. */
enum { ITEM_OWNER, ITEM_MESSAGE, ITEM_HOLD };

static int make_handle(int (*fn)(struct rmt_self *, const void *, struct ramet_queue *),
                       const void *arg, ramet_queue **ret_queue)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    struct ramet_queue *queue = malloc(sizeof *queue);
    if (!queue)
        return -ENOMEM;
    r = fn(self, arg, queue);
    if (r < 0) {
        free(queue);
        return r;
    }
    *ret_queue = queue;
    return 0;
}

static int create(struct rmt_self *self, const void *options, struct ramet_queue *queue)
{
    return rmt_queue_create(self, options, queue);
}

static int open_ref(struct rmt_self *self, const void *ref, struct ramet_queue *queue)
{
    return rmt_queue_open(self, ref, queue);
}

int ramet_queue_create(const ramet_queue_options *options, ramet_queue **ret_queue)
{
    return make_handle(create, options, ret_queue);
}

int ramet_queue_open(const ramet_ref *ref, ramet_queue **ret_queue)
{
    return make_handle(open_ref, ref, ret_queue);
}

ramet_ref ramet_queue_ref(const ramet_queue *queue)
{
    return rmt_handle_ref(&queue->handle);
}

void ramet_queue_close(ramet_queue *queue)
{
    struct rmt_self *self;
    if (!queue)
        return;
    if (rmt_self(&self) == 0)
        rmt_queue_close(self, queue);
    free(queue);
}

/* ---- putting */

static int put_parcel(struct rmt_self *self, ramet_queue *queue, const struct rmt_parcel *parcel,
                      const ramet_wait *wait)
{
    int n = rmt_queue_put_one(self, queue, parcel, wait);
    if (RMT_LIKELY(n == 1))
        return 0;
    rmt_parcel_drop(self, parcel);
    return n;
}

static struct iovec piece(const void *data, size_t size)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
}

int ramet_queue_put(ramet_queue *queue, const void *data, size_t size, const ramet_wait *wait)
{
    struct rmt_self *self;
    struct rmt_parcel parcel;
    struct iovec segment = piece(data, size);
    int r = rmt_self(&self);
    if (r == 0)
        r = rmt_parcel_make(self, &segment, 1, size, NULL, 0, &parcel);
    return r < 0 ? r : put_parcel(self, queue, &parcel, wait);
}

/* A message may count only what its maker has open: so each is opened, which also tells whether it
 * is still there. */
static int build_with_refs(struct rmt_self *self, const void *data, size_t size,
                           const ramet_ref *refs, size_t count, struct rmt_parcel *ret_parcel)
{
    struct rmt_handle *handles = calloc(count, sizeof *handles);
    uint64_t *offsets = calloc(count, sizeof *offsets);
    struct iovec segment = piece(data, size);
    size_t open = 0;
    int r = handles && offsets ? 0 : -ENOMEM;
    for (; r == 0 && open < count; open++) {
        r = rmt_handle_open(self, &refs[open], RAMET_KIND_NONE, &handles[open]);
        if (r < 0)
            break;
        offsets[open] = handles[open].offset;
    }
    if (r == 0)
        r = rmt_parcel_make(self, &segment, 1, size, offsets, count, ret_parcel);
    for (size_t i = 0; i < open; i++)
        rmt_handle_close(self, &handles[i]);
    free(handles);
    free(offsets);
    return r;
}

int ramet_queue_put_refs(ramet_queue *queue, const void *data, size_t size, const ramet_ref *refs,
                         size_t ref_count, const ramet_wait *wait)
{
    struct rmt_self *self;
    struct rmt_parcel parcel;
    if (ref_count == 0)
        return ramet_queue_put(queue, data, size, wait);
    int r = rmt_self(&self);
    if (r == 0)
        r = build_with_refs(self, data, size, refs, ref_count, &parcel);
    return r < 0 ? r : put_parcel(self, queue, &parcel, wait);
}

/* How many messages are built before they are put: each is in a hold until then. */
#define PUT_MESSAGES 4

ptrdiff_t ramet_queue_put_many(ramet_queue *queue, const ramet_bytes *items, size_t count,
                               const ramet_wait *wait)
{
    struct rmt_self *self;
    struct rmt_parcel parcels[RMT_QUEUE_BATCH];
    size_t done = 0;
    int r = rmt_self(&self);
    while (r == 0 && done < count) {
        size_t n = 0, messages = 0;
        while (n < RMT_QUEUE_BATCH && done + n < count && messages < PUT_MESSAGES) {
            struct iovec segment = piece(items[done + n].data, items[done + n].size);
            r = rmt_parcel_make(self, &segment, 1, segment.iov_len, NULL, 0, &parcels[n]);
            if (r < 0)
                break;
            messages += parcels[n++].hold >= 0;
        }
        ptrdiff_t put = n > 0 ? rmt_queue_put(self, queue, parcels, n, wait) : 0;
        if (put < 0) {
            r = (int)put;
            put = 0;
        }
        for (size_t i = (size_t)put; i < n; i++)
            rmt_parcel_drop(self, &parcels[i]);
        done += (size_t)put;
        if ((size_t)put < n)
            break;
    }
    return done > 0 || r == 0 ? (ptrdiff_t)done : r;
}

/* ---- getting */

static void fill_inline(ramet_item *item, const struct rmt_taken *taken,
                        const struct rmt_cell *cell)
{
    if (RMT_LIKELY(cell->size <= sizeof(uint64_t))) /* the usual one */
        memcpy(item->bytes, cell->bytes, sizeof(uint64_t));
    else
        memcpy(item->bytes, cell->bytes, sizeof item->bytes);
    item->data = item->bytes;
    item->size = cell->size;
    item->reserved[ITEM_OWNER] = taken->owner;
    item->reserved[ITEM_MESSAGE] = 0;
    item->reserved[ITEM_HOLD] = (uint64_t)taken->hold;
}

static int fill_message(struct rmt_self *self, ramet_item *item, const struct rmt_taken *taken)
{
    const uint8_t *data;
    size_t size;
    int r = rmt_message_data(taken->message, &data, &size);
    if (r < 0) {
        rmt_taken_release(self, taken);
        return r;
    }
    item->data = data;
    item->size = size;
    item->reserved[ITEM_OWNER] = taken->owner;
    item->reserved[ITEM_MESSAGE] = taken->message;
    item->reserved[ITEM_HOLD] = (uint64_t)taken->hold;
    return 0;
}

/* Gets a batch: one message, or up to `max` short ones. */
static ptrdiff_t get_batch(struct rmt_self *self, ramet_queue *queue, const ramet_wait *wait,
                           ramet_item *items, size_t max)
{
    struct rmt_cell cells[RMT_QUEUE_BATCH];
    struct rmt_taken taken;
    int r = rmt_queue_get(self, queue, cells, max, wait, &taken);
    if (r < 0)
        return r;
    if (taken.message != 0) {
        r = fill_message(self, items, &taken);
        return r < 0 ? r : 1;
    }
    for (uint32_t i = 0; i < taken.count; i++)
        fill_inline(&items[i], &taken, &cells[i]);
    return taken.count;
}

int ramet_queue_get(ramet_queue *queue, const ramet_wait *wait, ramet_item *ret_item)
{
    struct rmt_self *self;
    struct rmt_cell cell;
    struct rmt_taken taken;
    int r = rmt_self(&self);
    if (r == 0)
        r = rmt_queue_get_one(self, queue, &cell, wait, &taken);
    if (r < 0)
        return r;
    if (taken.message != 0)
        return fill_message(self, ret_item, &taken);
    fill_inline(ret_item, &taken, &cell);
    return 0;
}

ptrdiff_t ramet_queue_get_many(ramet_queue *queue, const ramet_wait *wait, ramet_item *ret_items,
                               size_t max)
{
    static const ramet_wait now = {.size = sizeof(ramet_wait), .deadline = 0};
    struct rmt_self *self;
    size_t done = 0;
    ptrdiff_t r = rmt_self(&self);
    while (r >= 0 && done < max) {
        r = get_batch(self, queue, done == 0 ? wait : &now, ret_items + done, max - done);
        if (r > 0)
            done += (size_t)r;
    }
    return done > 0 || r >= 0 ? (ptrdiff_t)done : r;
}

void ramet_item_release(ramet_item *item)
{
    struct rmt_self *self;
    uint64_t owner = item->reserved[ITEM_OWNER];
    if (owner == 0 || rmt_self(&self) < 0 || owner != self->word)
        return; /* released before, or another thread's: it stays his to release */
    item->reserved[ITEM_OWNER] = 0;
    struct rmt_taken taken = {
        .owner = owner,
        .message = item->reserved[ITEM_MESSAGE],
        .hold = (int)item->reserved[ITEM_HOLD],
    };
    if (taken.message != 0) {
        rmt_taken_release(self, &taken);
        return;
    }
    /* Short items of one batch share a hold, whose arg is how many are left. */
    taken.count = (uint32_t)rmt_load64_relaxed(&self->thread->hold[taken.hold].arg);
    rmt_taken_release_one(self, &taken);
}

/* ---- state */

uint64_t ramet_queue_size(const ramet_queue *queue)
{
    return rmt_queue_size(queue);
}

int ramet_queue_empty(const ramet_queue *queue)
{
    return rmt_queue_size(queue) == 0;
}

int ramet_queue_full(const ramet_queue *queue)
{
    uint64_t max = queue->shared->max_items;
    return max != 0 && rmt_queue_size(queue) == max;
}

uint64_t ramet_queue_max_items(const ramet_queue *queue)
{
    return queue->shared->max_items;
}

uint64_t ramet_queue_lost(const ramet_queue *queue)
{
    return rmt_load64(&queue->shared->lost);
}

int ramet_queue_shutdown(ramet_queue *queue, int immediate)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_queue_shutdown(self, queue, immediate != 0);
}

int ramet_queue_task_done(ramet_queue *queue)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_queue_task_done(self, queue);
}

int ramet_queue_join(ramet_queue *queue, const ramet_wait *wait)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    return r < 0 ? r : rmt_queue_join(self, queue, wait);
}
