/* SPDX-License-Identifier: MIT
 *
 * block.c: blocks.  Up to half a page they come from slab pages of one size class; a bitmap in the
 * page's header says which are allocated.  A class lists the pages that have a free block.  Larger
 * ones are spans.
 *
 * Every change is one commit under the class's guard.  Words of a slab header are read and written
 * under that guard alone; a block's own header by whoever holds the block.
 */
#include "arena/block.h"
#include "arena/kind.h"
#include "arena/local.h"
#include "base/seeded.h"

#include <errno.h>
#include <string.h>

/* clang-format off */
#define CLASS_SIZES(F) \
    F(128), F(192), F(256), F(320), F(384), F(448), F(512), F(640), F(768), F(896), F(1024), \
    F(1280), F(1536), F(1792), F(2048), F(2560), F(3072), F(3584), F(4096), F(5120), F(6144), \
    F(8128), F(10880), F(13056), F(16320), F(21760), F(32640)
/* clang-format on */
#define ITSELF(size) (size)
static const uint16_t class_sizes[RMT_CLASSES] = {CLASS_SIZES(ITSELF)};

void rmt_classes_init(struct rmt_header *header)
{
    for (unsigned i = 0; i < RMT_CLASSES; i++) {
        struct rmt_class *c = &header->classes[i];
        uint64_t at = offsetof(struct rmt_header, classes) + i * sizeof *c;
        rmt_guard_init(&c->guard, at + offsetof(struct rmt_class, guard));
        c->block_size = class_sizes[i];
        c->blocks = (RMT_PAGE_SIZE - RMT_SLAB_HEADER) / c->block_size;
    }
}

bool rmt_classes_sound(const struct rmt_header *header)
{
    for (unsigned i = 0; i < RMT_CLASSES; i++) {
        const struct rmt_class *c = &header->classes[i];
        uint64_t at = offsetof(struct rmt_header, classes) + i * sizeof *c;
        if (rmt_load64_relaxed(&c->guard.self) != at + offsetof(struct rmt_class, guard) ||
            rmt_load64_relaxed(&c->guard.armed) > RMT_REDO_WORDS ||
            c->block_size != class_sizes[i] ||
            c->blocks != (RMT_PAGE_SIZE - RMT_SLAB_HEADER) / class_sizes[i] ||
            rmt_load64_relaxed(&c->partial) % RMT_PAGE_SIZE != 0 ||
            rmt_load64_relaxed(&c->partial) >= header->size)
            return false;
    }
    return true;
}

/* The first class that is large enough: from a table of the small sizes, which are the frequent
 * ones. */
#define BY_64(i, c) [(i) / 64] = (c)
static unsigned class_of(size_t bytes)
{
    static const uint8_t small[] = {
        BY_64(64, 0),  BY_64(128, 0), BY_64(192, 1), BY_64(256, 2),
        BY_64(320, 3), BY_64(384, 4), BY_64(448, 5), BY_64(512, 6),
    };
    size_t step = (bytes + 63) / 64;
    if (step < sizeof small)
        return small[step];
    unsigned lo = 7, hi = RMT_CLASSES - 1;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (class_sizes[mid] >= bytes)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Generations are drawn from the header some at a time: each block that is allocated would
 * otherwise write to a line that all processes write to.  Those that a thread has not used when it
 * ends are not used by anybody; a forked child's thread starts with none. */
#define GENERATIONS 64u

static uint32_t new_generation(struct rmt_self *self)
{
    if (self->generations == 0) {
        self->generation = (uint32_t)rmt_add64(&rmt_header()->generation, GENERATIONS);
        self->generations = GENERATIONS;
    }
    self->generations--;
    return self->generation++;
}

static uint64_t class_at(unsigned i, size_t field)
{
    return offsetof(struct rmt_header, classes) + i * sizeof(struct rmt_class) + field;
}
#define CLASS_PARTIAL(i) class_at((i), offsetof(struct rmt_class, partial))

static uint64_t slab_next(uint64_t page)
{
    return page + offsetof(struct rmt_slab, next);
}
static uint64_t slab_prev(uint64_t page)
{
    return page + offsetof(struct rmt_slab, prev);
}

/* A fresh page for class `ci`, listed first.  A free block has kind NONE and no chain, so that a
 * block whose taker dies at once is freed as what it is: empty. */
static int add_page(struct rmt_self *self, unsigned ci)
{
    struct rmt_class *c = &rmt_header()->classes[ci];
    int hold;
    uint64_t page;
    int r = rmt_span_alloc(self, 1, RMT_PAGE_SLAB, ci, &hold, &page);
    if (r < 0)
        return r;
    struct rmt_slab *slab = rmt_at(page);
    memset(slab, 0, RMT_SLAB_HEADER);
    slab->class_index = ci;
    for (uint64_t i = 0; i < c->blocks; i++) {
        struct rmt_block *b = rmt_at(page + RMT_SLAB_HEADER + i * c->block_size);
        b->kind = RAMET_KIND_NONE;
        rmt_store64_relaxed(&b->next, 0);
    }
    struct rmt_guard *g = &c->guard;
    r = rmt_guard_lock(self, g);
    if (r < 0)
        return r;
    uint64_t head = rmt_load64_relaxed(&c->partial);
    unsigned n = 0;
    rmt_store64_relaxed(&slab->next, head); /* nobody looks at the page until it is listed */
    rmt_redo(g, n++, CLASS_PARTIAL(ci), page);
    rmt_redo(g, n++, rmt_hold_what(self, hold), 0);
    if (head != 0)
        rmt_redo(g, n++, slab_prev(head), page);
    rmt_commit(g, n);
    rmt_guard_unlock(self, g);
    return 0;
}

/* A block of class `ci` into the hold: 1 done, 0 the class has no page with room, <0. */
static int take_small(struct rmt_self *self, unsigned ci, int hold, uint64_t *ret_offset)
{
    struct rmt_class *c = &rmt_header()->classes[ci];
    struct rmt_guard *g = &c->guard;
    int r = rmt_guard_lock(self, g);
    if (r < 0)
        return r;
    uint64_t page = rmt_load64_relaxed(&c->partial);
    if (page == 0) {
        rmt_guard_unlock(self, g);
        return 0;
    }
    struct rmt_slab *slab = rmt_at(page);
    unsigned w = 0;
    uint64_t bits;
    while ((bits = rmt_load64_relaxed(&slab->bitmap[w])) == UINT64_MAX)
        w++; /* ends: a listed page has a free block, and bits past the last block come after it */
    unsigned bit = (unsigned)__builtin_ctzll(~bits);
    uint64_t offset = page + RMT_SLAB_HEADER + (w * 64 + bit) * c->block_size;
    uint64_t used = rmt_load64_relaxed(&slab->used) + 1;
    unsigned n = 0;
    rmt_redo(g, n++, page + offsetof(struct rmt_slab, bitmap) + w * 8, bits | 1ull << bit);
    rmt_redo(g, n++, page + offsetof(struct rmt_slab, used), used);
    rmt_redo(g, n++, rmt_hold_what(self, hold), offset | RMT_HOLD_BLOCK);
    if (used == c->blocks) { /* full: off the list, of which it is the first */
        uint64_t next = rmt_load64_relaxed(&slab->next);
        rmt_redo(g, n++, CLASS_PARTIAL(ci), next);
        if (next != 0)
            rmt_redo(g, n++, slab_prev(next), 0);
    }
    rmt_commit(g, n);
    rmt_guard_unlock(self, g);
    *ret_offset = offset;
    return 1;
}

/* `hold` is empty and becomes the block's. */
static int alloc_small(struct rmt_self *self, size_t bytes, int hold, uint64_t *ret_offset,
                       uint64_t *ret_capacity)
{
    unsigned ci = class_of(bytes);
    int r;
    while ((r = take_small(self, ci, hold, ret_offset)) == 0) {
        r = add_page(self, ci);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    *ret_capacity = class_sizes[ci] - RMT_BLOCK_HEADER;
    return 0;
}

static int alloc_large(struct rmt_self *self, size_t bytes, int *ret_hold, uint64_t *ret_offset,
                       uint64_t *ret_capacity)
{
    uint64_t pages = bytes / RMT_PAGE_SIZE + (bytes % RMT_PAGE_SIZE != 0);
    int r = rmt_span_alloc(self, pages, RMT_PAGE_SPAN, 0, ret_hold, ret_offset);
    if (r < 0)
        return r;
    *ret_capacity = pages * RMT_PAGE_SIZE - RMT_BLOCK_HEADER;
    return 0;
}

/* Kind last, and what destroy() reads cleared before it. */
static void prepare(struct rmt_self *self, uint64_t offset, uint32_t kind, size_t size,
                    uint64_t capacity)
{
    struct rmt_block *b = rmt_block_at(offset);
    const struct rmt_kind *k = rmt_kind_get(kind);
    rmt_poke32(&b->generation, new_generation(self));
    b->size = size;
    b->capacity = capacity;
    memset(b->arg, 0, sizeof b->arg);
    rmt_store64_relaxed(&b->refs, 0);
    rmt_store64_relaxed(&b->next, 0);
    if (k && k->clear > 0)
        memset(b + 1, 0, k->clear < size ? k->clear : size);
    rmt_kind_store(b, kind);
}

int rmt_block_alloc(struct rmt_self *self, size_t size, uint32_t kind, int *ret_hold,
                    uint64_t *ret_offset)
{
    if (size > RMT_SIZE / 4)
        return -ENOMEM;
    size_t bytes = size + RMT_BLOCK_HEADER;
    bool large = bytes > class_sizes[RMT_CLASSES - 1];
    int hold = rmt_hold_find(self);
    uint64_t offset, capacity;
    int r = hold < 0 ? hold
            : large  ? alloc_large(self, bytes, &hold, &offset, &capacity)
                     : alloc_small(self, bytes, hold, &offset, &capacity);
    if (r < 0)
        return r;
    if (large) { /* until now the hold says PAGE: the memory may look like an object */
        rmt_block_at(offset)->kind = RAMET_KIND_NONE;
        rmt_store64_relaxed(&rmt_block_at(offset)->next, 0);
        rmt_store64(&self->thread->hold[hold].what, offset | RMT_HOLD_BLOCK);
    }
    prepare(self, offset, kind, size, capacity);
    *ret_hold = hold;
    *ret_offset = offset;
    return 0;
}

/* ---- freeing */

/* distance / block size without a division.  The inverse is 2^32 / size rounded up, too large by
 * less than 1; the distance is a multiple of the size, so that the product exceeds the true
 * quotient times 2^32 by less than the distance, which is less than 2^16: nothing is carried. */
static uint64_t index_in_slab(uint64_t distance, unsigned ci)
{
#define INVERSE(size) ((uint32_t)(((1ull << 32) + (size) - 1) / (size)))
    static const uint32_t inverse[RMT_CLASSES] = {CLASS_SIZES(INVERSE)};
    return distance * inverse[ci] >> 32;
}

/* Under the class's guard: takes the page, whose last block goes, off the list and into a hold of
 * ours, together with the change of the block's hold.  The bitmap goes with the page. */
static void commit_unlist(struct rmt_self *self, struct rmt_guard *g, unsigned ci, uint64_t page,
                          int page_hold, uint64_t hold_word, uint64_t next_what)
{
    struct rmt_slab *slab = rmt_at(page);
    uint64_t next = rmt_load64_relaxed(&slab->next), prev = rmt_load64_relaxed(&slab->prev);
    unsigned n = 0;
    rmt_redo(g, n++, prev != 0 ? slab_next(prev) : CLASS_PARTIAL(ci), next);
    if (next != 0)
        rmt_redo(g, n++, slab_prev(next), prev);
    rmt_redo(g, n++, hold_word, next_what);
    rmt_redo(g, n++, rmt_hold_what(self, page_hold), page | RMT_HOLD_PAGE);
    rmt_commit(g, n);
}

static void free_small(struct rmt_self *self, uint64_t offset, uint64_t hold_word,
                       uint64_t next_what)
{
    uint64_t page = offset & ~(RMT_PAGE_SIZE - 1);
    struct rmt_slab *slab = rmt_at(page);
    unsigned ci = (unsigned)slab->class_index; /* constant while a block is allocated */
    struct rmt_class *c = &rmt_header()->classes[ci];
    struct rmt_guard *g = &c->guard;
    uint64_t i = index_in_slab(offset - page - RMT_SLAB_HEADER, ci);
    int page_hold = rmt_hold_find(self);
    if (rmt_guard_lock(self, g) < 0)
        return; /* poisoned */
    uint64_t used = rmt_load64_relaxed(&slab->used) - 1;
    uint64_t head = rmt_load64_relaxed(&c->partial);
    bool only = head == page && rmt_load64_relaxed(&slab->next) == 0;
    if (used == 0 && !only && page_hold >= 0) {
        commit_unlist(self, g, ci, page, page_hold, hold_word, next_what);
        rmt_guard_unlock(self, g);
        rmt_span_free(self, self->offset, page_hold, page, 0);
        return;
    }
    unsigned n = 0;
    uint64_t bits = rmt_load64_relaxed(&slab->bitmap[i / 64]);
    rmt_redo(g, n++, page + offsetof(struct rmt_slab, bitmap) + i / 64 * 8,
             bits & ~(1ull << (i % 64)));
    rmt_redo(g, n++, page + offsetof(struct rmt_slab, used), used);
#if !RMT_SEEDED(FREED_TWICE)
    rmt_redo(g, n++, hold_word, next_what);
#endif
    rmt_redo(g, n++, offset + offsetof(struct rmt_block, next), 0);
    if (used + 1 == c->blocks) { /* was full and so in no list: nobody looks at its links */
        rmt_store64_relaxed(&slab->next, head);
        rmt_store64_relaxed(&slab->prev, 0);
        rmt_redo(g, n++, CLASS_PARTIAL(ci), page);
        if (head != 0)
            rmt_redo(g, n++, slab_prev(head), page);
    }
    rmt_commit(g, n);
#if RMT_SEEDED(FREED_TWICE)
    rmt_store64((rmt_a64 *)rmt_at(hold_word), next_what);
#endif
    rmt_guard_unlock(self, g);
}

/* A span's pages go back to the machine before the commit that frees it, and with them the link to
 * the rest of its chain.  So the rest goes into the hold first, and the span into one of ours. */
static void free_span(struct rmt_self *self, uint64_t thread_offset, int hold, uint64_t offset,
                      uint64_t hold_word, uint64_t next_what)
{
    int own = next_what != 0 ? rmt_hold_find(self) : -1;
    if (own < 0) {
        rmt_span_free(self, thread_offset, hold, offset, next_what);
        return;
    }
    struct rmt_guard *g = &rmt_header()->pages_guard;
    if (rmt_guard_lock(self, g) < 0)
        return; /* poisoned */
    rmt_redo(g, 0, hold_word, next_what);
    rmt_redo(g, 1, rmt_hold_what(self, own), offset | RMT_HOLD_PAGE);
    rmt_commit(g, 2);
    rmt_guard_unlock(self, g);
    rmt_span_free(self, self->offset, own, offset, 0);
}

/* By page, since memory that was freed may come back as blocks of other sizes. */
#ifdef RMT_TSAN
static uint64_t pages_of(uint64_t block)
{
    struct rmt_page_place p;
    rmt_page_place(block, &p);
    uint64_t word = rmt_load64_relaxed(&rmt_page_table(p.window)->word[p.index]);
    return rmt_page_type(word) == RMT_PAGE_SPAN ? rmt_page_count(word) : 1;
}

void rmt_block_received(uint64_t offset)
{
    uint64_t page = offset & ~(RMT_PAGE_SIZE - 1);
    for (uint64_t end = page + pages_of(offset) * RMT_PAGE_SIZE; page < end; page += RMT_PAGE_SIZE)
        RMT_TSAN_ACQUIRE(rmt_at(page));
}

static void given_away(uint64_t offset)
{
    uint64_t page = offset & ~(RMT_PAGE_SIZE - 1);
    for (uint64_t end = page + pages_of(offset) * RMT_PAGE_SIZE; page < end; page += RMT_PAGE_SIZE)
        RMT_TSAN_RELEASE(rmt_at(page));
}
#else
static inline void given_away(uint64_t offset)
{
    (void)offset;
}
#endif

void rmt_block_free_of(struct rmt_self *self, uint64_t thread_offset, int hold)
{
    struct rmt_thread *thread = rmt_at(thread_offset);
    uint64_t hold_word = thread_offset + offsetof(struct rmt_thread, hold) +
                         (uint64_t)hold * sizeof(struct rmt_hold);
    uint64_t what;
    while ((what = rmt_load64_relaxed(&thread->hold[hold].what)) != 0) {
        uint64_t offset = what & ~RMT_TAG_MASK;
        struct rmt_block *b = rmt_block_at(offset);
        rmt_block_received(offset);
        const struct rmt_kind *kind = rmt_kind_get(b->kind);
        if (kind && kind->destroy)
            kind->destroy(self, offset);
        uint64_t next = rmt_load64_relaxed(&b->next);
        uint64_t next_what = next != 0 ? next | RMT_HOLD_BLOCK : 0;
        rmt_kind_store(b, RAMET_KIND_NONE); /* destroyed: not again if we die before the commit */
        given_away(offset);
        if (offset % RMT_PAGE_SIZE == 0) /* where a slab page has its header and no block */
            free_span(self, thread_offset, hold, offset, hold_word, next_what);
        else
            free_small(self, offset, hold_word, next_what);
        if (rmt_load64_relaxed(&rmt_header()->poisoned) != 0)
            return;
    }
}

void rmt_block_free(struct rmt_self *self, int hold)
{
    rmt_block_free_of(self, self->offset, hold);
}

static void recover_page(struct rmt_self *self, uint64_t dead_offset, int index)
{
    struct rmt_thread *dead = rmt_at(dead_offset);
    uint64_t page = rmt_load64_relaxed(&dead->hold[index].what) & ~RMT_TAG_MASK;
    rmt_span_free(self, dead_offset, index, page, 0);
}

bool rmt_block_valid(uint64_t offset)
{
    if (offset % 64 != 0 || offset < RMT_PAGES_AT || offset >= rmt_header()->size)
        return false;
    struct rmt_page_place p;
    rmt_page_place(offset, &p);
    if (p.window >= rmt_load64(&rmt_header()->windows) || rmt_reach(offset) < 0)
        return false;
    uint64_t word = rmt_load64(&rmt_page_table(p.window)->word[p.index]);
    if (rmt_page_type(word) == RMT_PAGE_SPAN)
        return offset % RMT_PAGE_SIZE == 0;
    if (rmt_page_type(word) != RMT_PAGE_SLAB || rmt_page_class(word) >= RMT_CLASSES)
        return false;
    uint64_t page = offset & ~(RMT_PAGE_SIZE - 1), size = class_sizes[rmt_page_class(word)];
    if (offset < page + RMT_SLAB_HEADER || (offset - page - RMT_SLAB_HEADER) % size != 0)
        return false;
    uint64_t i = (offset - page - RMT_SLAB_HEADER) / size;
    const struct rmt_slab *slab = rmt_at(page);
    return i < (RMT_PAGE_SIZE - RMT_SLAB_HEADER) / size &&
           (rmt_load64(&slab->bitmap[i / 64]) >> (i % 64) & 1) != 0;
}

int rmt_block_chain(struct rmt_self *self, uint64_t to, int from)
{
    uint64_t offset = rmt_load64_relaxed(&self->thread->hold[from].what) & ~RMT_TAG_MASK;
    struct rmt_guard *g = &rmt_header()->tables_guard;
    int r = rmt_guard_lock(self, g); /* any guard serves: what it needs is the record */
    if (r < 0)
        return r;
    /* The held block becomes the second of the chain.  Its own link is part of the commit: before
     * it, the rest of the chain hangs on one block only. */
    rmt_redo(g, 0, offset + offsetof(struct rmt_block, next),
             rmt_load64_relaxed(&rmt_block_at(to)->next));
    rmt_redo(g, 1, to + offsetof(struct rmt_block, next), offset);
    rmt_redo(g, 2, rmt_hold_what(self, from), 0);
    rmt_commit(g, 3);
    rmt_guard_unlock(self, g);
    return 0;
}

__attribute__((constructor)) static void setup(void)
{
    rmt_hold_register(RMT_HOLD_BLOCK, rmt_block_free_of);
    rmt_hold_register(RMT_HOLD_PAGE, recover_page);
}
