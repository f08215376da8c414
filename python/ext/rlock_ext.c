/* SPDX-License-Identifier: MIT
 *
 * `_ramet.RLock`.
 */
#include "sync_ext.h"

#include <errno.h>

RMT_PY_HANDLE_NEW(rlock, RLockObject, "a lock")
RMT_PY_HANDLE_OPEN(rlock, RLockObject, "a lock")
RMT_PY_HANDLE_REDUCE(rlock, RLockObject)

static PyObject *acquire_slow(PyObject *op, const ramet_wait *wait)
{
    ramet_rlock *rlock = ((RLockObject *)op)->rlock;
    int r;

    do {
        Py_BEGIN_ALLOW_THREADS;
        r = ramet_rlock_acquire(rlock, wait);
        Py_END_ALLOW_THREADS;
        if (r == -EINTR && PyErr_CheckSignals() < 0)
            return NULL;
    } while (r == -EINTR);
    if (r == -EOWNERDEAD) {
        if (rmt_py_warn_owner_died(op) == 0)
            Py_RETURN_TRUE;
        ramet_rlock_mark_dead(rlock); /* a warning that is an error takes nothing */
        return NULL;
    }
    return rmt_py_waited(r, "acquire a lock");
}

static PyObject *acquire(PyObject *op, const ramet_wait *wait)
{
    struct rmt_self *self;
    int r = rmt_self(&self);

    if (r == 0)
        r = rmt_rlock_try(self, rmt_rlock_of(((RLockObject *)op)->rlock));
    if (r == 0)
        Py_RETURN_TRUE;
    if (r == -EAGAIN)
        return acquire_slow(op, wait);
    return rmt_py_sync_error(r, "acquire a lock");
}

PyObject *rmt_py_rlock_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return acquire(op, NULL);
}

PyObject *rmt_py_rlock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames)
{
    ramet_wait wait;

    if (nargs == 0 && !kwnames)
        return acquire(op, NULL);
    if (rmt_py_wait_args("acquire", args, nargs, kwnames, &wait) < 0)
        return NULL;
    return acquire(op, &wait);
}

PyObject *rmt_py_rlock_release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    int r = ramet_rlock_release(((RLockObject *)op)->rlock);

    if (r == 0)
        Py_RETURN_NONE;
    if (r == -EPERM) {
        PyErr_SetString(PyExc_AssertionError,
                        "attempt to release recursive lock not owned by thread");
        return NULL;
    }
    return rmt_py_sync_error(r, "release a lock");
}

PyObject *rmt_py_rlock_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
                            Py_ssize_t Py_UNUSED(nargs))
{
    return rmt_py_rlock_release(op, NULL);
}

static PyObject *rlock_locked(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(rmt_lock_owner(&rmt_rlock_of(((RLockObject *)op)->rlock)->lock) != 0);
}

static PyObject *rlock_state(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    int r = ramet_rlock_state(((RLockObject *)op)->rlock);

    return r < 0 ? rmt_py_sync_error(r, "look at a lock") : PyLong_FromLong(r);
}

static PyObject *rlock_count(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    int r = ramet_rlock_count(((RLockObject *)op)->rlock);

    return r < 0 ? rmt_py_sync_error(r, "look at a lock") : PyLong_FromLong(r);
}

PyDoc_STRVAR(
    acquire_doc,
    "acquire($self, /, block=True, timeout=None)\n--\n\n"
    "Take the lock, or take it once more: True, or False if it was not to be had in time.\n\n"
    "If the process that held it died, this warns with OwnerDiedWarning.");
PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\n"
                          "Give the lock back once. Only the thread that holds it may.");
PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\nWhether somebody holds the lock now.");

static PyMethodDef rlock_methods[] = {
    {"acquire", RMT_PY_FAST(rmt_py_rlock_acquire), METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", rmt_py_rlock_release, METH_NOARGS, release_doc},
    {"locked", rlock_locked, METH_NOARGS, locked_doc},
    {"__enter__", rmt_py_rlock_enter, METH_NOARGS, NULL},
    {"__exit__", RMT_PY_FAST(rmt_py_rlock_exit), METH_FASTCALL, NULL},
    {"__reduce__", rlock_reduce, METH_NOARGS, NULL},
    {"_from_ref", rlock_from_ref, METH_O | METH_CLASS, NULL},
    {"_state", rlock_state, METH_NOARGS,
     PyDoc_STR(
         "0 free, 1 held by this thread, 2 by another one of this process, 3 by another process.")},
    {"_recursion_count", rlock_count, METH_NOARGS, PyDoc_STR("How often this thread holds it.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rlock_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The engine of ramet.synchronize.RLock.")},
    {Py_tp_new, (void *)rlock_new},
    {Py_tp_dealloc, (void *)rlock_dealloc},
    {Py_tp_methods, rlock_methods},
    {0, NULL},
};

static PyType_Spec rlock_spec = {
    .name = "ramet._ramet.RLock",
    .basicsize = sizeof(RLockObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = rlock_slots,
};

int rmt_py_add_rlock(PyObject *module)
{
    return rmt_py_add_type(module, RMT_PY_TYPE_RLOCK, &rlock_spec, NULL);
}
