/* SPDX-License-Identifier: MIT
 *
 * handle.h: counts on objects.  A block with refs > 0 is an object; it is destroyed and freed when
 * the last count goes.  Counts are held by handle entries (a member's table in shared memory, so
 * that they go when it dies; a forked child gets a copy with counts of its own) and by reference
 * words inside messages and other objects (given back by the kind's destroy function).
 */
#ifndef RMT_HANDLE_H
#define RMT_HANDLE_H

#include "arena/block.h"

struct rmt_handle {  /* process-local; a value */
    uint64_t offset; /* of the object's block; 0: closed */
    uint32_t index;  /* of the entry in the member's table: the same in a forked child */
    uint32_t generation;
};

/* Makes the block in hold `hold` an object with one handle. */
int rmt_handle_create(struct rmt_self *self, int hold, struct rmt_handle *ret_handle);

/* Opens what `ref` names; -ESTALE if it is gone or belongs to another arena, -EINVAL if it is of
 * another kind (kind RAMET_KIND_NONE: any), -ENOMEM. */
int rmt_handle_open(struct rmt_self *self, const ramet_ref *ref, uint32_t kind,
                    struct rmt_handle *ret_handle);

/* Another handle of the same object. */
int rmt_handle_dup(struct rmt_self *self, const struct rmt_handle *from,
                   struct rmt_handle *ret_handle);

/* Gives the count back; destroys the object if it was the last. */
void rmt_handle_close(struct rmt_self *self, struct rmt_handle *handle);

/* The reference of an open handle. */
ramet_ref rmt_handle_ref(const struct rmt_handle *handle);

/* ---- reference words inside a block that the caller holds or owns.  Each word is 0 or the offset
 * of an object on which it is a count. */

/* Makes the word at `word` (0 until then) a count on the object at `offset`, which the caller has
 * open. */
int rmt_count_add(struct rmt_self *self, uint64_t word, uint64_t offset);

/* Empties the word and gives its count back, destroying the object if it was the last. */
void rmt_count_drop(struct rmt_self *self, uint64_t word);

/* Makes a new handle of the object at `offset` while some count that the caller controls keeps it
 * alive. */
int rmt_handle_of(struct rmt_self *self, uint64_t offset, struct rmt_handle *ret_handle);

#endif
