/* SPDX-License-Identifier: MIT
 *
 * step_queue.c: a death at each store of putting into and getting from a queue: bytes in the cell,
 * messages in blocks, several at once, with a bound, with a ring that is full, and shutting down.
 * Each item is afterwards in the queue, or was in the victim's hands and is counted as lost.
 *
 * An item says which it is: 1, 2, ... were there before, VICTIM and after are the victim's, PEER
 * the peer's, LAST those that the check puts.
 */
#include "channel/queue.h"
#include "step.h"

enum { SIZE_INLINE = 16, SIZE_BLOCK = 300, VICTIM = 100, PEER = 200, LAST = 300, ITEMS = 400 };

static ramet_queue *queue;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static uint64_t prefilled, bound;
static uint64_t seen[ITEMS]; /* by the driver's side */
static uint64_t put_by_peer;
static bool slept;

/* ---- one item */

static int put(uint64_t id, size_t size)
{
    uint64_t words[SIZE_BLOCK / 8 + 1];
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        words[i] = id + i * 1000;
    return ramet_queue_put(queue, words, size, &try);
}

static uint64_t id_of(const ramet_item *item)
{
    const uint64_t *words = item->data;
    CHECK(item->size == SIZE_INLINE || item->size == SIZE_BLOCK);
    for (size_t i = 0; i < item->size / 8; i++)
        CHECK(words[i] == words[0] + i * 1000);
    CHECK(words[0] > 0 && words[0] < ITEMS);
    return words[0];
}

static uint64_t get(void)
{
    ramet_item item;
    int r = ramet_queue_get(queue, &try, &item);
    if (r == -ETIMEDOUT || r == -ESHUTDOWN)
        return 0;
    CHECK(r == 0);
    uint64_t id = id_of(&item);
    ramet_item_release(&item);
    return id;
}

/* ---- setting up */

static void make(uint64_t items, size_t size, uint64_t max_items)
{
    ramet_queue_options options = {.size = sizeof options, .max_items = max_items};
    OK(ramet_queue_create(&options, &queue));
    step_shared->ref[0] = ramet_queue_ref(queue);
    prefilled = items;
    bound = max_items;
    step_blocks_less = size == SIZE_BLOCK ? items : 0;
    for (uint64_t i = 1; i <= items; i++)
        OK(put(i, size));
}

static void some_inline(void)
{
    make(3, SIZE_INLINE, 0);
}
static void some_blocks(void)
{
    make(3, SIZE_BLOCK, 0);
}
static void some_bounded(void)
{
    make(3, SIZE_INLINE, 4);
}
static void full_bounded(void)
{
    make(4, SIZE_INLINE, 4);
}
static void full_ring(void)
{
    make(RMT_RING_FIRST, SIZE_INLINE, 0);
}
static void nearly_full_ring(void)
{
    make(RMT_RING_FIRST - 2, SIZE_INLINE, 0);
}
static void none(void)
{
    make(0, SIZE_INLINE, 0);
}

/* The head is at the end of a ring behind which there is another. */
static void used_up_ring(void)
{
    make(RMT_RING_FIRST + 2, SIZE_INLINE, 0);
    for (unsigned i = 0; i < RMT_RING_FIRST; i++)
        seen[get()]++;
    step_blocks_less = 1; /* the ring */
}

/* One that is not done. */
static void one_taken(void)
{
    make(1, SIZE_INLINE, 0);
    seen[get()]++;
}

static void open_queue(void)
{
    OK(ramet_queue_open(&step_shared->ref[0], &queue));
}

/* ---- operations.  did[0]: items that are put; did[1]: are taken; did[2]: are released. */

static void put_some(size_t size)
{
    OK(put(VICTIM, size));
    step_shared->did[0] = 1;
}
static void put_inline(void)
{
    put_some(SIZE_INLINE);
}
static void put_block(void)
{
    put_some(SIZE_BLOCK);
}

static void put_batch(void)
{
    uint64_t words[4][SIZE_BLOCK / 8 + 1];
    ramet_bytes bytes[4];
    for (unsigned n = 0; n < 4; n++) {
        for (size_t i = 0; i < SIZE_BLOCK / 8 + 1; i++)
            words[n][i] = VICTIM + n + i * 1000;
        bytes[n] = (ramet_bytes){words[n], n % 2 ? SIZE_BLOCK : SIZE_INLINE};
    }
    CHECK(ramet_queue_put_many(queue, bytes, 4, &try) == 4);
    step_shared->did[0] = 4;
}

static void put_into_full(void)
{
    int r = put(VICTIM, SIZE_BLOCK);
    CHECK(r == -ETIMEDOUT || (r == 0 && step_shared->peer_first));
    step_shared->did[0] = r == 0;
}

/* A peer who was there before may have taken what there was, or put what there was not. */
static bool may_be_without(int r)
{
    CHECK(r >= 0 || ((r == -ETIMEDOUT || r == -ESHUTDOWN) && step_shared->peer_first));
    return r < 0;
}

static void get_one(void)
{
    ramet_item item;
    if (may_be_without(ramet_queue_get(queue, &try, &item)))
        return;
    CHECK(id_of(&item) != 0);
    step_shared->did[1] = 1;
    ramet_item_release(&item);
    step_shared->did[2] = 1;
}

static void get_batch(void)
{
    ramet_item items[3];
    int n = (int)ramet_queue_get_many(queue, &try, items, 3);
    if (may_be_without(n))
        return;
    CHECK(n == 3 || step_shared->peer_first);
    step_shared->did[1] = (uint64_t)n;
    for (int i = 0; i < n; i++) {
        CHECK(id_of(&items[i]) == (uint64_t)i + 1 || step_shared->peer_first);
        ramet_item_release(&items[i]);
        step_shared->did[2] = (uint64_t)i + 1;
    }
}

static void get_none(void)
{
    if (step_shared->peer_first) {
        get_one();
    } else {
        CHECK(get() == 0);
        step_shared->did[3] = 1;
    }
}

static void done_one(void)
{
    OK(ramet_queue_task_done(queue));
    step_shared->did[3] = 1;
}

static void shut(void)
{
    OK(ramet_queue_shutdown(queue, 0));
    step_shared->did[3] = 1;
}

static void shut_now(void)
{
    OK(ramet_queue_shutdown(queue, 1));
    step_shared->did[3] = 1;
}

/* ---- what the peer and the sleeper do, and what came of it */

static void peer_puts(void)
{
    for (uint64_t i = 0; i < 2; i++) {
        int r = put(PEER + i, i ? SIZE_BLOCK : SIZE_INLINE);
        CHECK(r == 0 || r == -ETIMEDOUT || r == -ESHUTDOWN);
        put_by_peer += r == 0;
    }
}

static void peer_gets(void)
{
    for (int i = 0; i < 2; i++)
        seen[get()]++;
}

static void sleeps_to_get(void)
{
    ramet_item item;
    int r = ramet_queue_get(queue, NULL, &item);
    if (r == 0) {
        seen[id_of(&item)]++;
        ramet_item_release(&item);
    } else {
        CHECK(r == -ESHUTDOWN);
    }
    slept = true;
}

static void sleeps_to_put(void)
{
    uint64_t words[2] = {PEER, PEER + 1000};
    OK(ramet_queue_put(queue, words, sizeof words, NULL));
    put_by_peer++;
    slept = true;
}

static bool not_empty(void)
{
    return ramet_queue_size(queue) > 0 || rmt_load64(&queue->shared->state) != 0;
}

static bool not_full(void)
{
    return ramet_queue_size(queue) < bound;
}

static void enable_get(void)
{
    OK(put(LAST, SIZE_INLINE));
}

static void enable_put(void)
{
    seen[get()]++;
}

static void sleeps_to_join(void)
{
    OK(ramet_queue_join(queue, NULL));
    slept = true;
}

static bool all_done(void)
{
    return rmt_queue_unfinished(queue->shared) == 0;
}

static void enable_join(void)
{
    OK(ramet_queue_task_done(queue));
}

/* ---- verifying */

/* Everything that was put is seen once, by the driver's side now or before, or was taken by the
 * victim: then it is counted as lost, or the victim has let go of it. */
static void account(void)
{
    uint64_t id, last = 0, missing = 0, of_victim = 0;
    uint64_t put_surely = step_shared->did[0];
    uint64_t taken = step_shared->did[1], released = step_shared->did[2];
    while ((id = get()) != 0) {
        seen[id]++;
        CHECK(id >= PEER || id > last); /* first in, first out */
        last = id < PEER ? id : last;
    }
    for (id = 1; id < ITEMS; id++)
        CHECK(seen[id] <= 1);
    for (id = 1; id <= prefilled; id++)
        missing += seen[id] == 0;
    for (id = VICTIM; id < PEER; id++)
        of_victim += seen[id];
    uint64_t of_peer = seen[PEER] + seen[PEER + 1]; /* if it was first, the victim may have them */
    CHECK(of_peer <= put_by_peer && (of_peer == put_by_peer || step_shared->peer_first));
    missing += put_by_peer - of_peer;
    uint64_t lost = ramet_queue_lost(queue);
    CHECK(lost <= missing && missing >= taken);
    CHECK(missing - lost >= released && missing - lost <= taken);
    CHECK(of_victim >= put_surely && of_victim <= 4);
}

static void use(void)
{
    for (unsigned i = 0; i < 2 * RMT_RING_FIRST && rmt_load64(&queue->shared->state) == 0; i++) {
        uint64_t id = LAST + i % 50;
        OK(put(id, i % 8 == 7 ? SIZE_BLOCK : SIZE_INLINE));
        CHECK(get() == id);
    }
    CHECK(ramet_queue_size(queue) == 0 && get() == 0);
}

static void after(void)
{
    account();
    use();
}

static void after_sleep(void)
{
    CHECK(slept);
    after();
}

/* Shut or not, and if so what was there is still got. */
static void after_shut(void)
{
    uint64_t state = rmt_load64(&queue->shared->state);
    CHECK(state == RMT_QUEUE_SHUT || (state == 0 && !step_shared->did[3]));
    after();
}

/* What was there may be thrown away: all or nothing of what is left, as others see it. */
static void after_shut_now(void)
{
    uint64_t state = rmt_load64(&queue->shared->state);
    CHECK(state == (RMT_QUEUE_SHUT | RMT_QUEUE_DISCARD) || (state == 0 && !step_shared->did[3]));
    if (state == 0)
        account();
    use();
}

#define CASE(title, made, act, check)                                                              \
    .name = "queue " title, .setup = made, .prepare = open_queue, .operate = act, .verify = check
#define TO_GETTER .sleeps = sleeps_to_get, .enabled = not_empty, .enable = enable_get
#define TO_PUTTER .sleeps = sleeps_to_put, .enabled = not_full, .enable = enable_put
#define TO_JOINER .sleeps = sleeps_to_join, .enabled = all_done, .enable = enable_join

const struct step_case step_cases[] = {
    {CASE("put, in the cell", some_inline, put_inline, after), .peer = peer_gets},
    {CASE("put, in a block", some_inline, put_block, after), .peer = peer_gets},
    {CASE("put, beside a putter", some_inline, put_block, after), .peer = peer_puts},
    {CASE("put, four", some_inline, put_batch, after), .peer = peer_gets, .large = true},
    {CASE("put, bounded", some_bounded, put_inline, after), .peer = peer_gets},
    {CASE("put, full", full_bounded, put_into_full, after), .peer = peer_gets},
    {CASE("put, a new ring", full_ring, put_inline, after), .peer = peer_gets},
    {CASE("put, a new ring beside a putter", full_ring, put_block, after), .peer = peer_puts,
     .large = true},
    {CASE("put, four over a ring's end", nearly_full_ring, put_batch, after), .peer = peer_gets,
     .large = true},
    {CASE("get, from the cell", some_inline, get_one, after), .peer = peer_puts},
    {CASE("get, from a block", some_blocks, get_one, after), .peer = peer_puts},
    {CASE("get, beside a getter", some_blocks, get_one, after), .peer = peer_gets},
    {CASE("get, three", some_inline, get_batch, after), .peer = peer_puts},
    {CASE("get, three blocks", some_blocks, get_batch, after), .peer = peer_gets, .large = true},
    {CASE("get, bounded", full_bounded, get_one, after), .peer = peer_puts},
    {CASE("get, over a ring's end", used_up_ring, get_one, after), .peer = peer_puts},
    {CASE("get, empty", none, get_none, after), .peer = peer_puts},
    {CASE("task_done", one_taken, done_one, after), .peer = peer_puts},
    {CASE("shutdown", some_blocks, shut, after_shut), .peer = peer_gets},
    {CASE("shutdown now", some_blocks, shut_now, after_shut_now)},
    {CASE("put, to a sleeper", none, put_inline, after_sleep), TO_GETTER},
    {CASE("put a block, to a sleeper", none, put_block, after_sleep), TO_GETTER},
    {CASE("get, to a sleeper", full_bounded, get_one, after_sleep), TO_PUTTER},
    {CASE("task_done, to a sleeper", one_taken, done_one, after_sleep), TO_JOINER},
    {CASE("shutdown, to a sleeper", none, shut, after_sleep), TO_GETTER},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
