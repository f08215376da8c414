/* SPDX-License-Identifier: MIT
 *
 * check.c: the arena's invariants as functions: one walk over all windows, spans and blocks, for
 * ramet_arena_check and ramet_arena_usage.  Reads everything without locks: exact while nobody
 * works.
 */
#include "arena/block.h"
#include "arena/kind.h"
#include "arena/local.h"
#include "base/nocancel.h"
#include <ramet/arena.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct walk {
    int fd; /* where violations are described; -1 nowhere */
    int bad;
    uint64_t blocks, bytes;
    uint64_t listed[RMT_CLASSES]; /* slab pages that should stand in the class's list */
};

__attribute__((format(printf, 2, 3))) static void violation(struct walk *w, const char *format, ...)
{
    RMT_NO_CANCEL;
    w->bad = 1;
    if (w->fd < 0)
        return;
    va_list args;
    va_start(args, format);
    vdprintf(w->fd, format, args);
    va_end(args);
    dprintf(w->fd, "\n");
}

static int add_holds(uint64_t thread_offset, void *arg)
{
    const struct rmt_thread *t = rmt_at(thread_offset);
    struct rmt_hold_sum *sum = arg;
    if (rmt_load64_relaxed(&t->word) == 0)
        return 0;
    for (int i = 0; i < RMT_HOLDS; i++) {
        uint64_t hold = rmt_load64_relaxed(&t->hold[i].arg);
        if (rmt_load64_relaxed(&t->hold[i].what) != sum->what ||
            (uint32_t)(hold >> sum->shift) != sum->generation)
            continue;
        sum->count++;
        sum->low += hold & UINT32_MAX;
    }
    return 0;
}

void rmt_hold_sum(struct rmt_hold_sum *sum)
{
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++)
        if (rmt_member_state_of(rmt_load64(&rmt_member_at(slot)->state)) != RMT_MEMBER_FREE)
            rmt_threads_each(slot, add_holds, sum);
}

static void visit_block(struct walk *w, uint64_t offset, uint64_t bytes)
{
    const struct rmt_block *b = rmt_block_at(offset);
    w->blocks++;
    w->bytes += bytes;
    if (b->kind == RAMET_KIND_NONE && w->fd >= 0)
        violation(w, "block %#lx: allocated, without a kind", (unsigned long)offset);
    if (b->size > b->capacity)
        violation(w, "block %#lx: size %lu above capacity", (unsigned long)offset,
                  (unsigned long)b->size);
    const struct rmt_kind *kind = rmt_kind_get(b->kind);
    if (kind && kind->check && kind->check(offset) < 0)
        violation(w, "%s %#lx: its check failed", kind->name, (unsigned long)offset);
}

static void visit_slab(struct walk *w, uint64_t page, unsigned class_index)
{
    const struct rmt_slab *slab = rmt_at(page);
    if (class_index >= RMT_CLASSES || slab->class_index != class_index) {
        violation(w, "page %#lx: class %u in the page word, %lu in the page", (unsigned long)page,
                  class_index, (unsigned long)slab->class_index);
        return;
    }
    const struct rmt_class *c = &rmt_header()->classes[class_index];
    uint64_t used = 0;
    for (uint64_t i = 0; i < sizeof slab->bitmap / sizeof slab->bitmap[0] * 64; i++) {
        if ((rmt_load64_relaxed(&slab->bitmap[i / 64]) >> (i % 64) & 1) == 0)
            continue;
        used++;
        if (i >= c->blocks)
            violation(w, "page %#lx: block %lu does not exist", (unsigned long)page,
                      (unsigned long)i);
        else
            visit_block(w, page + RMT_SLAB_HEADER + i * c->block_size, c->block_size);
    }
    if (used != rmt_load64_relaxed(&slab->used))
        violation(w, "page %#lx: %lu blocks in the bitmap, %lu counted", (unsigned long)page,
                  (unsigned long)used, (unsigned long)rmt_load64_relaxed(&slab->used));
    w->listed[class_index] += used < c->blocks;
}

static void visit_window(struct walk *w, unsigned window)
{
    const struct rmt_page_table *t = rmt_page_table(window);
    uint64_t free_pages = 0, start = rmt_window_start(window), word;
    for (uint64_t i = 0; i < t->pages; i += word ? rmt_page_count(word) : 1) {
        word = rmt_load64_relaxed(&t->word[i]);
        uint64_t offset = start + i * RMT_PAGE_SIZE;
        if (word == 0) {
            free_pages++;
            if (i < rmt_load64_relaxed(&t->lowest))
                violation(w, "window %u: free page %lu below the lowest", window, (unsigned long)i);
        } else if (rmt_page_count(word) == 0) {
            violation(w, "window %u: page %lu has a word without a length", window,
                      (unsigned long)i);
            return;
        } else if (rmt_page_type(word) == RMT_PAGE_SLAB) {
            visit_slab(w, offset, rmt_page_class(word));
        } else if (rmt_page_type(word) == RMT_PAGE_SPAN) {
            visit_block(w, offset, rmt_page_count(word) * RMT_PAGE_SIZE);
        }
    }
    if (free_pages != rmt_load64_relaxed(&t->free))
        violation(w, "window %u: %lu pages free, %lu counted", window, (unsigned long)free_pages,
                  (unsigned long)rmt_load64_relaxed(&t->free));
}

static void visit_lists(struct walk *w)
{
    for (unsigned i = 0; i < RMT_CLASSES; i++) {
        const struct rmt_class *c = &rmt_header()->classes[i];
        uint64_t n = 0, prev = 0;
        uint64_t page = rmt_load64_relaxed(&c->partial);
        while (page != 0 && n <= w->listed[i]) {
            const struct rmt_slab *slab = rmt_at(page);
            if (rmt_load64_relaxed(&slab->prev) != prev)
                violation(w, "class %u: page %#lx has a wrong link back", i, (unsigned long)page);
            prev = page;
            page = rmt_load64_relaxed(&slab->next);
            n++;
        }
        if (n != w->listed[i])
            violation(w, "class %u: %lu pages have room, %lu are listed", i,
                      (unsigned long)w->listed[i], (unsigned long)n);
    }
}

static int walk(struct walk *w)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    uint64_t windows = rmt_load64(&rmt_header()->windows);
    for (unsigned i = 0; i < windows && r == 0; i++) {
        r = rmt_reach(rmt_window_start(i));
        if (r == 0)
            visit_window(w, i);
    }
    if (r == 0)
        visit_lists(w);
    return r < 0 ? r : w->bad ? -ENOTRECOVERABLE : 0;
}

int ramet_arena_check(int fd)
{
    struct walk w = {.fd = fd};
    return walk(&w);
}

static uint64_t committed_bytes(void)
{
    uint64_t bytes = (sizeof(struct rmt_header) + 4095) & ~4095ull;
    bytes +=
        (rmt_load64(&rmt_header()->members_high) * sizeof(struct rmt_member) + 4095) & ~4095ull;
    uint64_t windows = rmt_load64(&rmt_header()->windows);
    for (unsigned i = 0; i < windows; i++) {
        const struct rmt_page_table *t = rmt_page_table(i);
        uint64_t start = rmt_window_start(i), first = rmt_window_first_page(i);
        bytes += start + first * RMT_PAGE_SIZE - rmt_page_table_at(i);
        for (uint64_t p = 0; p < t->pages; p += 64)
            bytes +=
                (uint64_t)__builtin_popcountll(rmt_load64_relaxed(rmt_page_committed_word(i, p))) *
                RMT_PAGE_SIZE;
    }
    return bytes;
}

int ramet_arena_usage(ramet_usage *ret_usage)
{
    if (ret_usage->size != sizeof *ret_usage)
        return -EINVAL;
    struct walk w = {.fd = -1};
    int r = walk(&w);
    if (r < 0 && r != -ENOTRECOVERABLE)
        return r;
    uint32_t members = 0;
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    for (uint32_t slot = 1; slot < high; slot++)
        members += rmt_member_state_of(rmt_load64(&rmt_member_at(slot)->state)) == RMT_MEMBER_LIVE;
    *ret_usage = (ramet_usage){.size = sizeof *ret_usage,
                               .bytes_in_use = w.bytes,
                               .bytes_committed = committed_bytes(),
                               .blocks = w.blocks,
                               .members = members};
    return 0;
}
