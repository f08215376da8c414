/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Connection`: one end of a pipe of libramet, under the standard library's interface. The
 * public class puts it before multiprocessing.connection.Connection among its bases.
 */
#include "connection_ext.h"

#include <errno.h>
#include <string.h>

/* ---- entering and leaving */

/* After a fork: the calls of the parent's threads are not inside here. */
static int settle(ConnectionObject *c)
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    uint64_t me, process, ghosts;

    if (r < 0)
        return r;
    me = rmt_word_process(self->word);
    process = rmt_load64(&c->process);
    if (process == me)
        return 0;
    /* Whoever enters first moves `process`; nobody of this process was inside before. */
    ghosts = rmt_load64(&c->use) & ~(uint64_t)1;
    if (rmt_cas64(&c->process, &process, me))
        rmt_add64(&c->use, (uint64_t)0 - ghosts);
    return 0;
}

int rmt_py_connection_enter(ConnectionObject *c)
{
    uint64_t use;
    int r = settle(c);

    if (r < 0) {
        rmt_py_error(r, "use a connection");
        return -1;
    }
    use = rmt_load64_relaxed(&c->use);
    do {
        if (use & 1) {
            PyErr_SetString(PyExc_OSError, "handle is closed");
            return -1;
        }
    } while (!rmt_cas64(&c->use, &use, use + 2));
    return 0;
}

static void finish(ConnectionObject *c)
{
    ramet_end_close(c->end);
    c->end = NULL;
}

void rmt_py_connection_leave(ConnectionObject *c)
{
    if (rmt_add64(&c->use, (uint64_t)-2) == 3)
        finish(c);
}

void rmt_py_connection_close(ConnectionObject *c)
{
    (void)settle(c);
    if (rmt_or64(&c->use, 1) == 0)
        finish(c);
}

PyObject *rmt_py_connection_foreign(PyObject *op, const char *name, PyObject *const *args,
                                    Py_ssize_t nargs, PyObject *kwnames)
{
    ConnectionObject *c = (ConnectionObject *)op;
    PyObject *type = (PyObject *)c->st->types[RMT_PY_TYPE_CONNECTION];
    PyObject *super, *method, *result;

    super = PyObject_CallFunctionObjArgs((PyObject *)&PySuper_Type, type, op, NULL);
    if (!super)
        return NULL;
    method = PyObject_GetAttrString(super, name);
    Py_DECREF(super);
    if (!method || !args)
        return method;
    result = PyObject_Vectorcall(method, args, (size_t)nargs, kwnames);
    Py_DECREF(method);
    return result;
}

/* ---- life */

static PyObject *connection_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                                PyObject *Py_UNUSED(kwds))
{
    struct rmt_py_state *st = rmt_py_state_of_type(type);
    ConnectionObject *c;

    if (!st)
        return NULL;
    c = (ConnectionObject *)type->tp_alloc(type, 0);
    if (c) {
        c->st = st;
        rmt_store64_relaxed(&c->use, 1); /* closed, until it has an end */
    }
    return (PyObject *)c;
}

static void connection_dealloc(PyObject *op)
{
    ConnectionObject *c = (ConnectionObject *)op;
    PyTypeObject *type = Py_TYPE(op);

    if (c->ours)
        rmt_py_connection_close(c);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *connection_make(PyTypeObject *type, ramet_end *end, int readable, int writable)
{
    ConnectionObject *c = (ConnectionObject *)connection_new(type, NULL, NULL);

    if (!c) {
        ramet_end_close(end);
        return NULL;
    }
    c->end = end;
    c->ours = 1;
    c->readable = (char)readable;
    c->writable = (char)writable;
    rmt_store64_relaxed(&c->process, 0);
    rmt_store64(&c->use, 0);
    return (PyObject *)c;
}

PyDoc_STRVAR(pipe_doc, "_pipe(duplex, /)\n--\n\nThe two connections of a new pipe.");

static PyObject *connection_pipe(PyObject *type, PyObject *arg)
{
    ramet_pipe_options options = {.size = sizeof(options)};
    ramet_end *a, *b;
    PyObject *one, *other;
    int duplex = PyObject_IsTrue(arg);
    int r;

    if (duplex < 0)
        return NULL;
    options.duplex = duplex;
    r = ramet_pipe_create(&options, &a, &b);
    if (r < 0)
        return rmt_py_error(r, "make a pipe");
    one = connection_make((PyTypeObject *)type, a, 1, duplex);
    if (!one) {
        ramet_end_close(b);
        return NULL;
    }
    other = connection_make((PyTypeObject *)type, b, duplex, 1);
    if (!other) {
        Py_DECREF(one);
        return NULL;
    }
    return Py_BuildValue("(NN)", one, other);
}

PyDoc_STRVAR(open_doc, "_open(ref, readable, writable, /)\n--\n\n"
                       "A connection on the end that a reference names, without a descriptor.");

static PyObject *connection_open(PyObject *type, PyObject *args)
{
    const char *bytes;
    Py_ssize_t length;
    int readable, writable, r;
    ramet_end *end;
    ramet_ref ref;

    if (!PyArg_ParseTuple(args, "y#pp:_open", &bytes, &length, &readable, &writable))
        return NULL;
    if (length != (Py_ssize_t)sizeof(ref)) {
        PyErr_SetString(PyExc_ValueError, "not a reference");
        return NULL;
    }
    memcpy(&ref, bytes, sizeof(ref));
    r = ramet_end_open(&ref, -1, &end);
    if (r < 0)
        return rmt_py_error(r, "open a connection: nobody has that end of the pipe any more");
    return connection_make((PyTypeObject *)type, end, readable, writable);
}

/* ---- what the way into another process needs; see ramet/connection.py */

PyDoc_STRVAR(adopt_doc,
             "_adopt($self, fd, /)\n--\n\nMake a descriptor of this end the connection's own.");

static PyObject *connection_adopt(PyObject *op, PyObject *arg)
{
    ConnectionObject *c = (ConnectionObject *)op;
    int fd = PyObject_AsFileDescriptor(arg);

    if (fd < 0 || rmt_py_connection_enter(c) < 0)
        return NULL;
    c->end->fd = fd; /* nobody else knows the connection yet */
    rmt_py_connection_leave(c);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(socket_doc,
             "_socket($self, /)\n--\n\nThe descriptor, without the effect of fileno(); or -1.");

static PyObject *connection_socket(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ConnectionObject *c = (ConnectionObject *)op;
    int fd;

    if (rmt_py_connection_enter(c) < 0)
        return NULL;
    fd = ramet_end_socket(c->end);
    rmt_py_connection_leave(c);
    return PyLong_FromLong(fd < 0 ? -1 : fd);
}

PyDoc_STRVAR(mention_doc,
             "_mention($self, /)\n--\n\n"
             "The reference, and whether the message that is being encoded counts it.");

static PyObject *connection_mention(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ConnectionObject *c = (ConnectionObject *)op;
    ramet_ref ref;
    int r;

    if (rmt_py_connection_enter(c) < 0)
        return NULL;
    ramet_end_ref(c->end, &ref);
    rmt_py_connection_leave(c);
    r = rmt_encode_add_ref(c->st, ref.offset);
    if (r < 0)
        return NULL;
    return Py_BuildValue("(y#N)", (const char *)&ref, (Py_ssize_t)sizeof(ref),
                         PyBool_FromLong(r == 0));
}

/* ---- the interface */

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nClose the connection.");

static PyObject *connection_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ConnectionObject *c = (ConnectionObject *)op;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "close", &op, 0, NULL);
    rmt_py_connection_close(c);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fileno_doc, "fileno($self, /)\n--\n\n"
                         "A descriptor that is readable whenever a message may be there.\n\n"
                         "From the first call on the pipe makes system calls, to keep that true.");

static PyObject *connection_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ConnectionObject *c = (ConnectionObject *)op;
    int fd;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "fileno", &op, 0, NULL);
    if (rmt_py_connection_enter(c) < 0)
        return NULL;
    fd = ramet_end_fd(c->end);
    rmt_py_connection_leave(c);
    if (fd < 0)
        return rmt_py_error(fd, "the descriptor of a connection that came without one");
    return PyLong_FromLong(fd);
}

static PyObject *connection_closed(PyObject *op, void *Py_UNUSED(closure))
{
    ConnectionObject *c = (ConnectionObject *)op;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "closed", NULL, 0, NULL);
    return PyBool_FromLong(rmt_load64_relaxed(&c->use) & 1);
}

static PyObject *connection_readable(PyObject *op, void *Py_UNUSED(closure))
{
    ConnectionObject *c = (ConnectionObject *)op;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "readable", NULL, 0, NULL);
    return PyBool_FromLong(c->readable);
}

static PyObject *connection_writable(PyObject *op, void *Py_UNUSED(closure))
{
    ConnectionObject *c = (ConnectionObject *)op;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "writable", NULL, 0, NULL);
    return PyBool_FromLong(c->writable);
}

static PyObject *connection_ours(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((ConnectionObject *)op)->ours);
}

static PyGetSetDef connection_getset[] = {
    {"closed", connection_closed, NULL, PyDoc_STR("True if the connection is closed."), NULL},
    {"readable", connection_readable, NULL, PyDoc_STR("True if it can receive."), NULL},
    {"writable", connection_writable, NULL, PyDoc_STR("True if it can send."), NULL},
    {"_ours", connection_ours, NULL, PyDoc_STR("True if it is an end of a pipe of ramet."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(send_doc, "send($self, /, obj)\n--\n\nSend an object.");
PyDoc_STRVAR(recv_doc, "recv($self, /)\n--\n\nReceive an object; wait until there is one.\n\n"
                       "EOFError: all was received, and nobody has the other end any more.");
PyDoc_STRVAR(poll_doc,
             "poll($self, /, timeout=0.0)\n--\n\n"
             "Whether recv() would not wait; waits so many seconds for it, None: for ever.");
PyDoc_STRVAR(send_bytes_doc, "send_bytes($self, /, buf, offset=0, size=None)\n--\n\n"
                             "Send bytes, as one message.");
PyDoc_STRVAR(recv_bytes_doc,
             "recv_bytes($self, /, maxlength=None)\n--\n\nReceive a message of bytes.");
PyDoc_STRVAR(recv_bytes_into_doc, "recv_bytes_into($self, /, buf, offset=0)\n--\n\n"
                                  "Receive a message of bytes into a buffer; its length.");

#define FASTCALL(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef connection_methods[] = {
    {"_pipe", connection_pipe, METH_O | METH_CLASS, pipe_doc},
    {"_open", connection_open, METH_VARARGS | METH_CLASS, open_doc},
    {"_adopt", connection_adopt, METH_O, adopt_doc},
    {"_socket", connection_socket, METH_NOARGS, socket_doc},
    {"_mention", connection_mention, METH_NOARGS, mention_doc},
    {"close", connection_close, METH_NOARGS, close_doc},
    {"fileno", connection_fileno, METH_NOARGS, fileno_doc},
    {"send", FASTCALL(rmt_py_connection_send), send_doc},
    {"recv", rmt_py_connection_recv, METH_NOARGS, recv_doc},
    {"poll", FASTCALL(rmt_py_connection_poll), poll_doc},
    {"send_bytes", FASTCALL(rmt_py_connection_send_bytes), send_bytes_doc},
    {"recv_bytes", FASTCALL(rmt_py_connection_recv_bytes), recv_bytes_doc},
    {"recv_bytes_into", FASTCALL(rmt_py_connection_recv_bytes_into), recv_bytes_into_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot connection_slots[] = {
    {Py_tp_new, connection_new},
    {Py_tp_dealloc, connection_dealloc},
    {Py_tp_methods, connection_methods},
    {Py_tp_getset, connection_getset},
    {Py_tp_doc, (void *)PyDoc_STR("One end of a pipe.")},
    {0, NULL},
};

static PyType_Spec connection_spec = {
    .name = "ramet._ramet.Connection",
    .basicsize = sizeof(ConnectionObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = connection_slots,
};

int rmt_py_add_connection(PyObject *module)
{
    return rmt_py_add_type(module, RMT_PY_TYPE_CONNECTION, &connection_spec, NULL);
}
