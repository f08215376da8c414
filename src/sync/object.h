/* SPDX-License-Identifier: MIT
 *
 * object.h: what the handles of all nouns of this layer have in common: a block of the arena, this
 * process's count on it, and where its payload lies.  Process-local; the shared struct is another
 * type.
 *
 * Once made, a handle is only read until it is closed, so that threads share it without a lock.
 */
#ifndef RMT_OBJECT_H
#define RMT_OBJECT_H

#include "arena/handle.h"

struct rmt_object {
    struct rmt_handle handle;
    void *shared; /* the payload */
    uint64_t at;  /* its offset */
};

/* Fills the payload of a new object, which nobody else can see yet.  0 or a negative errno. */
typedef int rmt_init_fn(struct rmt_self *self, void *shared, uint64_t at, const void *arg);

/* Makes an object of `kind` with a payload of `payload` bytes.  The handle is allocated with
 * `handle_size` bytes, cleared, of which the first are the rmt_object.  -ENOMEM, ... */
int rmt_object_create(size_t handle_size, uint32_t kind, size_t payload, rmt_init_fn *init,
                      const void *arg, struct rmt_object **ret_object);

/* A handle of the object that `ref` names: errors of rmt_handle_open. */
int rmt_object_open(size_t handle_size, uint32_t kind, const ramet_ref *ref,
                    struct rmt_object **ret_object);

/* Gives the count back and frees the handle; NULL is fine. */
void rmt_object_close(struct rmt_object *object);

#endif
