/* SPDX-License-Identifier: MIT
 *
 * pipe.h: the shared structures of a pipe, and what the layers above use of it instead of the
 * public calls.
 *
 * Three blocks.  The *core* holds the two ways (one, if the pipe is not duplex) with their rings.
 * Each of the two *ends* is an object of its own, which handles and messages count, and owns one
 * count on the core.  So "nobody has this end any more", be it by closing or by dying, is the
 * arena's own last count: end_destroy() then marks the ways and wakes the other side.
 *
 * A way.  Bytes at positions head <= p < tail of the ring are published.  Positions only grow, in
 * steps of 8, so that bit 0 of each is free to say that the side which moves it is gone:
 *
 * - tail & CLOSED: nobody will send; end of file once head reaches tail;
 * - head & CLOSED: nobody will receive; EPIPE.
 *
 * At head lies an entry: a header word {tag, block flag, size}, then the message itself padded to
 * 8, or, for a block, its offset and its size.  Entries wrap around the end of the ring; a word
 * never does.
 *
 * Put, under the put guard: write the entry beyond tail; store tail, the commit.  A message in a
 * block leaves the sender's hold in the same commit.  Take, under the take guard: copy the entry
 * out; store head, the commit.  A block enters the receiver's hold in the same commit.  The two
 * sides share no guard.
 *
 * Whose head has passed the end of an entry has taken it.  When nobody is left who receives, what
 * is still there is freed, which moves head, too; so the position up to which messages were
 * received is kept in `received` before CLOSED is set in head.
 *
 * Payloads of up to RMT_PIPE_INLINE bytes are thus copied inside a guard.  It cannot be otherwise
 * in a ring of bytes (the place is known only inside, and is another's as soon as head moves), so
 * the limit is small: 4 KiB take some 60 ns on each side.  See docs/decisions/007-pipe.md.
 *
 * The doorbell makes the receiver's descriptor readable.  The word `bell` = 2 * bound + sure is
 * changed only under the put guard, and at every instant:
 *
 * - (1) at most `bound` bytes of the bell are in the receiver's socket;
 * - (2) if sure, at least one is;
 * - (3) if the way is not empty, sure.
 *
 * It follows that a message is never there without the descriptor being readable.  A pipe is born
 * with one byte in each socket (bell = 3), so that nobody has to ring.  Only once the receiver has
 * asked for its descriptor (`polled`, for good) does whoever finds the way empty take the bytes
 * out: {sure = 0; recv; bell = 0}, under the put guard, so that no sender is between its ring and
 * its commit.  A sender that finds sure = 0 rings before it publishes: {bound + 1; send; sure = 1}.
 * Each of these sequences may end anywhere.
 *
 * These are system calls inside a guard, against the rule in guard.h, and on purpose: they never
 * block, they come only when a polled way becomes or stops to be empty, and without exclusion
 * between "take the last byte out" and "ring, then publish" nobody can keep (3), because who
 * receives cannot ring itself.
 */
#ifndef RMT_PIPE_H
#define RMT_PIPE_H

#include "arena/handle.h"
#include "channel/bell.h"

#include <ramet/pipe.h>
#include <sys/uio.h>

#define RMT_PIPE_CLOSED 1ull
#define RMT_PIPE_POSITION (~7ull)
#define RMT_PIPE_INLINE 4096u /* bytes: longer messages go in blocks */
#define RMT_PIPE_BYTES 64640u /* of a ring by default: core and rings fill whole pages */
#define RMT_PIPE_BYTES_MIN 512u
#define RMT_PIPE_BYTES_MAX (64u << 20)
#define RMT_PIPE_BLOCKS 16u /* bytes in blocks that may wait, in rings */
#define RMT_PIPE_BELL_SURE 1ull

/* Header of an entry. */
#define RMT_PIPE_SIZE 0xffffffffull /* of the inline message; 0 for a block */
#define RMT_PIPE_IS_BLOCK (1ull << 32)
#define RMT_PIPE_TAG_SHIFT 40 /* 8 bits for the layers above, see rmt_pipe_message */

struct rmt_pipe_way {
    struct rmt_guard put;
    rmt_a64 tail; /* put guard writes; read by anyone: who reads it with acquire sees all entries
                     below */
    rmt_a64 blocks_put; /* bytes in blocks that were ever put; put guard */
    rmt_a64 bell;       /* put guard; see above */
    rmt_a32 polled;     /* 0 until somebody asked for the receiver's descriptor, then 1 for good */
    rmt_a32 news;       /* bell.h: receivers sleep on it */
    uint64_t spare[4];
    struct rmt_guard take;
    rmt_a64
        head; /* take guard writes; read by anyone: acquire: what lies below may be overwritten */
    rmt_a64
        blocks_taken; /* take guard; read by senders, where too low a value errs to the safe side */
    rmt_a32 room;     /* bell.h: senders sleep on it */
    uint32_t spare_word;
    rmt_a64 received; /* take guard, once, before head is CLOSED; read by senders after they have
                         seen that */
    uint64_t more_spare[4];
};
_Static_assert(sizeof(struct rmt_pipe_way) == 384, "way");

struct rmt_pipe {   /* payload of the core; constant but for the ways */
    uint64_t bytes; /* of each ring, a multiple of 64 */
    uint64_t limit; /* longest inline message */
    uint64_t ways;  /* 1 or 2: way[i] is the one that side i receives from */
    uint64_t spare[5];
    struct rmt_pipe_way way[2];
    /* rings follow */
};

struct rmt_pipe_end { /* payload of an end; constant once it is an object */
    rmt_a64 core;     /* count word: offset of the core's block */
    uint64_t side;    /* 0 or 1 */
};

/* One direction as seen by one handle. */
struct rmt_pipe_lane {
    struct rmt_pipe_way *way; /* NULL: this end does not do that */
    uint8_t *ring;
    uint64_t offset; /* of the way in the arena */
};

struct ramet_end { /* process-local; constant from open to close, but for what fork.c does to
                      handles */
    struct rmt_handle handle;
    uint64_t bytes, limit;
    struct rmt_pipe_lane in, out;
    int fd; /* -1 none */
};

/* A message to send. `block` != 0: it lies in that message block, which is in the caller's hold
 * `hold`. */
struct rmt_pipe_message {
    uint32_t tag; /* 0: plain bytes; others: whatever the layer above says */
    size_t size;
    const struct iovec *parts; /* inline */
    int count;
    int hold;
    uint64_t block;
    uint64_t behind; /* out, of rmt_pipe_put: the position behind it */
};

/* A message that was received. */
struct rmt_pipe_taken {
    uint32_t tag;
    size_t size;
    const uint8_t *data; /* in the caller's buffer, or in the block */
    int hold; /* of the block, which is now the caller's to free with rmt_block_free; -1 none */
    uint64_t block;
};

/* Longest message that goes inline, if it mentions no objects. */
static inline size_t rmt_pipe_limit(const ramet_end *end)
{
    return end->limit;
}

/* Whether a message of that size is more than the pipe is meant to hold: it goes only while no
 * other block waits, and the standard library's pipes would keep its sender until it is read. */
static inline bool rmt_pipe_beyond_bound(const ramet_end *end, size_t size)
{
    return size > RMT_PIPE_BLOCKS * end->bytes;
}

/* One attempt.  0; -EAGAIN full; -EPIPE, -ENOTCONN.  After 0 the block is no longer the caller's.
 */
int rmt_pipe_put(struct rmt_self *self, ramet_end *end, struct rmt_pipe_message *message);

/* One attempt.  An inline message is copied to `into`, which has room for `room` bytes; -EMSGSIZE
 * if a message is longer than `longest`, or an inline one than `room`; then it stays.  -EAGAIN
 * empty; -ENODATA end of file. */
int rmt_pipe_take(struct rmt_self *self, ramet_end *end, void *into, size_t room, size_t longest,
                  struct rmt_pipe_taken *ret_taken);

/* The size of the message at the head; -EAGAIN, -ENODATA. */
int rmt_pipe_peek(struct rmt_self *self, ramet_end *end, size_t *ret_size);

/* Sleeps until another attempt may be worth it: 0 (perhaps for nothing), -ETIMEDOUT, -EINTR, ...
 * Between slices it looks for the death of the other side.  `w` was started by the caller. */
int rmt_pipe_await_news(ramet_end *end, struct rmt_waiter *w);
int rmt_pipe_await_room(ramet_end *end, struct rmt_waiter *w);

/* Whether all messages up to position `behind` of what this end sends were received: 1 yes, 0 not
 * yet, -EPIPE not, and nobody is left who will.  Between two looks rmt_pipe_await_taken sleeps. */
int rmt_pipe_taken(const ramet_end *end, uint64_t behind);
int rmt_pipe_await_taken(ramet_end *end, struct rmt_waiter *w, uint64_t behind);

/* 1 a message or the end of file is there, 0 not.  Looks thoroughly: it finds that the other side
 * has died. */
int rmt_pipe_ready(struct rmt_self *self, ramet_end *end);

/* The receiver's descriptor is to be readable only when there may be a message: from now on. */
int rmt_pipe_listen(struct rmt_self *self, ramet_end *end);

/* ---- between pipe_io.c and pipe_wait.c */

/* Under the put guard: makes (2) and (3) true for a message about to be published. */
int rmt_pipe_ring(const ramet_end *end, bool *ret_hung_up);
/* Takes the bell's bytes out of the receiver's socket if the way is empty and polled. */
int rmt_pipe_hush(struct rmt_self *self, const ramet_end *end);

/* For end_destroy(): nobody sends any more; nobody receives any more (what is there is freed). */
void rmt_pipe_close_tail(struct rmt_self *self, struct rmt_pipe_lane lane);
void rmt_pipe_close_head(struct rmt_self *self, struct rmt_pipe_lane lane, uint64_t bytes);

/* For check(): 0 or -ENOTRECOVERABLE. */
int rmt_pipe_check_lane(struct rmt_pipe_lane lane, uint64_t bytes);

#endif
