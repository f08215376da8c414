/* SPDX-License-Identifier: MIT
 *
 * page.c: runs of 64 KiB pages ("spans").  Truth is the page words: a span's first page says its
 * type and length, all other words are 0.  Invariant: walking from a window's page 0, by the length
 * where the word is not 0 and by 1 where it is, meets every span once and nothing else.
 *
 * Memory is committed after a span was taken, by its owner, outside the guard; one bit per page
 * remembers it, so that a page that comes back warm is not touched anew.  Only a span's owner
 * changes the bits of its pages.
 */
#include "arena/block.h"
#include "arena/local.h"
#include "base/os.h"

#include <errno.h>

#define WARM_PAGES 4096u /* free pages kept committed: 256 MiB */
#define LIMIT_CHECK_BYTES                                                                          \
    (4ull << 20) /* from here on an allocation asks what the machine has left */

uint64_t rmt_page_table_at(unsigned window)
{
    return window == 0 ? RMT_PAGES_AT : rmt_window_start(window);
}

struct rmt_page_table *rmt_page_table(unsigned window)
{
    return rmt_at(rmt_page_table_at(window));
}

static uint64_t window_pages(unsigned window)
{
    return rmt_window_size(window) / RMT_PAGE_SIZE;
}

static uint64_t table_bytes(unsigned window)
{
    uint64_t pages = window_pages(window);
    return sizeof(struct rmt_page_table) + pages * 8 + pages / 8;
}

uint64_t rmt_window_first_page(unsigned window)
{
    uint64_t end = rmt_page_table_at(window) - rmt_window_start(window) + table_bytes(window);
    return (end + RMT_PAGE_SIZE - 1) / RMT_PAGE_SIZE;
}

void rmt_page_place(uint64_t offset, struct rmt_page_place *ret_place)
{
    unsigned window = rmt_window_of(offset);
    uint64_t index = (offset - rmt_window_start(window)) / RMT_PAGE_SIZE;
    *ret_place = (struct rmt_page_place){
        .window = window,
        .index = index,
        .word = rmt_page_table_at(window) + offsetof(struct rmt_page_table, word) + index * 8,
    };
}

rmt_a64 *rmt_page_committed_word(unsigned window, uint64_t index)
{
    return &rmt_page_table(window)->word[window_pages(window) + index / 64];
}

static bool is_committed(unsigned window, uint64_t index)
{
    return rmt_load64_relaxed(rmt_page_committed_word(window, index)) >> (index % 64) & 1;
}

static uint64_t count_committed(const struct rmt_page_place *p, uint64_t pages)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < pages; i++)
        n += is_committed(p->window, p->index + i);
    return n;
}

static void set_committed(const struct rmt_page_place *p, uint64_t pages, bool on)
{
    for (uint64_t i = p->index; i < p->index + pages; i++) {
        rmt_a64 *word = rmt_page_committed_word(p->window, i);
        if (on)
            rmt_or64(word, 1ull << (i % 64));
        else
            rmt_and64(word, ~(1ull << (i % 64)));
    }
}

/* Whether the machine cannot give so many pages.  Small needs are not worth the look. */
static bool is_too_much(uint64_t pages)
{
    uint64_t need = pages * RMT_PAGE_SIZE;
    return need >= LIMIT_CHECK_BYTES && need > rmt_os_available();
}

/* The caller owns the span.  Commits what is not; -ENOMEM with nothing changed that matters. */
static int commit_span(const struct rmt_page_place *p, uint64_t pages)
{
    uint64_t warm = count_committed(p, pages);
    if (warm == pages) {
        rmt_add64(&rmt_header()->warm, -warm);
        return 0;
    }
    if (is_too_much(pages - warm))
        return -ENOMEM;
    uint64_t start = rmt_window_start(p->window) + p->index * RMT_PAGE_SIZE;
    int r = rmt_os_commit(rmt_local.fd, start, pages * RMT_PAGE_SIZE);
    if (r < 0)
        return r;
    set_committed(p, pages, true);
    rmt_add64(&rmt_header()->warm, -warm);
    return 0;
}

/* Makes the next window usable.  Any number of processes may do this at once. */
int rmt_page_window_init(struct rmt_self *self, unsigned window)
{
    struct rmt_header *header = rmt_header();
    uint64_t start = rmt_window_start(window);
    if (window >= RMT_WINDOWS || start + rmt_window_size(window) > header->size)
        return -ENOMEM;
    uint64_t first = rmt_window_first_page(window);
    /* In window 0 the reserved pages before the table are the header and the sparse member slots.
     */
    uint64_t from = window == 0 ? RMT_PAGES_AT : start;
    int r = rmt_reach(start);
    if (r == 0)
        r = rmt_os_commit(rmt_local.fd, from, start + first * RMT_PAGE_SIZE - from);
    if (r < 0)
        return r;
    struct rmt_guard *g = &header->pages_guard;
    r = rmt_guard_lock(self, g);
    if (r < 0)
        return r;
    if (rmt_load64_relaxed(&header->windows) == window) {
        struct rmt_page_table *t = rmt_page_table(window);
        uint64_t at = rmt_page_table_at(window);
        t->pages = window_pages(window);
        rmt_store64_relaxed(&t->lowest, first);
        rmt_redo(g, 0, at + offsetof(struct rmt_page_table, word),
                 RMT_PAGE_WORD(RMT_PAGE_RESERVED, 0, first));
        rmt_redo(g, 1, at + offsetof(struct rmt_page_table, free), t->pages - first);
        rmt_redo(g, 2, offsetof(struct rmt_header, windows), window + 1);
        rmt_commit(g, 3);
    }
    rmt_guard_unlock(self, g);
    return 0;
}

/* Under the pages guard: the first run of `pages` free pages.  `lowest` only moves over pages in
 * use. */
static bool find_run(struct rmt_page_table *t, uint64_t pages, uint64_t *ret_index)
{
    if (rmt_load64_relaxed(&t->free) < pages)
        return false;
    uint64_t run = 0, i = rmt_load64_relaxed(&t->lowest);
    bool first = true;
    while (i < t->pages) {
        uint64_t word = rmt_load64_relaxed(&t->word[i]);
        if (word != 0) {
            i += rmt_page_count(word);
            run = 0;
            continue;
        }
        if (first)
            rmt_store64_relaxed(&t->lowest, i);
        first = false;
        i++;
        if (++run == pages) {
            *ret_index = i - pages;
            return true;
        }
    }
    return false;
}

/* Takes a run in `window` into the hold: 1 done, 0 no room there, <0. */
static int take_run(struct rmt_self *self, unsigned window, uint64_t pages, uint64_t span_word,
                    int hold, uint64_t *ret_offset)
{
    struct rmt_guard *g = &rmt_header()->pages_guard;
    int r = rmt_reach(rmt_window_start(window)); /* no mapping under the guard */
    if (r == 0)
        r = rmt_guard_lock(self, g);
    if (r < 0)
        return r;
    struct rmt_page_table *t = rmt_page_table(window);
    uint64_t at = rmt_page_table_at(window), index;
    r = find_run(t, pages, &index);
    if (r) {
        uint64_t offset = rmt_window_start(window) + index * RMT_PAGE_SIZE;
        rmt_redo(g, 0, at + offsetof(struct rmt_page_table, word) + index * 8, span_word);
        rmt_redo(g, 1, at + offsetof(struct rmt_page_table, free),
                 rmt_load64_relaxed(&t->free) - pages);
        rmt_redo(g, 2, rmt_hold_what(self, hold), offset | RMT_HOLD_PAGE);
        rmt_commit(g, 3);
        *ret_offset = offset;
    }
    rmt_guard_unlock(self, g);
    return r;
}

int rmt_span_alloc(struct rmt_self *self, uint64_t pages, uint32_t type, uint32_t class_index,
                   int *ret_hold, uint64_t *ret_offset)
{
    int hold = rmt_hold_find(self);
    if (hold < 0)
        return hold;
    uint64_t offset = 0, span_word = RMT_PAGE_WORD(type, class_index, pages);
    int r = 0;
    for (unsigned window = 0; r == 0; window++) {
        if (window >= rmt_load64(&rmt_header()->windows)) {
            if (window > 0 && !self->recovering) /* before growing: what the dead still hold */
                (void)rmt_sweep(self);
            /* No page of a new window is warm: what it cannot give is not worth mapping it. */
            r = is_too_much(pages) ? -ENOMEM : rmt_page_window_init(self, window);
        }
        if (r == 0)
            r = take_run(self, window, pages, span_word, hold, &offset);
    }
    if (r < 0)
        return r;
    struct rmt_page_place place;
    rmt_page_place(offset, &place);
    r = commit_span(&place, pages);
    if (r < 0) {
        rmt_span_free(self, self->offset, hold, offset, 0);
        return r;
    }
    *ret_hold = hold;
    *ret_offset = offset;
    return 0;
}

/* The mark: above it, freed pages go back to the machine, unless what stands in them is needed. */
static void cool(const struct rmt_page_place *place, uint64_t pages, bool needed)
{
    rmt_a64 *warm = &rmt_header()->warm;
    uint64_t committed = count_committed(place, pages);
    if (needed || (int64_t)rmt_load64_relaxed(warm) + (int64_t)committed <= (int64_t)WARM_PAGES) {
        rmt_add64(warm, committed);
        return;
    }
    set_committed(place, pages, false);
    uint64_t start = rmt_window_start(place->window) + place->index * RMT_PAGE_SIZE;
    /* On failure the pages stay in memory, uncounted; they are committed again before their next
     * use. */
    (void)rmt_os_punch(rmt_local.fd, start, pages * RMT_PAGE_SIZE);
}

void rmt_span_free(struct rmt_self *self, uint64_t thread_offset, int hold, uint64_t offset,
                   uint64_t next_what)
{
    struct rmt_page_place place;
    rmt_page_place(offset, &place);
    struct rmt_page_table *t = rmt_page_table(place.window);
    uint64_t pages = rmt_page_count(rmt_load64_relaxed(&t->word[place.index]));
    cool(&place, pages, next_what != 0); /* the link to next, should we die before the commit */

    struct rmt_guard *g = &rmt_header()->pages_guard;
    if (rmt_guard_lock(self, g) < 0)
        return; /* poisoned: nothing is given back any more */
    if (place.index < rmt_load64_relaxed(&t->lowest))
        rmt_store64_relaxed(&t->lowest,
                            place.index); /* before the commit: low is safe, high is not */
    rmt_redo(g, 0, place.word, 0);
    rmt_redo(g, 1, rmt_page_table_at(place.window) + offsetof(struct rmt_page_table, free),
             rmt_load64_relaxed(&t->free) + pages);
    rmt_redo(g, 2,
             thread_offset + offsetof(struct rmt_thread, hold) +
                 (uint64_t)hold * sizeof(struct rmt_hold),
             next_what);
    rmt_commit(g, 3);
    rmt_guard_unlock(self, g);
}
