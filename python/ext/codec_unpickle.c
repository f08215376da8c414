/* SPDX-License-Identifier: MIT
 *
 * Decoding of messages that are pickles: finds the pickle and its out-of-band buffers in the
 * message and hands them to the C unpickler.
 */
#include "codec_format.h"

/* A pickle up to this size is copied for the unpickler, a larger one is read where it lies. */
#define COPY_PICKLE ((size_t)16 << 10)

static PyObject *call_loads(struct rmt_py_codec *codec, PyObject *pickle, PyObject *buffers)
{
    PyObject *args[] = {pickle, buffers};
    return PyObject_Vectorcall(codec->loads, args, 1, buffers ? codec->kw_buffers : NULL);
}

/* Ends a view of memory that will go away; an exception that is set stays. */
static int release_view(struct rmt_py_codec *codec, PyObject *view)
{
    PyObject *type, *value, *traceback, *result;

    PyErr_Fetch(&type, &value, &traceback);
    result = PyObject_CallMethodNoArgs(view, codec->str_release);
    Py_XDECREF(result);
    if (type)
        PyErr_Restore(type, value, traceback); /* tells more than why the release failed */
    return result ? 0 : -1;
}

static PyObject *load(struct rmt_py_codec *codec, const uint8_t *data, size_t size,
                      PyObject *buffers)
{
    PyObject *pickle, *obj;

    if (size <= COPY_PICKLE) {
        pickle = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
        obj = pickle ? call_loads(codec, pickle, buffers) : NULL;
    } else {
        pickle = PyMemoryView_FromMemory((char *)(uintptr_t)data, (Py_ssize_t)size, PyBUF_READ);
        obj = pickle ? call_loads(codec, pickle, buffers) : NULL;
        if (pickle && release_view(codec, pickle) < 0)
            Py_CLEAR(obj);
    }
    Py_XDECREF(pickle);
    return obj;
}

/* What the unpickler is given for one buffer; by default the type that pickle itself would make. */
static PyObject *buffer_at(const uint8_t *data, size_t size, int readonly,
                           rmt_buffer_fn make_buffer, void *arg)
{
    if (make_buffer) {
        PyObject *made = make_buffer(arg, data, size, readonly);
        if (made || PyErr_Occurred())
            return made;
    }
    if (readonly)
        return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    return PyByteArray_FromStringAndSize((const char *)data, (Py_ssize_t)size);
}

static PyObject *malformed(void)
{
    PyErr_SetString(PyExc_ValueError, "malformed message: the buffers of its pickle");
    return NULL;
}

static PyObject *decode_buffers(struct rmt_py_codec *codec, const uint8_t *data, size_t size,
                                rmt_buffer_fn make_buffer, void *arg)
{
    const uint8_t *table;
    uint64_t count, pickle_size;
    size_t end, at;
    PyObject *buffers, *obj;

    if (size < 1 + PICKLE_TRAILER)
        return malformed();
    end = size - PICKLE_TRAILER;
    count = rmt_read_u64(data + end);
    pickle_size = rmt_read_u64(data + end + 8);
    if (count > (end - 1) / 8 || pickle_size > end - 1 - 8 * count)
        return malformed();
    end -= 8 * count;
    table = data + end;
    at = 1 + pickle_size;
    buffers = PyList_New(0);
    for (uint64_t i = 0; buffers && i < count; i++) {
        uint64_t entry = rmt_read_u64(table + 8 * i);
        PyObject *buffer;
        at += rmt_pad(at);
        if (at > end || entry >> 1 > end - at) {
            Py_DECREF(buffers);
            return malformed();
        }
        buffer = buffer_at(data + at, entry >> 1, entry & 1, make_buffer, arg);
        if (!buffer || PyList_Append(buffers, buffer) < 0)
            Py_CLEAR(buffers);
        Py_XDECREF(buffer);
        at += entry >> 1;
    }
    if (!buffers)
        return NULL;
    obj = load(codec, data + 1, pickle_size, buffers);
    Py_DECREF(buffers);
    return obj;
}

PyObject *rmt_pickle_decode(struct rmt_py_state *st, const uint8_t *data, size_t size,
                            rmt_buffer_fn make_buffer, void *arg)
{
    if (rmt_pickle_imports(&st->codec) < 0)
        return NULL;
    if (data[0] == TAG_PICKLE_BUFFERS)
        return decode_buffers(&st->codec, data, size, make_buffer, arg);
    return load(&st->codec, data + 1, size - 1, NULL);
}
