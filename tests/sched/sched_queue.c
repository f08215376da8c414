/* SPDX-License-Identifier: MIT
 *
 * sched_queue.c: two producers and a consumer on a ring of two cells, of bytes and of blocks, with
 * a bound and growing.  Each item is got once and in its producer's order, or was with a dead
 * consumer and is counted as lost.
 *
 * An item says which it is: those of the first producer are 1, 2, ..., the second's FIRST_OF_SECOND
 * and up, those that were there before BEFORE and up.
 */
#include "channel/queue.h"
#include "schedule.h"

enum {
    SIZE_INLINE = 16,
    SIZE_BLOCK = 300,
    FIRST_OF_SECOND = 10,
    BEFORE = 20,
    ITEMS = 100,
    EACH = 2, /* items of a producer; the second has one, in the short form */
    NEARLY_FULL = RMT_RING_FIRST - 2
};
enum { FIRST, SECOND, CONSUMER };

static ramet_queue *queue;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static size_t size_of_items;
static uint64_t before; /* items */
static unsigned seen[ITEMS];
static uint64_t last[3];             /* seen, of each kind */
static uint64_t surely[2], tried[2]; /* puts that came back, and began */
static uint64_t in_hand;             /* items that the consumer saw and holds */
static bool shut;

static void make(uint64_t max_items, size_t size)
{
    ramet_queue_options options = {.size = sizeof options, .max_items = max_items};
    OK(ramet_queue_create(&options, &queue));
    size_of_items = size;
}

static int put(uint64_t id, size_t size, const ramet_wait *wait)
{
    uint64_t words[SIZE_BLOCK / 8 + 1];
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        words[i] = id + i * 1000;
    return ramet_queue_put(queue, words, size, wait);
}

static void bounded(void)
{
    make(2, SIZE_INLINE);
}
static void bounded_blocks(void)
{
    make(2, SIZE_BLOCK);
}

/* Two cells are free, so that the third item makes a new ring. */
static void growing(void)
{
    make(0, SIZE_INLINE);
    before = NEARLY_FULL;
    for (uint64_t i = 0; i < before; i++)
        OK(put(BEFORE + i, SIZE_INLINE, &try));
}
static void growing_blocks(void)
{
    growing();
    size_of_items = SIZE_BLOCK;
}

/* ---- actors */

static uint64_t items_of(int who)
{
    return who == FIRST || sched_long ? EACH : 1;
}

static void produce(int who, uint64_t first)
{
    for (uint64_t i = 0; i < items_of(who); i++) {
        tried[who]++;
        OK(put(first + i, size_of_items, NULL));
        surely[who]++;
    }
}
static void first(void)
{
    produce(FIRST, 1);
}
static void second(void)
{
    produce(SECOND, FIRST_OF_SECOND);
}

static void see(const ramet_item *item)
{
    const uint64_t *words = item->data;
    CHECK(item->size == SIZE_INLINE || item->size == SIZE_BLOCK);
    for (size_t i = 0; i < item->size / 8; i++)
        CHECK(words[i] == words[0] + i * 1000);
    uint64_t id = words[0];
    CHECK(id > 0 && id < ITEMS && seen[id]++ == 0);
    uint64_t *of = &last[id >= BEFORE ? 2 : id >= FIRST_OF_SECOND ? 1 : 0];
    CHECK(id > *of); /* each one's come in their order */
    *of = id;
}

/* Until the queue is shut. */
static void consume(void)
{
    ramet_item items[32];
    for (;;) {
        ptrdiff_t n = before ? ramet_queue_get_many(queue, NULL, items, 32)
                             : ramet_queue_get(queue, NULL, items);
        if (n == -ESHUTDOWN)
            return;
        OK((int)n);
        in_hand = before ? (uint64_t)n : 1;
        for (uint64_t i = 0, all = in_hand; i < all; i++)
            see(&items[i]);
        for (uint64_t i = 0, all = in_hand; i < all; i++, in_hand--)
            ramet_item_release(&items[i]);
    }
}

/* As many as there are, and no more: a consumer that does not need to be told. */
static void consume_all(void)
{
    ramet_item item;
    for (uint64_t i = 0; i < items_of(FIRST) + items_of(SECOND); i++) {
        int r = ramet_queue_get(queue, NULL, &item);
        if (r == -ESHUTDOWN) /* a producer is dead */
            return;
        OK(r);
        in_hand = 1;
        see(&item);
        ramet_item_release(&item);
        in_hand = 0;
    }
}

/* ---- the end */

static bool may_sleep(int i, uint64_t word)
{
    uint64_t at = queue->offset, size = ramet_queue_size(queue);
    if (i == CONSUMER)
        return word == RMT_QUEUE_WORD(at, get_bell) && size == 0 && !shut;
    return word == RMT_QUEUE_WORD(at, put_bell) && size == 2 && sched_is_dead(CONSUMER);
}

static void enable(void)
{
    ramet_item item;
    if (!sched_is_dead(CONSUMER)) { /* then it is who sleeps, and all has been put */
        shut = true;
        OK(ramet_queue_shutdown(queue, 0));
    } else if (ramet_queue_get(queue, &try, &item) == 0) {
        see(&item);
        ramet_item_release(&item);
    }
}

static void verify(void)
{
    ramet_item item;
    while (ramet_queue_get(queue, &try, &item) == 0) {
        see(&item);
        ramet_item_release(&item);
    }
    uint64_t missing = 0, perhaps = sched_is_dead(CONSUMER) ? in_hand : 0;
    for (int who = FIRST; who <= SECOND; who++)
        for (uint64_t i = 0; i < items_of(who); i++) {
            bool was_seen = seen[(who == FIRST ? 1 : FIRST_OF_SECOND) + i] > 0;
            missing += i < surely[who] && !was_seen;
            perhaps += i >= surely[who] && i < tried[who] && !was_seen;
            CHECK(i < tried[who] || !was_seen);
        }
    for (uint64_t i = 0; i < before; i++)
        missing += seen[BEFORE + i] == 0;
    uint64_t lost = ramet_queue_lost(queue);
    CHECK(sched_is_dead(CONSUMER) || (lost == 0 && missing == 0));
    CHECK(lost >= missing && lost <= missing + perhaps);
    if (!shut) { /* and it goes on */
        OK(put(1, SIZE_BLOCK, &try));
        OK(ramet_queue_get(queue, &try, &item));
        ramet_item_release(&item);
    }
    CHECK(ramet_queue_size(queue) == 0);
}

/* A drained ring is gone, and the last one is larger: as many blocks as before. */
#define CASE(title, made, get)                                                                     \
    .name = "queue " title, .setup = made,                                                         \
    .actor = {{"the first producer", first},                                                       \
              {"the second producer", second},                                                     \
              {"the consumer", get}},                                                              \
    .may_sleep = may_sleep, .enable = enable, .verify = verify

const struct sched_case sched_cases[] = {
    {CASE("bounded", bounded, consume_all), .brief = {1, 0, -1}, .full = {2, 1, -1}, .stride = 8},
    {CASE("bounded, blocks", bounded_blocks, consume_all), .brief = {1, 0, -1}, .full = {1, 1, -1},
     .stride = 512, .large = true},
    {CASE("growing", growing, consume), .brief = {1, 0, -1}, .full = {2, 1, -1}, .stride = 8,
     .large = true},
    {CASE("growing, blocks", growing_blocks, consume), .brief = {0, 0, -1}, .full = {1, 1, -1},
     .stride = 512, .large = true},
};
const int sched_case_count = sizeof sched_cases / sizeof sched_cases[0];
