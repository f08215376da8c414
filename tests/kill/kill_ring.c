/* SPDX-License-Identifier: MIT
 *
 * kill_ring.c: two deaths around a ring that is used up.  A putter is killed while it links the
 * next ring, a getter while it moves on from the old one to that; the getter is recovered first,
 * and the ring's memory used for something else: the putter's record, which names the ring, must
 * not be applied to that.
 */
#include "channel/ring.h"
#include "kill.h"
#include <ramet/arena.h>
#include <ramet/queue.h>

#define BLOCKS 12
#define RING_SIZE (sizeof(struct rmt_ring) + RMT_RING_FIRST * sizeof(struct rmt_cell))

static ramet_queue *queue;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};

static int get(void)
{
    ramet_item item;
    int r = ramet_queue_get(queue, &try, &item);
    if (r == 0)
        ramet_item_release(&item);
    return r;
}

static void put(void *nth)
{
    uint64_t id = 0;
    OK(ramet_join());
    kill_arm(*(const uint64_t *)nth);
    OK(ramet_queue_put(queue, &id, sizeof id, NULL));
    kill_disarm();
}

static void move_on(void *nth)
{
    OK(ramet_join());
    for (uint64_t i = 0; i < RMT_RING_FIRST; i++)
        OK(get());
    kill_arm(*(const uint64_t *)nth);
    int r = get();
    kill_disarm();
    CHECK(r == 0 || r == -ETIMEDOUT);
}

/* Blocks of a ring's size, full of one byte: one of them is where the ring was, if that was freed.
 */
static void take_memory(struct rmt_self *self, int *holds, uint64_t *offsets)
{
    for (int i = 0; i < BLOCKS; i++) {
        OK(rmt_block_alloc(self, RING_SIZE, RAMET_KIND_DATA, &holds[i], &offsets[i]));
        memset(rmt_payload(offsets[i]), 0x5a, RING_SIZE);
    }
}

static void give_memory(struct rmt_self *self, const int *holds, const uint64_t *offsets)
{
    for (int i = 0; i < BLOCKS; i++) {
        const unsigned char *bytes = rmt_payload(offsets[i]);
        for (size_t k = 0; k < RING_SIZE; k++)
            CHECK(bytes[k] == 0x5a);
        rmt_block_free(self, holds[i]);
    }
}

/* True if the getter came through; *ret_put: the putter did. */
static bool one(uint64_t n, uint64_t m, bool *ret_put)
{
    struct rmt_self *self;
    int holds[BLOCKS];
    uint64_t offsets[BLOCKS], id = 0;
    OK(rmt_self(&self));
    OK(ramet_queue_create(NULL, &queue));
    for (uint64_t i = 0; i < RMT_RING_FIRST; i++)
        OK(ramet_queue_put(queue, &id, sizeof id, NULL));
    pid_t putter = child(put, &n);
    int put_status = finish(putter);
    pid_t getter = child(move_on, &m);
    int status = finish(getter);
    CHECK((put_status == 0 || put_status == -SIGKILL) && (status == 0 || status == -SIGKILL));
    ramet_reap(getter);
    take_memory(self, holds, offsets);
    OK(ramet_queue_put(queue, &id, sizeof id, NULL)); /* takes over from the putter */
    give_memory(self, holds, offsets);
    while (OK(ramet_sweep()) > 0)
        ;
    while (get() == 0)
        ;
    OK(ramet_arena_check(2));
    ramet_queue_close(queue);
    *ret_put = put_status == 0;
    return status == 0;
}

int main(void)
{
    bool put_came_through = false;
    uint64_t n = 1, m, points = 0;
    OK(ramet_join());
    (void)one(UINT64_MAX, UINT64_MAX, &put_came_through);
    for (put_came_through = false; !put_came_through; n++) {
        for (m = 1; alarm(600), !one(n, m, &put_came_through); m += 2)
            points++;
        /* Points where the putter has put nothing yet are all alike for the getter. */
    }
    printf("%-24s putter killed at %lu points, with getters at %lu\n", "ring",
           (unsigned long)(n - 2), (unsigned long)points);
    return 0;
}
