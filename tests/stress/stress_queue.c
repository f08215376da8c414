/* SPDX-License-Identifier: MIT
 *
 * stress_queue.c: many putters and getters at one queue, bounded or growing: small items and
 * blocks, singly and in batches, items that are reported done, and both ways of shutting down.
 *
 * Each item comes to exactly one getter, unharmed, and those of one putter come in order.  Beside
 * its bytes an item speaks of a plain word, which its putter wrote before and its getter changes
 * after.
 */
#include "stress.h"

#include <ramet/queue.h>

#include <errno.h>
#include <string.h>

enum { PUTTERS = 3, GETTERS = 3, ROUNDS = 10000, BATCH = 16 };
enum { LARGEST = 20000, MOST = 10 * ROUNDS };

static struct ledger {
    uint64_t word[PUTTERS][MOST]; /* before() by the putter, then after() by the getter */
    uint64_t put[PUTTERS], got[GETTERS];
} *ledger;

struct item {
    uint64_t putter, number;
};

static ramet_queue *queue;
static unsigned rounds;
static bool batches, early; /* early: the queue is shut down while it is in full use */

static uint64_t before(uint64_t number)
{
    return 2 * number + 1;
}

static uint64_t after(uint64_t number)
{
    return 2 * number + 2;
}

static size_t size_of(struct item item)
{
    unsigned h = (unsigned)item.number * 2654435761u >> 8;
    if (h % 8 != 0)
        return sizeof item + h % (RAMET_ITEM_INLINE - sizeof item + 1);
    return h % 512 == 0 ? LARGEST : RAMET_ITEM_INLINE + 1 + h % 900;
}

static size_t fill(uint8_t *bytes, struct item item)
{
    size_t size = size_of(item);
    memset(bytes, (int)(item.number & 255), size);
    memcpy(bytes, &item, sizeof item);
    ledger->word[item.putter][item.number] = before(item.number);
    return size;
}

/* Puts items number, number + 1, ...: returns how many. */
static ptrdiff_t put_some(struct item item, unsigned most)
{
    static __thread uint8_t bytes[BATCH][LARGEST];
    ramet_bytes items[BATCH];
    if (most == 1 || !batches) {
        int r = ramet_queue_put(queue, bytes[0], fill(bytes[0], item), NULL);
        return r < 0 ? r : 1;
    }
    for (unsigned i = 0; i < most; i++, item.number++)
        items[i] = (ramet_bytes){bytes[i], fill(bytes[i], item)};
    return ramet_queue_put_many(queue, items, most, NULL);
}

static void putter(unsigned index)
{
    unsigned random = index;
    struct item item = {.putter = index};
    while (item.number < rounds) {
        unsigned left = rounds - (unsigned)item.number, most = 1 + stress_random(&random) % BATCH;
        ptrdiff_t n = put_some(item, most < left ? most : left);
        if (n == -ESHUTDOWN)
            break;
        OK(n);
        item.number += (uint64_t)n;
    }
    ledger->put[index] = item.number;
}

static void take(ramet_item *got, uint64_t *next)
{
    struct item item;
    const uint8_t *bytes = got->data;
    CHECK(got->size >= sizeof item);
    memcpy(&item, bytes, sizeof item);
    CHECK(item.putter < PUTTERS && item.number < rounds && got->size == size_of(item));
    for (size_t i = sizeof item; i < got->size; i++)
        CHECK(bytes[i] == (uint8_t)item.number);
    CHECK(item.number >= next[item.putter]);
    next[item.putter] = item.number + 1;
    uint64_t *word = &ledger->word[item.putter][item.number];
    CHECK(*word == before(item.number));
    *word = after(item.number);
    ramet_item_release(got);
    OK(ramet_queue_task_done(queue));
}

static void getter(unsigned index)
{
    ramet_item items[7];
    uint64_t next[PUTTERS] = {0};
    unsigned random = index;
    for (;;) {
        ptrdiff_t n = 1;
        if (batches && stress_random(&random) % 2)
            n = ramet_queue_get_many(queue, NULL, items, 7);
        else if ((n = ramet_queue_get(queue, NULL, items)) == 0)
            n = 1;
        if (n == -ESHUTDOWN)
            return;
        OK(n);
        for (ptrdiff_t i = 0; i < n; i++)
            take(&items[i], next);
        ledger->got[index] += (uint64_t)n;
        if (early && ledger->got[index] >= rounds / 2)
            OK(ramet_queue_shutdown(queue, 1));
    }
}

static uint64_t sum(const uint64_t *counts, int n)
{
    uint64_t all = 0;
    for (int i = 0; i < n; i++)
        all += counts[i];
    return all;
}

static void account(void)
{
    uint64_t put = sum(ledger->put, PUTTERS), got = sum(ledger->got, GETTERS), changed = 0;
    for (int p = 0; p < PUTTERS; p++)
        for (uint64_t i = 0; i < ledger->put[p]; i++)
            changed += ledger->word[p][i] == after(i);
    CHECK(changed == got);
    CHECK(early ? got <= put : got == put && put == (uint64_t)PUTTERS * rounds);
    CHECK(ramet_queue_size(queue) == 0 && ramet_queue_lost(queue) == 0);
    OK(ramet_queue_join(queue, NULL)); /* what was thrown away is done */
}

static void run(uint64_t bound, bool in_batches, bool shut_early)
{
    ramet_queue_options options = {.size = sizeof options, .max_items = bound};
    struct stress_crew putters, getters;
    memset(ledger, 0, sizeof *ledger);
    batches = in_batches;
    early = shut_early;
    OK(ramet_queue_create(&options, &queue));
    stress_start(&putters, PUTTERS, putter);
    stress_start(&getters, GETTERS, getter);
    stress_join(&putters);
    if (!early) {
        OK(ramet_queue_join(queue, NULL));
        CHECK(ramet_queue_empty(queue));
        OK(ramet_queue_shutdown(queue, 0));
    }
    stress_join(&getters);
    account();
    ramet_queue_close(queue);
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    ledger = stress_memory(sizeof *ledger);
    OK(ramet_queue_create(NULL, &queue)); /* the table of handles is made with the first */
    ramet_queue_close(queue);
    uint64_t blocks = stress_blocks();
    run(0, false, false);
    run(0, true, false);
    run(7, false, false);
    run(7, true, false);
    run(0, true, true);
    run(7, true, true);
    stress_end(blocks);
    return 0;
}
