/* SPDX-License-Identifier: MIT
 *
 * stress_block.c: blocks of all sizes are allocated and freed at random, by all at once: no two
 * have the same memory, and who gets what another has freed is ordered after him.
 */
#include "arena/block.h"
#include "stress.h"

#include <string.h>

enum { WORKERS = 4, HANDS = 16, ROUNDS = 30000 };

struct held {
    int hold;
    uint64_t offset;
    size_t size;
    unsigned char fill;
};

static unsigned rounds;

static void allocate(struct rmt_self *self, struct held *held, unsigned round, unsigned *random)
{
    held->size = stress_random(random) % (round % 32 == 0 ? 200000 : 3000);
    held->fill = (unsigned char)stress_random(random);
    OK(rmt_block_alloc(self, held->size, RAMET_KIND_DATA, &held->hold, &held->offset));
    CHECK(rmt_block_valid(held->offset) && rmt_block_at(held->offset)->size == held->size);
    memset(rmt_payload(held->offset), held->fill, held->size);
}

static void release(struct rmt_self *self, struct held *held)
{
    const unsigned char *bytes = rmt_payload(held->offset);
    for (size_t i = 0; i < held->size; i += 61)
        CHECK(bytes[i] == held->fill);
    rmt_block_free(self, held->hold);
    held->offset = 0;
}

static void churn(unsigned index)
{
    struct held held[HANDS] = {0};
    unsigned random = index;
    struct rmt_self *self;
    OK(rmt_self(&self));
    for (unsigned round = 0; round < rounds; round++) {
        struct held *one = &held[stress_random(&random) % HANDS];
        if (one->offset != 0)
            release(self, one);
        else
            allocate(self, one, round, &random);
    }
    for (int i = 0; i < HANDS; i++)
        if (held[i].offset != 0)
            release(self, &held[i]);
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    uint64_t blocks = stress_blocks();
    stress_run(WORKERS, churn);
    stress_end(blocks);
    return 0;
}
