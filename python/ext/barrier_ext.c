/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Barrier`: a barrier, its action and its default time-out, which belong to this object and
 * travel with it.
 */
#include "sync_ext.h"

#include "sync/barrier.h"

#include <errno.h>

typedef struct {
    PyObject_HEAD ramet_barrier *barrier; /* NULL until __init__, then never changed */
    PyObject *action;                     /* or None; set with `barrier` */
    PyObject *timeout;                    /* or None; set with `barrier` */
} BarrierObject;

static BarrierObject *initialised(PyObject *op)
{
    BarrierObject *self = (BarrierObject *)op;

    if (self->barrier)
        return self;
    PyErr_SetString(PyExc_ValueError, "the barrier was not initialised");
    return NULL;
}

static void settle(BarrierObject *self, ramet_barrier *barrier, PyObject *action, PyObject *timeout)
{
    Py_INCREF(action);
    Py_INCREF(timeout);
    self->action = action;
    self->timeout = timeout;
    self->barrier = barrier;
}

static int barrier_init(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *action = Py_None, *timeout = Py_None;
    ramet_barrier *made;
    long long parties;
    int r = -EINVAL;

    if (!PyArg_ParseTuple(args, "L|OO:Barrier", &parties, &action, &timeout))
        return -1;
    if (((BarrierObject *)op)->barrier) {
        PyErr_SetString(PyExc_RuntimeError, "the barrier was initialised already");
        return -1;
    }
    if (parties > 0 && parties <= UINT32_MAX) {
        ramet_barrier_options options = {.size = sizeof options, .parties = (uint32_t)parties};
        r = ramet_barrier_create(&options, &made);
    }
    if (r < 0) {
        rmt_py_sync_error(r, r == -EINVAL ? "parties must be > 0" : "make a barrier");
        return -1;
    }
    settle((BarrierObject *)op, made, action, timeout);
    return 0;
}

static PyObject *barrier_from_ref(PyObject *cls, PyObject *args)
{
    PyTypeObject *type = (PyTypeObject *)cls;
    PyObject *bytes, *action, *timeout;
    ramet_barrier *opened;
    ramet_ref ref;
    PyObject *self;
    int r;

    if (!PyArg_ParseTuple(args, "OOO:_from_ref", &bytes, &action, &timeout) ||
        rmt_py_ref_from(bytes, &ref) < 0 || !(self = type->tp_alloc(type, 0)))
        return NULL;
    r = ramet_barrier_open(&ref, &opened);
    if (r < 0) {
        Py_DECREF(self);
        return rmt_py_sync_error(r, "open a barrier");
    }
    settle((BarrierObject *)self, opened, action, timeout);
    return self;
}

static int barrier_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((BarrierObject *)op)->action);
    Py_VISIT(((BarrierObject *)op)->timeout);
    return 0;
}

static int barrier_clear(PyObject *op)
{
    Py_CLEAR(((BarrierObject *)op)->action);
    Py_CLEAR(((BarrierObject *)op)->timeout);
    return 0;
}

static void barrier_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    ramet_barrier_close(((BarrierObject *)op)->barrier);
    barrier_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *barrier_reduce(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    BarrierObject *self = initialised(op);
    PyObject *more, *result;

    if (!self)
        return NULL;
    more = PyTuple_Pack(2, self->action ? self->action : Py_None,
                        self->timeout ? self->timeout : Py_None);
    if (!more)
        return NULL;
    result = rmt_py_reduce(op, ramet_barrier_ref(self->barrier), more);
    Py_DECREF(more);
    return result;
}

/* Raises threading.BrokenBarrierError, or what a negative errno means. NULL. */
static PyObject *refused(int r)
{
    PyObject *threading, *error;

    if (r != -ECANCELED && r != -ETIMEDOUT)
        return rmt_py_sync_error(r, "wait at a barrier");
    threading = PyImport_ImportModule("threading");
    error = threading ? PyObject_GetAttrString(threading, "BrokenBarrierError") : NULL;
    if (error)
        PyErr_SetNone(error);
    Py_XDECREF(error);
    Py_XDECREF(threading);
    return NULL;
}

/* 1: the last one, 0: one to wait, < 0: not in, and an exception is set. */
static int enter(BarrierObject *self, struct rmt_barrier_wait *bw)
{
    ramet_barrier *barrier = self->barrier;
    struct rmt_self *thread;
    int r;

    do {
        r = rmt_self(&thread);
        if (r < 0)
            break;
        Py_BEGIN_ALLOW_THREADS;
        r = rmt_barrier_enter(bw, thread, rmt_barrier_of(barrier), barrier->object.at);
        Py_END_ALLOW_THREADS;
        if (r == -EINTR && PyErr_CheckSignals() < 0)
            return -1;
    } while (r == -EINTR);
    if (r < 0)
        refused(r);
    return r;
}

static int await_others(struct rmt_barrier_wait *bw, const ramet_wait *wait)
{
    int r;

    do {
        Py_BEGIN_ALLOW_THREADS;
        r = rmt_barrier_await(bw, wait);
        Py_END_ALLOW_THREADS;
        if (r == -EINTR && PyErr_CheckSignals() < 0)
            return r;
    } while (r == -EINTR);
    return r;
}

/* The last one: runs the action. */
static int act(BarrierObject *self, struct rmt_barrier_wait *bw)
{
    PyObject *done = Py_None;

    if (self->action && self->action != Py_None) {
        done = PyObject_CallNoArgs(self->action);
        Py_XDECREF(done);
    }
    return rmt_barrier_finish(bw, done != NULL);
}

static PyObject *barrier_wait(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames)
{
    BarrierObject *self = initialised(op);
    ramet_wait wait = {.size = sizeof wait};
    struct rmt_barrier_wait bw;
    PyObject *timeout;
    int r, left;

    if (!self || rmt_py_one_arg("wait", "timeout", args, nargs, kwnames, &timeout) < 0)
        return NULL;
    if (!timeout || timeout == Py_None)
        timeout = self->timeout;
    r = enter(self, &bw);
    if (r < 0)
        return NULL;
    if (r == 1)
        r = act(self, &bw);
    else if (rmt_py_deadline(timeout, &wait.deadline) == 0) /* it counts from now on */
        r = await_others(&bw, &wait);
    left = rmt_barrier_leave(&bw);
    if (PyErr_Occurred())
        return NULL;
    if (r < 0 || left < 0)
        return refused(r < 0 ? r : left);
    return PyLong_FromUnsignedLong(bw.index);
}

static PyObject *barrier_reset(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    BarrierObject *self = initialised(op);
    int r;

    if (!self)
        return NULL;
    r = ramet_barrier_reset(self->barrier);
    if (r < 0)
        return rmt_py_sync_error(r, "reset a barrier");
    Py_RETURN_NONE;
}

static PyObject *barrier_abort(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    BarrierObject *self = initialised(op);
    int r;

    if (!self)
        return NULL;
    r = ramet_barrier_abort(self->barrier);
    if (r < 0)
        return rmt_py_sync_error(r, "abort a barrier");
    Py_RETURN_NONE;
}

static PyObject *barrier_parties(PyObject *op, void *Py_UNUSED(closure))
{
    BarrierObject *self = initialised(op);

    return self ? PyLong_FromUnsignedLong(ramet_barrier_parties(self->barrier)) : NULL;
}

static PyObject *barrier_waiting(PyObject *op, void *Py_UNUSED(closure))
{
    BarrierObject *self = initialised(op);

    return self ? PyLong_FromUnsignedLong(ramet_barrier_waiting(self->barrier)) : NULL;
}

static PyObject *barrier_broken(PyObject *op, void *Py_UNUSED(closure))
{
    BarrierObject *self = initialised(op);

    return self ? PyBool_FromLong(ramet_barrier_broken(self->barrier)) : NULL;
}

PyDoc_STRVAR(wait_doc,
             "wait($self, /, timeout=None)\n--\n\n"
             "Wait until all parties have come; the number of this one, from 0.\n\n"
             "BrokenBarrierError if that does not happen in time, if the barrier is aborted or\n"
             "reset, and if a process dies in it.");
PyDoc_STRVAR(reset_doc, "reset($self, /)\n--\n\n"
                        "Make the barrier as new; those who wait get BrokenBarrierError.");
PyDoc_STRVAR(abort_doc, "abort($self, /)\n--\n\nBreak the barrier, for all who wait and who come.");
PyDoc_STRVAR(parties_doc, "How many pass together.");
PyDoc_STRVAR(waiting_doc, "How many wait now.");
PyDoc_STRVAR(broken_doc, "Whether the barrier is broken.");

static PyMethodDef barrier_methods[] = {
    {"wait", RMT_PY_FAST(barrier_wait), METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"reset", barrier_reset, METH_NOARGS, reset_doc},
    {"abort", barrier_abort, METH_NOARGS, abort_doc},
    {"__reduce__", barrier_reduce, METH_NOARGS, NULL},
    {"_from_ref", barrier_from_ref, METH_VARARGS | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef barrier_getset[] = {
    {"parties", barrier_parties, NULL, parties_doc, NULL},
    {"n_waiting", barrier_waiting, NULL, waiting_doc, NULL},
    {"broken", barrier_broken, NULL, broken_doc, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot barrier_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The engine of ramet.synchronize.Barrier.")},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)barrier_init},
    {Py_tp_traverse, (void *)barrier_traverse},
    {Py_tp_clear, (void *)barrier_clear},
    {Py_tp_dealloc, (void *)barrier_dealloc},
    {Py_tp_methods, barrier_methods},
    {Py_tp_getset, barrier_getset},
    {0, NULL},
};

static PyType_Spec barrier_spec = {
    .name = "ramet._ramet.Barrier",
    .basicsize = sizeof(BarrierObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = barrier_slots,
};

int rmt_py_add_barrier(PyObject *module)
{
    return rmt_py_add_type(module, RMT_PY_TYPE_BARRIER, &barrier_spec, NULL);
}
