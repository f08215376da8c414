/* SPDX-License-Identifier: MIT
 *
 * handle.c: counts on objects.  A count and the word that holds it (a handle entry, or a reference
 * word in a message) change in one commit under the object's reference guard, chosen by its offset.
 *
 * A process's entries stand in chunks that hang on its member slot; which are free is known to the
 * process alone (a stack, under the table lock).  A forked child gets chunks of its own with the
 * same indices.
 */
#include "arena/handle.h"
#include "arena/kind.h"
#include "arena/local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t *chunks; /* payload offsets, oldest first; under the table lock */
static uint32_t chunk_count, chunk_room;
static uint32_t *free_stack;
static uint32_t free_count;

static struct rmt_guard *guard_of(uint64_t offset)
{
    return &rmt_header()->refs_guard[offset / 64 % RMT_REF_GUARDS];
}

static uint64_t refs_word(uint64_t offset)
{
    return offset + offsetof(struct rmt_block, refs);
}

static uint64_t entry_word(uint32_t index)
{
    return chunks[index / RMT_CHUNK_ENTRIES] + offsetof(struct rmt_handle_chunk, entry) +
           index % RMT_CHUNK_ENTRIES * 8;
}

/* ---- the table */

static uint64_t list_of(uint32_t slot)
{
    return rmt_member_offset(slot) + offsetof(struct rmt_member, handles);
}

/* A new chunk, listed for member `slot`. */
static int make_chunk(struct rmt_self *self, uint32_t slot, uint64_t *ret_payload)
{
    int hold;
    uint64_t block;
    int r = rmt_block_alloc(self, sizeof(struct rmt_handle_chunk), RMT_KIND_HANDLES, &hold, &block);
    if (r < 0)
        return r;
    struct rmt_handle_chunk *chunk = rmt_payload(block);
    memset(chunk, 0, sizeof *chunk);
    struct rmt_guard *g = &rmt_header()->tables_guard;
    r = rmt_guard_lock(self, g);
    if (r < 0)
        return r;
    rmt_store64_relaxed(&chunk->next, rmt_load64_relaxed((rmt_a64 *)rmt_at(list_of(slot))));
    rmt_redo(g, 0, list_of(slot), block);
    rmt_redo(g, 1, rmt_hold_what(self, hold), 0);
    rmt_commit(g, 2);
    rmt_guard_unlock(self, g);
    *ret_payload = block + RMT_BLOCK_HEADER;
    return 0;
}

static int grow(void)
{
    if (chunk_count == chunk_room) {
        uint32_t room = chunk_room ? chunk_room * 2 : 4;
        uint64_t *c = realloc(chunks, room * sizeof *c);
        if (!c)
            return -ENOMEM;
        chunks = c;
        uint32_t *f = realloc(free_stack, (size_t)room * RMT_CHUNK_ENTRIES * sizeof *f);
        if (!f)
            return -ENOMEM;
        free_stack = f;
        chunk_room = room;
    }
    int r = make_chunk(rmt_bookkeeper(), rmt_local.slot, &chunks[chunk_count]);
    if (r < 0)
        return r;
    uint32_t first = chunk_count++ * RMT_CHUNK_ENTRIES;
    for (uint32_t i = RMT_CHUNK_ENTRIES; i-- > 0;)
        free_stack[free_count++] = first + i;
    return 0;
}

/* An entry about to be filled.  From begin to end the table lock is held, over the commit: a fork
 * in between would copy the entry empty, and the child find the handle open without a count. */
struct filling {
    uint32_t index;
    uint64_t word;
    uint32_t recovering; /* what it was: nothing is recovered under the table lock */
};

static int entry_begin(struct rmt_self *self, struct filling *f)
{
    rmt_table_lock();
    int r = free_count > 0 ? 0 : grow();
    if (r < 0) {
        rmt_table_unlock();
        return r;
    }
    f->index = free_stack[--free_count];
    f->word = entry_word(f->index);
    f->recovering = self->recovering;
    self->recovering = 1;
    return 0;
}

static void entry_end(struct rmt_self *self, const struct filling *f, bool filled)
{
    if (!filled)
        free_stack[free_count++] = f->index;
    self->recovering = f->recovering;
    rmt_table_unlock();
    uint64_t dead = self->found_dead;
    if (dead != 0 && !self->recovering) {
        self->found_dead = 0;
        rmt_recover(self, dead);
    }
}

static void entry_put(uint32_t index)
{
    rmt_table_lock();
    free_stack[free_count++] = index;
    rmt_table_unlock();
}

static uint64_t entry_now(uint32_t index)
{
    rmt_table_lock();
    uint64_t word = entry_word(index);
    rmt_table_unlock();
    return word;
}

/* ---- counts */

/* Under the guard of `offset`: one count more, held by `word`. */
static void commit_add(struct rmt_guard *g, uint64_t word, uint64_t offset)
{
    rmt_redo(g, 0, refs_word(offset), rmt_load64_relaxed(&rmt_block_at(offset)->refs) + 1);
    rmt_redo(g, 1, word, offset);
    rmt_commit(g, 2);
}

int rmt_count_add(struct rmt_self *self, uint64_t word, uint64_t offset)
{
    struct rmt_guard *g = guard_of(offset);
    int r = rmt_guard_lock(self, g);
    if (r < 0)
        return r;
    commit_add(g, word, offset);
    rmt_guard_unlock(self, g);
    return 0;
}

void rmt_count_drop(struct rmt_self *self, uint64_t word)
{
    uint64_t offset = rmt_load64((rmt_a64 *)rmt_at(word));
    if (offset == 0)
        return;
    /* The object may have to be destroyed, and then stands in a hold of ours.  With all holds in
     * use (a chain of objects that own objects, deeper than there are holds) the count stays: a
     * leak until the process ends, never a wild pointer. */
    int hold = rmt_hold_find(self);
    if (hold < 0)
        return;
    struct rmt_guard *g = guard_of(offset);
    if (rmt_guard_lock(self, g) < 0)
        return;
    uint64_t refs = rmt_load64_relaxed(&rmt_block_at(offset)->refs);
    rmt_redo(g, 0, refs_word(offset), refs - 1);
    rmt_redo(g, 1, word, 0);
    if (refs == 1)
        rmt_redo(g, 2, rmt_hold_what(self, hold), offset | RMT_HOLD_BLOCK);
    rmt_commit(g, refs == 1 ? 3 : 2);
    rmt_guard_unlock(self, g);
    if (refs == 1)
        rmt_block_free(self, hold);
}

/* ---- handles */

int rmt_handle_create(struct rmt_self *self, int hold, struct rmt_handle *ret_handle)
{
    uint64_t offset = rmt_load64_relaxed(&self->thread->hold[hold].what) & ~RMT_TAG_MASK;
    struct filling f;
    int r = entry_begin(self, &f);
    if (r < 0)
        return r;
    struct rmt_guard *g = guard_of(offset);
    r = rmt_guard_lock(self, g);
    if (r >= 0) {
        rmt_redo(g, 0, refs_word(offset), 1);
        rmt_redo(g, 1, f.word, offset);
        rmt_redo(g, 2, rmt_hold_what(self, hold), 0);
        rmt_commit(g, 3);
        *ret_handle = (struct rmt_handle){
            .offset = offset, .index = f.index, .generation = rmt_block_at(offset)->generation};
        rmt_guard_unlock(self, g);
    }
    entry_end(self, &f, r >= 0);
    return r < 0 ? r : 0;
}

int rmt_handle_of(struct rmt_self *self, uint64_t offset, struct rmt_handle *ret_handle)
{
    struct filling f;
    int r = rmt_reach(offset);
    if (r == 0)
        r = entry_begin(self, &f);
    if (r < 0)
        return r;
    r = rmt_count_add(self, f.word, offset);
    if (r >= 0)
        *ret_handle = (struct rmt_handle){
            .offset = offset, .index = f.index, .generation = rmt_block_at(offset)->generation};
    entry_end(self, &f, r >= 0);
    return r;
}

int rmt_handle_dup(struct rmt_self *self, const struct rmt_handle *from,
                   struct rmt_handle *ret_handle)
{
    return rmt_handle_of(self, from->offset, ret_handle);
}

/* Under the guard: counts only change under it, so an object that is counted here stays one, and
 * what was written before it was counted is seen.  A block that is not counted may be in the
 * making; or its page has another use since it was found valid, and what is read are somebody's
 * data, which may look like the header that was there.  So both are asked twice: a header that was
 * read between two looks at which a block started here is one, unless the page was given away and
 * came back in between; and then the block that starts here now has another generation, which is
 * what the second look at that sees.
 */
static int check_ref(const ramet_ref *ref, uint32_t kind)
{
    const struct rmt_block *b = rmt_block_at(ref->offset);
    for (int i = 0; i < 2; i++) {
        if (!rmt_block_valid(ref->offset) || rmt_load64(&b->refs) == 0 ||
            rmt_peek32(&b->generation) != ref->generation)
            return -ESTALE;
        rmt_fence();
    }
    if (b->kind != ref->kind || (kind != RAMET_KIND_NONE && b->kind != kind))
        return -EINVAL;
    return 0;
}

int rmt_handle_open(struct rmt_self *self, const ramet_ref *ref, uint32_t kind,
                    struct rmt_handle *ret_handle)
{
    if (ref->arena != rmt_local.id || !rmt_block_valid(ref->offset))
        return -ESTALE;
    struct filling f;
    int r = entry_begin(self, &f);
    if (r < 0)
        return r;
    struct rmt_guard *g = guard_of(ref->offset);
    r = rmt_guard_lock(self, g);
    if (r >= 0) {
        r = check_ref(ref, kind);
        if (r == 0) {
            commit_add(g, f.word, ref->offset);
            *ret_handle = (struct rmt_handle){
                .offset = ref->offset, .index = f.index, .generation = ref->generation};
        }
        rmt_guard_unlock(self, g);
    }
    entry_end(self, &f, r >= 0);
    return r;
}

void rmt_handle_close(struct rmt_self *self, struct rmt_handle *handle)
{
    if (handle->offset == 0)
        return;
    handle->offset = 0;
    uint64_t word = entry_now(handle->index);
    rmt_count_drop(self, word);
    if (rmt_load64_relaxed((rmt_a64 *)rmt_at(word)) == 0) /* else it is still a count: not reused */
        entry_put(handle->index);
}

ramet_ref rmt_handle_ref(const struct rmt_handle *handle)
{
    return (ramet_ref){
        .arena = rmt_local.id,
        .offset = handle->offset,
        .kind = rmt_block_at(handle->offset)->kind,
        .generation = handle->generation,
    };
}

/* ---- fork and death */

/* Before a fork, under the table lock: the child's own chunks, with a count on each object that
 * this process has open.  If it fails, or this process dies, the reservation's recovery drops them.
 */
int rmt_handles_copy(struct rmt_self *self, uint32_t to_slot)
{
    for (uint32_t c = 0; c < chunk_count; c++) {
        uint64_t to;
        int r = make_chunk(self, to_slot, &to);
        if (r < 0)
            return r;
        const struct rmt_handle_chunk *from = rmt_at(chunks[c]);
        for (uint32_t i = 0; i < RMT_CHUNK_ENTRIES; i++) {
            /* Another thread may be closing this very entry: a count is only taken from one that
             * still holds its own, under the guard. */
            uint64_t offset = rmt_load64(&from->entry[i]);
            if (offset == 0)
                continue;
            struct rmt_guard *g = guard_of(offset);
            r = rmt_guard_lock(self, g);
            if (r < 0)
                return r;
            if (rmt_load64_relaxed(&from->entry[i]) == offset)
                commit_add(g, to + offsetof(struct rmt_handle_chunk, entry) + i * 8, offset);
            rmt_guard_unlock(self, g);
        }
    }
    return 0;
}

/* In the child: the chunks are its own ones.  They were listed oldest first, so the list runs
 * backwards. */
void rmt_handles_after_fork(void)
{
    if (rmt_local.slot == 0) { /* no member, or none yet: nothing is open */
        chunk_count = free_count = 0;
        return;
    }
    uint64_t block = rmt_load64(&rmt_member_at(rmt_local.slot)->handles);
    for (uint32_t c = chunk_count; c-- > 0 && block != 0;) {
        chunks[c] = block + RMT_BLOCK_HEADER;
        block = rmt_load64(&((struct rmt_handle_chunk *)rmt_payload(block))->next);
    }
}

/* What the dead process had open is closed; its chunks are freed one by one, first in the list
 * first. */
void rmt_handles_drop_all(struct rmt_self *self, uint32_t slot)
{
    rmt_a64 *list = rmt_at(list_of(slot));
    uint64_t block;
    while ((block = rmt_load64(list)) != 0) {
        uint64_t payload = block + RMT_BLOCK_HEADER;
        for (uint32_t i = 0; i < RMT_CHUNK_ENTRIES; i++)
            rmt_count_drop(self, payload + offsetof(struct rmt_handle_chunk, entry) + i * 8);
        int hold = rmt_hold_find(self);
        struct rmt_guard *g = &rmt_header()->tables_guard;
        if (hold < 0 || rmt_guard_lock(self, g) < 0)
            return;
        struct rmt_handle_chunk *chunk = rmt_at(payload);
        rmt_redo(g, 0, list_of(slot), rmt_load64_relaxed(&chunk->next));
        rmt_redo(g, 1, rmt_hold_what(self, hold), block | RMT_HOLD_BLOCK);
        rmt_commit(g, 2);
        rmt_guard_unlock(self, g);
        rmt_block_free(self, hold);
    }
}

static const struct rmt_kind kind = {.id = RMT_KIND_HANDLES, .name = "handles"};

__attribute__((constructor)) static void setup(void)
{
    rmt_kind_register(&kind);
}
