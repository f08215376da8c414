/* SPDX-License-Identifier: MIT
 *
 * Many messages in one piece of memory: chunks, which are encoded at once, and packs, which grow by
 * one complete message at a time; and the cursor that reads both.
 */
#include "codec_format.h"

#include <errno.h>

/* --- chunks */

static int put_chunk_header(struct rmt_scratch *s, int kind, int width, size_t n)
{
    uint8_t *to = rmt_scratch_add(s, CHUNK_HEADER);
    if (!to)
        return -1;
    memset(to, 0, CHUNK_HEADER);
    to[0] = TAG_CHUNK;
    to[1] = (uint8_t)kind;
    to[2] = (uint8_t)width;
    rmt_write_u64(to + 8, n);
    return 0;
}

/* One message with its frame's header, which is filled in when the message's size is known. */
static int encode_frame(struct rmt_py_state *st, struct rmt_scratch *s, PyObject *item)
{
    size_t header = s->size, before, pad;

    if (!rmt_scratch_add(s, FRAME_HEADER))
        return -1;
    before = s->size + s->outside;
    if (rmt_encode_item(st, s, item, &pad) < 0)
        return -1;
    rmt_write_u64(s->data + header, (s->size + s->outside - before - pad) << 6 | pad);
    return 0;
}

static int encode_chunk(struct rmt_py_state *st, struct rmt_scratch *s, PyObject *const *items,
                        size_t n)
{
    int width;
    bool floats;
    uint8_t *to;

    if (n && rmt_run_length(items, n, &width, &floats) == n) {
        if (put_chunk_header(s, floats ? CHUNK_FLOATS : CHUNK_INTS, width, n) < 0 ||
            !(to = rmt_scratch_add(s, n * (size_t)width)))
            return -1;
        rmt_run_write(to, items, n, width, floats);
        return 0;
    }
    if (put_chunk_header(s, CHUNK_FRAMES, 0, n) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (encode_frame(st, s, items[i]) < 0)
            return -1;
    }
    return 0;
}

int rmt_encode_many(struct rmt_py_state *st, PyObject *const *items, size_t n,
                    struct rmt_encoded *ret)
{
    struct rmt_scratch *s = rmt_scratch_take(st);

    if (!s)
        return -1;
    if (encode_chunk(st, s, items, n) < 0 || rmt_scratch_finish(s, ret) < 0) {
        rmt_scratch_give(st, s);
        return -1;
    }
    return 0;
}

int rmt_encode_range(struct rmt_py_state *st, int64_t first, int64_t step, size_t n,
                     struct rmt_encoded *ret)
{
    int width = rmt_range_width(first, first + (int64_t)(n - 1) * step);
    struct rmt_scratch *s = rmt_scratch_take(st);
    uint8_t *to;

    if (!s)
        return -1;
    if (put_chunk_header(s, CHUNK_INTS, width, n) < 0 ||
        !(to = rmt_scratch_add(s, n * (size_t)width))) {
        rmt_scratch_give(st, s);
        return -1;
    }
    rmt_range_write(to, first, step, n, width);
    if (rmt_scratch_finish(s, ret) < 0) {
        rmt_scratch_give(st, s);
        return -1;
    }
    return 0;
}

/* --- packs */

_Static_assert(RMT_PACK_SMALL >= FRAME_HEADER + RMT_SMALL_BYTES, "a small object's frame");

size_t rmt_pack_small(PyObject *obj, uint8_t to[RMT_PACK_SMALL])
{
    size_t size = rmt_encode_small(obj, to + FRAME_HEADER);
    rmt_write_u64(to, (uint64_t)size << 6);
    return size > 0 ? FRAME_HEADER + size : 0;
}

static size_t pack_pad(size_t used, const struct rmt_encoded *enc)
{
    return enc->align > 1 ? rmt_pad(used + FRAME_HEADER) : 0;
}

size_t rmt_pack_room(size_t used, const struct rmt_encoded *enc)
{
    return used + FRAME_HEADER + pack_pad(used, enc) + enc->size;
}

int rmt_pack_append(struct rmt_pack *pack, const struct rmt_encoded *enc)
{
    size_t room = rmt_pack_room(pack->used, enc), pad = pack_pad(pack->used, enc);
    uint8_t *to = pack->data + pack->used;

    if (room > pack->capacity)
        return -ENOSPC;
    rmt_write_u64(to, (uint64_t)enc->size << 6 | pad);
    memset(to + FRAME_HEADER, 0, pad);
    rmt_encoded_copy(enc, to + FRAME_HEADER + pad);
    pack->used = room;
    return 0;
}

void rmt_pack_open(const uint8_t *data, size_t used, struct rmt_items *ret)
{
    *ret = (struct rmt_items){.data = data, .size = used, .count = SIZE_MAX, .kind = CHUNK_PACK};
}

/* --- reading */

static int malformed(void)
{
    PyErr_SetString(PyExc_ValueError, "malformed chunk of messages");
    return -1;
}

int rmt_items_open(const uint8_t *data, size_t size, struct rmt_items *ret)
{
    struct rmt_items items = {.data = data, .size = size, .at = CHUNK_HEADER};
    uint64_t per_item;

    if (size < CHUNK_HEADER || data[0] != TAG_CHUNK)
        return malformed();
    items.kind = data[1];
    items.width = data[2];
    items.count = rmt_read_u64(data + 8);
    if (items.kind == CHUNK_FRAMES)
        per_item = FRAME_HEADER + 1;
    else if (items.kind == CHUNK_FLOATS && items.width == 8)
        per_item = 8;
    else if (items.kind == CHUNK_INTS &&
             (items.width == 1 || items.width == 2 || items.width == 4 || items.width == 8))
        per_item = items.width;
    else
        return malformed();
    if (items.count > (size - CHUNK_HEADER) / per_item)
        return malformed();
    *ret = items;
    return 0;
}

/* Whether there is another item. */
static bool more(const struct rmt_items *items)
{
    return items->kind == CHUNK_PACK ? items->at < items->size : items->index < items->count;
}

/* Passes over a frame; its message is put into *ret_data and *ret_size. */
static int next_frame(struct rmt_items *items, const uint8_t **ret_data, size_t *ret_size)
{
    size_t room = items->size - items->at, pad, size;
    uint64_t header;

    if (room < FRAME_HEADER)
        return malformed();
    header = rmt_read_u64(items->data + items->at);
    pad = header & 63;
    size = header >> 6;
    if (pad > room - FRAME_HEADER || size > room - FRAME_HEADER - pad)
        return malformed();
    *ret_data = items->data + items->at + FRAME_HEADER + pad;
    *ret_size = size;
    items->at += FRAME_HEADER + pad + size;
    items->index++;
    return 0;
}

int rmt_items_skip(struct rmt_items *items, size_t n)
{
    const uint8_t *data;
    size_t size;

    if (items->kind == CHUNK_INTS || items->kind == CHUNK_FLOATS) {
        if (n > items->count - items->index)
            return malformed();
        items->index += n;
        items->at += n * items->width;
        return 0;
    }
    for (; n > 0; n--) {
        if (!more(items) || next_frame(items, &data, &size) < 0)
            return PyErr_Occurred() ? -1 : malformed();
    }
    return 0;
}

PyObject *rmt_decode_next(struct rmt_py_state *st, struct rmt_items *items,
                          rmt_buffer_fn make_buffer, void *arg)
{
    const uint8_t *data;
    size_t size;

    if (!more(items))
        return NULL;
    if (items->kind == CHUNK_INTS || items->kind == CHUNK_FLOATS) {
        data = items->data + items->at;
        items->index++;
        items->at += items->width;
        return rmt_run_item(data, items->width, items->kind == CHUNK_FLOATS);
    }
    if (next_frame(items, &data, &size) < 0) {
        items->at = items->size; /* where the next frame would be is not known: that was the last */
        items->count = items->index;
        return NULL;
    }
    return rmt_decode(st, data, size, make_buffer, arg);
}
