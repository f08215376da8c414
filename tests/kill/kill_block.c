/* SPDX-License-Identifier: MIT
 *
 * kill_block.c: a death at each atomic operation of allocating and freeing blocks, of chains, and
 * of making, opening and closing handles, while two peers do the same.  Nothing may be leaked or be
 * freed twice.
 */
#include "arena/handle.h"
#include "kill.h"
#include <ramet/arena.h>

static uint64_t blocks_before;
static struct rmt_handle shared_object;

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

static void setup(void)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    if (shared_object.offset == 0) { /* once: the chunks of the parent's own table stay */
        int hold;
        uint64_t offset;
        OK(rmt_block_alloc(self, 100, RAMET_KIND_DATA, &hold, &offset));
        OK(rmt_handle_create(self, hold, &shared_object));
    }
    blocks_before = blocks();
}

static void alloc_and_free(size_t size)
{
    struct rmt_self *self;
    int hold;
    uint64_t offset;
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, size, RAMET_KIND_DATA, &hold, &offset));
    memset(rmt_payload(offset), 0xee, size);
    rmt_block_free(self, hold);
}

static void victim_small(void)
{
    /* 31 of the 32640-byte class: pages are taken, filled, emptied and given back. */
    struct rmt_self *self;
    int hold[5];
    uint64_t offset;
    OK(rmt_self(&self));
    for (int i = 0; i < 5; i++)
        OK(rmt_block_alloc(self, 32000, RAMET_KIND_DATA, &hold[i], &offset));
    for (int i = 0; i < 5; i++)
        rmt_block_free(self, hold[i]);
    alloc_and_free(40);
}

static void victim_large(void)
{
    alloc_and_free(200000);
    alloc_and_free(100000);
}

static void victim_chain(void)
{
    struct rmt_self *self;
    int first, second;
    uint64_t offset, other;
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, 100, RAMET_KIND_DATA, &first, &offset));
    for (int i = 0; i < 2; i++) {
        OK(rmt_block_alloc(self, 90000, RAMET_KIND_DATA, &second, &other));
        OK(rmt_block_chain(self, offset, second));
    }
    rmt_block_free(self, first);
}

static void victim_handles(void)
{
    struct rmt_self *self;
    struct rmt_handle a, b, c;
    int hold;
    uint64_t offset;
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, 1000, RAMET_KIND_DATA, &hold, &offset));
    OK(rmt_handle_create(self, hold, &a));
    ramet_ref ref = rmt_handle_ref(&a);
    OK(rmt_handle_open(self, &ref, RAMET_KIND_DATA, &b));
    OK(rmt_handle_dup(self, &shared_object, &c));
    rmt_handle_close(self, &a);
    rmt_handle_close(self, &b);
    rmt_handle_close(self, &c);
    rmt_handle_close(self, &shared_object); /* inherited: its own count */
}

static void peer(int index)
{
    alloc_and_free(index ? 32000 : 40);
    alloc_and_free(70000);
    struct rmt_self *self;
    struct rmt_handle h;
    OK(rmt_self(&self));
    OK(rmt_handle_dup(self, &shared_object, &h));
    rmt_handle_close(self, &h);
}

static void verify(bool finished)
{
    (void)finished;
    CHECK(blocks() == blocks_before);
}

int main(void)
{
    OK(ramet_join());
    kill_run(&(struct kill_case){"alloc, free: small", setup, victim_small, peer, verify});
    kill_run(&(struct kill_case){"alloc, free: pages", setup, victim_large, peer, verify});
    kill_run(&(struct kill_case){"alloc, chain, free", setup, victim_chain, peer, verify});
    kill_run(&(struct kill_case){"handles", setup, victim_handles, peer, verify});
    return 0;
}
