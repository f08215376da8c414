/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Queue`, `_ramet.JoinableQueue` and `_ramet.SimpleQueue`: the C types under the classes of
 * ramet/queues.py. An object is a handle of a queue of the arena. Here: arguments, state,
 * unfinished tasks, making, opening and sending; putting and getting have their own files.
 */
#include "queue_ext.h"

#include <errno.h>
#include <string.h>

const ramet_wait rmt_py_at_once = {.size = sizeof(ramet_wait), .deadline = 0};

/* ---- arguments */

/* Sorts positional and keyword arguments into `values` (NULL where not given). 0, or -1 with
 * TypeError. */
int rmt_py_parse(const char *function, const char *const *names, int count, int required,
                 PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **values)
{
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    if (nargs > count) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)", function,
                     count, nargs);
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
            PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", function,
                         names[i]);
            return -1;
        }
    }
    return 0;
}

/* The deadline that (block, timeout) mean; either may be NULL. */
int rmt_py_block_deadline(PyObject *block, PyObject *timeout, int64_t *ret_deadline)
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

int rmt_py_queue_check(struct rmt_py_queue *o)
{
    if (o->queue.shared)
        return 0;
    PyErr_SetString(PyExc_ValueError, "the queue was not initialised");
    return -1;
}

int rmt_py_queue_check_not_closed(struct rmt_py_queue *o)
{
    if (rmt_py_queue_check(o) < 0)
        return -1;
    if (!o->closed)
        return 0;
    PyErr_Format(PyExc_ValueError, "Queue %R is closed", (PyObject *)o);
    return -1;
}

int rmt_py_queue_check_handle(struct rmt_py_queue *o)
{
    if (rmt_py_queue_check(o) < 0)
        return -1;
    if (!o->closed)
        return 0;
    PyErr_SetString(PyExc_OSError, "handle is closed");
    return -1;
}

void rmt_py_queue_raise(struct rmt_py_queue *o, ptrdiff_t r, enum rmt_py_type timed_out,
                        const char *what)
{
    if (r == -ETIMEDOUT)
        PyErr_SetNone((PyObject *)o->st->types[timed_out]);
    else if (r == -ESHUTDOWN)
        PyErr_SetNone((PyObject *)o->st->types[RMT_PY_TYPE_QUEUE_SHUTDOWN]);
    else
        rmt_py_error((int)r, what);
}

/* ---- state */

PyDoc_STRVAR(qsize_doc, "qsize($self, /)\n--\n\n"
                        "How many objects are in the queue: exact, and never more than its bound.");

static PyObject *queue_qsize(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;

    return rmt_py_queue_check(o) < 0 ? NULL
                                     : PyLong_FromUnsignedLongLong(rmt_queue_size(&o->queue));
}

PyDoc_STRVAR(empty_doc, "empty($self, /)\n--\n\nWhether the queue is empty.");

static PyObject *queue_empty(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;

    /* As in the standard library: closing a queue that was never used changes nothing. */
    if (rmt_py_queue_check(o) < 0 || (o->used && rmt_py_queue_check_handle(o) < 0))
        return NULL;
    rmt_py_queue_settle(o);
    return PyBool_FromLong(rmt_queue_size(&o->queue) == 0);
}

PyDoc_STRVAR(full_doc, "full($self, /)\n--\n\nWhether the queue has a bound and is full.");

static PyObject *queue_full(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;

    return rmt_py_queue_check(o) < 0 ? NULL : PyBool_FromLong(ramet_queue_full(&o->queue));
}

PyDoc_STRVAR(
    close_doc,
    "close($self, /)\n--\n\n"
    "End the use of the queue through this object, whose put() and get() raise ValueError\n"
    "from now on. Other objects and processes are not affected.");

static PyObject *queue_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ((struct rmt_py_queue *)op)->closed = 1;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(join_thread_doc,
             "join_thread($self, /)\n--\n\n"
             "Return at once: what was put is in the queue already, and no thread has to finish.");

static PyObject *queue_join_thread(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (!((struct rmt_py_queue *)op)->closed) {
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
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    PyObject *value;
    int immediate, r;

    if (rmt_py_parse("shutdown", names, 1, 0, args, nargs, kwnames, &value) < 0 ||
        rmt_py_queue_check(o) < 0)
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
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    int r;

    if (rmt_py_queue_check(o) < 0)
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
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;

    if (rmt_py_queue_check(o) < 0)
        return NULL;
    for (;;) {
        ramet_wait wait = rmt_py_queue_wait(RAMET_FOREVER);
        int r;
        Py_BEGIN_ALLOW_THREADS;
        r = ramet_queue_join(&o->queue, &wait);
        Py_END_ALLOW_THREADS;
        if (r == 0)
            Py_RETURN_NONE;
        if (r != -EINTR && r != -ETIMEDOUT)
            return rmt_py_error(r, "wait for unfinished tasks");
        if (PyErr_CheckSignals())
            return NULL;
    }
}

/* ---- the descriptor */

PyDoc_STRVAR(fd_doc, "_fd($self, /)\n--\n\n"
                     "A descriptor that is readable when something may be got.");

static PyObject *queue_fd(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    int fd = rmt_py_queue_check_handle(o) < 0 ? -1 : rmt_py_queue_fd(o);

    return fd < 0 ? NULL : PyLong_FromLong(fd);
}

/* ---- SimpleQueue */

PyDoc_STRVAR(simple_put_doc,
             "put($self, /, obj)\n--\n\nPut an object, serialised at once, into the queue.");

static PyObject *simple_put(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    PyObject *obj = rmt_py_queue_obj("put", args, nargs, kwnames);

    if (!obj || rmt_py_queue_check_handle(o) < 0 || rmt_py_queue_put(o, obj, RAMET_FOREVER) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(simple_get_doc, "get($self, /)\n--\n\n"
                             "Remove and return the first object; wait while there is none.");

static PyObject *simple_get(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;

    return rmt_py_queue_check_handle(o) < 0 ? NULL : rmt_py_queue_get(o, RAMET_FOREVER);
}

static PyObject *simple_empty(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;

    return rmt_py_queue_check_handle(o) < 0 ? NULL
                                            : PyBool_FromLong(rmt_queue_size(&o->queue) == 0);
}

/* ---- making, opening, sending */

/* The exceptions are those of the standard library's queue, ShutDown where it has one (3.13). They
 * are looked up when the first queue is made: a child that uses none is spared that import. Threads
 * may come here at once; each finds the same, or one of them what the other has made. */
static int load_exceptions(struct rmt_py_state *st)
{
    if (st->types[RMT_PY_TYPE_QUEUE_SHUTDOWN])
        return 0;
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
    if (!shutdown || st->types[RMT_PY_TYPE_QUEUE_SHUTDOWN]) {
        Py_XDECREF(empty);
        Py_XDECREF(full);
        Py_XDECREF(shutdown);
        return shutdown ? 0 : -1;
    }
    st->types[RMT_PY_TYPE_QUEUE_EMPTY] = (PyTypeObject *)empty;
    st->types[RMT_PY_TYPE_QUEUE_FULL] = (PyTypeObject *)full;
    st->types[RMT_PY_TYPE_QUEUE_SHUTDOWN] = (PyTypeObject *)shutdown;
    return 0;
}

PyDoc_STRVAR(shut_down_class_doc, "_shut_down_class()\n--\n\n"
                                  "The exception of a queue that was shut down.");

static PyObject *shut_down_class(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct rmt_py_state *st = rmt_py_state(module);

    if (load_exceptions(st) < 0)
        return NULL;
    return Py_NewRef((PyObject *)st->types[RMT_PY_TYPE_QUEUE_SHUTDOWN]);
}

static PyMethodDef queue_functions[] = {
    {"_shut_down_class", shut_down_class, METH_NOARGS, shut_down_class_doc},
    {NULL, NULL, 0, NULL},
};

static PyObject *queue_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kw))
{
    struct rmt_py_state *st = rmt_py_state_of_type(type);
    struct rmt_py_queue *o = NULL;

    if (st && load_exceptions(st) == 0)
        o = (struct rmt_py_queue *)type->tp_alloc(type, 0);
    if (o)
        o->st = st;
    return (PyObject *)o;
}

static void queue_dealloc(PyObject *op)
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    PyTypeObject *type = Py_TYPE(op);
    struct rmt_self *self;

    rmt_py_queue_close_fd(o);
    if (o->queue.shared && rmt_self(&self) == 0)
        rmt_queue_close(self, &o->queue);
    type->tp_free(op);
    Py_DECREF(type);
}

/* Calling __init__ or __setstate__ a second time must not leak the first queue. */
static int check_fresh(struct rmt_py_queue *o)
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
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
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
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
    ramet_ref ref;

    if (rmt_py_queue_check(o) < 0 || rmt_encode_add_ref(o->st, o->queue.offset) < 0)
        return NULL;
    ref = rmt_handle_ref(&o->queue.handle);
    return PyBytes_FromStringAndSize((const char *)&ref, sizeof ref);
}

PyDoc_STRVAR(open_doc, "_open($self, ref, /)\n--\n\nOpen the queue that _ref() named.");

static PyObject *queue_open(PyObject *op, PyObject *arg)
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;
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
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;

    return rmt_py_queue_check(o) < 0 ? NULL
                                     : PyLong_FromUnsignedLongLong(ramet_queue_lost(&o->queue));
}

static PyObject *get_maxsize(PyObject *op, void *Py_UNUSED(closure))
{
    struct rmt_py_queue *o = (struct rmt_py_queue *)op;

    return rmt_py_queue_check(o) < 0
               ? NULL
               : PyLong_FromUnsignedLongLong(ramet_queue_max_items(&o->queue));
}

static PyObject *get_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((struct rmt_py_queue *)op)->closed);
}

#define FAST(f) ((PyCFunction)(void (*)(void))(f))
#define FAST_FLAGS (METH_FASTCALL | METH_KEYWORDS)
#define SENDING                                                                                    \
    {"_create", queue_create, METH_O, create_doc}, {"_ref", queue_ref, METH_NOARGS, ref_doc},      \
        {"_fd", queue_fd, METH_NOARGS, fd_doc},                                                    \
    {                                                                                              \
        "_open", queue_open, METH_O, open_doc                                                      \
    }

static PyMethodDef queue_methods[] = {
    {"put", FAST(rmt_py_queue_put_method), FAST_FLAGS, rmt_py_queue_put_doc},
    {"put_nowait", FAST(rmt_py_queue_put_nowait), FAST_FLAGS, rmt_py_queue_put_nowait_doc},
    {"put_many", FAST(rmt_py_queue_put_many), FAST_FLAGS, rmt_py_queue_put_many_doc},
    {"get", FAST(rmt_py_queue_get_method), FAST_FLAGS, rmt_py_queue_get_doc},
    {"get_nowait", rmt_py_queue_get_nowait, METH_NOARGS, rmt_py_queue_get_nowait_doc},
    {"get_many", FAST(rmt_py_queue_get_many), FAST_FLAGS, rmt_py_queue_get_many_doc},
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
    {"put", FAST(simple_put), FAST_FLAGS, simple_put_doc},
    {"get", simple_get, METH_NOARGS, simple_get_doc},
    {"_get_nowait", rmt_py_queue_get_nowait, METH_NOARGS, rmt_py_queue_get_nowait_doc},
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
    {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_methods, queue_methods},
    {Py_tp_getset, queue_getset},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, rmt_py_queue_next},
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
        .basicsize = sizeof(struct rmt_py_queue),                                                  \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,              \
        .slots = type_slots,                                                                       \
    }
QUEUE_SPEC(queue_spec, "Queue", queue_slots);
QUEUE_SPEC(joinable_spec, "JoinableQueue", joinable_slots);
QUEUE_SPEC(simple_spec, "SimpleQueue", simple_slots);

int rmt_py_add_queue(PyObject *module)
{
    struct rmt_py_state *st = rmt_py_state(module);

    if (PyModule_AddFunctions(module, queue_functions) < 0 ||
        rmt_py_add_type(module, RMT_PY_TYPE_QUEUE, &queue_spec, NULL) < 0 ||
        rmt_py_add_type(module, RMT_PY_TYPE_JOINABLE_QUEUE, &joinable_spec,
                        st->types[RMT_PY_TYPE_QUEUE]) < 0)
        return -1;
    return rmt_py_add_type(module, RMT_PY_TYPE_SIMPLE_QUEUE, &simple_spec, NULL);
}
