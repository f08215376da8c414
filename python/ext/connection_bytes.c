/* SPDX-License-Identifier: MIT
 *
 * Sending and receiving plain bytes through a connection. The rules for the arguments, and the
 * texts of the errors, are those of multiprocessing.connection.
 */
#include "connection_ext.h"

#include <errno.h>

static int value_error(const char *text)
{
    PyErr_SetString(PyExc_ValueError, text);
    return -1;
}

/* An argument that stands for a number of bytes; absent or None: left as it is. */
static int number(PyObject *arg, Py_ssize_t *ret)
{
    if (!arg || arg == Py_None)
        return 0;
    *ret = PyNumber_AsSsize_t(arg, PyExc_OverflowError);
    return *ret == -1 && PyErr_Occurred() ? -1 : 0;
}

/* The buffer of `obj`; what is not contiguous is copied. */
static int get_buffer(PyObject *obj, Py_buffer *view)
{
    PyObject *memory, *bytes;
    int r;

    if (PyObject_GetBuffer(obj, view, PyBUF_SIMPLE) == 0)
        return 0;
    if (!PyErr_ExceptionMatches(PyExc_BufferError))
        return -1;
    PyErr_Clear();
    memory = PyMemoryView_FromObject(obj);
    bytes = memory ? PyObject_CallMethod(memory, "tobytes", NULL) : NULL;
    Py_XDECREF(memory);
    if (!bytes)
        return -1;
    r = PyObject_GetBuffer(bytes, view, PyBUF_SIMPLE); /* keeps the bytes */
    Py_DECREF(bytes);
    return r;
}

static int check_range(Py_ssize_t length, Py_ssize_t offset, int has_size, Py_ssize_t *size)
{
    if (offset < 0)
        return value_error("offset is negative");
    if (length < offset)
        return value_error("buffer length < offset");
    if (!has_size)
        *size = length - offset;
    else if (*size < 0)
        return value_error("size is negative");
    else if (*size > length - offset)
        return value_error("buffer length < offset + size");
    return 0;
}

PyObject *rmt_py_connection_send_bytes(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *kwnames)
{
    static const char *const names[] = {"buf", "offset", "size"};
    ConnectionObject *c = (ConnectionObject *)op;
    PyObject *a[3] = {NULL, NULL, NULL};
    Py_ssize_t offset = 0, size = 0;
    Py_buffer view;
    int r;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "send_bytes", args, nargs, kwnames);
    if (rmt_py_arguments("send_bytes", args, nargs, kwnames, names, 3, 1, a) < 0 ||
        rmt_py_connection_enter_to_send(c) < 0)
        return NULL;
    r = get_buffer(a[0], &view);
    if (r == 0) {
        if (number(a[1], &offset) < 0 || number(a[2], &size) < 0)
            r = -1;
        else
            r = check_range(view.len, offset, a[2] && a[2] != Py_None, &size);
        if (r == 0) {
            struct iovec part = {.iov_base = (char *)view.buf + offset, .iov_len = (size_t)size};
            r = rmt_py_connection_put(c, RMT_PY_BYTES, &part, size > 0, (size_t)size, NULL, 0);
        }
        PyBuffer_Release(&view);
    }
    rmt_py_connection_leave(c);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* A message that is too long leaves the stream in no state to go on, in the standard library's
 * framing; so programs expect the connection to be unusable for receiving. */
static void bad_message_length(ConnectionObject *c)
{
    if (c->writable)
        c->readable = 0;
    else
        rmt_py_connection_close(c);
    PyErr_SetString(PyExc_OSError, "bad message length");
}

PyObject *rmt_py_connection_recv_bytes(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *kwnames)
{
    static const char *const names[] = {"maxlength"};
    ConnectionObject *c = (ConnectionObject *)op;
    struct rmt_py_received received;
    PyObject *limit = NULL, *result = NULL;
    Py_ssize_t longest = PY_SSIZE_T_MAX;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "recv_bytes", args, nargs, kwnames);
    if (rmt_py_arguments("recv_bytes", args, nargs, kwnames, names, 1, 0, &limit) < 0 ||
        rmt_py_connection_enter_to_receive(c) < 0)
        return NULL;
    if (number(limit, &longest) == 0) {
        if (longest < 0)
            value_error("negative maxlength");
        else if (rmt_py_connection_take(c, &received) == 0)
            result = rmt_py_received_bytes(c, &received);
    }
    if (result && PyBytes_GET_SIZE(result) > longest) {
        Py_CLEAR(result);
        bad_message_length(c);
    }
    rmt_py_connection_leave(c);
    return result;
}

/* multiprocessing.BufferTooShort, with the message. */
static void too_short(PyObject *message)
{
    PyObject *module = PyImport_ImportModule("multiprocessing.context");
    PyObject *type = module ? PyObject_GetAttrString(module, "BufferTooShort") : NULL;

    if (type)
        PyErr_SetObject(type, message);
    Py_XDECREF(type);
    Py_XDECREF(module);
}

static PyObject *receive_into(ConnectionObject *c, Py_buffer *view, Py_ssize_t offset)
{
    struct rmt_py_received received;
    PyObject *bytes, *result = NULL;

    if (rmt_py_connection_take(c, &received) < 0)
        return NULL;
    bytes = rmt_py_received_bytes(c, &received);
    if (!bytes)
        return NULL;
    if (PyBytes_GET_SIZE(bytes) > view->len - offset) {
        too_short(bytes);
    } else {
        memcpy((char *)view->buf + offset, PyBytes_AS_STRING(bytes),
               (size_t)PyBytes_GET_SIZE(bytes));
        result = PyLong_FromSsize_t(PyBytes_GET_SIZE(bytes));
    }
    Py_DECREF(bytes);
    return result;
}

PyObject *rmt_py_connection_recv_bytes_into(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                            PyObject *kwnames)
{
    static const char *const names[] = {"buf", "offset"};
    ConnectionObject *c = (ConnectionObject *)op;
    PyObject *a[2] = {NULL, NULL}, *result = NULL;
    Py_ssize_t offset = 0;
    Py_buffer view;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "recv_bytes_into", args, nargs, kwnames);
    if (rmt_py_arguments("recv_bytes_into", args, nargs, kwnames, names, 2, 1, a) < 0 ||
        rmt_py_connection_enter_to_receive(c) < 0)
        return NULL;
    if (PyObject_GetBuffer(a[0], &view, PyBUF_WRITABLE) < 0) {
        if (PyErr_ExceptionMatches(PyExc_BufferError))
            PyErr_SetString(PyExc_TypeError, "recv_bytes_into() needs a buffer to write to");
    } else {
        if (number(a[1], &offset) == 0) {
            if (offset < 0)
                value_error("negative offset");
            else if (offset > view.len)
                value_error("offset too large");
            else
                result = receive_into(c, &view, offset);
        }
        PyBuffer_Release(&view);
    }
    rmt_py_connection_leave(c);
    return result;
}
