/* SPDX-License-Identifier: MIT
 *
 * bench_memory.c: large messages against two copies of warm memory, and blocks of 256 bytes.  The
 * blocks are the arena's own, below the public functions: each message and each object is one.
 */
#include "arena/block.h"
#include "bench.h"
#include <ramet/arena.h>
#include <ramet/queue.h>

#define LARGE (1u << 20)

static char from[LARGE], to[LARGE];

static int64_t message(uint64_t count)
{
    ramet_queue *queue;
    ramet_item item;
    MUST(ramet_queue_create(NULL, &queue));
    memset(from, 1, sizeof from);
    int64_t start = bench_cpu();
    for (uint64_t i = 0; i < count; i++) {
        from[i % LARGE] = (char)i;
        MUST(ramet_queue_put(queue, from, LARGE, NULL));
        MUST(ramet_queue_get(queue, NULL, &item));
        memcpy(to, item.data, LARGE);
        ramet_item_release(&item);
    }
    int64_t ns = bench_cpu() - start;
    ramet_queue_close(queue);
    return ns;
}

static int64_t two_copies(uint64_t count)
{
    char *between = bench_shared(LARGE);
    memset(from, 1, sizeof from);
    memset(between, 1, LARGE);
    int64_t start = bench_cpu();
    for (uint64_t i = 0; i < count; i++) {
        from[i % LARGE] = (char)i;
        memcpy(between, from, LARGE);
        __asm__ __volatile__("" ::: "memory");
        memcpy(to, between, LARGE);
        __asm__ __volatile__("" ::: "memory");
    }
    int64_t ns = bench_cpu() - start;
    bench_unshare(between, LARGE);
    return ns;
}

static int64_t block(uint64_t count)
{
    struct rmt_self *self;
    MUST(ramet_join());
    MUST(rmt_self(&self));
    int64_t start = bench_cpu();
    for (uint64_t i = 0; i < count; i++) {
        int hold;
        uint64_t offset;
        MUST(rmt_block_alloc(self, 256, RAMET_KIND_DATA, &hold, &offset));
        rmt_block_free(self, hold);
    }
    return bench_cpu() - start;
}

static int64_t heap(uint64_t count)
{
    int64_t start = bench_cpu();
    for (uint64_t i = 0; i < count; i++) {
        void *p = malloc(256);
        if (!p)
            bench_fail(__FILE__, __LINE__, "malloc");
        __asm__ __volatile__("" : : "r"(p) : "memory");
        free(p);
    }
    return bench_cpu() - start;
}

static const struct bench_case cases[] = {
    {.name = "1 MiB message, put and copied out",
     .count = 200,
     .subject = {{.name = "ramet", .run = message},
                 {.name = "memcpy in and out, warm", .most = 1 / 0.8, .run = two_copies}}},
    {.name = "allocate+free, 256 bytes",
     .count = 500000,
     .subject = {{.name = "ramet", .run = block},
                 {.name = "50 ns", .most = 1, .ns = 50},
                 {.name = "malloc+free, own heap", .run = heap}}},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
