/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Queue`, `_ramet.JoinableQueue` and `_ramet.SimpleQueue`: the C types under the classes of
 * ramet/queues.py. An object is a handle of a queue of the arena; what is put is encoded by the caller
 * before the queue is touched, and what was got is decoded after it was taken out.
 *
 * The GIL is held while a call can go through at once (tens of nanoseconds under the queue's guard) and
 * released before it sleeps. The handle is closed when the object is freed, never by close(), so that no
 * other thread can be using it then.
 */
#include "view.h"

#include "channel/queue.h"

#include <errno.h>
#include <string.h>

typedef struct {
    PyObject_HEAD
    struct ramet_queue queue; /* shared NULL: not open */
    struct rmt_py_state *st;  /* of the module, which the type keeps alive */
    char closed;              /* close() was called; never unset */
    char used;                /* put() was called through this object */
} QueueObject;

static const ramet_wait at_once = {.size = sizeof(ramet_wait), .deadline = 0};

/* From this size on, the copy into the arena is made without the GIL. */
#define COPY_UNLOCKED (64u << 10)

/* ---- arguments */

/* Sorts positional and keyword arguments into `values` (NULL where not given). 0, or -1 with TypeError. */
static int parse(const char *function, const char *const *names, int count, int required,
                 PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **values)
{
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    if (nargs > count) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)", function, count,
                     nargs);
        return -1;
    }
    for (int i = 0; i < count; i++)
        values[i] = i < nargs ? args[i] : NULL;
    for (Py_ssize_t k = 0; k < keywords; k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        int i = 0;
        while (i < count && PyUnicode_CompareWithASCIIString(name, names[i]) != 0)
            i++;
        if (i == count) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function,
                         name);
            return -1;
        }
        if (values[i]) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'", function,
                         names[i]);
            return -1;
        }
        values[i] = args[nargs + k];
    }
    for (int i = 0; i < required; i++) {
        if (!values[i]) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", function, names[i]);
            return -1;
        }
    }
    return 0;
}

/* The deadline that (block, timeout) mean; either may be NULL. */
static int deadline_of(PyObject *block, PyObject *timeout, int64_t *ret_deadline)
{
    int truth = block ? PyObject_IsTrue(block) : 1;

    if (truth < 0)
        return -1;
    if (truth)
        return rmt_py_deadline(timeout, ret_deadline);
    *ret_deadline = 0;
    return 0;
}

/* ---- errors */

static int check_open(QueueObject *o)
{
    if (o->queue.shared)
        return 0;
    PyErr_SetString(PyExc_ValueError, "the queue was not initialised");
    return -1;
}

static int check_not_closed(QueueObject *o)
{
    if (check_open(o) < 0)
        return -1;
    if (!o->closed)
        return 0;
    PyErr_Format(PyExc_ValueError, "Queue %R is closed", (PyObject *)o);
    return -1;
}

static int check_handle(QueueObject *o)
{
    if (check_open(o) < 0)
        return -1;
    if (!o->closed)
        return 0;
    PyErr_SetString(PyExc_OSError, "handle is closed");
    return -1;
}

static void raise_state(QueueObject *o, ptrdiff_t r, enum rmt_py_type timed_out, const char *what)
{
    if (r == -ETIMEDOUT)
        PyErr_SetNone((PyObject *)o->st->types[timed_out]);
    else if (r == -ESHUTDOWN)
        PyErr_SetNone((PyObject *)o->st->types[RMT_PY_TYPE_QUEUE_SHUTDOWN]);
    else
        rmt_py_error((int)r, what);
}

/* ---- putting */

/* Puts the parcels; the error of a failed put is set. How many were put. What was not stays the caller's,
 * unless `*ret_self` is NULL afterwards: then a signal handler forked, and this is the child. */
static ptrdiff_t put_parcels(QueueObject *o, struct rmt_self **self,
                             const struct rmt_parcel *parcels, size_t count, int64_t deadline)
{
    uint64_t owner = (*self)->word;
    size_t done = 0;

    o->used = 1;
    while (done < count) {
        ptrdiff_t n = rmt_queue_put(*self, &o->queue, parcels + done, count - done, &at_once);
        if (n == -ETIMEDOUT && deadline != 0) {
            ramet_wait wait = {.size = sizeof wait, .deadline = deadline};
            Py_BEGIN_ALLOW_THREADS;
            n = rmt_queue_put(*self, &o->queue, parcels + done, count - done, &wait);
            Py_END_ALLOW_THREADS;
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
            raise_state(o, n, RMT_PY_TYPE_QUEUE_FULL, "put into the queue");
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

static int put_object(QueueObject *o, PyObject *obj, int64_t deadline)
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

PyDoc_STRVAR(put_doc,
             "put($self, /, obj, block=True, timeout=None)\n--\n\n"
             "Put an object into the queue.\n\n"
             "It is serialised at once: what cannot be pickled raises here and leaves the queue as\n"
             "it was, and later changes of the object are not seen by who gets it. Wait while the\n"
             "queue is full, for at most `timeout` seconds; raise queue.Full then, or at once if\n"
             "`block` is false. ValueError after close(), ShutDown after shutdown().");

static PyObject *queue_put(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"obj", "block", "timeout"};
    QueueObject *o = (QueueObject *)op;
    PyObject *values[3];
    int64_t deadline = RAMET_FOREVER;

    if (nargs == 1 && !kwnames) {
        values[0] = args[0];
    } else if (parse("put", names, 3, 1, args, nargs, kwnames, values) < 0 ||
               deadline_of(values[1], values[2], &deadline) < 0) {
        return NULL;
    }
    if (check_not_closed(o) < 0 || put_object(o, values[0], deadline) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(put_nowait_doc, "put_nowait($self, obj, /)\n--\n\n"
                             "Put an object into the queue, or raise queue.Full at once.");

static PyObject *queue_put_nowait(PyObject *op, PyObject *obj)
{
    QueueObject *o = (QueueObject *)op;

    if (check_not_closed(o) < 0 || put_object(o, obj, 0) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Objects that are put under one lock: short ones, and a few messages, each of which is in a hold. */
struct batch {
    struct rmt_parcel parcels[RMT_QUEUE_BATCH];
    uint8_t bytes[RMT_QUEUE_BATCH][RMT_CELL_BYTES];
    size_t count, messages;
};
#define BATCH_MESSAGES 4

static int batch_add(QueueObject *o, struct rmt_self *self, struct batch *batch, PyObject *obj)
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
static int batch_fill(QueueObject *o, struct rmt_self *self, struct batch *batch, PyObject *it)
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

PyDoc_STRVAR(put_many_doc,
             "put_many($self, /, items, block=True, timeout=None)\n--\n\n"
             "Put each object of an iterable, in order, with one locking for many.\n\n"
             "As put() for each; if one raises, those before it have been put.");

static PyObject *queue_put_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    static const char *const names[] = {"items", "block", "timeout"};
    QueueObject *o = (QueueObject *)op;
    PyObject *values[3];
    PyObject *it;
    int64_t deadline;
    int more = 1, failed = 0;

    if (parse("put_many", names, 3, 1, args, nargs, kwnames, values) < 0 ||
        deadline_of(values[1], values[2], &deadline) < 0 || check_not_closed(o) < 0)
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

/* ---- getting */

/* Takes from the queue, and sleeps without the GIL if it must. 0, or -1 with the exception set. */
static int take(QueueObject *o, struct rmt_cell *cells, size_t max, int64_t deadline,
                struct rmt_self **ret_self, struct rmt_taken *ret_taken)
{
    for (;;) {
        struct rmt_self *self;
        int r = rmt_self(&self);
        if (r == 0)
            r = rmt_queue_get(self, &o->queue, cells, max, &at_once, ret_taken);
        if (r == -ETIMEDOUT && deadline != 0) {
            ramet_wait wait = {.size = sizeof wait, .deadline = deadline};
            Py_BEGIN_ALLOW_THREADS;
            r = rmt_queue_get(self, &o->queue, cells, max, &wait, ret_taken);
            Py_END_ALLOW_THREADS;
        }
        if (r == 0) {
            *ret_self = self;
            return 0;
        }
        if (r != -EINTR) {
            raise_state(o, r, RMT_PY_TYPE_QUEUE_EMPTY, "get from the queue");
            return -1;
        }
        if (PyErr_CheckSignals())
            return -1;
    }
}

/* Lets go of cells that were taken; also right in a child that was forked by their decoding. */
static void release_cells(const struct rmt_taken *taken)
{
    struct rmt_self *self;

    if (rmt_self(&self) == 0)
        rmt_taken_release(self, taken);
}

static PyObject *get_object(QueueObject *o, int64_t deadline)
{
    struct rmt_cell cell;
    struct rmt_taken taken;
    struct rmt_self *self;
    PyObject *obj;

    if (take(o, &cell, 1, deadline, &self, &taken) < 0)
        return NULL;
    if (taken.message != 0)
        return rmt_py_receive(o->st, self, taken.message, taken.hold);
    obj = rmt_decode(o->st, cell.bytes, cell.size, NULL, NULL);
    release_cells(&taken);
    return obj;
}

PyDoc_STRVAR(get_doc,
             "get($self, /, block=True, timeout=None)\n--\n\n"
             "Remove and return the first object of the queue.\n\n"
             "Wait while it is empty, for at most `timeout` seconds; raise queue.Empty then, or at\n"
             "once if `block` is false. ValueError after close(); ShutDown when the queue is empty\n"
             "and was shut down.");

static PyObject *queue_get(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[] = {"block", "timeout"};
    QueueObject *o = (QueueObject *)op;
    PyObject *values[2];
    int64_t deadline = RAMET_FOREVER;

    if ((nargs > 0 || kwnames) && (parse("get", names, 2, 0, args, nargs, kwnames, values) < 0 ||
                                   deadline_of(values[0], values[1], &deadline) < 0))
        return NULL;
    return check_not_closed(o) < 0 ? NULL : get_object(o, deadline);
}

PyDoc_STRVAR(get_nowait_doc,
             "get_nowait($self, /)\n--\n\n"
             "Remove and return the first object, or raise queue.Empty at once.");

static PyObject *queue_get_nowait(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    QueueObject *o = (QueueObject *)op;

    return check_not_closed(o) < 0 ? NULL : get_object(o, 0);
}

/* The first error of get_many, kept while the rest of what was taken is decoded. */
struct trouble {
    PyObject *type, *value, *traceback;
};

static int keep_item(PyObject *list, PyObject *item, struct trouble *trouble)
{
    if (item) {
        int r = PyList_Append(list, item);
        Py_DECREF(item);
        if (r == 0)
            return 0;
    }
    if (trouble->type)
        PyErr_Clear();
    else
        PyErr_Fetch(&trouble->type, &trouble->value, &trouble->traceback);
    return -1;
}

/* Takes and decodes one batch: how many items that were, or -1 if nothing could be taken. */
static Py_ssize_t get_batch(QueueObject *o, PyObject *list, size_t max, int64_t deadline,
                            struct trouble *trouble)
{
    struct rmt_cell cells[RMT_QUEUE_BATCH];
    struct rmt_taken taken;
    struct rmt_self *self;

    if (take(o, cells, max, deadline, &self, &taken) < 0)
        return -1;
    if (taken.message != 0) {
        keep_item(list, rmt_py_receive(o->st, self, taken.message, taken.hold), trouble);
        return 1;
    }
    for (uint32_t i = 0; i < taken.count; i++)
        keep_item(list, rmt_decode(o->st, cells[i].bytes, cells[i].size, NULL, NULL), trouble);
    release_cells(&taken);
    return (Py_ssize_t)taken.count;
}

static void raise_trouble(struct trouble *trouble, PyObject *list)
{
    PyErr_NormalizeException(&trouble->type, &trouble->value, &trouble->traceback);
    if (trouble->value && PyObject_SetAttrString(trouble->value, "received", list) < 0)
        PyErr_Clear(); /* an exception without attributes */
    PyErr_Restore(trouble->type, trouble->value, trouble->traceback);
}

PyDoc_STRVAR(get_many_doc,
             "get_many($self, /, max_items=None, block=True, timeout=None)\n--\n\n"
             "Remove what is in the queue, at most `max_items` objects, and return it as a list.\n\n"
             "Wait for the first as get() does, not for more; without `max_items`, take as many\n"
             "as there were when the first was there. If an object cannot be unpickled, its\n"
             "exception is raised when all are decoded, with the others in its attribute `received`.");

static PyObject *queue_get_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    static const char *const names[] = {"max_items", "block", "timeout"};
    QueueObject *o = (QueueObject *)op;
    struct trouble trouble = {NULL, NULL, NULL};
    PyObject *values[3];
    PyObject *list;
    Py_ssize_t max = 0, done = 0;
    int64_t deadline;

    if (parse("get_many", names, 3, 0, args, nargs, kwnames, values) < 0 ||
        deadline_of(values[1], values[2], &deadline) < 0 || check_not_closed(o) < 0)
        return NULL;
    if (values[0] && values[0] != Py_None) {
        max = PyNumber_AsSsize_t(values[0], PyExc_OverflowError);
        if (max == -1 && PyErr_Occurred())
            return NULL;
        if (max <= 0) {
            PyErr_SetString(PyExc_ValueError, "max_items must be positive");
            return NULL;
        }
    }
    list = PyList_New(0);
    if (!list)
        return NULL;
    do {
        Py_ssize_t n = get_batch(o, list, max > 0 ? (size_t)(max - done) : 1,
                                 done == 0 ? deadline : 0, &trouble);
        if (n < 0) {
            struct rmt_py_state *st = o->st;
            if (done > 0 &&
                (PyErr_ExceptionMatches((PyObject *)st->types[RMT_PY_TYPE_QUEUE_EMPTY]) ||
                 PyErr_ExceptionMatches((PyObject *)st->types[RMT_PY_TYPE_QUEUE_SHUTDOWN])))
                PyErr_Clear();
            else
                keep_item(list, NULL, &trouble);
            break;
        }
        done += n;
        if (max == 0)
            max = done + (Py_ssize_t)rmt_queue_size(&o->queue);
    } while (done < max);
    if (trouble.type) {
        raise_trouble(&trouble, list);
        Py_CLEAR(list);
    }
    return list;
}

static PyObject *queue_next(PyObject *op)
{
    QueueObject *o = (QueueObject *)op;
    PyObject *obj = check_not_closed(o) < 0 ? NULL : get_object(o, RAMET_FOREVER);

    if (!obj && PyErr_ExceptionMatches((PyObject *)o->st->types[RMT_PY_TYPE_QUEUE_SHUTDOWN]))
        PyErr_Clear(); /* the end of the iteration */
    return obj;
}

/* ---- state */

PyDoc_STRVAR(qsize_doc, "qsize($self, /)\n--\n\n"
                        "How many objects are in the queue: exact, and never more than its bound.");

static PyObject *queue_qsize(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    QueueObject *o = (QueueObject *)op;

    return check_open(o) < 0 ? NULL : PyLong_FromUnsignedLongLong(rmt_queue_size(&o->queue));
}

PyDoc_STRVAR(empty_doc, "empty($self, /)\n--\n\nWhether the queue is empty.");

static PyObject *queue_empty(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    QueueObject *o = (QueueObject *)op;

    /* As in the standard library: closing a queue that was never used changes nothing. */
    if (check_open(o) < 0 || (o->used && check_handle(o) < 0))
        return NULL;
    return PyBool_FromLong(rmt_queue_size(&o->queue) == 0);
}

PyDoc_STRVAR(full_doc, "full($self, /)\n--\n\nWhether the queue has a bound and is full.");

static PyObject *queue_full(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    QueueObject *o = (QueueObject *)op;

    return check_open(o) < 0 ? NULL : PyBool_FromLong(ramet_queue_full(&o->queue));
}

PyDoc_STRVAR(close_doc,
             "close($self, /)\n--\n\n"
             "End the use of the queue through this object, whose put() and get() raise ValueError\n"
             "from now on. Other objects and processes are not affected.");

static PyObject *queue_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ((QueueObject *)op)->closed = 1;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(join_thread_doc,
             "join_thread($self, /)\n--\n\n"
             "Return at once: what was put is in the queue already, and no thread has to finish.");

static PyObject *queue_join_thread(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (!((QueueObject *)op)->closed) {
        PyErr_Format(PyExc_AssertionError, "Queue %R not closed", op);
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(cancel_join_thread_doc,
             "cancel_join_thread($self, /)\n--\n\n"
             "Return at once: no process waits for anything of a queue before it exits.");

static PyObject *queue_cancel_join_thread(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE;
}

PyDoc_STRVAR(shutdown_doc,
             "shutdown($self, /, immediate=False)\n--\n\n"
             "Shut the queue down, for all processes and for good.\n\n"
             "put() raises ShutDown from now on, and get() when the queue is empty; with\n"
             "`immediate`, what is in the queue is thrown away. Who waits is woken.");

static PyObject *queue_shutdown(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    static const char *const names[] = {"immediate"};
    QueueObject *o = (QueueObject *)op;
    PyObject *value;
    int immediate, r;

    if (parse("shutdown", names, 1, 0, args, nargs, kwnames, &value) < 0 || check_open(o) < 0)
        return NULL;
    immediate = value ? PyObject_IsTrue(value) : 0;
    if (immediate < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    r = ramet_queue_shutdown(&o->queue, immediate);
    Py_END_ALLOW_THREADS;
    if (r < 0)
        return rmt_py_error(r, "shut the queue down");
    Py_RETURN_NONE;
}

/* ---- unfinished tasks */

PyDoc_STRVAR(task_done_doc,
             "task_done($self, /)\n--\n\n"
             "Say that one object that was got has been worked off. ValueError if there have been\n"
             "as many calls as objects.");

static PyObject *queue_task_done(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    QueueObject *o = (QueueObject *)op;
    int r;

    if (check_open(o) < 0)
        return NULL;
    r = ramet_queue_task_done(&o->queue);
    if (r == -EINVAL) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (r < 0)
        return rmt_py_error(r, "count a task");
    Py_RETURN_NONE;
}

PyDoc_STRVAR(join_doc,
             "join($self, /)\n--\n\n"
             "Wait until task_done() was called for every object that was put. Objects that were\n"
             "lost with the process that had got them count as done.");

static PyObject *queue_join(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    QueueObject *o = (QueueObject *)op;

    if (check_open(o) < 0)
        return NULL;
    for (;;) {
        int r;
        Py_BEGIN_ALLOW_THREADS;
        r = ramet_queue_join(&o->queue, NULL);
        Py_END_ALLOW_THREADS;
        if (r == 0)
            Py_RETURN_NONE;
        if (r != -EINTR)
            return rmt_py_error(r, "wait for unfinished tasks");
        if (PyErr_CheckSignals())
            return NULL;
    }
}

/* ---- SimpleQueue */

PyDoc_STRVAR(simple_put_doc,
             "put($self, obj, /)\n--\n\nPut an object, serialised at once, into the queue.");

static PyObject *simple_put(PyObject *op, PyObject *obj)
{
    QueueObject *o = (QueueObject *)op;

    if (check_handle(o) < 0 || put_object(o, obj, RAMET_FOREVER) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(simple_get_doc, "get($self, /)\n--\n\n"
                             "Remove and return the first object; wait while there is none.");

static PyObject *simple_get(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    QueueObject *o = (QueueObject *)op;

    return check_handle(o) < 0 ? NULL : get_object(o, RAMET_FOREVER);
}

static PyObject *simple_empty(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    QueueObject *o = (QueueObject *)op;

    return check_handle(o) < 0 ? NULL : PyBool_FromLong(rmt_queue_size(&o->queue) == 0);
}

/* ---- making, opening, sending */

static PyObject *queue_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kw))
{
    struct rmt_py_state *st = rmt_py_state_of_type(type);
    QueueObject *o = st ? (QueueObject *)type->tp_alloc(type, 0) : NULL;

    if (o)
        o->st = st;
    return (PyObject *)o;
}

static void queue_dealloc(PyObject *op)
{
    QueueObject *o = (QueueObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    struct rmt_self *self;

    if (o->queue.shared && rmt_self(&self) == 0)
        rmt_queue_close(self, &o->queue);
    type->tp_free(op);
    Py_DECREF(type);
}

/* Calling __init__ or __setstate__ a second time must not leak the first queue. */
static int check_fresh(QueueObject *o)
{
    if (!o->queue.shared)
        return 0;
    PyErr_SetString(PyExc_ValueError, "the queue was initialised already");
    return -1;
}

PyDoc_STRVAR(create_doc, "_create($self, max_items, /)\n--\n\n"
                         "Make the queue; 0 or less: without a bound.");

static PyObject *queue_create(PyObject *op, PyObject *arg)
{
    QueueObject *o = (QueueObject *)op;
    ramet_queue_options options = {.size = sizeof options};
    struct rmt_self *self;
    long long max = PyLong_AsLongLong(arg);
    int r;

    if ((max == -1 && PyErr_Occurred()) || check_fresh(o) < 0)
        return NULL;
    options.max_items = max > 0 ? (uint64_t)max : 0;
    r = rmt_self(&self);
    if (r == 0)
        r = rmt_queue_create(self, &options, &o->queue);
    if (r < 0)
        return rmt_py_error(r, "make a queue");
    Py_RETURN_NONE;
}

PyDoc_STRVAR(ref_doc, "_ref($self, /)\n--\n\n"
                      "The queue's reference as bytes, counted by the message that is being made.");

static PyObject *queue_ref(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    QueueObject *o = (QueueObject *)op;
    ramet_ref ref;

    if (check_open(o) < 0 || rmt_encode_add_ref(o->st, o->queue.offset) < 0)
        return NULL;
    ref = rmt_handle_ref(&o->queue.handle);
    return PyBytes_FromStringAndSize((const char *)&ref, sizeof ref);
}

PyDoc_STRVAR(open_doc, "_open($self, ref, /)\n--\n\nOpen the queue that _ref() named.");

static PyObject *queue_open(PyObject *op, PyObject *arg)
{
    QueueObject *o = (QueueObject *)op;
    struct rmt_self *self;
    ramet_ref ref;
    int r;

    if (check_fresh(o) < 0)
        return NULL;
    if (!PyBytes_Check(arg) || PyBytes_GET_SIZE(arg) != sizeof ref) {
        PyErr_SetString(PyExc_ValueError, "not a reference to a queue");
        return NULL;
    }
    memcpy(&ref, PyBytes_AS_STRING(arg), sizeof ref);
    r = rmt_self(&self);
    if (r == 0)
        r = rmt_queue_open(self, &ref, &o->queue);
    if (r == -ESTALE) {
        PyObject *error = Py_BuildValue("(is)", ESTALE, "the queue is gone: nobody kept it");
        PyErr_SetObject(PyExc_OSError, error);
        Py_XDECREF(error);
        return NULL;
    }
    if (r < 0)
        return rmt_py_error(r, "open a queue");
    Py_RETURN_NONE;
}

static PyObject *get_lost(PyObject *op, void *Py_UNUSED(closure))
{
    QueueObject *o = (QueueObject *)op;

    return check_open(o) < 0 ? NULL
                             : PyLong_FromUnsignedLongLong(ramet_queue_lost(&o->queue));
}

static PyObject *get_maxsize(PyObject *op, void *Py_UNUSED(closure))
{
    QueueObject *o = (QueueObject *)op;

    return check_open(o) < 0 ? NULL
                             : PyLong_FromUnsignedLongLong(ramet_queue_max_items(&o->queue));
}

static PyObject *get_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((QueueObject *)op)->closed);
}

#define FAST(f) ((PyCFunction)(void (*)(void))(f))
#define FAST_FLAGS (METH_FASTCALL | METH_KEYWORDS)
#define SENDING                                                                                    \
    {"_create", queue_create, METH_O, create_doc}, {"_ref", queue_ref, METH_NOARGS, ref_doc},      \
    {                                                                                              \
        "_open", queue_open, METH_O, open_doc                                                      \
    }

static PyMethodDef queue_methods[] = {
    {"put", FAST(queue_put), FAST_FLAGS, put_doc},
    {"put_nowait", queue_put_nowait, METH_O, put_nowait_doc},
    {"put_many", FAST(queue_put_many), FAST_FLAGS, put_many_doc},
    {"get", FAST(queue_get), FAST_FLAGS, get_doc},
    {"get_nowait", queue_get_nowait, METH_NOARGS, get_nowait_doc},
    {"get_many", FAST(queue_get_many), FAST_FLAGS, get_many_doc},
    {"qsize", queue_qsize, METH_NOARGS, qsize_doc},
    {"empty", queue_empty, METH_NOARGS, empty_doc},
    {"full", queue_full, METH_NOARGS, full_doc},
    {"close", queue_close, METH_NOARGS, close_doc},
    {"join_thread", queue_join_thread, METH_NOARGS, join_thread_doc},
    {"cancel_join_thread", queue_cancel_join_thread, METH_NOARGS, cancel_join_thread_doc},
    {"shutdown", FAST(queue_shutdown), FAST_FLAGS, shutdown_doc},
    SENDING,
    {NULL, NULL, 0, NULL},
};

static PyMethodDef joinable_methods[] = {
    {"task_done", queue_task_done, METH_NOARGS, task_done_doc},
    {"join", queue_join, METH_NOARGS, join_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef simple_methods[] = {
    {"put", simple_put, METH_O, simple_put_doc},
    {"get", simple_get, METH_NOARGS, simple_get_doc},
    {"empty", simple_empty, METH_NOARGS, empty_doc},
    {"close", queue_close, METH_NOARGS, close_doc},
    SENDING,
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"lost", get_lost, NULL,
     PyDoc_STR("How many objects were lost because the process that had got them died before it\n"
               "had unpickled them."),
     NULL},
    {"_maxsize", get_maxsize, NULL, PyDoc_STR("The bound; 0: none."), NULL},
    {"_closed", get_closed, NULL, PyDoc_STR("Whether close() was called."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_new, queue_new},         {Py_tp_dealloc, queue_dealloc},
    {Py_tp_methods, queue_methods}, {Py_tp_getset, queue_getset},
    {Py_tp_iter, PyObject_SelfIter}, {Py_tp_iternext, queue_next},
    {0, NULL},
};

static PyType_Slot joinable_slots[] = {
    {Py_tp_methods, joinable_methods},
    {0, NULL},
};

static PyType_Slot simple_slots[] = {
    {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_methods, simple_methods},
    {Py_tp_getset, queue_getset},
    {0, NULL},
};

#define QUEUE_SPEC(variable, type_name, type_slots)                                                \
    static PyType_Spec variable = {                                                                \
        .name = "ramet._ramet." type_name,                                                         \
        .basicsize = sizeof(QueueObject),                                                          \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,              \
        .slots = type_slots,                                                                       \
    }
QUEUE_SPEC(queue_spec, "Queue", queue_slots);
QUEUE_SPEC(joinable_spec, "JoinableQueue", joinable_slots);
QUEUE_SPEC(simple_spec, "SimpleQueue", simple_slots);

/* The exceptions are those of the standard library's queue, ShutDown where it has one (3.13). */
static int add_exceptions(PyObject *module, struct rmt_py_state *st)
{
    PyObject *queue = PyImport_ImportModule("queue");
    PyObject *empty = queue ? PyObject_GetAttrString(queue, "Empty") : NULL;
    PyObject *full = empty ? PyObject_GetAttrString(queue, "Full") : NULL;
    PyObject *shutdown = full ? PyObject_GetAttrString(queue, "ShutDown") : NULL;

    if (full && !shutdown && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        shutdown = PyErr_NewExceptionWithDoc(
            "ramet.queues.ShutDown", "Raised when put/get with shut-down queue.", NULL, NULL);
    }
    Py_XDECREF(queue);
    st->types[RMT_PY_TYPE_QUEUE_EMPTY] = (PyTypeObject *)empty;
    st->types[RMT_PY_TYPE_QUEUE_FULL] = (PyTypeObject *)full;
    st->types[RMT_PY_TYPE_QUEUE_SHUTDOWN] = (PyTypeObject *)shutdown;
    return shutdown ? PyModule_AddObjectRef(module, "ShutDown", shutdown) : -1;
}

int rmt_py_add_queue(PyObject *module)
{
    struct rmt_py_state *st = rmt_py_state(module);

    if (add_exceptions(module, st) < 0 ||
        rmt_py_add_type(module, RMT_PY_TYPE_QUEUE, &queue_spec, NULL) < 0 ||
        rmt_py_add_type(module, RMT_PY_TYPE_JOINABLE_QUEUE, &joinable_spec,
                        st->types[RMT_PY_TYPE_QUEUE]) < 0)
        return -1;
    return rmt_py_add_type(module, RMT_PY_TYPE_SIMPLE_QUEUE, &simple_spec, NULL);
}
