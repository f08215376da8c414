/* SPDX-License-Identifier: MIT
 *
 * message.c: building, reading and destroying messages; see message.h.  Touches only blocks of kind
 * RAMET_KIND_MESSAGE and, through handle.h, the counts of the objects that they mention.
 *
 * The header is cleared when the block is allocated, and each of its words is a release store: a
 * maker who dies between any two of them leaves either refs == 0, and then no count was taken, or
 * refs set, and then each ref word is 0 or a count that is truly ours.
 */
#include "channel/message.h"
#include "arena/kind.h"

#include <errno.h>
#include <string.h>

#define DATA_ALIGN 64u

static size_t header_size(size_t refs)
{
    size_t size = sizeof(struct rmt_message) + refs * sizeof(rmt_a64);
    return (size + DATA_ALIGN - 1) & ~(size_t)(DATA_ALIGN - 1);
}

static uint64_t ref_word(uint64_t offset, size_t i)
{
    return offset + RMT_BLOCK_HEADER + offsetof(struct rmt_message, ref) + i * sizeof(rmt_a64);
}

static int total(const struct iovec *segments, int count, size_t *ret_size)
{
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        if (__builtin_add_overflow(size, segments[i].iov_len, &size))
            return -ENOMEM;
    }
    *ret_size = size;
    return 0;
}

static int take_counts(struct rmt_self *self, uint64_t offset, const uint64_t *refs, size_t count)
{
    struct rmt_message *m = rmt_payload(offset);
    for (size_t i = 0; i < count; i++)
        rmt_store64_relaxed(&m->ref[i], 0);
    rmt_store64(&m->refs, count);
    for (size_t i = 0; i < count; i++) {
        int r = rmt_count_add(self, ref_word(offset, i), refs[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

int rmt_message_build(struct rmt_self *self, const struct iovec *segments, int count,
                      const uint64_t *refs, size_t ref_count, int *ret_hold, uint64_t *ret_offset)
{
    size_t size, whole;
    int hold;
    uint64_t offset;
    int r = total(segments, count, &size);
    if (r < 0)
        return r;
    if (ref_count > RMT_SIZE / sizeof(rmt_a64))
        return -ENOMEM;
    size_t header = header_size(ref_count);
    if (__builtin_add_overflow(header, size, &whole))
        return -ENOMEM;
    r = rmt_block_alloc(self, whole, RAMET_KIND_MESSAGE, &hold, &offset);
    if (r < 0)
        return r;

    struct rmt_message *m = rmt_payload(offset);
    rmt_store64(&m->size, size);
    rmt_store64(&m->data, header);
    if (ref_count > 0) {
        r = take_counts(self, offset, refs, ref_count);
        if (r < 0) {
            rmt_block_free(self, hold);
            return r;
        }
    }
    uint8_t *to = (uint8_t *)m + header;
    for (int i = 0; i < count; i++) {
        if (segments[i].iov_len > 0)
            memcpy(to, segments[i].iov_base, segments[i].iov_len);
        to += segments[i].iov_len;
    }
    *ret_hold = hold;
    *ret_offset = offset;
    return 0;
}

/* Whether the words of the header agree with the block that they stand in. */
static bool sound(uint64_t offset)
{
    struct rmt_message *m = rmt_payload(offset);
    uint64_t capacity = rmt_block_at(offset)->capacity;
    uint64_t size = rmt_load64_relaxed(&m->size);
    uint64_t data = rmt_load64_relaxed(&m->data);
    uint64_t refs = rmt_load64_relaxed(&m->refs);
    if (data % DATA_ALIGN != 0 || data > capacity || size > capacity - data)
        return false;
    return data >= sizeof *m && refs <= (data - sizeof *m) / sizeof(rmt_a64);
}

int rmt_message_data(uint64_t offset, const uint8_t **ret_data, size_t *ret_size)
{
    struct rmt_message *m = rmt_payload(offset);
    if (rmt_block_at(offset)->kind != RAMET_KIND_MESSAGE || !sound(offset))
        return -EPROTO;
    *ret_data = (const uint8_t *)m + rmt_load64_relaxed(&m->data);
    *ret_size = rmt_load64_relaxed(&m->size);
    return 0;
}

bool rmt_message_known(uint64_t offset)
{
    if (rmt_block_valid(offset) && rmt_block_at(offset)->kind == RAMET_KIND_MESSAGE)
        return true;
    rmt_poison("something that is no message stands where messages stand");
    return false;
}

/* Restartable: a word that was given back is 0. */
static void message_destroy(struct rmt_self *self, uint64_t offset)
{
    struct rmt_message *m = rmt_payload(offset);
    uint64_t refs = rmt_load64(&m->refs);
    if (refs == 0 || !sound(offset))
        return; /* its maker died before he had taken any count */
    for (uint64_t i = 0; i < refs; i++) {
        uint64_t object = rmt_load64(&m->ref[i]);
        if (object == 0)
            continue;
        if (!rmt_block_valid(object) || rmt_load64(&rmt_block_at(object)->refs) == 0) {
            rmt_poison("a message mentions what is no object");
            return;
        }
        rmt_count_drop(self, ref_word(offset, i));
    }
}

static int message_check(uint64_t offset)
{
    struct rmt_message *m = rmt_payload(offset);
    if (rmt_load64(&m->data) == 0)
        return rmt_load64(&m->refs) == 0 ? 0 : -ENOTRECOVERABLE; /* allocated, not yet written */
    if (!sound(offset))
        return -ENOTRECOVERABLE;
    uint64_t refs = rmt_load64(&m->refs);
    for (uint64_t i = 0; i < refs; i++) {
        uint64_t object = rmt_load64(&m->ref[i]);
        if (object != 0 && !rmt_block_valid(object))
            return -ENOTRECOVERABLE;
    }
    return 0;
}

__attribute__((constructor)) static void message_register(void)
{
    static const struct rmt_kind kind = {
        .id = RAMET_KIND_MESSAGE,
        .name = "message",
        .clear = sizeof(struct rmt_message),
        .destroy = message_destroy,
        .check = message_check,
    };
    rmt_kind_register(&kind);
}
