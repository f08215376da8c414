/* SPDX-License-Identifier: MIT
 *
 * Putting Python objects into a queue: they are encoded before the queue is touched, so that what
 * cannot be pickled raises in the caller and leaves nothing behind.
 */
#include "queue_ext.h"

#include <errno.h>
#include <string.h>

/* From this size on, the copy into the arena is made without the GIL. */
#define COPY_UNLOCKED (64u << 10)

/* Puts the parcels; the error of a failed put is set. How many were put. What was not stays the
 * caller's, unless `*ret_self` is NULL afterwards: then a signal handler forked, and this is the
 * child. */
static ptrdiff_t put_parcels(struct rmt_py_queue *o, struct rmt_self **self,
                             const struct rmt_parcel *parcels, size_t count, int64_t deadline)
{
    uint64_t owner = (*self)->word;
    size_t done = 0;

    o->used = 1;
    while (done < count) {
        ptrdiff_t n =
            rmt_queue_put(*self, &o->queue, parcels + done, count - done, &rmt_py_at_once);
        if (n == -ETIMEDOUT && deadline != 0) {
            ramet_wait wait = rmt_py_queue_wait(deadline);
            Py_BEGIN_ALLOW_THREADS;
            n = rmt_queue_put(*self, &o->queue, parcels + done, count - done, &wait);
            Py_END_ALLOW_THREADS;
            if (n == -ETIMEDOUT && wait.deadline < deadline)
                n = -EINTR;
        }
        if (n > 0) {
            done += (size_t)n;
        } else if (n == -EINTR) {
            int failed = PyErr_CheckSignals();
            int r = rmt_self(self);
            if (r < 0 || (*self)->word != owner) {
                *self = NULL;
                if (!failed)
                    PyErr_SetString(PyExc_RuntimeError, "forked by a signal handler during put()");
                break;
            }
            if (failed)
                break;
        } else {
            rmt_py_queue_raise(o, n, RMT_PY_TYPE_QUEUE_FULL, "put into the queue");
            break;
        }
    }
    return (ptrdiff_t)done;
}

static int make_parcel(struct rmt_self *self, const struct rmt_encoded *enc,
                       struct rmt_parcel *ret_parcel)
{
    int r;

    if (enc->size < COPY_UNLOCKED)
        return rmt_parcel_make(self, enc->iov, enc->iovcnt, enc->size, enc->refs, enc->nrefs,
                               ret_parcel);
    Py_BEGIN_ALLOW_THREADS;
    r = rmt_parcel_make(self, enc->iov, enc->iovcnt, enc->size, enc->refs, enc->nrefs, ret_parcel);
    Py_END_ALLOW_THREADS;
    return r;
}

int rmt_py_queue_put(struct rmt_py_queue *o, PyObject *obj, int64_t deadline)
{
    struct rmt_encoded enc;
    struct rmt_parcel parcel;
    struct rmt_self *self;
    ptrdiff_t put;
    int r;

    if (rmt_encode(o->st, obj, &enc) < 0)
        return -1;
    r = rmt_self(&self);
    if (r == 0)
        r = make_parcel(self, &enc, &parcel);
    if (r < 0) {
        rmt_encoded_release(o->st, &enc);
        rmt_py_error(r, "put into the queue");
        return -1;
    }
    put = put_parcels(o, &self, &parcel, 1, deadline);
    if (put == 0 && self)
        rmt_parcel_drop(self, &parcel);
    rmt_encoded_release(o->st, &enc); /* not before: short bytes lie in it */
    return put == 1 ? 0 : -1;
}

const char rmt_py_queue_put_doc[] = PyDoc_STR(
    "put($self, /, obj, block=True, timeout=None)\n--\n\n"
    "Put an object into the queue.\n\n"
    "It is serialised at once: what cannot be pickled raises here and leaves the queue as\n"
    "it was, and later changes of the object are not seen by who gets it. Wait while the\n"
    "queue is full, for at most `timeout` seconds; raise queue.Full then, or at once if\n"
    "`block` is false. ValueError after close(), ShutDown after shutdown().");

PyObject *rmt_py_queue_put_method(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames)
{
    static const char *const names[] = {"obj", "block", "timeout"};
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    PyObject *values[3];
    int64_t deadline = RAMET_FOREVER;

    if (nargs == 1 && !kwnames) {
        values[0] = args[0];
    } else if (rmt_py_parse("put", names, 3, 1, args, nargs, kwnames, values) < 0 ||
               rmt_py_block_deadline(values[1], values[2], &deadline) < 0) {
        return NULL;
    }
    if (rmt_py_queue_check_not_closed(o) < 0 || rmt_py_queue_put(o, values[0], deadline) < 0)
        return NULL;
    Py_RETURN_NONE;
}

const char rmt_py_queue_put_nowait_doc[] =
    PyDoc_STR("put_nowait($self, /, obj)\n--\n\n"
              "Put an object into the queue, or raise queue.Full at once.");

/* The one argument of a method, `obj`; NULL with TypeError. */
PyObject *rmt_py_queue_obj(const char *function, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames)
{
    static const char *const names[] = {"obj"};
    PyObject *obj;

    if (nargs == 1 && !kwnames)
        return args[0];
    return rmt_py_parse(function, names, 1, 1, args, nargs, kwnames, &obj) < 0 ? NULL : obj;
}

PyObject *rmt_py_queue_put_nowait(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames)
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    PyObject *obj = rmt_py_queue_obj("put_nowait", args, nargs, kwnames);

    if (!obj || rmt_py_queue_check_not_closed(o) < 0 || rmt_py_queue_put(o, obj, 0) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Objects that are put under one lock: short ones, and a few messages, each of which is in a hold.
 */
struct batch {
    struct rmt_parcel parcels[RMT_QUEUE_BATCH];
    uint8_t bytes[RMT_QUEUE_BATCH][RMT_CELL_BYTES];
    size_t count, messages;
};
#define BATCH_MESSAGES 4

static int batch_add(struct rmt_py_queue *o, struct rmt_self *self, struct batch *batch,
                     PyObject *obj)
{
    struct rmt_parcel *parcel = &batch->parcels[batch->count];
    struct rmt_encoded enc;
    uint64_t owner = self->word;
    int r;

    if (rmt_encode(o->st, obj, &enc) < 0)
        return -1;
    r = rmt_self(&self);
    if (r == 0 && self->word != owner)
        r = -ECHILD;
    if (r == 0)
        r = make_parcel(self, &enc, parcel);
    if (r == 0 && parcel->hold < 0) {
        memcpy(batch->bytes[batch->count], parcel->bytes, parcel->size);
        parcel->bytes = batch->bytes[batch->count];
    }
    rmt_encoded_release(o->st, &enc);
    if (r < 0) {
        rmt_py_error(r, "put into the queue");
        return -1;
    }
    batch->messages += parcel->hold >= 0;
    batch->count++;
    return 0;
}

/* Fills the batch from the iterator: 1 there may be more, 0 that was all, -1. */
static int batch_fill(struct rmt_py_queue *o, struct rmt_self *self, struct batch *batch,
                      PyObject *it)
{
    batch->count = batch->messages = 0;
    while (batch->count < RMT_QUEUE_BATCH && batch->messages < BATCH_MESSAGES) {
        PyObject *obj = PyIter_Next(it);
        int r;
        if (!obj)
            return PyErr_Occurred() ? -1 : 0;
        r = batch_add(o, self, batch, obj);
        Py_DECREF(obj);
        if (r < 0)
            return -1;
    }
    return 1;
}

const char rmt_py_queue_put_many_doc[] =
    PyDoc_STR("put_many($self, /, items, block=True, timeout=None)\n--\n\n"
              "Put each object of an iterable, in order, with one locking for many.\n\n"
              "As put() for each; if one raises, those before it have been put.");

PyObject *rmt_py_queue_put_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    static const char *const names[] = {"items", "block", "timeout"};
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    PyObject *values[3];
    PyObject *it;
    int64_t deadline;
    int more = 1, failed = 0;

    if (rmt_py_parse("put_many", names, 3, 1, args, nargs, kwnames, values) < 0 ||
        rmt_py_block_deadline(values[1], values[2], &deadline) < 0 ||
        rmt_py_queue_check_not_closed(o) < 0)
        return NULL;
    it = PyObject_GetIter(values[0]);
    if (!it)
        return NULL;
    while (more > 0 && !failed) {
        PyObject *type, *value, *traceback;
        struct batch batch;
        struct rmt_self *self;
        ptrdiff_t put = 0;
        int r = rmt_self(&self);
        if (r < 0) {
            rmt_py_error(r, "put into the queue");
            break;
        }
        more = batch_fill(o, self, &batch, it);
        PyErr_Fetch(&type, &value, &traceback); /* those before the one that failed are put */
        if (rmt_self(&self) == 0 && batch.count > 0)
            put = put_parcels(o, &self, batch.parcels, batch.count, deadline);
        failed = (size_t)put < batch.count;
        for (size_t i = (size_t)put; self && i < batch.count; i++)
            rmt_parcel_drop(self, &batch.parcels[i]);
        if (more < 0 && !failed) {
            PyErr_Restore(type, value, traceback);
        } else {
            Py_XDECREF(type);
            Py_XDECREF(value);
            Py_XDECREF(traceback);
        }
    }
    Py_DECREF(it);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}
