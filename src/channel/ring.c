/* SPDX-License-Identifier: MIT
 *
 * ring.c: allocating and checking segments of cells; see ring.h.
 */
#include "channel/ring.h"
#include "arena/kind.h"

#include <errno.h>

uint64_t rmt_ring_first(uint64_t max_items)
{
    uint64_t capacity = RMT_RING_FIRST;
    while (max_items != 0 && capacity / 2 >= max_items)
        capacity /= 2;
    return capacity;
}

int rmt_ring_alloc(struct rmt_self *self, uint64_t queue, uint64_t capacity, int *ret_hold,
                   uint64_t *ret_offset)
{
    uint64_t offset;
    size_t size = sizeof(struct rmt_ring) + capacity * sizeof(struct rmt_cell);
    int r = rmt_block_alloc(self, size, RMT_KIND_RING, ret_hold, &offset);
    if (r < 0)
        return r;
    struct rmt_ring *ring = rmt_payload(offset);
    ring->base = 0;
    ring->capacity = capacity;
    rmt_store64_relaxed(&ring->end, RMT_RING_OPEN);
    rmt_store64_relaxed(&ring->next, 0);
    ring->generation = rmt_block_at(queue)->generation;
    ring->queue = queue;
    *ret_offset = offset;
    return 0;
}

static bool ring_sound(uint64_t offset)
{
    if (!rmt_block_valid(offset) || rmt_block_at(offset)->kind != RMT_KIND_RING)
        return false;
    const struct rmt_ring *ring = rmt_payload(offset);
    uint64_t cells = (rmt_block_at(offset)->capacity - sizeof *ring) / sizeof(struct rmt_cell);
    return ring->capacity != 0 && (ring->capacity & (ring->capacity - 1)) == 0 &&
           ring->capacity <= cells;
}

static bool cell_sound(const struct rmt_cell *cell)
{
    if (cell->block == 0)
        return cell->size <= RMT_CELL_BYTES;
    return cell->block == 1 && rmt_block_valid(cell->of) &&
           rmt_block_at(cell->of)->kind == RAMET_KIND_MESSAGE;
}

int rmt_ring_check(uint64_t first, uint64_t last, uint64_t head, uint64_t tail)
{
    uint64_t position = head;
    for (uint64_t offset = first;;) {
        if (!ring_sound(offset))
            return -ENOTRECOVERABLE;
        struct rmt_ring *ring = rmt_payload(offset);
        uint64_t end = rmt_load64(&ring->end);
        uint64_t stop = end < tail ? end : tail;
        if (position < ring->base || stop < position || stop - position > ring->capacity)
            return -ENOTRECOVERABLE;
        for (; position < stop; position++) {
            if (!cell_sound(rmt_ring_cell(ring, position)))
                return -ENOTRECOVERABLE;
        }
        if (offset == last)
            return end == RMT_RING_OPEN && position == tail ? 0 : -ENOTRECOVERABLE;
        if (end == RMT_RING_OPEN)
            return -ENOTRECOVERABLE;
        offset = rmt_load64(&ring->next);
        if (offset == 0 || ((struct rmt_ring *)rmt_payload(offset))->base != end)
            return -ENOTRECOVERABLE;
    }
}
