/* SPDX-License-Identifier: MIT
 *
 * The format of messages, and what the files of the codec share among themselves. Nobody else
 * includes this.
 *
 * A message is one of
 *
 *     value                                                         everything small
 *     SEGMENTED 0*7 u64:stream-size value... | part | part ...      a value with large parts
 *     PICKLE pickle-bytes                                           to the end of the message
 *     PICKLE_BUFFERS pickle-bytes | part ... table u64:n u64:pickle-size
 *
 * where each `|` pads to a multiple of 64 from the start of the message, a part is the data of a
 * large str or bytes or an out-of-band buffer, and the table has a u64 for each part: its size * 2,
 * plus 1 if it is read-only. A value is a tag followed by what the tag says:
 *
 *     INT1..INT8       the number                  STR1..4, BYTES    length, data
 *     INT_BIG          length, two's complement    ..._LARGE         u64:length; the data is the
 *     FLOAT            the 8 bytes of a double                       next part
 *     TUPLE, LIST      count, values and runs      RANGE             three values
 *     DICT             count, key and value each   REF               number of a marked object
 *     RUN_INT1..8, RUN_FLOAT (in place of as many items of a tuple or list)  length, numbers
 *
 * A length or count is one byte, or 255 and a u64. The length of a str is in code units of the
 * tag's width. A str or bytes whose tag has TAG_MARK is numbered, from 0, for later REFs. Integers
 * are in the machine's byte order and not aligned.
 *
 * A chunk is CHUNK u8:kind u8:width 0*5 u64:count, then either the bare numbers or frames; a pack
 * is frames only. A frame is u64:(size * 64 + pad), pad zeros, and a message of that size. The pad
 * aligns messages that have parts to 64 from the start of the chunk or pack.
 */
#ifndef RMT_PY_CODEC_FORMAT_H
#define RMT_PY_CODEC_FORMAT_H

#include "module.h"

#include <stdbool.h>
#include <string.h>

enum {
    TAG_NONE = 1,
    TAG_FALSE,
    TAG_TRUE,
    TAG_INT1,
    TAG_INT2,
    TAG_INT4,
    TAG_INT8,
    TAG_INT_BIG,
    TAG_FLOAT,
    TAG_STR1,
    TAG_STR2,
    TAG_STR4,
    TAG_BYTES,
    TAG_STR1_LARGE, /* the four large ones are the four small ones + TAG_LARGE */
    TAG_STR2_LARGE,
    TAG_STR4_LARGE,
    TAG_BYTES_LARGE,
    TAG_TUPLE,
    TAG_LIST,
    TAG_DICT,
    TAG_RANGE,
    TAG_REF,
    TAG_RUN_INT1,
    TAG_RUN_INT2,
    TAG_RUN_INT4,
    TAG_RUN_INT8,
    TAG_RUN_FLOAT,
    TAG_LARGE = TAG_STR1_LARGE - TAG_STR1,
    TAG_MARK = 0x40,
    /* The first byte of what is not a bare value. */
    TAG_SEGMENTED = 0x80,
    TAG_PICKLE,
    TAG_PICKLE_BUFFERS,
    TAG_CHUNK,
};

enum { CHUNK_FRAMES = 1, CHUNK_INTS, CHUNK_FLOATS, CHUNK_PACK /* only in struct rmt_items */ };

/* Sizes of the fixed parts above. */
#define SEGMENTED_HEADER 16
#define PICKLE_TRAILER 16
#define CHUNK_HEADER 16
#define FRAME_HEADER 8

/* Containers nested deeper than this go to pickle. */
#define CODEC_DEPTH 32

/* Memory outside the scratch buffer; `owner` is a reference that keeps it alive. */
struct rmt_piece {
    size_t at; /* the piece comes before this byte of the scratch buffer */
    const void *data;
    size_t size; /* 0: the piece only keeps its owner */
    PyObject *owner;
    bool readonly;
};

struct rmt_memo_entry {
    const PyObject *object;
    uint32_t epoch;  /* the entry counts if this is the memo's */
    uint32_t number; /* of a str or bytes, MEMO_CONTAINER for others */
};

#define MEMO_CONTAINER UINT32_MAX

/*
 * Working memory for one encode at a time, kept for the next. Belongs to the thread whose encode or
 * rmt_encoded it serves, or to the state's idle list.
 *
 * Invariant: the message so far has size + outside bytes, where `outside` is the sum of
 * pieces[].size; pieces are in the order of `at`.
 */
struct rmt_scratch {
    uint8_t *data;
    size_t size, capacity;
    size_t outside;
    size_t align;

    struct rmt_piece *pieces;
    size_t npieces, pieces_capacity;

    /* Parts of the item being encoded, which are placed behind it when its stream is complete. */
    struct rmt_piece *late;
    size_t nlate, late_capacity;

    struct iovec *iov;
    size_t iov_capacity;
    struct iovec iov_single;

    uint64_t *refs;
    size_t nrefs, refs_capacity;

    /* Objects met in this item, open addressing; memo_mask + 1 entries, memo_used of this epoch. */
    struct rmt_memo_entry *memo;
    size_t memo_mask, memo_used;
    uint32_t memo_epoch, memo_numbers;

    PyObject *sink;             /* file and buffer callback of the pickler; points back here */
    PyObject *pickler;          /* NULL until the first pickle, and after an error */
    PyObject *pickler_reducers; /* what its dispatch_table was set to; borrowed from it */
    size_t pickle_size;         /* bytes of this item's pickle */

    struct rmt_scratch *next; /* in the idle list, or the encode that encloses this one */
};

static inline uint64_t rmt_read_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof(value));
    return value;
}

static inline void rmt_write_u64(uint8_t *to, uint64_t value)
{
    memcpy(to, &value, sizeof(value));
}

/* From n up to the next multiple of 64. */
static inline size_t rmt_pad(size_t n)
{
    return -n & (RMT_CODEC_ALIGN - 1);
}

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* codec_scratch.c */

struct rmt_scratch *rmt_scratch_take(struct rmt_py_state *st);
void rmt_scratch_give(struct rmt_py_state *st, struct rmt_scratch *s);
void rmt_scratch_free(struct rmt_scratch *s);

/* Makes room for n more bytes. 0, or -1 with MemoryError. */
int rmt_scratch_grow(struct rmt_scratch *s, size_t n);

/* Adds a piece at the end of the message, or of the late list; takes a new reference to `owner`. */
int rmt_scratch_piece(struct rmt_scratch *s, const void *data, size_t size, PyObject *owner);
int rmt_scratch_late(struct rmt_scratch *s, const void *data, size_t size, PyObject *owner,
                     bool readonly);

/* Adds to `refs`. 0, or -1 with MemoryError. */
int rmt_scratch_ref(struct rmt_scratch *s, uint64_t offset);

/* Inserts n zero bytes before byte `at`, where pieces from `first` on lie behind it. */
int rmt_scratch_insert(struct rmt_scratch *s, size_t at, size_t n, size_t first);

/* Places the late parts, each aligned. The list stays, for the pickle trailer, but owns no more. */
int rmt_scratch_place_late(struct rmt_scratch *s);

/* Back to `size` bytes and `npieces` pieces. */
void rmt_scratch_truncate(struct rmt_scratch *s, size_t size, size_t npieces);

/* Fills *ret from the complete message. 0, or -1 with MemoryError. */
int rmt_scratch_finish(struct rmt_scratch *s, struct rmt_encoded *ret);

/* n bytes at the end of the scratch buffer, to be filled in by the caller; NULL with MemoryError.
 */
static inline uint8_t *rmt_scratch_add(struct rmt_scratch *s, size_t n)
{
    uint8_t *to;
    if (s->capacity - s->size < n && rmt_scratch_grow(s, n) < 0)
        return NULL;
    to = s->data + s->size;
    s->size += n;
    return to;
}

static inline uint8_t *rmt_put_length(uint8_t *to, size_t n)
{
    if (LIKELY(n < 255)) {
        *to = (uint8_t)n;
        return to + 1;
    }
    *to = 255;
    rmt_write_u64(to + 1, n);
    return to + 9;
}

/* A tag and a length. */
static inline int rmt_put_head(struct rmt_scratch *s, uint8_t tag, size_t n)
{
    uint8_t *to = rmt_scratch_add(s, n < 255 ? 2 : 10);
    if (UNLIKELY(!to))
        return -1;
    *to = tag;
    rmt_put_length(to + 1, n);
    return 0;
}

/* codec_encode.c: appends a whole message; *ret_pad is what was put before it, to align it. */
int rmt_encode_item(struct rmt_py_state *st, struct rmt_scratch *s, PyObject *obj, size_t *ret_pad);

/* codec_memo.c: reset empties the memo. meet is 0 if the object was not met since, and enters it
 * with `number`; 1 if it was, with *ret_number from then; -1 with MemoryError. */
void rmt_memo_reset(struct rmt_scratch *s);
int rmt_memo_meet(struct rmt_scratch *s, const PyObject *obj, uint32_t number,
                  uint32_t *ret_number);

/* codec_number.c: exact ints and floats. */
int rmt_encode_int(struct rmt_scratch *s, PyObject *obj);
int rmt_encode_float(struct rmt_scratch *s, PyObject *obj);

/* The tag for numbers of `width` bytes, of the four from `tag_of_1` on. */
int rmt_width_tag(int tag_of_1, int width);

/* How many of the n items, from the first, are ints of 64 bits or floats; with the bytes that the
 * widest of them needs, and whether they are floats. */
size_t rmt_run_length(PyObject *const *items, size_t n, int *ret_width, bool *ret_floats);
void rmt_run_write(uint8_t *to, PyObject *const *items, size_t n, int width, bool floats);

/* The object of one number of a run. */
PyObject *rmt_run_item(const uint8_t *at, int width, bool floats);

/* The same for n numbers, each `step` after the one before; all of them are in 64 bits. */
int rmt_range_width(int64_t first, int64_t last);
void rmt_range_write(uint8_t *to, int64_t first, int64_t step, size_t n, int width);

/* Writes None, a bool, a float or an int of 64 bits as a value, and returns its size; else 0. */
#define RMT_SMALL_BYTES 9
size_t rmt_encode_small(PyObject *obj, uint8_t to[RMT_SMALL_BYTES]);

/* codec_pickle.c: appends PICKLE or, if there are late parts, PICKLE_BUFFERS with the bytes of the
 * pickle; the trailer is for after those parts were placed. */
int rmt_pickle_encode(struct rmt_py_state *st, struct rmt_scratch *s, PyObject *obj);
int rmt_pickle_trailer(struct rmt_scratch *s);

/* Sees to it that `loads` and what encoding needs are there. */
int rmt_pickle_imports(struct rmt_py_codec *codec);

/* codec_unpickle.c: any message whose first byte is PICKLE or PICKLE_BUFFERS. */
PyObject *rmt_pickle_decode(struct rmt_py_state *st, const uint8_t *data, size_t size,
                            rmt_buffer_fn make_buffer, void *arg);
int rmt_pickle_add_types(PyObject *module);

/* Around changes of struct rmt_py_codec; no Python code runs in between. */
static inline void rmt_codec_lock(struct rmt_py_codec *codec)
{
#ifdef Py_GIL_DISABLED
    PyMutex_Lock(&codec->mutex);
#else
    (void)codec; /* the GIL is held, and nothing in between lets go of it */
#endif
}

static inline void rmt_codec_unlock(struct rmt_py_codec *codec)
{
#ifdef Py_GIL_DISABLED
    PyMutex_Unlock(&codec->mutex);
#else
    (void)codec;
#endif
}

#endif
