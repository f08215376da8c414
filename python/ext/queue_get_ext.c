/* SPDX-License-Identifier: MIT
 *
 * Getting Python objects out of a queue: they are decoded after they were taken out and belong to
 * this thread (in one of its holds), so that one whose decoding kills the process is lost alone.
 */
#include "queue_ext.h"

#include <errno.h>

/* Takes from the queue, and sleeps without the GIL if it must. 0, or -1 with the exception set. */
static int take(struct rmt_py_queue *o, struct rmt_cell *cells, size_t max, int64_t deadline,
                struct rmt_self **ret_self, struct rmt_taken *ret_taken)
{
    for (;;) {
        struct rmt_self *self;
        int r = rmt_self(&self);
        if (r == 0)
            r = rmt_queue_get(self, &o->queue, cells, max, &rmt_py_at_once, ret_taken);
        if (r == -ETIMEDOUT && deadline != 0) {
            ramet_wait wait = rmt_py_queue_wait(deadline);
            Py_BEGIN_ALLOW_THREADS;
            r = rmt_queue_get(self, &o->queue, cells, max, &wait, ret_taken);
            Py_END_ALLOW_THREADS;
            if (r == -ETIMEDOUT && wait.deadline < deadline)
                r = -EINTR;
        }
        if (r != -EINTR)
            rmt_py_queue_settle(o);
        if (r == 0) {
            *ret_self = self;
            return 0;
        }
        if (r != -EINTR) {
            rmt_py_queue_raise(o, r, RMT_PY_TYPE_QUEUE_EMPTY, "get from the queue");
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

PyObject *rmt_py_queue_get(struct rmt_py_queue *o, int64_t deadline)
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

const char rmt_py_queue_get_doc[] = PyDoc_STR(
    "get($self, /, block=True, timeout=None)\n--\n\n"
    "Remove and return the first object of the queue.\n\n"
    "Wait while it is empty, for at most `timeout` seconds; raise queue.Empty then, or at\n"
    "once if `block` is false. ValueError after close(); ShutDown when the queue is empty\n"
    "and was shut down.");

PyObject *rmt_py_queue_get_method(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames)
{
    static const char *const names[] = {"block", "timeout"};
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    PyObject *values[2];
    int64_t deadline = RAMET_FOREVER;

    if ((nargs > 0 || kwnames) &&
        (rmt_py_parse("get", names, 2, 0, args, nargs, kwnames, values) < 0 ||
         rmt_py_block_deadline(values[0], values[1], &deadline) < 0))
        return NULL;
    return rmt_py_queue_check_not_closed(o) < 0 ? NULL : rmt_py_queue_get(o, deadline);
}

const char rmt_py_queue_get_nowait_doc[] =
    PyDoc_STR("get_nowait($self, /)\n--\n\n"
              "Remove and return the first object, or raise queue.Empty at once.");

PyObject *rmt_py_queue_get_nowait(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;

    return rmt_py_queue_check_not_closed(o) < 0 ? NULL : rmt_py_queue_get(o, 0);
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
static Py_ssize_t get_batch(struct rmt_py_queue *o, PyObject *list, size_t max, int64_t deadline,
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

const char rmt_py_queue_get_many_doc[] = PyDoc_STR(
    "get_many($self, /, max_items=None, block=True, timeout=None)\n--\n\n"
    "Remove what is in the queue, at most `max_items` objects, and return it as a list.\n\n"
    "Wait for the first as get() does, not for more; without `max_items`, take as many\n"
    "as there were when the first was there. If an object cannot be unpickled, its\n"
    "exception is raised when all are decoded, with the others in its attribute `received`.");

PyObject *rmt_py_queue_get_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    static const char *const names[] = {"max_items", "block", "timeout"};
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    struct trouble trouble = {NULL, NULL, NULL};
    PyObject *values[3];
    PyObject *list;
    Py_ssize_t max = 0, done = 0;
    int64_t deadline;

    if (rmt_py_parse("get_many", names, 3, 0, args, nargs, kwnames, values) < 0 ||
        rmt_py_block_deadline(values[1], values[2], &deadline) < 0 ||
        rmt_py_queue_check_not_closed(o) < 0)
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

PyObject *rmt_py_queue_next(PyObject *op)
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    PyObject *obj =
        rmt_py_queue_check_not_closed(o) < 0 ? NULL : rmt_py_queue_get(o, RAMET_FOREVER);

    if (!obj && PyErr_ExceptionMatches((PyObject *)o->st->types[RMT_PY_TYPE_QUEUE_SHUTDOWN]))
        PyErr_Clear(); /* the end of the iteration */
    return obj;
}
