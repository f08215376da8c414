/* SPDX-License-Identifier: MIT
 *
 * The direct decoder. Its input is not trusted: a count is believed only as far as the bytes behind
 * it could make it true, and nothing outside the message is ever read.
 */
#include "codec_format.h"

/* Longer keys of dicts are not kept for the next message. */
#define KEY_MAX 32

/* Marked objects that need no allocation. */
#define MARKED_INLINE 32

struct reader {
    const uint8_t *at, *end; /* the rest of the stream */
    const uint8_t *data;     /* the message */
    size_t size;
    struct rmt_py_codec *codec;
    size_t part; /* where the last large part ended; 0: the message has none */
    /* The marked objects so far. Borrowed: each is held by what is being built, or by the top. */
    PyObject **marked;
    size_t nmarked, marked_capacity;
    PyObject *marked_inline[MARKED_INLINE];
};

static PyObject *read_value(struct reader *r, int depth);

static PyObject *malformed(const char *what)
{
    PyErr_Format(PyExc_ValueError, "malformed message: %s", what);
    return NULL;
}

static PyObject *truncated(void)
{
    PyErr_SetString(PyExc_EOFError, "the message ends too early");
    return NULL;
}

static inline size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

/* --- lengths and numbers */

static inline bool read_length(struct reader *r, size_t *ret)
{
    if (UNLIKELY(r->at == r->end))
        return truncated();
    if (LIKELY(*r->at < 255)) {
        *ret = *r->at++;
        return true;
    }
    if (left(r) < 9)
        return truncated();
    *ret = rmt_read_u64(r->at + 1);
    r->at += 9;
    return true;
}

static PyObject *read_number(struct reader *r, int width, bool floats)
{
    const uint8_t *at = r->at;
    if (UNLIKELY(left(r) < (size_t)width))
        return truncated();
    r->at += width;
    return rmt_run_item(at, width, floats);
}

static PyObject *read_big_int(struct reader *r)
{
    const uint8_t *at;
    size_t n;

    if (!read_length(r, &n))
        return NULL;
    if (n > left(r))
        return truncated();
    at = r->at;
    r->at += n;
#if PY_VERSION_HEX >= 0x030d0000
    return PyLong_FromNativeBytes(at, n, Py_ASNATIVEBYTES_NATIVE_ENDIAN);
#else
    return _PyLong_FromByteArray(at, n, PY_LITTLE_ENDIAN, 1);
#endif
}

/* --- str and bytes */

static PyObject *make_data(int tag, const uint8_t *data, size_t length)
{
    switch (tag) {
    case TAG_STR1:
        return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, data, (Py_ssize_t)length);
    case TAG_STR2:
        return PyUnicode_FromKindAndData(PyUnicode_2BYTE_KIND, data, (Py_ssize_t)length);
    case TAG_STR4:
        for (size_t i = 0; i < length; i++) {
            uint32_t c;
            memcpy(&c, data + 4 * i, 4);
            if (c > 0x10ffff)
                return malformed("a character is out of range");
        }
        return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, data, (Py_ssize_t)length);
    default:
        return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)length);
    }
}

static bool mark(struct reader *r, PyObject *obj)
{
    if (r->nmarked == r->marked_capacity) {
        size_t wanted = r->marked_capacity * 2;
        PyObject **old = r->marked == r->marked_inline ? NULL : r->marked;
        PyObject **new = PyMem_Realloc(old, wanted * sizeof(*new));
        if (!new)
            return PyErr_NoMemory();
        if (!old)
            memcpy(new, r->marked_inline, sizeof(r->marked_inline));
        r->marked = new;
        r->marked_capacity = wanted;
    }
    r->marked[r->nmarked++] = obj;
    return true;
}

/* Where the data of `size` bytes is that belongs to the value just read; NULL with an exception. */
static const uint8_t *find_data(struct reader *r, bool large, size_t length, size_t unit)
{
    const uint8_t *at = r->at;
    size_t part = r->part + rmt_pad(r->part);

    if (!large) {
        if (UNLIKELY(length > left(r) / unit)) {
            truncated();
            return NULL;
        }
        r->at += length * unit;
        return at;
    }
    if (!r->part) {
        malformed("it has no large parts");
        return NULL;
    }
    if (part > r->size || length > (r->size - part) / unit) {
        truncated();
        return NULL;
    }
    r->part = part + length * unit;
    return r->data + part;
}

static PyObject *read_data(struct reader *r, int tag)
{
    bool marked = tag & TAG_MARK, large;
    const uint8_t *data;
    PyObject *obj;
    size_t length;

    tag &= ~TAG_MARK;
    large = tag >= TAG_STR1_LARGE;
    if (large) {
        tag -= TAG_LARGE;
        if (left(r) < 8)
            return truncated();
        length = rmt_read_u64(r->at);
        r->at += 8;
    } else if (!read_length(r, &length)) {
        return NULL;
    }
    data = find_data(r, large, length, tag == TAG_STR4 ? 4 : tag == TAG_STR2 ? 2 : 1);
    obj = data ? make_data(tag, data, length) : NULL;
    if (obj && marked && !mark(r, obj))
        Py_CLEAR(obj);
    return obj;
}

static PyObject *read_ref(struct reader *r)
{
    size_t number;

    if (!read_length(r, &number))
        return NULL;
    if (number >= r->nmarked)
        return malformed("it refers to what it does not have");
    return Py_NewRef(r->marked[number]);
}

/* --- containers */

/* The width of the numbers of a run, 0 if the tag is not a run's. */
static inline int run_width(int tag)
{
    if (LIKELY(tag < TAG_RUN_INT1 || tag > TAG_RUN_FLOAT))
        return 0;
    return tag == TAG_RUN_FLOAT ? 8 : 1 << (tag - TAG_RUN_INT1);
}

/* Reads a run of at most `room` numbers into `items`; *ret_filled counts what was stored. */
static bool read_run(struct reader *r, PyObject **items, size_t room, size_t *ret_filled)
{
    bool floats = *r->at == TAG_RUN_FLOAT;
    int width = run_width(*r->at);
    size_t n;

    r->at++;
    *ret_filled = 0;
    if (!read_length(r, &n))
        return false;
    if (n > room)
        return malformed("a run is longer than its list");
    if (n > left(r) / (size_t)width)
        return truncated();
    for (size_t i = 0; i < n; i++, r->at += width) {
        items[i] = rmt_run_item(r->at, width, floats);
        if (UNLIKELY(!items[i]))
            return false;
        *ret_filled = i + 1;
    }
    return true;
}

static bool read_array(struct reader *r, PyObject **items, size_t n, int depth)
{
    for (size_t i = 0; i < n;) {
        if (UNLIKELY(r->at < r->end && run_width(*r->at))) {
            size_t filled;
            bool good = read_run(r, items + i, n - i, &filled);
            i += filled;
            if (!good)
                return false;
        } else {
            items[i] = read_value(r, depth + 1);
            if (UNLIKELY(!items[i]))
                return false;
            i++;
        }
    }
    return true;
}

/* A tuple or list. While it has holes the garbage collector must not show it to anybody. */
static PyObject *read_sequence(struct reader *r, int tag, int depth)
{
    PyObject *obj, **items;
    size_t n;

    if (!read_length(r, &n))
        return NULL;
    if (n > left(r)) /* each item takes a byte or more */
        return truncated();
    if (n == 0)
        return tag == TAG_TUPLE ? PyTuple_New(0) : PyList_New(0);
    obj = tag == TAG_TUPLE ? PyTuple_New((Py_ssize_t)n) : PyList_New((Py_ssize_t)n);
    if (UNLIKELY(!obj))
        return NULL;
    PyObject_GC_UnTrack(obj);
    items = tag == TAG_TUPLE ? ((PyTupleObject *)obj)->ob_item : ((PyListObject *)obj)->ob_item;
    if (UNLIKELY(!read_array(r, items, n, depth))) {
        Py_DECREF(obj);
        return NULL;
    }
    PyObject_GC_Track(obj);
    return obj;
}

#ifndef Py_GIL_DISABLED
static size_t hash_text(const uint8_t *text, size_t length)
{
    uint64_t first = 0, last = 0;

    if (length >= 8) {
        memcpy(&first, text, 8);
        memcpy(&last, text + length - 8, 8);
    } else if (length >= 4) {
        memcpy(&first, text, 4);
        memcpy(&last, text + length - 4, 4);
    } else {
        memcpy(&first, text, 2);
        last = text[length - 1];
    }
    return (size_t)((first * 31 + last + length) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

/*
 * A key of a dict. Programs send the same few keys in message after message; to give out the str of
 * last time saves its allocation, and its hash is known. So equal keys may come back as one object
 * where pickle makes two; being immutable, nothing but `is` tells.
 */
static PyObject *read_key(struct reader *r, int depth)
{
    PyObject **slot, *key;
    const uint8_t *text = r->at + 2;
    size_t length = left(r) >= 2 ? r->at[1] : 0;
    int tag = length ? *r->at : 0;

    if ((tag & ~TAG_MARK) != TAG_STR1 || length < 2 || length > KEY_MAX || length > left(r) - 2)
        return read_value(r, depth);
    slot = &r->codec->keys[hash_text(text, length) & (RMT_CODEC_KEYS - 1)];
    key = *slot;
    if (!key || (size_t)PyUnicode_GET_LENGTH(key) != length ||
        memcmp(PyUnicode_1BYTE_DATA(key), text, length) != 0) {
        if (!(key = make_data(TAG_STR1, text, length)))
            return NULL;
        Py_XSETREF(*slot, key); /* a str's end runs no Python code */
    }
    r->at += 2 + length;
    Py_INCREF(key);
    if ((tag & TAG_MARK) && !mark(r, key))
        Py_CLEAR(key);
    return key;
}
#else
static PyObject *read_key(struct reader *r, int depth)
{
    return read_value(r, depth);
}
#endif

/* A key that occurs twice would drop the first value, which `marked` may still know: no such dict.
 */
static bool read_entry(struct reader *r, PyObject *dict, Py_ssize_t size, int depth)
{
    PyObject *key, *value;
    bool good;

    if (!(key = read_key(r, depth + 1)))
        return false;
    if (!(value = read_value(r, depth + 1))) {
        Py_DECREF(key);
        return false;
    }
    good = PyDict_SetItem(dict, key, value) == 0;
    Py_DECREF(key);
    Py_DECREF(value);
    if (UNLIKELY(!good)) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Clear();
            malformed("a key cannot be hashed");
        }
        return false;
    }
    return PyDict_GET_SIZE(dict) == size || malformed("a key occurs twice");
}

static PyObject *read_dict(struct reader *r, int depth)
{
    PyObject *dict;
    size_t n;

    if (!read_length(r, &n))
        return NULL;
    if (n > left(r) / 2)
        return truncated();
    dict = PyDict_New();
    for (size_t i = 0; dict && i < n; i++) {
        if (!read_entry(r, dict, (Py_ssize_t)i + 1, depth))
            Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *read_range(struct reader *r, int depth)
{
    PyObject *parts[3] = {NULL}, *obj = NULL;
    int n = 0;

    while (n < 3 && (parts[n] = read_value(r, depth + 1)) && PyLong_CheckExact(parts[n]))
        n++;
    if (n == 3)
        obj = PyObject_Vectorcall((PyObject *)&PyRange_Type, parts, 3, NULL);
    else if (!PyErr_Occurred())
        malformed("a range of what is no integer");
    for (int i = 0; i < 3; i++)
        Py_XDECREF(parts[i]);
    return obj;
}

static PyObject *read_value(struct reader *r, int depth)
{
    int tag;

    if (UNLIKELY(r->at == r->end))
        return truncated();
    if (UNLIKELY(depth > CODEC_DEPTH))
        return malformed("it is nested too deep");
    tag = *r->at++;
    switch (tag) {
    case TAG_NONE:
        Py_RETURN_NONE;
    case TAG_FALSE:
        Py_RETURN_FALSE;
    case TAG_TRUE:
        Py_RETURN_TRUE;
    case TAG_INT1:
    case TAG_INT2:
    case TAG_INT4:
    case TAG_INT8:
        return read_number(r, 1 << (tag - TAG_INT1), false);
    case TAG_INT_BIG:
        return read_big_int(r);
    case TAG_FLOAT:
        return read_number(r, 8, true);
    case TAG_TUPLE:
    case TAG_LIST:
        return read_sequence(r, tag, depth);
    case TAG_DICT:
        return read_dict(r, depth);
    case TAG_RANGE:
        return read_range(r, depth);
    case TAG_REF:
        return read_ref(r);
    }
    if ((tag & ~TAG_MARK) >= TAG_STR1 && (tag & ~TAG_MARK) <= TAG_BYTES_LARGE)
        return read_data(r, tag);
    return malformed("an unknown tag");
}

/* --- messages */

PyObject *rmt_decode(struct rmt_py_state *st, const uint8_t *data, size_t size,
                     rmt_buffer_fn make_buffer, void *arg)
{
    struct reader r; /* field by field: nothing reads marked_inline past nmarked */
    PyObject *obj;

    if (UNLIKELY(!size))
        return truncated();
    if (data[0] >= TAG_INT1 && data[0] <= TAG_INT8 && size == 1 + (1u << (data[0] - TAG_INT1)))
        return rmt_run_item(data + 1, (int)size - 1, false); /* the most frequent by far */
    r.codec = &st->codec;
    r.at = data;
    r.end = data + size;
    r.data = data;
    r.size = size;
    r.part = 0;
    r.marked = r.marked_inline;
    r.nmarked = 0;
    r.marked_capacity = MARKED_INLINE;
    if (UNLIKELY(data[0] >= TAG_SEGMENTED)) {
        uint64_t stream;
        if (data[0] == TAG_PICKLE || data[0] == TAG_PICKLE_BUFFERS)
            return rmt_pickle_decode(st, data, size, make_buffer, arg);
        if (data[0] != TAG_SEGMENTED)
            return malformed("an unknown tag");
        if (size < SEGMENTED_HEADER)
            return truncated();
        stream = rmt_read_u64(data + 8);
        if (stream > size - SEGMENTED_HEADER)
            return truncated();
        r.at = data + SEGMENTED_HEADER;
        r.end = r.at + stream;
        r.part = SEGMENTED_HEADER + stream;
    }
    obj = read_value(&r, 0);
    if (obj && UNLIKELY(r.at != r.end || (r.part && r.part != size))) {
        Py_CLEAR(obj);
        malformed("something follows it");
    }
    if (r.marked != r.marked_inline)
        PyMem_Free(r.marked);
    return obj;
}
