/* SPDX-License-Identifier: MIT
 *
 * queue.h: the queue inside the library: its shared structure and its operations, below the public
 * API of ramet/queue.h and the Python type.
 *
 * The protocol
 *   Items have positions 0, 1, 2, ...; `tail` is the first that was not put, `head` the first that
 * was not taken.  Both only grow, so that the size is tail - head.  Two guards, one a side; they
 * never nest.
 *
 *   put: (before) build the message.  Under the put guard: write the cell at tail; commit {tail,
 * the hold of the message is emptied}.  For bytes in the cell the commit is the store of tail
 * alone. get: Under the get guard: copy the bytes out of the cells at head; commit {hold = queue
 * and message or count, head}.  (After) decode, then empty the hold: what was taken belongs to the
 * taker until then, and is counted in `lost` if he dies before. So an item is at each instant in
 * the queue, or in the holds of one thread.
 *
 * What is read without the guard that protects its writing
 *   tail by getters: an acquire that pairs with the putter's release store of tail (alone or in a
 * replay): the cells below it, and a ring's end and next (they stand before tail in the record),
 * are seen. head by putters: an acquire that pairs with the getter's release store of head: his
 * copy out of the cells below it is over, so they may be written again. Both only grow, so an old
 * value is safe: it hides items from a getter, or room from a putter.  Each side keeps the last
 * value that it saw of the other (seen_tail, seen_head) in its own cache line, and looks at the
 * other's line only when that does not suffice.
 *
 * Growing.  A putter that finds the ring full allocates the next one into a hold, takes the guard
 * again, and links it with the commit that puts its item: {old.next, old.end, put_ring, hold,
 * tail}.  A getter that reaches a ring's end moves on by a commit {hold = old ring, get_ring}, then
 * takes and releases the put guard once, in the ring's destroy function so that the getter's
 * recovery does so, too (a putter that died in the middle of applying the record that linked the
 * ring would have it applied again: now it has been), and frees the ring.
 */
#ifndef RMT_QUEUE_H
#define RMT_QUEUE_H

#include "arena/guard.h"
#include "arena/handle.h"
#include "channel/ring.h"
#include "sync/watch.h"

#include <ramet/queue.h>
#include <sys/uio.h>

enum {
    RMT_QUEUE_SHUT = 1,    /* no more puts; gets until it is empty */
    RMT_QUEUE_DISCARD = 2, /* nor gets: what is left is thrown away */
};

struct rmt_queue { /* payload of a block of kind RAMET_KIND_QUEUE; cleared when it is allocated */
    /* Read by all, hardly ever written. */
    uint64_t max_items; /* 0: any number.  Constant */
    uint64_t largest;   /* capacity of the largest ring that is worth allocating.  Constant */
    rmt_a64 state;      /* RMT_QUEUE_* bits, only ever set; under the put guard */
    rmt_a64 lost;       /* items whose taker died before he let go of them; under the get guard */
    uint64_t spare0[4];
    /* The putters' lines: written under `put`, get_bell also by sleepers. */
    struct rmt_guard put;
    rmt_a64 tail;
    rmt_a64 put_ring;  /* offset of the segment in which tail lies */
    rmt_a64 seen_head; /* some earlier value of head */
    rmt_a32 get_bell;  /* getters sleep here; rung by putters */
    rmt_a32 spare1;
    uint64_t spare2[4];
    /* The getters' lines: written under `get`, the bells also by sleepers. */
    struct rmt_guard get;
    rmt_a64 head;
    rmt_a64 get_ring;  /* offset of the segment in which head lies; 0: not yet made, or destroyed */
    rmt_a64 seen_tail; /* some earlier value of tail */
    rmt_a32 put_bell;  /* putters of a bounded queue sleep here; rung by getters */
    rmt_a32 done_bell; /* who waits for all items to be done sleeps here */
    rmt_a64 done;      /* items that were reported done, lost or thrown away; at most tail */
    uint64_t spare3[3];
};
_Static_assert(sizeof(struct rmt_queue) == 64 + 2 * 192, "each side has its own cache lines");

struct ramet_queue { /* process-local */
    struct rmt_handle handle;
    struct rmt_queue *shared; /* a window never moves, also not in a forked child */
    uint64_t offset;
};

/* Offset of a member of the queue at block offset `q`. */
#define RMT_QUEUE_WORD(q, member) ((q) + RMT_BLOCK_HEADER + offsetof(struct rmt_queue, member))

/* ---- queue_life.c: handles, and the end of queues and of their users */

/* -EINVAL (options), -ENOMEM, ... */
int rmt_queue_create(struct rmt_self *self, const ramet_queue_options *options,
                     struct ramet_queue *ret_queue);
int rmt_queue_open(struct rmt_self *self, const ramet_ref *ref, struct ramet_queue *ret_queue);
static inline void rmt_queue_close(struct rmt_self *self, struct ramet_queue *queue)
{
    rmt_handle_close(self, &queue->handle);
}

/* Sets the state for good, wakes everybody, and with `immediate` throws away what is left. */
int rmt_queue_shutdown(struct rmt_self *self, const struct ramet_queue *queue, bool immediate);

/* Throws away what is left, as `done`.  The state is RMT_QUEUE_DISCARD. */
int rmt_queue_drain(struct rmt_self *self, uint64_t queue);

#define RMT_QUEUE_BATCH 32 /* cells that are written or copied under one guard */
#define RMT_QUEUE_AHEAD 4  /* who works singly fetches the cell that is so far ahead */

/* ---- queue_put.c */

struct rmt_parcel {    /* something to put; process-local */
    const void *bytes; /* of at most RMT_CELL_BYTES; unused if there is a message */
    uint32_t size;
    int hold;         /* where the message is; -1: there is none, bytes */
    uint64_t message; /* its block */
};

/* A parcel that is a message, in a hold. */
int rmt_parcel_message(struct rmt_self *self, const struct iovec *segments, int count,
                       const uint64_t *refs, size_t ref_count, struct rmt_parcel *ret_parcel);

/* Makes a parcel: the bytes themselves if they are one short segment without references, which then
 * must stay where they are until the put; otherwise a message in a hold. */
static inline int rmt_parcel_make(struct rmt_self *self, const struct iovec *segments, int count,
                                  size_t size, const uint64_t *refs, size_t ref_count,
                                  struct rmt_parcel *ret_parcel)
{
    if (size > RMT_CELL_BYTES || count > 1 || ref_count != 0)
        return rmt_parcel_message(self, segments, count, refs, ref_count, ret_parcel);
    ret_parcel->bytes = count == 1 ? segments[0].iov_base : NULL;
    ret_parcel->size = (uint32_t)size;
    ret_parcel->hold = -1;
    return 0;
}

/* Gives up a parcel that was not put. */
static inline void rmt_parcel_drop(struct rmt_self *self, const struct rmt_parcel *parcel)
{
    if (parcel->hold >= 0)
        rmt_block_free(self, parcel->hold);
}

/* Puts the parcels in order.  Returns how many were put, all of them unless an error or the
 * deadline came in between; if none was: -ETIMEDOUT (full), -ESHUTDOWN, -EINTR, -ENOMEM, ...  Who
 * put some and wants to know the error calls again with the rest. */
ptrdiff_t rmt_queue_put(struct rmt_self *self, const struct ramet_queue *queue,
                        const struct rmt_parcel *parcels, size_t count, const ramet_wait *wait);

/* The same with one.  1: it was put; else an error. */
int rmt_queue_put_one(struct rmt_self *self, const struct ramet_queue *queue,
                      const struct rmt_parcel *parcel, const ramet_wait *wait);

struct rmt_taken {    /* what a get took; process-local, of the taking thread */
    uint64_t owner;   /* self->word of the taker: a forked child of it holds nothing */
    uint64_t message; /* the one message that was taken, or 0 */
    uint32_t count;   /* cells with bytes that were taken, if no message */
    int hold;
    const void *awaited; /* of an empty queue: the cell of the next item, or what was one; a hint */
};

/* ---- queue_get.c */

/* Takes what is at the head: either one message, or items of bytes, whose cells are copied (of each
 * as many bytes as it has; 8 at least).  -ETIMEDOUT (empty), -ESHUTDOWN, -EINTR, -ENOSPC, ...; then
 * *ret_taken says nothing. */
int rmt_queue_get_one(struct rmt_self *self, const struct ramet_queue *queue, struct rmt_cell *cell,
                      const ramet_wait *wait, struct rmt_taken *ret_taken);

/* The same, up to `max` items of bytes, and no more than RMT_QUEUE_BATCH. */
int rmt_queue_get(struct rmt_self *self, const struct ramet_queue *queue, struct rmt_cell *cells,
                  size_t max, const ramet_wait *wait, struct rmt_taken *ret_taken);

/* Lets go of the message (and frees it), or of the cells' bytes. */
void rmt_taken_release(struct rmt_self *self, const struct rmt_taken *taken);

/* Lets go of one of the cells' bytes. */
static inline void rmt_taken_release_one(struct rmt_self *self, struct rmt_taken *taken)
{
    if (taken->owner != self->word)
        return;
    struct rmt_hold *hold = &self->thread->hold[taken->hold];
    if (--taken->count == 0)
        rmt_store64(&hold->what, 0);
    else
        rmt_store64(&hold->arg, taken->count);
}

/* The message stays in hold taken->hold, as a plain block, and is no longer counted as lost. */
static inline void rmt_taken_keep(struct rmt_self *self, const struct rmt_taken *taken)
{
    rmt_store64(&self->thread->hold[taken->hold].what, taken->message | RMT_HOLD_BLOCK);
}

/* Exact at some instant during the call. */
uint64_t rmt_queue_size(const struct ramet_queue *queue);

/* ---- queue_done.c: unfinished items */
int rmt_queue_task_done(struct rmt_self *self, const struct ramet_queue *queue);
int rmt_queue_join(struct rmt_self *self, const struct ramet_queue *queue, const ramet_wait *wait);

/* Items that were put and are neither done, lost nor thrown away.  Exact at some instant during the
 * call: done never exceeds tail and both only grow, so if the tail that is read after `done` equals
 * it, nothing was unfinished when it was read. */
static inline uint64_t rmt_queue_unfinished(const struct rmt_queue *q)
{
    uint64_t done = rmt_load64(&q->done);
    return rmt_load64(&q->tail) - done;
}

/* ---- queue_watch.c: fills a watch that is ready when a get would not wait, or a put. */
void rmt_queue_watch(const struct ramet_queue *queue, bool put, struct rmt_watch *ret_watch);

#endif
