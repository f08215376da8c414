/* SPDX-License-Identifier: MIT
 *
 * Sending and receiving objects through a connection, and waiting. The GIL is held while nothing
 * blocks; it is released only to wait, and to copy what is large.
 */
#include "connection_ext.h"
#include "view.h"

#include "channel/doorbell.h"

#include <errno.h>

/* From this size on it pays to let other threads run during the copy. */
#define LARGE_COPY (1u << 18)

int rmt_py_arguments(const char *function, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames, const char *const *names, int count, int required,
                     PyObject **ret)
{
    Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    if (nargs > count) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)", function,
                     count, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        ret[i] = args[i];
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        int at = 0;

        while (at < count && PyUnicode_CompareWithASCIIString(name, names[at]) != 0)
            at++;
        if (at == count || at < nargs) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function,
                         name);
            return -1;
        }
        ret[at] = args[nargs + i];
    }
    for (int i = 0; i < required; i++) {
        if (!ret[i]) {
            PyErr_Format(PyExc_TypeError, "%s() missing the argument '%s'", function, names[i]);
            return -1;
        }
    }
    return 0;
}

int rmt_py_connection_enter_to_send(ConnectionObject *c)
{
    if (rmt_py_connection_enter(c) < 0)
        return -1;
    if (c->writable)
        return 0;
    rmt_py_connection_leave(c);
    PyErr_SetString(PyExc_OSError, "connection is read-only");
    return -1;
}

int rmt_py_connection_enter_to_receive(ConnectionObject *c)
{
    if (rmt_py_connection_enter(c) < 0)
        return -1;
    if (c->readable)
        return 0;
    rmt_py_connection_leave(c);
    PyErr_SetString(PyExc_OSError, "connection is write-only");
    return -1;
}

/* ---- waiting */

/* All descriptors of the other side are gone, but not the other side: perhaps it was on its way
 * into a child that died before it got there. To know that is the standard library's to tell. */
static int ask_for_children(void)
{
    PyObject *module = PyImport_ImportModule("multiprocessing.process");
    PyObject *result = module ? PyObject_CallMethod(module, "_cleanup", NULL) : NULL;

    Py_XDECREF(module);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

enum reason {
    NEWS,
    ROOM,
    TAKEN, /* what was sent up to the position `behind` */
};

static int sleep_for(enum reason reason, ramet_end *end, struct rmt_waiter *w, uint64_t behind)
{
    if (reason == TAKEN)
        return rmt_pipe_await_taken(end, w, behind);
    return reason == ROOM ? rmt_pipe_await_room(end, w) : rmt_pipe_await_news(end, w);
}

/* One sleep. 0: try again; -ETIMEDOUT; -1 with an exception is -ECANCELED. */
static int sleep_once(ConnectionObject *c, struct rmt_waiter *w, enum reason reason,
                      uint64_t behind)
{
    struct rmt_self *self = w->self;
    uint64_t owner = self->word;
    int r, alone = 0;

    Py_BEGIN_ALLOW_THREADS;
    r = sleep_for(reason, c->end, w, behind);
    if ((r == 0 || r == -EINTR) && w->slept > 8)
        alone = c->end->fd >= 0 && rmt_doorbell_hung_up(c->end->fd);
    Py_END_ALLOW_THREADS;
    /* Also after a sleep that nobody interrupted: the signal may have come just before it. */
    if ((r == 0 || r == -EINTR) && (PyErr_CheckSignals() < 0 || (alone && ask_for_children() < 0)))
        return -ECANCELED;
    if (self->word != owner) {
        PyErr_SetString(PyExc_RuntimeError, "forked while a connection was waiting");
        return -ECANCELED;
    }
    if (r == -EINTR)
        return 0;
    if (r < 0 && r != -ETIMEDOUT) {
        rmt_py_error(r, "wait for a connection");
        return -ECANCELED;
    }
    return r;
}

/* ---- sending */

static int build(struct rmt_self *self, const struct iovec *parts, int count, size_t size,
                 const uint64_t *refs, size_t ref_count, struct rmt_pipe_message *m)
{
    int r;

    if (size < LARGE_COPY)
        return rmt_message_build(self, parts, count, refs, ref_count, &m->hold, &m->block);
    Py_BEGIN_ALLOW_THREADS;
    r = rmt_message_build(self, parts, count, refs, ref_count, &m->hold, &m->block);
    Py_END_ALLOW_THREADS;
    return r;
}

static void raise_send(int r)
{
    if (r == -ENOTCONN)
        rmt_py_error(r, "the receiver waits on a descriptor, and this connection came without one");
    else if (r != -ECANCELED)
        rmt_py_error(r, NULL);
}

/* A message beyond what a pipe is meant to hold keeps its sender until it is received, as with the
 * standard library, whose pipe would not have had the room. An exception out of a signal handler
 * ends the wait; the message stays sent. */
static int wait_until_taken(ConnectionObject *c, struct rmt_self *self, uint64_t behind)
{
    struct rmt_waiter w;
    int r = rmt_pipe_taken(c->end, behind);

    if (r == 0)
        rmt_wait_start(&w, self, NULL);
    while (r == 0) {
        r = sleep_once(c, &w, TAKEN, behind);
        if (r == 0)
            r = rmt_pipe_taken(c->end, behind);
    }
    if (r < 0)
        raise_send(r);
    return r < 0 ? -1 : 0;
}

int rmt_py_connection_put(ConnectionObject *c, uint32_t tag, const struct iovec *parts, int count,
                          size_t size, const uint64_t *refs, size_t ref_count)
{
    struct rmt_pipe_message m = {
        .tag = tag, .size = size, .parts = parts, .count = count, .hold = -1};
    struct rmt_waiter w;
    struct rmt_self *self;
    uint64_t owner;
    int r = rmt_self(&self);

    if (r == 0 && (ref_count > 0 || size > rmt_pipe_limit(c->end)))
        r = build(self, parts, count, size, refs, ref_count, &m);
    if (r < 0) {
        rmt_py_error(r, NULL);
        return -1;
    }
    owner = self->word;
    r = rmt_pipe_put(self, c->end, &m);
    if (r == -EAGAIN) {
        rmt_wait_start(&w, self, NULL);
        do {
            r = sleep_once(c, &w, ROOM, 0);
        } while (r == 0 && (r = rmt_pipe_put(self, c->end, &m)) == -EAGAIN);
    }
    if (r == 0 && RMT_UNLIKELY(rmt_pipe_beyond_bound(c->end, size)))
        return wait_until_taken(c, self, m.behind);
    if (RMT_LIKELY(r == 0))
        return 0;
    if (m.block && self->word == owner)
        rmt_block_free(self, m.hold);
    raise_send(r);
    return -1;
}

PyObject *rmt_py_connection_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames)
{
    static const char *const names[] = {"obj"};
    ConnectionObject *c = (ConnectionObject *)op;
    struct rmt_encoded enc;
    PyObject *obj = NULL;
    int r;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "send", args, nargs, kwnames);
    if (rmt_py_arguments("send", args, nargs, kwnames, names, 1, 1, &obj) < 0 ||
        rmt_py_connection_enter_to_send(c) < 0)
        return NULL;
    r = rmt_encode(c->st, obj, &enc);
    if (r == 0) {
        r = rmt_py_connection_put(c, RMT_PY_OBJECT, enc.iov, enc.iovcnt, enc.size, enc.refs,
                                  enc.nrefs);
        rmt_encoded_release(c->st, &enc);
    }
    rmt_py_connection_leave(c);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- receiving */

static int take(ConnectionObject *c, struct rmt_py_received *ret)
{
    return rmt_pipe_take(ret->self, c->end, ret->small, sizeof(ret->small), SIZE_MAX, &ret->taken);
}

int rmt_py_connection_take(ConnectionObject *c, struct rmt_py_received *ret)
{
    struct rmt_waiter w;
    int r = rmt_self(&ret->self);

    if (r == 0)
        r = take(c, ret);
    if (r == -EAGAIN) {
        rmt_wait_start(&w, ret->self, NULL);
        do {
            r = sleep_once(c, &w, NEWS, 0);
        } while (r == 0 && (r = take(c, ret)) == -EAGAIN);
    }
    if (RMT_LIKELY(r == 0))
        return 0;
    if (r == -ENODATA)
        PyErr_SetNone(PyExc_EOFError);
    else if (r != -ECANCELED)
        rmt_py_error(r, NULL);
    return -1;
}

static void give_back(struct rmt_py_received *r)
{
    if (r->taken.hold >= 0)
        rmt_block_free(r->self, r->taken.hold);
}

static PyObject *copied(struct rmt_py_received *r)
{
    PyObject *bytes =
        PyBytes_FromStringAndSize((const char *)r->taken.data, (Py_ssize_t)r->taken.size);

    give_back(r);
    return bytes;
}

/* module.name(arg), with a reference to `arg` taken over; which may be NULL. */
static PyObject *call_with(const char *module_name, const char *class_name, const char *name,
                           PyObject *arg)
{
    PyObject *module, *owner, *result = NULL;

    if (!arg)
        return NULL;
    module = PyImport_ImportModule(module_name);
    owner = module && class_name ? PyObject_GetAttrString(module, class_name) : Py_XNewRef(module);
    if (owner)
        result = PyObject_CallMethod(owner, name, "(O)", arg);
    Py_XDECREF(owner);
    Py_XDECREF(module);
    Py_DECREF(arg);
    return result;
}

PyObject *rmt_py_received_object(ConnectionObject *c, struct rmt_py_received *r)
{
    if (r->taken.tag != RMT_PY_OBJECT) /* send_bytes() of a pickle */
        return call_with("pickle", NULL, "loads", copied(r));
    if (r->taken.hold >= 0)
        return rmt_py_receive(c->st, r->self, r->taken.block, r->taken.hold);
    return rmt_decode(c->st, r->taken.data, r->taken.size, NULL, NULL);
}

PyObject *rmt_py_received_bytes(ConnectionObject *c, struct rmt_py_received *r)
{
    PyObject *view;

    if (r->taken.tag == RMT_PY_BYTES)
        return copied(r);
    /* send() of an object: who wants its bytes gets a pickle of it, as with the standard library.
     */
    view = call_with("multiprocessing.reduction", "ForkingPickler", "dumps",
                     rmt_py_received_object(c, r));
    if (view) {
        PyObject *bytes = PyBytes_FromObject(view);

        Py_DECREF(view);
        return bytes;
    }
    return NULL;
}

PyObject *rmt_py_connection_recv(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ConnectionObject *c = (ConnectionObject *)op;
    struct rmt_py_received received;
    PyObject *result = NULL;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "recv", &op, 0, NULL);
    if (rmt_py_connection_enter_to_receive(c) < 0)
        return NULL;
    if (rmt_py_connection_take(c, &received) == 0)
        result = rmt_py_received_object(c, &received);
    rmt_py_connection_leave(c);
    return result;
}

/* ---- polling */

static int poll_until(ConnectionObject *c, int64_t deadline)
{
    ramet_wait wait = {.size = sizeof(wait), .deadline = deadline};
    struct rmt_waiter w;
    struct rmt_self *self;
    int r = rmt_self(&self);

    if (r < 0) {
        rmt_py_error(r, NULL);
        return -1;
    }
    rmt_wait_start(&w, self, &wait);
    for (;;) {
        r = rmt_pipe_ready(self, c->end);
        if (r == 0 && deadline != 0)
            r = sleep_once(c, &w, NEWS, 0);
        else
            break;
        if (r == -ETIMEDOUT) {
            r = rmt_pipe_ready(self, c->end);
            break;
        }
        if (r < 0)
            return -1;
    }
    if (r < 0) {
        rmt_py_error(r, NULL);
        return -1;
    }
    return r;
}

PyObject *rmt_py_connection_poll(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames)
{
    static const char *const names[] = {"timeout"};
    ConnectionObject *c = (ConnectionObject *)op;
    PyObject *timeout = NULL;
    int64_t deadline = 0;
    int r;

    if (!c->ours)
        return rmt_py_connection_foreign(op, "poll", args, nargs, kwnames);
    if (rmt_py_arguments("poll", args, nargs, kwnames, names, 1, 0, &timeout) < 0 ||
        (timeout && rmt_py_deadline(timeout, &deadline) < 0) ||
        rmt_py_connection_enter_to_receive(c) < 0)
        return NULL;
    r = poll_until(c, deadline);
    rmt_py_connection_leave(c);
    return r < 0 ? NULL : PyBool_FromLong(r);
}
