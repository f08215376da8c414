/* SPDX-License-Identifier: MIT
 *
 * view_walk.c: finding the objects of an arena that others change, and describing one.
 *
 * Page words and bitmaps are the truth about what is allocated; both are read in pieces, so that a
 * block made or freed meanwhile may be met or not.  A block is believed to be the object that its
 * header says if the header says the same after its payload was copied: kinds and generations do
 * not come back.
 */
#include "arena/kind.h"
#include "arena/local.h"
#include "arena/view.h"

#include <errno.h>
#include <string.h>

#define TRIES 4

/* The word of page `index` of `window`. */
static uint64_t page_word(ramet_view *view, unsigned window, uint64_t index)
{
    const uint64_t n = sizeof view->words / sizeof view->words[0];
    uint64_t at = rmt_page_table_at(window) + offsetof(struct rmt_page_table, word) +
                  index / n * sizeof view->words;
    if (view->words_at != at) {
        if (rmt_source_read(&view->source, at, view->words, sizeof view->words) < 0)
            return 0;
        view->words_at = at;
    }
    return view->words[index % n];
}

static bool load_slab(ramet_view *view, uint64_t page, uint32_t class_index)
{
    if (view->slab == page)
        return true;
    uint64_t at = offsetof(struct rmt_header, classes) + class_index * sizeof(struct rmt_class) +
                  offsetof(struct rmt_class, block_size);
    view->block_bytes = class_index < RMT_CLASSES ? rmt_source_word(&view->source, at) : 0;
    view->slab = 0;
    if (view->block_bytes < 2 * RMT_BLOCK_HEADER || view->block_bytes > RMT_PAGE_SIZE / 2 ||
        rmt_source_read(&view->source, page + offsetof(struct rmt_slab, bitmap), view->bitmap,
                        sizeof view->bitmap) < 0)
        return false;
    view->slab = page;
    return true;
}

static bool listed(const struct rmt_block *block)
{
    const struct rmt_kind *kind = rmt_kind_get(block->kind);
    return kind && kind->describe &&
           (rmt_load64_relaxed(&block->refs) > 0 || block->kind == RAMET_KIND_JOB);
}

/* The next listed block of the slab page at `page`, from *cursor on: 1; 0 none, *cursor unchanged.
 */
static int walk_slab(ramet_view *view, uint64_t page, uint64_t *cursor, uint64_t *ret_offset,
                     struct rmt_block *ret_block)
{
    uint64_t first = page + RMT_SLAB_HEADER, bytes = view->block_bytes;
    uint64_t i = *cursor <= first ? 0 : (*cursor - first + bytes - 1) / bytes;
    for (; first + (i + 1) * bytes <= page + RMT_PAGE_SIZE && i < 640; i++) {
        if ((view->bitmap[i / 64] >> (i % 64) & 1) == 0)
            continue;
        uint64_t offset = first + i * bytes;
        if (rmt_source_block(&view->source, offset, ret_block) < 0 || !listed(ret_block) ||
            ret_block->capacity > bytes - RMT_BLOCK_HEADER)
            continue;
        *ret_offset = offset;
        *cursor = offset + bytes;
        return 1;
    }
    return 0;
}

int rmt_view_walk(ramet_view *view, uint64_t *cursor, uint64_t *ret_offset,
                  struct rmt_block *ret_block)
{
    uint64_t windows = rmt_source_word(&view->source, offsetof(struct rmt_header, windows));
    if (*cursor == 0) {
        view->words_at = view->slab = 0;
        *cursor = rmt_window_first_page(0) * RMT_PAGE_SIZE;
    }
    while (*cursor < view->source.size) {
        unsigned window = rmt_window_of(*cursor);
        if (window >= windows || window >= RMT_WINDOWS)
            return 0;
        uint64_t start = rmt_window_start(window);
        uint64_t index = (*cursor - start) / RMT_PAGE_SIZE, page = start + index * RMT_PAGE_SIZE;
        if (index < rmt_window_first_page(window)) {
            /* Never so in a window that is in use: the number of windows is not to be believed. */
            if (rmt_source_word(&view->source, rmt_page_table_at(window)) !=
                rmt_window_size(window) / RMT_PAGE_SIZE)
                return 0;
            *cursor = start + rmt_window_first_page(window) * RMT_PAGE_SIZE;
            continue;
        }
        uint64_t word = page_word(view, window, index), pages = rmt_page_count(word);
        uint64_t left = (start + rmt_window_size(window) - page) / RMT_PAGE_SIZE;
        uint64_t next = page + (pages == 0 || pages > left ? 1 : pages) * RMT_PAGE_SIZE;
        if (rmt_page_type(word) == RMT_PAGE_SLAB && load_slab(view, page, rmt_page_class(word)) &&
            walk_slab(view, page, cursor, ret_offset, ret_block))
            return 1;
        if (rmt_page_type(word) == RMT_PAGE_SPAN && *cursor == page &&
            rmt_source_block(&view->source, page, ret_block) == 0 && listed(ret_block)) {
            *ret_offset = page;
            *cursor = next;
            return 1;
        }
        *cursor = next;
    }
    return 0;
}

/* ---- describing */

/* How many sleep on words in [at, at + length). */
static uint32_t count_sleepers(const ramet_view *view, uint64_t at, uint64_t length)
{
    size_t low = 0, high = view->sleepers;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (view->sleeping[middle] < at)
            low = middle + 1;
        else
            high = middle;
    }
    uint32_t n = 0;
    while (low + n < view->sleepers && view->sleeping[low + n] - at < length)
        n++;
    return n;
}

static ramet_ref ref_of(const ramet_view *view, uint64_t offset, const struct rmt_block *block)
{
    return (ramet_ref){.arena = view->source.id,
                       .offset = offset,
                       .kind = block->kind,
                       .generation = block->generation};
}

static void fill(ramet_view *view, uint64_t offset, const struct rmt_block *block,
                 const struct rmt_facts *facts, ramet_view_object *o)
{
    o->ref = ref_of(view, offset, block);
    o->flags |= facts->flags;
    o->counts = rmt_load64_relaxed(&block->refs);
    o->bytes = block->capacity + RMT_BLOCK_HEADER;
    o->depth = facts->depth;
    o->limit = facts->limit;
    o->done = facts->done;
    o->total = facts->total;
    o->lost = facts->lost;
    o->waiters = count_sleepers(view, facts->at, facts->length);
    for (size_t i = 0; i < view->threads; i++) {
        const struct rmt_seen_thread *t = &view->thread[i];
        if (t->guard == 0 || t->guard - facts->at >= facts->length)
            continue;
        o->inside++;
        o->flags |= t->flags & RAMET_VIEW_STOPPED;
    }
    const struct rmt_seen_thread *holder = rmt_view_thread(view, facts->owner);
    o->holder_pid = holder ? holder->pid : rmt_view_process(view, facts->owner);
    o->holder_tid = holder ? holder->tid : 0;
    if (facts->owner != 0) { /* the slot has another life now: this one's is over */
        uint64_t slot = rmt_member_offset(rmt_word_slot(facts->owner));
        uint64_t state = rmt_source_word(&view->source, slot + offsetof(struct rmt_member, state));
        if ((uint32_t)(state >> 32) != rmt_word_epoch(facts->owner) ||
            rmt_member_state_of(state) == RMT_MEMBER_DYING)
            o->flags |= RAMET_VIEW_OWNER_DEAD;
    }
    struct rmt_block of;
    if (facts->of != 0 && rmt_source_block(&view->source, facts->of, &of) == 0)
        o->of = ref_of(view, facts->of, &of);
}

int rmt_view_describe(ramet_view *view, uint64_t offset, const struct rmt_block *block,
                      ramet_view_object *ret_object)
{
    const struct rmt_kind *kind = rmt_kind_get(block->kind);
    struct rmt_block now = *block, after;
    _Alignas(64) uint8_t payload[RMT_VIEW_PAYLOAD], copy[RMT_VIEW_PAYLOAD];
    size_t size = block->capacity < sizeof copy ? (size_t)block->capacity : sizeof copy;
    for (int i = 0; i < TRIES; i++) {
        struct rmt_facts facts = {.at = offset, .length = now.capacity + RMT_BLOCK_HEADER};
        if (rmt_source_read(&view->source, offset + RMT_BLOCK_HEADER, payload, size) < 0)
            return 0;
        kind->describe(&view->source, &now, offset, payload, size, &facts);
        if (rmt_source_block(&view->source, offset, &after) < 0 || after.kind != now.kind ||
            after.generation != now.generation || after.capacity != now.capacity)
            return 0;
        if (rmt_source_read(&view->source, offset + RMT_BLOCK_HEADER, copy, size) < 0)
            return 0;
        uint32_t moving = memcmp(copy, payload, size) != 0 ? RAMET_VIEW_MOVING : 0;
        if (moving == 0 || i == TRIES - 1 || kind->id == RAMET_KIND_DATA) {
            facts.flags |= kind->id == RAMET_KIND_DATA ? 0 : moving;
            fill(view, offset, &after, &facts, ret_object);
            return 1;
        }
    }
    return 0;
}
