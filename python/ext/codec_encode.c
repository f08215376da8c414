/* SPDX-License-Identifier: MIT
 *
 * The direct encoder: exact None, bool, int, float, str, bytes, range, and tuples, lists and dicts
 * of those. It calls no Python code and reads the objects only; whatever it does not know, or could
 * not give back with its identity, it leaves to codec_pickle.c, for the whole message.
 *
 * Identity. Pickle gives back one object for an object that occurs twice in a message, except for
 * ints, floats and singletons. So a container that is met twice sends the message to pickle, and
 * a str or bytes that is met twice becomes a REF. An object with one reference has it from the
 * container it was found in and cannot be met again, which spares most objects the memo.
 */
#include "codec_format.h"

/* What an encoding function returns besides 0 and -1: leave this message to pickle. */
#define TO_PICKLE 1

/* Shorter runs than this are not worth a run's header. */
#define RUN_MIN 8

static int encode_value(struct rmt_scratch *s, PyObject *obj, int depth);

static int put_tag(struct rmt_scratch *s, uint8_t tag)
{
    uint8_t *to = rmt_scratch_add(s, 1);
    if (UNLIKELY(!to))
        return -1;
    *to = tag;
    return 0;
}

/* --- str and bytes */

static int encode_data(struct rmt_scratch *s, PyObject *obj, int tag, const void *data, size_t size,
                       size_t length)
{
    uint8_t *to;

    if (Py_REFCNT(obj) > 1 && (length > 1 || (length == 1 && tag > TAG_STR1 && tag < TAG_BYTES))) {
        uint32_t number;
        int met = rmt_memo_meet(s, obj, s->memo_numbers, &number);
        if (met)
            return met < 0 ? -1 : rmt_put_head(s, TAG_REF, number);
        if (UNLIKELY(++s->memo_numbers == MEMO_CONTAINER))
            return TO_PICKLE;
        tag |= TAG_MARK;
    }
    if (UNLIKELY(size >= RMT_CODEC_LARGE)) {
        to = rmt_scratch_add(s, 9);
        if (!to)
            return -1;
        *to = (uint8_t)(tag + TAG_LARGE);
        rmt_write_u64(to + 1, length);
        return rmt_scratch_late(s, data, size, obj, true);
    }
    to = rmt_scratch_add(s, (length < 255 ? 2 : 10) + size);
    if (UNLIKELY(!to))
        return -1;
    *to = (uint8_t)tag;
    memcpy(rmt_put_length(to + 1, length), data, size);
    return 0;
}

static int encode_str(struct rmt_scratch *s, PyObject *obj)
{
    size_t length, kind;

#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(obj) < 0)
        return -1;
#endif
    length = (size_t)PyUnicode_GET_LENGTH(obj);
    kind = PyUnicode_KIND(obj);
    return encode_data(s, obj, TAG_STR1 + (kind > 1) + (kind > 2), PyUnicode_DATA(obj),
                       length * kind, length);
}

static int encode_bytes(struct rmt_scratch *s, PyObject *obj)
{
    size_t size = (size_t)PyBytes_GET_SIZE(obj);
    return encode_data(s, obj, TAG_BYTES, PyBytes_AS_STRING(obj), size, size);
}

/* Encodes a run at the start of items, if there is a long enough one; *ret is its length or 0. */
static int encode_run(struct rmt_scratch *s, PyObject *const *items, size_t n, size_t *ret,
                      size_t *ret_single)
{
    int width;
    bool floats;
    size_t run = rmt_run_length(items, n, &width, &floats);
    uint8_t *to;

    *ret = 0;
    *ret_single = run ? run : 1;
    if (run < RUN_MIN)
        return 0;
    if (rmt_put_head(s, (uint8_t)(floats ? TAG_RUN_FLOAT : rmt_width_tag(TAG_RUN_INT1, width)),
                     run) < 0 ||
        !(to = rmt_scratch_add(s, run * (size_t)width)))
        return -1;
    rmt_run_write(to, items, run, width, floats);
    *ret = run;
    return 0;
}

/* --- containers */

/* 0 if the container was not met before and may be encoded. */
static int enter(struct rmt_scratch *s, PyObject *obj, int depth)
{
    uint32_t number;

    if (UNLIKELY(depth >= CODEC_DEPTH))
        return TO_PICKLE;
    if (Py_REFCNT(obj) == 1 && depth > 0)
        return 0;
    return rmt_memo_meet(s, obj, MEMO_CONTAINER, &number); /* met: 1, which is TO_PICKLE */
}

static int encode_array(struct rmt_scratch *s, int tag, PyObject *const *items, size_t n, int depth)
{
    if (rmt_put_head(s, (uint8_t)tag, n) < 0)
        return -1;
    for (size_t i = 0; i < n;) {
        size_t run = 0, single = n - i;
        if (n - i >= RUN_MIN && encode_run(s, items + i, n - i, &run, &single) < 0)
            return -1;
        if (run) {
            i += run;
            continue;
        }
        for (; single > 0; single--, i++) {
            int r = encode_value(s, items[i], depth + 1);
            if (UNLIKELY(r))
                return r;
        }
    }
    return 0;
}

static int encode_tuple(struct rmt_scratch *s, PyObject *obj, int depth)
{
    size_t n = (size_t)PyTuple_GET_SIZE(obj);
    int r = n ? enter(s, obj, depth) : 0; /* the empty tuple is a singleton */
    return r ? r : encode_array(s, TAG_TUPLE, ((PyTupleObject *)obj)->ob_item, n, depth);
}

/*
 * In a free-threaded build another thread may change a list or dict meanwhile, so a copy is
 * encoded; the scratch keeps it, so that no other object gets the address of one that the memo
 * knows.
 */
static PyObject *snapshot(struct rmt_scratch *s, PyObject *obj)
{
#ifdef Py_GIL_DISABLED
    PyObject *copy = PyDict_CheckExact(obj) ? PyDict_Copy(obj) : PyList_AsTuple(obj);
    if (copy) {
        int r = rmt_scratch_piece(s, NULL, 0, copy);
        Py_DECREF(copy);
        return r < 0 ? NULL : copy;
    }
    return NULL;
#else
    (void)s;
    return obj;
#endif
}

static int encode_list(struct rmt_scratch *s, PyObject *obj, int depth)
{
    int r = enter(s, obj, depth);
    if (r)
        return r;
    obj = snapshot(s, obj);
    return obj ? encode_array(s, TAG_LIST, PySequence_Fast_ITEMS(obj),
                              (size_t)PySequence_Fast_GET_SIZE(obj), depth)
               : -1;
}

static int encode_dict(struct rmt_scratch *s, PyObject *obj, int depth)
{
    PyObject *key, *value;
    Py_ssize_t pos = 0;
    int r = enter(s, obj, depth);

    if (r)
        return r;
    obj = snapshot(s, obj);
    if (!obj || rmt_put_head(s, TAG_DICT, (size_t)PyDict_GET_SIZE(obj)) < 0)
        return -1;
    while (PyDict_Next(obj, &pos, &key, &value)) {
        if ((r = encode_value(s, key, depth + 1)) || (r = encode_value(s, value, depth + 1)))
            return r;
    }
    return 0;
}

static int encode_range(struct rmt_scratch *s, PyObject *obj, int depth)
{
    static const char *const names[] = {"start", "stop", "step"};
    int r = enter(s, obj, depth);

    if (r || put_tag(s, TAG_RANGE) < 0)
        return r ? r : -1;
    for (int i = 0; i < 3; i++) {
        PyObject *value = PyObject_GetAttrString(obj, names[i]);
        if (!value)
            return -1;
        r = PyLong_CheckExact(value) ? rmt_encode_int(s, value) : TO_PICKLE;
        Py_DECREF(value);
        if (r)
            return r;
    }
    return 0;
}

static int encode_value(struct rmt_scratch *s, PyObject *obj, int depth)
{
    PyTypeObject *type = Py_TYPE(obj);

    if (type == &PyLong_Type)
        return rmt_encode_int(s, obj);
    if (type == &PyUnicode_Type)
        return encode_str(s, obj);
    if (type == &PyFloat_Type)
        return rmt_encode_float(s, obj);
    if (type == &PyTuple_Type)
        return encode_tuple(s, obj, depth);
    if (type == &PyDict_Type)
        return encode_dict(s, obj, depth);
    if (type == &PyList_Type)
        return encode_list(s, obj, depth);
    if (obj == Py_None)
        return put_tag(s, TAG_NONE);
    if (type == &PyBool_Type)
        return put_tag(s, obj == Py_True ? TAG_TRUE : TAG_FALSE);
    if (type == &PyBytes_Type)
        return encode_bytes(s, obj);
    return type == &PyRange_Type ? encode_range(s, obj, depth) : TO_PICKLE;
}

/* --- messages */

/* A value with large parts gets its header in front of its stream. */
static int add_segmented_header(struct rmt_scratch *s, size_t start, size_t first)
{
    size_t stream = s->size - start;
    if (rmt_scratch_insert(s, start, SEGMENTED_HEADER, first) < 0)
        return -1;
    s->data[start] = TAG_SEGMENTED;
    rmt_write_u64(s->data + start + 8, stream);
    return 0;
}

int rmt_encode_item(struct rmt_py_state *st, struct rmt_scratch *s, PyObject *obj, size_t *ret_pad)
{
    size_t start = s->size, first = s->npieces, pad = rmt_pad(start + s->outside);
    int r;

    rmt_memo_reset(s);
    *ret_pad = 0;
    r = encode_value(s, obj, 0);
    if (r < 0)
        return -1;
    if (r == TO_PICKLE) {
        rmt_scratch_truncate(s, start, first);
        if (rmt_pickle_encode(st, s, obj) < 0)
            return -1;
    } else if (s->nlate && add_segmented_header(s, start, first) < 0) {
        return -1;
    }
    if (!s->nlate)
        return 0;
    *ret_pad = pad;
    if (pad && rmt_scratch_insert(s, start, pad, first) < 0)
        return -1;
    if (rmt_scratch_place_late(s) < 0)
        return -1;
    if (r == TO_PICKLE && rmt_pickle_trailer(s) < 0)
        return -1;
    s->nlate = 0;
    return 0;
}

int rmt_encode(struct rmt_py_state *st, PyObject *obj, struct rmt_encoded *ret)
{
    struct rmt_scratch *s = rmt_scratch_take(st);
    size_t pad;

    if (UNLIKELY(!s))
        return -1;
    if (UNLIKELY(rmt_encode_item(st, s, obj, &pad) < 0 || rmt_scratch_finish(s, ret) < 0)) {
        rmt_scratch_give(st, s);
        return -1;
    }
    return 0;
}
