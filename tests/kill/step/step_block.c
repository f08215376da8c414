/* SPDX-License-Identifier: MIT
 *
 * step_block.c: a death at each store of allocating and freeing blocks, and of the handles and
 * counts of objects.  Whatever the victim had is free afterwards, and nothing else is.
 */
#include "arena/handle.h"
#include "arena/local.h"
#include "step.h"

/* Payloads: of a class in which the arena has pages; of one in which it has none; of pages. */
enum { WARM = 100, COLD = 3000, SPAN = 40000 };
enum { PER_PAGE = 21, CLASS = 16 }; /* blocks of COLD on a page; which class they are */

static struct rmt_handle object;
static int hold, second_hold;
static uint64_t block;

static void make(size_t size)
{
    OK(rmt_block_alloc(step_self(), size, RAMET_KIND_DATA, &hold, &block));
}

static void make_chain(size_t second, size_t third)
{
    int other, first_hold;
    uint64_t first, ignored;
    make(WARM);
    first = block;
    first_hold = hold;
    OK(rmt_block_alloc(step_self(), second, RAMET_KIND_DATA, &other, &ignored));
    OK(rmt_block_chain(step_self(), first, other));
    OK(rmt_block_alloc(step_self(), third, RAMET_KIND_DATA, &other, &ignored));
    OK(rmt_block_chain(step_self(), first, other));
    hold = first_hold;
}

static void setup(void)
{
    make(WARM); /* so that there is a page of its class */
    OK(rmt_handle_create(step_self(), hold, &object));
    step_shared->ref[0] = rmt_handle_ref(&object);
}

/* And there is an empty page of the other class. */
static void setup_page(void)
{
    setup();
    CHECK(rmt_header()->classes[CLASS].blocks == PER_PAGE);
    make(COLD);
    rmt_block_free(step_self(), hold);
}

/* ---- the victim's */

static void nothing(void) {}
static void have_warm(void)
{
    make(WARM);
}
static void have_span(void)
{
    make(SPAN);
}
static void have_chain(void)
{
    make_chain(SPAN, COLD);
}
static void have_spans(void)
{
    make_chain(SPAN, 3 * SPAN);
}
static void have_two(void)
{
    make(COLD);
    second_hold = hold;
    make(WARM);
}

/* All blocks of a page but one; all of them; all, one on a page of its own, and one place free. */
static void have_nearly_a_page(void)
{
    for (unsigned i = 0; i < PER_PAGE - 1; i++)
        make(COLD);
}
static void have_a_page(void)
{
    have_nearly_a_page();
    make(COLD);
}
static void have_over_a_page(void)
{
    int first;
    make(COLD);
    first = hold;
    have_a_page();
    rmt_block_free(step_self(), first);
}
static void have_object(void)
{
    make(WARM);
    OK(rmt_handle_create(step_self(), hold, &object));
}
static void have_handle(void)
{
    OK(rmt_handle_open(step_self(), &step_shared->ref[0], RAMET_KIND_NONE, &object));
}

static void alloc_warm(void)
{
    make(WARM);
}
static void alloc_cold(void)
{
    make(COLD);
}
static void alloc_span(void)
{
    make(SPAN);
}
static void free_it(void)
{
    rmt_block_free(step_self(), hold);
}
static void chain_two(void)
{
    OK(rmt_block_chain(step_self(), block, second_hold));
}
static void create_object(void)
{
    OK(rmt_handle_create(step_self(), hold, &object));
}
static void open_handle(void)
{
    have_handle();
}
static void close_handle(void)
{
    rmt_handle_close(step_self(), &object);
}

/* ---- the driver's */

static void peer(void)
{
    static const size_t sizes[] = {WARM, COLD, SPAN};
    for (int i = 0; i < 3; i++) {
        int own;
        uint64_t offset;
        OK(rmt_block_alloc(step_self(), sizes[i], RAMET_KIND_DATA, &own, &offset));
        memset(rmt_payload(offset), 0xa5, sizes[i]);
        rmt_block_free(step_self(), own);
    }
}

static void peer_handle(void)
{
    struct rmt_handle other;
    OK(rmt_handle_open(step_self(), &step_shared->ref[0], RAMET_KIND_NONE, &other));
    rmt_handle_close(step_self(), &other);
}

static void after(void)
{
    peer();
    peer_handle();
    uint64_t refs = rmt_load64(&rmt_block_at(step_shared->ref[0].offset)->refs);
    CHECK(refs == step_members());
    struct rmt_self *self = step_self();
    for (int i = 0; i < RMT_HOLDS; i++)
        CHECK(rmt_load64(&self->thread->hold[i].what) == 0);
}

#define CASE(title, made, have, act)                                                               \
    .name = title, .setup = made, .prepare = have, .operate = act, .verify = after

const struct step_case step_cases[] = {
    {CASE("block alloc", setup, nothing, alloc_warm), .peer = peer},
    {CASE("block alloc, the last of a page", setup_page, have_nearly_a_page, alloc_cold),
     .peer = peer},
    {CASE("block alloc, a new page", setup, nothing, alloc_cold), .peer = peer, .large = true,
     .stride = 3},
    {CASE("block alloc, of pages", setup, nothing, alloc_span), .peer = peer},
    {CASE("block free", setup, have_warm, free_it), .peer = peer},
    {CASE("block free, of a full page", setup_page, have_a_page, free_it), .peer = peer},
    {CASE("block free, with its page", setup_page, have_over_a_page, free_it), .peer = peer},
    {CASE("block free, of pages", setup, have_span, free_it), .peer = peer},
    {CASE("block free, a chain", setup_page, have_chain, free_it), .peer = peer, .large = true,
     .stride = 3},
    {CASE("block free, a chain of pages", setup, have_spans, free_it), .peer = peer, .large = true,
     .stride = 3},
    {CASE("block chain", setup_page, have_two, chain_two), .peer = peer},
    {CASE("handle create", setup, have_warm, create_object), .peer = peer_handle},
    {CASE("handle open", setup, nothing, open_handle), .peer = peer_handle},
    {CASE("handle close", setup, have_handle, close_handle), .peer = peer_handle},
    {CASE("handle close, the last", setup, have_object, close_handle), .peer = peer_handle},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
