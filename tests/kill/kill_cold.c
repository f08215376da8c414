/* SPDX-License-Identifier: MIT
 *
 * kill_cold.c: a death at each atomic operation of freeing while so much memory is warm that freed
 * pages go back to the machine, and with them what stood in them: a chain's links.
 */
#include "arena/block.h"
#include "arena/local.h"
#include "kill.h"
#include <ramet/arena.h>

static uint64_t blocks_before;

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

static void setup(void)
{
    blocks_before = blocks();
    rmt_store64(&rmt_header()->warm, 1ull << 32); /* a cache: more than there is does no harm */
}

static void victim(void)
{
    struct rmt_self *self;
    int first, second;
    uint64_t offset, other;
    OK(rmt_self(&self));
    OK(rmt_block_alloc(self, 200000, RAMET_KIND_DATA, &first, &offset));
    OK(rmt_block_alloc(self, 100, RAMET_KIND_DATA, &second, &other));
    OK(rmt_block_chain(self, offset, second));
    OK(rmt_block_alloc(self, 90000, RAMET_KIND_DATA, &second, &other));
    OK(rmt_block_chain(self, offset, second));
    rmt_block_free(self, first);
    OK(rmt_block_alloc(self, 70000, RAMET_KIND_DATA, &first, &offset));
    rmt_block_free(self, first);
}

static void verify(bool finished)
{
    (void)finished;
    if (blocks() != blocks_before)
        fprintf(stderr, "%ld blocks are left\n", (long)(blocks() - blocks_before));
    CHECK(blocks() == blocks_before);
}

int main(void)
{
    OK(ramet_join());
    kill_run(&(struct kill_case){"free: cold", setup, victim, NULL, verify});
    return 0;
}
