/* SPDX-License-Identifier: MIT
 *
 * inspect.c: ramet_check and ramet_dump.  A dump is a view of one's own arena.
 */
#include "arena/block.h"
#include "arena/handle.h"
#include "arena/kind.h"
#include "arena/local.h"
#include "arena/view.h"
#include "base/nocancel.h"
#include <ramet/arena.h>
#include <ramet/inspect.h>

#include <errno.h>
#include <stdio.h>

/* A handle of the object keeps it while it is looked at. */
static int open_ref(const ramet_ref *ref, struct rmt_self **ret_self, struct rmt_handle *ret_handle)
{
    int r = rmt_self(ret_self);
    return r < 0 ? r : rmt_handle_open(*ret_self, ref, ref->kind, ret_handle);
}

int ramet_check(const ramet_ref *ref, int fd)
{
    RMT_NO_CANCEL;
    struct rmt_handle handle;
    struct rmt_self *self;
    if (!ref)
        return ramet_arena_check(fd);
    int r = open_ref(ref, &self, &handle);
    if (r < 0)
        return r;
    const struct rmt_block *block = rmt_block_at(handle.offset);
    const struct rmt_kind *kind = rmt_kind_get(block->kind);
    if (block->size > block->capacity || !kind)
        r = -ENOTRECOVERABLE;
    else if (kind->check)
        r = kind->check(handle.offset);
    if (r < 0 && fd >= 0)
        dprintf(fd, "%s %#lx: its check failed\n", kind ? kind->name : "block",
                (unsigned long)handle.offset);
    rmt_handle_close(self, &handle);
    return r;
}

static int dump_one(ramet_view *view, uint64_t offset, FILE *to)
{
    ramet_view_object object = {.size = sizeof object};
    struct rmt_block block;
    view->error = 0;
    int r = rmt_source_block(&view->source, offset, &block);
    if (r < 0)
        return r;
    const struct rmt_kind *kind = rmt_kind_get(block.kind);
    if (!kind || !kind->describe)
        return -EINVAL;
    r = rmt_view_describe(view, offset, &block, &object);
    if (r != 1 || view->error < 0)
        return view->error < 0 ? view->error : -ESTALE;
    object.counts--; /* this call's own */
    rmt_view_print_object(&object, to);
    return ferror(to) ? -EIO : 0;
}

int ramet_dump(const ramet_ref *ref, FILE *to)
{
    struct rmt_handle handle;
    struct rmt_self *self;
    ramet_view *view;
    int r = ref ? open_ref(ref, &self, &handle) : rmt_self(&self);
    if (r < 0)
        return r;
    r = rmt_view_of(rmt_local.fd, false, &view);
    if (r == 0) {
        r = ref ? dump_one(view, handle.offset, to) : ramet_view_print(view, to);
        ramet_view_close(view);
    }
    if (ref)
        rmt_handle_close(self, &handle);
    return r;
}
