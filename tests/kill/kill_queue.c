/* SPDX-License-Identifier: MIT
 *
 * kill_queue.c: a death at each atomic operation of putting into and getting from a queue, while
 * two peers put and get.  Each item that was put is got exactly once, is still there, or was in the
 * victim's hands and is counted as lost.
 */
#include "channel/ring.h"
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/queue.h>

#define VICTIM_FIRST 0 /* ids of the victim's items */
#define FILL_FIRST 100 /* of those that the parent puts before */
#define PEER_FIRST 1000
#define PEER_ITEMS 1500
#define LARGE 300

static ramet_queue *queue;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static uint64_t blocks_before, max_items, prefill;

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

/* Every third item is a large one. */
static int put(uint64_t id)
{
    unsigned char bytes[LARGE];
    memset(bytes, (int)(id % 251), sizeof bytes);
    memcpy(bytes, &id, sizeof id);
    return ramet_queue_put(queue, bytes, id % 3 == 2 ? LARGE : 16, &try);
}

/* 1: got one, and let go of it. */
static int get(void)
{
    ramet_item item;
    int r = ramet_queue_get(queue, &try, &item);
    if (r == -ETIMEDOUT)
        return 0;
    CHECK(r == 0);
    const unsigned char *bytes = item.data;
    uint64_t id;
    memcpy(&id, bytes, sizeof id);
    CHECK(id < 4096 && item.size == (id % 3 == 2 ? LARGE : 16));
    for (size_t i = sizeof id; i < item.size; i++)
        CHECK(bytes[i] == id % 251);
    atomic_fetch_add(&kill_shared->seen[id], 1);
    ramet_item_release(&item); /* killed before it: seen, and counted as lost, too */
    return 1;
}

static void setup(void)
{
    blocks_before = blocks();
    ramet_queue_options options = {.size = sizeof options, .max_items = max_items};
    OK(ramet_queue_create(&options, &queue));
    for (uint64_t i = 0; i < prefill; i++)
        OK(put(FILL_FIRST + i));
}

static void victim(void)
{
    for (uint64_t id = VICTIM_FIRST; id < 6; id++) {
        int r = put(id);
        CHECK(r == 0 || r == -ETIMEDOUT);
        if (r == 0)
            atomic_fetch_or(&kill_shared->victim[0], 1ull << id);
        atomic_fetch_or(&kill_shared->victim[1], 1ull << id); /* came back */
        if (id % 2)
            get();
    }
    ramet_bytes many[3];
    uint64_t ids[3][2] = {{6, 0}, {7, 0}, {9, 0}};
    for (int i = 0; i < 3; i++) {
        memset((unsigned char *)ids[i] + 8, (int)(ids[i][0] % 251), 8);
        many[i] = (ramet_bytes){ids[i], 16};
    }
    ptrdiff_t n = ramet_queue_put_many(queue, many, 3, &try);
    for (int i = 0; i < n; i++)
        atomic_fetch_or(&kill_shared->victim[0], 1ull << ids[i][0]);
    for (int i = 0; i < 3; i++)
        atomic_fetch_or(&kill_shared->victim[1], 1ull << ids[i][0]);
}

static void peer(int index)
{
    uint64_t turn = atomic_load(&kill_shared->turns[index]);
    if (turn < PEER_ITEMS) {
        int r = put(PEER_FIRST + PEER_ITEMS * (uint64_t)index + turn);
        CHECK(r == 0 || r == -ETIMEDOUT);
        if (r == 0)
            atomic_fetch_add(&kill_shared->count[index][0], 1);
        get();
        if (turn % 7 == 0)
            get();
    } else {
        usleep(100);
    }
}

static void verify(bool finished)
{
    while (get())
        ;
    CHECK(ramet_queue_size(queue) == 0);
    uint64_t put_surely = prefill, got = 0, maybe = 0;
    for (int i = 0; i < 2; i++)
        put_surely += atomic_load(&kill_shared->count[i][0]);
    uint64_t did = atomic_load(&kill_shared->victim[0]),
             back = atomic_load(&kill_shared->victim[1]);
    for (uint64_t id = 0; id < 4096; id++) {
        uint64_t seen = atomic_load(&kill_shared->seen[id]);
        CHECK(seen <= 1);
        got += seen;
        if (id < 10) {
            bool surely = did >> id & 1;
            put_surely += surely;
            if (!surely && !(back >> id & 1))
                maybe++; /* under way, or never begun */
        }
    }
    uint64_t lost = ramet_queue_lost(queue);
    CHECK(lost <= 1);
    /* The victim may have seen the one that counts as lost. */
    bool right = got + lost >= put_surely && got <= put_surely + maybe;
    if (!right)
        fprintf(stderr, "got %lu, lost %lu, put %lu, perhaps %lu more\n", (unsigned long)got,
                (unsigned long)lost, (unsigned long)put_surely, (unsigned long)maybe);
    CHECK(right);
    if (finished)
        CHECK(lost == 0);
    ramet_queue_close(queue);
    CHECK(blocks() == blocks_before);
}

int main(void)
{
    OK(ramet_join());
    /* Once before, so that what a first use allocates for good is there. */
    OK(ramet_queue_create(NULL, &queue));
    ramet_queue_close(queue);
    kill_run(&(struct kill_case){"queue, alone", setup, victim, NULL, verify});
    kill_run(&(struct kill_case){"queue", setup, victim, peer, verify});
    max_items = 4;
    prefill = 2;
    kill_run(&(struct kill_case){"queue, bounded", setup, victim, peer, verify});
    max_items = 0;
    prefill = RMT_RING_FIRST - 2;
    kill_run(&(struct kill_case){"queue, growing", setup, victim, peer, verify});
    return 0;
}
