/* SPDX-License-Identifier: MIT
 *
 * ramet/queue.h: a first in, first out queue of messages between any number of processes and
 * threads.
 *
 * Messages are bytes, of any length; up to 56 of them travel in the queue's own cells, larger ones
 * are copied once, into shared memory, and read where they lie.  A message may mention objects of
 * the arena; they stay alive while it does.  The queue has no name and no thread; it is gone with
 * its last handle, and what it then contained with it.
 *
 * Processes and threads: every call may be made by any number of threads and processes at once, but
 * that an item is released by the thread that got it, and that a handle is closed by the last to
 * use it. Items that one thread puts are got in that order.
 *
 * Fork: a forked child uses its parent's handles, each with a count of its own.  Items that a
 * thread of the parent has not released belong to the parent alone.
 *
 * If a participant dies, at any instant: a putter's item was put or it was not; nobody else is held
 * up. An item that a getter had got and not released is counted in ramet_queue_lost() and goes to
 * nobody else, since its contents may be what killed him.  Every other item is still in the queue.
 *
 * Errors, of all calls that take part in the arena: -ENOMEM; -ENOTRECOVERABLE if the arena was
 * found damaged; of those that take memory or items -ENOSPC if the thread holds too much (about 20
 * things, such as items that it has not released).  Those that wait: -ETIMEDOUT, also when the
 * deadline is 0 and the call would have to wait, -EINTR (see ramet_wait), -ECANCELED
 * (ramet/cancel.h).
 */
#ifndef RAMET_QUEUE_H
#define RAMET_QUEUE_H

#include <ramet/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ramet_queue ramet_queue;

typedef struct ramet_queue_options {
    size_t size;        /* sizeof(ramet_queue_options) */
    uint64_t max_items; /* 0: no bound but memory */
} ramet_queue_options;

/* Makes a queue and a handle of it.  `options` NULL: no bound. -EINVAL for options of an unknown
 * size, and for a max_items above INT64_MAX. */
RAMET_API int ramet_queue_create(const ramet_queue_options *options, ramet_queue **ret_queue);

/* A handle of the queue that `ref` names. -ESTALE if it is gone, -EINVAL if it is no queue. */
RAMET_API int ramet_queue_open(const ramet_ref *ref, ramet_queue **ret_queue);

RAMET_API ramet_ref ramet_queue_ref(const ramet_queue *queue);

/* Frees the handle; the queue is destroyed with its last.  NULL is ignored. */
RAMET_API void ramet_queue_close(ramet_queue *queue);

/* ---- putting */

/* Puts a copy of `size` bytes.  Waits while the queue is full. -ETIMEDOUT, -EINTR, -ESHUTDOWN. */
RAMET_API int ramet_queue_put(ramet_queue *queue, const void *data, size_t size,
                              const ramet_wait *wait);

/* The same; the message also keeps alive the objects that `refs` name until it is released.
 * -ESTALE if one of them is gone (then nothing was put). */
RAMET_API int ramet_queue_put_refs(ramet_queue *queue, const void *data, size_t size,
                                   const ramet_ref *refs, size_t ref_count, const ramet_wait *wait);

typedef struct ramet_bytes {
    const void *data;
    size_t size;
} ramet_bytes;

/* Puts `count` messages, in order; those of other threads may come in between.  Returns how many
 * were put: fewer than `count` only if the deadline, a signal, a shutdown or the end of memory came
 * after the first. An error only if none was. */
RAMET_API ptrdiff_t ramet_queue_put_many(ramet_queue *queue, const ramet_bytes *items, size_t count,
                                         const ramet_wait *wait);

/* ---- getting */

#define RAMET_ITEM_INLINE 56

/* A message that was got.  `data` is readable until it is released, and lies in the item itself if
 * the message is short: do not copy the structure. */
typedef struct ramet_item {
    const void *data; /* aligned to 8 if in the item, to 64 otherwise */
    size_t size;
    uint64_t reserved[4];
    unsigned char bytes[RAMET_ITEM_INLINE] __attribute__((aligned(8)));
} ramet_item;

/* Gets the first message.  Waits while the queue is empty.  -ETIMEDOUT, -EINTR; -ESHUTDOWN when it
 * is empty and shut down; -ENOSPC if this thread has too many items that it has not released (about
 * 20). */
RAMET_API int ramet_queue_get(ramet_queue *queue, const ramet_wait *wait, ramet_item *ret_item);

/* Gets between 1 and `max` messages: waits for the first, and takes what else is there.  Returns
 * how many. Short ones are taken up to 32 at a time. */
RAMET_API ptrdiff_t ramet_queue_get_many(ramet_queue *queue, const ramet_wait *wait,
                                         ramet_item *ret_items, size_t max);

/* The caller has understood the message (or copied it): from now on it is not lost if he dies.  It
 * is for the thread that got it: called by another, also in a forked child, it does nothing. */
RAMET_API void ramet_item_release(ramet_item *item);

/* ---- state */

/* How many messages are in the queue: exact at some instant during the call, and never more than
 * max_items. */
RAMET_API uint64_t ramet_queue_size(const ramet_queue *queue);
RAMET_API int ramet_queue_empty(const ramet_queue *queue); /* 1 or 0 */
RAMET_API int ramet_queue_full(const ramet_queue *queue);  /* 1 or 0; never without a bound */
RAMET_API uint64_t ramet_queue_max_items(const ramet_queue *queue);

/* How many messages were lost because who had got them died before he released them. */
RAMET_API uint64_t ramet_queue_lost(const ramet_queue *queue);

/* From now on every put fails with -ESHUTDOWN, and every get when the queue is empty.  With
 * `immediate` what is in it is thrown away.  Those who wait are woken.  Can be called again; cannot
 * be undone. */
RAMET_API int ramet_queue_shutdown(ramet_queue *queue, int immediate);

/* ---- unfinished messages: for who wants to know when all that was put has been worked off */

/* One message that was got has been worked off. -EINVAL if there were no unfinished ones. */
RAMET_API int ramet_queue_task_done(ramet_queue *queue);

/* Waits until ramet_queue_task_done() was called for every message that was put; lost ones and
 * those thrown away by a shutdown count as done. -ETIMEDOUT, -EINTR. */
RAMET_API int ramet_queue_join(ramet_queue *queue, const ramet_wait *wait);

#ifdef __cplusplus
}
#endif
#endif
