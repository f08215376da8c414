/* SPDX-License-Identifier: MIT
 *
 * The codec's place in the module: its state's life, what callers do with an encoded message, and
 * private functions through which the tests reach all of it.
 */
#include "codec_format.h"

void rmt_encoded_copy(const struct rmt_encoded *enc, void *to)
{
    uint8_t *at = to;

    for (int i = 0; i < enc->iovcnt; i++) {
        memcpy(at, enc->iov[i].iov_base, enc->iov[i].iov_len);
        at += enc->iov[i].iov_len;
    }
}

void rmt_encoded_release(struct rmt_py_state *st, struct rmt_encoded *enc)
{
    rmt_scratch_give(st, enc->scratch);
    enc->scratch = NULL;
}

int rmt_py_codec_traverse(struct rmt_py_codec *codec, visitproc visit, void *arg)
{
    Py_VISIT(codec->pickler_type);
    Py_VISIT(codec->loads);
    Py_VISIT(codec->forking_table);
    Py_VISIT(codec->copyreg_table);
    Py_VISIT(codec->forking_seen);
    Py_VISIT(codec->copyreg_seen);
    Py_VISIT(codec->reducers);
    for (struct rmt_scratch *s = codec->idle; s; s = s->next) {
        Py_VISIT(s->sink);
        Py_VISIT(s->pickler);
    }
    return 0;
}

void rmt_py_codec_clear(struct rmt_py_codec *codec)
{
    struct rmt_scratch *s;

    while ((s = codec->idle)) {
        codec->idle = s->next;
        codec->idle_count--;
        rmt_scratch_free(s);
    }
    Py_CLEAR(codec->pickler_type);
    Py_CLEAR(codec->loads);
    Py_CLEAR(codec->forking_table);
    Py_CLEAR(codec->copyreg_table);
    Py_CLEAR(codec->forking_seen);
    Py_CLEAR(codec->copyreg_seen);
    Py_CLEAR(codec->reducers);
    Py_CLEAR(codec->str_dump);
    Py_CLEAR(codec->str_clear_memo);
    Py_CLEAR(codec->str_dispatch_table);
    Py_CLEAR(codec->str_release);
    Py_CLEAR(codec->kw_buffers);
#ifndef Py_GIL_DISABLED
    for (int i = 0; i < RMT_CODEC_KEYS; i++)
        Py_CLEAR(codec->keys[i]);
#endif
}

/* --- for the tests */

static PyObject *encoded_as_bytes(struct rmt_py_state *st, struct rmt_encoded *enc)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)enc->size);
    if (bytes)
        rmt_encoded_copy(enc, PyBytes_AS_STRING(bytes));
    rmt_encoded_release(st, enc);
    return bytes;
}

static PyObject *test_encode(PyObject *module, PyObject *obj)
{
    struct rmt_py_state *st = rmt_py_state(module);
    struct rmt_encoded enc;
    return rmt_encode(st, obj, &enc) < 0 ? NULL : encoded_as_bytes(st, &enc);
}

/* (parts, alignment, references) of the message that an object becomes. */
static PyObject *test_encode_parts(PyObject *module, PyObject *obj)
{
    struct rmt_py_state *st = rmt_py_state(module);
    struct rmt_encoded enc;
    PyObject *parts, *refs, *result = NULL;

    if (rmt_encode(st, obj, &enc) < 0)
        return NULL;
    parts = PyTuple_New(enc.iovcnt);
    refs = PyTuple_New((Py_ssize_t)enc.nrefs);
    for (int i = 0; parts && i < enc.iovcnt; i++) {
        PyObject *part =
            PyBytes_FromStringAndSize(enc.iov[i].iov_base, (Py_ssize_t)enc.iov[i].iov_len);
        if (part)
            PyTuple_SET_ITEM(parts, i, part);
        else
            Py_CLEAR(parts);
    }
    for (size_t i = 0; refs && i < enc.nrefs; i++) {
        PyObject *ref = PyLong_FromUnsignedLongLong(enc.refs[i]);
        if (ref)
            PyTuple_SET_ITEM(refs, (Py_ssize_t)i, ref);
        else
            Py_CLEAR(refs);
    }
    if (parts && refs)
        result = Py_BuildValue("(OnO)", parts, (Py_ssize_t)enc.align, refs);
    Py_XDECREF(parts);
    Py_XDECREF(refs);
    rmt_encoded_release(st, &enc);
    return result;
}

static PyObject *test_add_ref(PyObject *module, PyObject *obj)
{
    unsigned long long offset = PyLong_AsUnsignedLongLong(obj);
    int r;

    if (offset == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    r = rmt_encode_add_ref(rmt_py_state(module), offset);
    return r < 0 ? NULL : PyLong_FromLong(r);
}

/* A rmt_buffer_fn that calls a Python function with (memoryview, readonly); None is "copy it". */
static PyObject *call_make_buffer(void *arg, const uint8_t *data, size_t size, int readonly)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    PyObject *made = bytes ? PyObject_CallFunction(arg, "Oi", bytes, readonly) : NULL;

    Py_XDECREF(bytes);
    if (made == Py_None)
        Py_CLEAR(made);
    return made;
}

static PyObject *test_decode(PyObject *module, PyObject *args)
{
    Py_buffer view;
    PyObject *make_buffer = NULL, *obj;

    if (!PyArg_ParseTuple(args, "y*|O:_decode", &view, &make_buffer))
        return NULL;
    obj = rmt_decode(rmt_py_state(module), view.buf, (size_t)view.len,
                     make_buffer ? call_make_buffer : NULL, make_buffer);
    PyBuffer_Release(&view);
    return obj;
}

static PyObject *test_encode_many(PyObject *module, PyObject *items)
{
    struct rmt_py_state *st = rmt_py_state(module);
    struct rmt_encoded enc;
    PyObject *tuple = PySequence_Tuple(items);
    int r = tuple ? rmt_encode_many(st, ((PyTupleObject *)tuple)->ob_item,
                                    (size_t)PyTuple_GET_SIZE(tuple), &enc)
                  : -1;

    Py_XDECREF(tuple); /* the encoded holds what it points into */
    return r < 0 ? NULL : encoded_as_bytes(st, &enc);
}

/* All items after the first `skip`, an exception in the place of those that raise one. */
static PyObject *read_all(struct rmt_py_state *st, struct rmt_items *items, Py_ssize_t skip)
{
    PyObject *list, *item;

    if (rmt_items_skip(items, (size_t)skip) < 0 || !(list = PyList_New(0)))
        return NULL;
    for (;;) {
        item = rmt_decode_next(st, items, NULL, NULL);
        if (!item && PyErr_Occurred()) {
            PyObject *type, *traceback;
            PyErr_Fetch(&type, &item, &traceback);
            PyErr_NormalizeException(&type, &item, &traceback);
            Py_XDECREF(type);
            Py_XDECREF(traceback);
        }
        if (!item)
            return list;
        if (PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_DECREF(item);
        if (!list)
            return NULL;
    }
}

static PyObject *test_decode_many(PyObject *module, PyObject *args)
{
    Py_ssize_t skip = 0;
    Py_buffer view;
    PyObject *list = NULL;
    struct rmt_items items;

    if (!PyArg_ParseTuple(args, "y*|n:_decode_many", &view, &skip))
        return NULL;
    if (rmt_items_open(view.buf, (size_t)view.len, &items) == 0)
        list = read_all(rmt_py_state(module), &items, skip);
    PyBuffer_Release(&view);
    return list;
}

/* Appends an object to the pack in a bytearray of which `used` bytes are used: the new `used`. */
static PyObject *test_pack_append(PyObject *module, PyObject *args)
{
    struct rmt_py_state *st = rmt_py_state(module);
    struct rmt_encoded enc;
    struct rmt_pack pack;
    Py_ssize_t used;
    Py_buffer view;
    PyObject *obj;
    int r;

    if (!PyArg_ParseTuple(args, "w*nO:_pack_append", &view, &used, &obj))
        return NULL;
    pack = (struct rmt_pack){view.buf, (size_t)view.len, (size_t)used};
    r = rmt_encode(st, obj, &enc);
    if (r == 0) {
        r = rmt_pack_append(&pack, &enc);
        rmt_encoded_release(st, &enc);
        if (r < 0)
            rmt_py_error(r, "append to a pack");
    }
    PyBuffer_Release(&view);
    return r < 0 ? NULL : PyLong_FromSize_t(pack.used);
}

static PyObject *test_pack_read(PyObject *module, PyObject *args)
{
    Py_ssize_t skip = 0;
    Py_buffer view;
    PyObject *list;
    struct rmt_items items;

    if (!PyArg_ParseTuple(args, "y*|n:_pack_read", &view, &skip))
        return NULL;
    rmt_pack_open(view.buf, (size_t)view.len, &items);
    list = read_all(rmt_py_state(module), &items, skip);
    PyBuffer_Release(&view);
    return list;
}

static PyObject *test_deadline(PyObject *module, PyObject *timeout)
{
    int64_t deadline;
    (void)module;
    return rmt_py_deadline(timeout, &deadline) < 0 ? NULL : PyLong_FromLongLong(deadline);
}

static PyObject *test_error(PyObject *module, PyObject *args)
{
    int negative_errno;
    const char *what = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "i|z:_error", &negative_errno, &what))
        return NULL;
    return rmt_py_error(negative_errno, what);
}

static PyMethodDef test_methods[] = {
    {"_encode", test_encode, METH_O, PyDoc_STR("The message that an object becomes.")},
    {"_encode_parts", test_encode_parts, METH_O, PyDoc_STR("(parts, alignment, references).")},
    {"_add_ref", test_add_ref, METH_O, PyDoc_STR("Notes a reference in the current message.")},
    {"_decode", test_decode, METH_VARARGS, PyDoc_STR("The object of a message.")},
    {"_encode_many", test_encode_many, METH_O, PyDoc_STR("A chunk of objects.")},
    {"_decode_many", test_decode_many, METH_VARARGS, PyDoc_STR("The objects of a chunk.")},
    {"_pack_append", test_pack_append, METH_VARARGS, PyDoc_STR("Appends to a pack.")},
    {"_pack_read", test_pack_read, METH_VARARGS, PyDoc_STR("The objects of a pack.")},
    {"_deadline", test_deadline, METH_O, PyDoc_STR("The deadline of a time-out.")},
    {"_error", test_error, METH_VARARGS, PyDoc_STR("Raises what a negative errno means.")},
    {NULL, NULL, 0, NULL},
};

int rmt_py_add_codec(PyObject *module)
{
    if (rmt_pickle_add_types(module) < 0)
        return -1;
    return PyModule_AddFunctions(module, test_methods);
}
