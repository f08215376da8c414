/* SPDX-License-Identifier: MIT
 *
 * object.c: making, opening and closing the handles of this layer's nouns; see object.h.
 */
#include "sync/object.h"
#include "base/fault.h"

#include <errno.h>
#include <stdlib.h>

static int allocate(size_t size, struct rmt_object **ret_object)
{
    int r = rmt_fault(RMT_FAULT_MALLOC);
    if (r < 0)
        return r;
    struct rmt_object *object = calloc(1, size);
    if (!object)
        return -ENOMEM;
    *ret_object = object;
    return 0;
}

int rmt_object_create(size_t handle_size, uint32_t kind, size_t payload, rmt_init_fn *init,
                      const void *arg, struct rmt_object **ret_object)
{
    struct rmt_self *self;
    struct rmt_object *object;
    int hold;
    uint64_t block;

    int r = rmt_self(&self);
    if (r < 0)
        return r;
    r = allocate(handle_size, &object);
    if (r < 0)
        return r;
    r = rmt_block_alloc(self, payload, kind, &hold, &block);
    if (r < 0) {
        free(object);
        return r;
    }
    object->at = block + RMT_BLOCK_HEADER;
    object->shared = rmt_at(object->at);
    r = init(self, object->shared, object->at, arg);
    if (r >= 0)
        r = rmt_handle_create(self, hold, &object->handle);
    if (r < 0) {
        rmt_block_free(self, hold);
        free(object);
        return r;
    }
    *ret_object = object;
    return 0;
}

int rmt_object_open(size_t handle_size, uint32_t kind, const ramet_ref *ref,
                    struct rmt_object **ret_object)
{
    struct rmt_self *self;
    struct rmt_object *object;

    int r = rmt_self(&self);
    if (r < 0)
        return r;
    r = allocate(handle_size, &object);
    if (r < 0)
        return r;
    r = rmt_handle_open(self, ref, kind, &object->handle);
    if (r < 0) {
        free(object);
        return r;
    }
    object->at = object->handle.offset + RMT_BLOCK_HEADER;
    object->shared = rmt_at(object->at);
    *ret_object = object;
    return 0;
}

void rmt_object_close(struct rmt_object *object)
{
    struct rmt_self *self;
    if (!object)
        return;
    /* A process that cannot act in the arena any more (poison, a fork behind our back) has no
     * counts to give back: recovery does that. */
    if (rmt_self(&self) >= 0)
        rmt_handle_close(self, &object->handle);
    free(object);
}
