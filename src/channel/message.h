/* SPDX-License-Identifier: MIT
 *
 * message.h: what travels: bytes, and the objects that they mention.  A message is a block of kind
 * RAMET_KIND_MESSAGE.  It owns one count on each object that it mentions, so that a handle that was
 * sent stays valid while nobody but the message knows it; destroying the message gives the counts
 * back.
 *
 * A message is written by its maker while it is in his hold, and by nobody once it is published
 * (but for the counts, which whoever destroys it empties).
 */
#ifndef RMT_MESSAGE_H
#define RMT_MESSAGE_H

#include "arena/handle.h"

#include <sys/uio.h>

struct rmt_message { /* payload of the block; written by its maker before it is published */
    rmt_a64 size;    /* of the data */
    rmt_a64 data;    /* offset of the data from the start of this struct, a multiple of 64 */
    rmt_a64 refs;    /* how many counts follow; not 0 only once all of them are 0 or true */
    uint64_t spare;
    rmt_a64 ref[]; /* each: the offset of an object, or 0 */
};

/* Copies the segments, once, into a new message that is left in the caller's hold `*ret_hold`.  The
 * caller must have each object of `refs` open.  -ENOMEM, -ENOSPC. */
int rmt_message_build(struct rmt_self *self, const struct iovec *segments, int count,
                      const uint64_t *refs, size_t ref_count, int *ret_hold, uint64_t *ret_offset);

/* Whether there is such a message: for offsets that another process wrote.  If not the arena is
 * poisoned: who freed it would free something else. */
bool rmt_message_known(uint64_t offset);

/* Data of a message that the caller holds. -EPROTO if its header is not sound. */
int rmt_message_data(uint64_t offset, const uint8_t **ret_data, size_t *ret_size);

#endif
