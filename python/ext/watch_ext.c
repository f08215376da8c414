/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Watch`: a descriptor that is readable when a queue, lock, semaphore or event may be ready
 * (sync/watch.h).  Also the descriptor of a queue, which its gets keep right.
 */
#include "queue_ext.h"
#include "sync_ext.h"

#include "sync/event.h"
#include "sync/semaphore.h"

typedef struct {
    PyObject_HEAD PyObject *object; /* whose handle keeps what is watched */
    struct rmt_watch watch;
    char open; /* written with the GIL, or by the constructor and close() alone */
} WatchObject;

/* Fills the watch for the object. 0, or -1 with TypeError. */
static int fill(struct rmt_py_state *st, PyObject *object, int put, struct rmt_watch *watch)
{
    PyTypeObject *const *types = st->types;

    if (PyObject_TypeCheck(object, types[RMT_PY_TYPE_QUEUE]) ||
        PyObject_TypeCheck(object, types[RMT_PY_TYPE_SIMPLE_QUEUE])) {
        struct rmt_py_queue *o = (struct rmt_py_queue *)object;
        if (rmt_py_queue_check(o) < 0)
            return -1;
        rmt_queue_watch(&o->queue, put, watch);
        return 0;
    }
    if (PyObject_TypeCheck(object, types[RMT_PY_TYPE_LOCK])) {
        rmt_lock_watch(rmt_lock_of(((LockObject *)object)->lock), watch);
        return 0;
    }
    if (PyObject_TypeCheck(object, types[RMT_PY_TYPE_SEMAPHORE])) {
        ramet_semaphore *semaphore = rmt_py_semaphore_of(object);
        if (!semaphore)
            return -1;
        rmt_semaphore_watch(rmt_semaphore_of(semaphore), watch);
        return 0;
    }
    if (PyObject_TypeCheck(object, types[RMT_PY_TYPE_EVENT])) {
        rmt_event_watch(rmt_py_event_of(object), watch);
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "a %.100s cannot be watched", Py_TYPE(object)->tp_name);
    return -1;
}

static PyObject *watch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct rmt_py_state *st = rmt_py_state_of_type(type);
    PyObject *object;
    WatchObject *me;
    int put = 0, r;

    if (!st || (kwargs && PyDict_GET_SIZE(kwargs) != 0)) {
        if (st)
            PyErr_SetString(PyExc_TypeError, "Watch() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O|p:Watch", &object, &put))
        return NULL;
    me = (WatchObject *)type->tp_alloc(type, 0);
    if (!me)
        return NULL;
    if (fill(st, object, put, &me->watch) < 0) {
        Py_DECREF(me);
        return NULL;
    }
    me->object = Py_NewRef(object);
    r = rmt_watch_open(&me->watch);
    if (r < 0) {
        Py_DECREF(me);
        return rmt_py_error(r, "watch an object of the arena");
    }
    me->open = 1;
    return (PyObject *)me;
}

static void close_watch(WatchObject *me)
{
    if (me->open) {
        me->open = 0;
        rmt_watch_close(&me->watch);
    }
    Py_CLEAR(me->object);
}

static void watch_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    close_watch((WatchObject *)op);
    type->tp_free(op);
    Py_DECREF(type);
}

static int check_open(const WatchObject *me)
{
    if (me->open)
        return 0;
    PyErr_SetString(PyExc_ValueError, "the watch is closed");
    return -1;
}

PyDoc_STRVAR(fileno_doc, "fileno($self, /)\n--\n\n"
                         "The descriptor: readable when the object may be ready.");

static PyObject *watch_fileno(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    WatchObject *me = (WatchObject *)op;

    return check_open(me) < 0 ? NULL : PyLong_FromLong(me->watch.fd);
}

PyDoc_STRVAR(settle_doc, "settle($self, /)\n--\n\n"
                         "Have the descriptor be readable only if the object is ready; whether it "
                         "is.");

static PyObject *watch_settle(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    WatchObject *me = (WatchObject *)op;
    int r;

    if (check_open(me) < 0)
        return NULL;
    r = rmt_watch_settle(&me->watch);
    return r < 0 ? rmt_py_error(r, "watch an object of the arena") : PyBool_FromLong(r);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nClose the descriptor.");

static PyObject *watch_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    close_watch((WatchObject *)op);
    Py_RETURN_NONE;
}

static PyMethodDef watch_methods[] = {
    {"fileno", watch_fileno, METH_NOARGS, fileno_doc},
    {"settle", watch_settle, METH_NOARGS, settle_doc},
    {"close", watch_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot watch_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("Watch(object, put=False, /)\n--\n\n"
                                  "A descriptor that is readable when the object may be ready.")},
    {Py_tp_new, (void *)watch_new},
    {Py_tp_dealloc, (void *)watch_dealloc},
    {Py_tp_methods, watch_methods},
    {0, NULL},
};

static PyType_Spec watch_spec = {
    .name = "ramet._ramet.Watch",
    .basicsize = sizeof(WatchObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = watch_slots,
};

int rmt_py_add_watch(PyObject *module)
{
    return rmt_py_add_type(module, RMT_PY_TYPE_WATCH, &watch_spec, NULL);
}

/* ---- the descriptor of a queue.  It stands in the queue's object, and so must not keep it alive:
 * it is no Watch. */

/* The watch, open, or NULL with an exception.  In a build without the GIL several threads may come
 * here at once: one of theirs is it. */
static struct rmt_watch *open_for(struct rmt_py_queue *o)
{
    struct rmt_watch *watch = PyMem_RawMalloc(sizeof *watch);
    uint64_t none = 0;
    int r;

    if (!watch) {
        PyErr_NoMemory();
        return NULL;
    }
    rmt_queue_watch(&o->queue, false, watch);
    r = rmt_watch_open(watch);
    if (r < 0) {
        PyMem_RawFree(watch);
        rmt_py_error(r, "make a descriptor for a queue");
        return NULL;
    }
    if (!rmt_cas64(&o->watch, &none, (uintptr_t)watch)) {
        rmt_watch_close(watch);
        PyMem_RawFree(watch);
        return rmt_py_queue_watch(o);
    }
    return watch;
}

int rmt_py_queue_fd(struct rmt_py_queue *o)
{
    struct rmt_watch *watch = rmt_py_queue_watch(o);
    int r;

    if (!watch) {
        watch = open_for(o);
        return watch ? watch->fd : -1;
    }
    r = rmt_watch_settle(watch);
    if (r < 0) {
        rmt_py_error(r, "use the descriptor of a queue");
        return -1;
    }
    return watch->fd;
}

void rmt_py_queue_close_fd(struct rmt_py_queue *o)
{
    struct rmt_watch *watch = rmt_py_queue_watch(o);

    if (watch) {
        rmt_watch_close(watch);
        PyMem_RawFree(watch);
        rmt_store64_relaxed(&o->watch, 0);
    }
}
