/* SPDX-License-Identifier: MIT
 *
 * pipe_entry.c: reading and writing entries; see pipe_entry.h.
 */
#include "channel/pipe_entry.h"

#include <string.h>

static void ring_write(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t at,
                       const void *data, size_t size)
{
    uint64_t index = at % bytes;
    size_t first = size < bytes - index ? size : bytes - index;
    if (first > 0)
        memcpy(lane->ring + index, data, first);
    if (size > first)
        memcpy(lane->ring, (const uint8_t *)data + first, size - first);
}

void rmt_pipe_ring_read(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t at, void *data,
                        size_t size)
{
    uint64_t index = at % bytes;
    size_t first = size < bytes - index ? size : bytes - index;
    if (first > 0)
        memcpy(data, lane->ring + index, first);
    if (size > first)
        memcpy((uint8_t *)data + first, lane->ring, size - first);
}

static uint64_t word_read(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t at)
{
    uint64_t word;
    memcpy(&word, lane->ring + at % bytes,
           RMT_PIPE_WORD); /* positions are multiples of RMT_PIPE_WORD: never wraps */
    return word;
}

bool rmt_pipe_entry_read(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t head,
                         uint64_t tail, struct rmt_pipe_entry *ret_entry)
{
    uint64_t header = word_read(lane, bytes, head);
    struct rmt_pipe_entry e = {.tag = (uint32_t)(header >> RMT_PIPE_TAG_SHIFT) & 255};
    if (header & RMT_PIPE_IS_BLOCK) {
        e.length = RMT_PIPE_ENTRY_OF_BLOCK;
        if (tail - head < e.length)
            return false;
        e.block = word_read(lane, bytes, head + RMT_PIPE_WORD);
        e.size = word_read(lane, bytes, head + 2 * RMT_PIPE_WORD);
        if (e.block == 0)
            return false;
    } else {
        e.size = header & RMT_PIPE_SIZE;
        e.length = RMT_PIPE_WORD + rmt_pipe_padded(e.size);
    }
    *ret_entry = e;
    return e.length <= tail - head;
}

void rmt_pipe_entry_write(const struct rmt_pipe_lane *lane, uint64_t bytes, uint64_t tail,
                          const struct rmt_pipe_message *m)
{
    uint64_t header = (uint64_t)m->tag << RMT_PIPE_TAG_SHIFT;
    if (m->block) {
        uint64_t words[3] = {header | RMT_PIPE_IS_BLOCK, m->block, m->size};
        ring_write(lane, bytes, tail, words, sizeof words);
        return;
    }
    header |= m->size;
    ring_write(lane, bytes, tail, &header, sizeof header);
    tail += RMT_PIPE_WORD;
    for (int i = 0; i < m->count; i++) {
        ring_write(lane, bytes, tail, m->parts[i].iov_base, m->parts[i].iov_len);
        tail += m->parts[i].iov_len;
    }
}
