/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Lock` and `_ramet.OwnerDiedWarning`, and what all types of synchronisation share
 * (sync_ext.h).
 */
#include "sync_ext.h"

#include <errno.h>
#include <string.h>

/* ---- shared */

int rmt_py_wait_args(const char *function, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames, ramet_wait *ret_wait)
{
    static const char *const names[] = {"block", "timeout"};
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    PyObject *values[2] = {NULL, NULL};
    int64_t deadline = 0;
    int block = 1;

    if (nargs > 2) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most 2 arguments (%zd given)", function,
                     nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        values[i] = args[i];
    for (Py_ssize_t k = 0; k < keywords; k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        int i = PyUnicode_CompareWithASCIIString(name, names[0]) ? 1 : 0;
        if (i == 1 && PyUnicode_CompareWithASCIIString(name, names[1])) {
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
    if (values[0] && (block = PyObject_IsTrue(values[0])) < 0)
        return -1;
    if (block && rmt_py_deadline(values[1], &deadline) < 0)
        return -1;
    *ret_wait = (ramet_wait){.size = sizeof *ret_wait, .deadline = deadline};
    return 0;
}

PyObject *rmt_py_reduce(PyObject *self, ramet_ref ref, PyObject *more)
{
    struct rmt_py_state *st = rmt_py_state_of_type(Py_TYPE(self));
    PyObject *opener, *bytes, *args, *result;

    if (!st || rmt_encode_add_ref(st, ref.offset) < 0)
        return NULL;
    bytes = PyBytes_FromStringAndSize((const char *)&ref, sizeof ref);
    if (!bytes)
        return NULL;
    args = PyTuple_New(1 + (more ? PyTuple_GET_SIZE(more) : 0));
    if (!args) {
        Py_DECREF(bytes);
        return NULL;
    }
    PyTuple_SET_ITEM(args, 0, bytes);
    for (Py_ssize_t i = 0; more && i < PyTuple_GET_SIZE(more); i++) {
        PyObject *item = PyTuple_GET_ITEM(more, i);
        Py_INCREF(item);
        PyTuple_SET_ITEM(args, i + 1, item);
    }
    opener = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "_from_ref");
    result = opener ? PyTuple_Pack(2, opener, args) : NULL;
    Py_XDECREF(opener);
    Py_DECREF(args);
    return result;
}

int rmt_py_ref_from(PyObject *bytes, ramet_ref *ret_ref)
{
    if (!PyBytes_Check(bytes) || PyBytes_GET_SIZE(bytes) != sizeof *ret_ref) {
        PyErr_SetString(PyExc_ValueError, "not a reference to an object of the arena");
        return -1;
    }
    memcpy(ret_ref, PyBytes_AS_STRING(bytes), sizeof *ret_ref);
    return 0;
}

PyObject *rmt_py_sync_error(int negative_errno, const char *what)
{
    if (negative_errno != -ESTALE)
        return rmt_py_error(negative_errno, what);
    return rmt_py_error(
        negative_errno,
        "the object is gone, or belongs to processes that are not related to this one");
}

PyObject *rmt_py_waited(int r, const char *what)
{
    if (r == 0)
        Py_RETURN_TRUE;
    if (r == -ETIMEDOUT)
        Py_RETURN_FALSE;
    return rmt_py_sync_error(r, what);
}

PyObject *rmt_py_made(PyObject *self, int r, const char *what)
{
    if (r >= 0)
        return self;
    Py_DECREF(self);
    return rmt_py_sync_error(r, what);
}

int rmt_py_warn_owner_died(PyObject *self)
{
    struct rmt_py_state *st = rmt_py_state_of_type(Py_TYPE(self));
    PyObject *name = PyType_GetName(Py_TYPE(self));
    int r = -1;

    if (st && name)
        r = PyErr_WarnFormat((PyObject *)st->types[RMT_PY_TYPE_OWNER_DIED_WARNING], 1,
                             "the process that held this %U died; what it protects may be half "
                             "changed",
                             name);
    Py_XDECREF(name);
    return r;
}

/* ---- Lock */

RMT_PY_HANDLE_NEW(lock, LockObject, "a lock")
RMT_PY_HANDLE_OPEN(lock, LockObject, "a lock")
RMT_PY_HANDLE_REDUCE(lock, LockObject)

/* The lock was taken from a dead owner. A warning that is an error takes nothing: it is put back.
 */
static PyObject *taken_from_the_dead(PyObject *op)
{
    if (rmt_py_warn_owner_died(op) < 0) {
        ramet_lock_mark_dead(((LockObject *)op)->lock);
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyObject *acquire_slow(PyObject *op, const ramet_wait *wait)
{
    ramet_lock *lock = ((LockObject *)op)->lock;
    int r;

    do {
        Py_BEGIN_ALLOW_THREADS;
        r = ramet_lock_acquire(lock, wait);
        Py_END_ALLOW_THREADS;
        if (r == -EINTR && PyErr_CheckSignals() < 0)
            return NULL;
    } while (r == -EINTR);
    if (r == -EOWNERDEAD)
        return taken_from_the_dead(op);
    return rmt_py_waited(r, "acquire a lock");
}

PyObject *rmt_py_lock_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_self *self;
    int r = rmt_self(&self);

    if (r < 0)
        return rmt_py_sync_error(r, "acquire a lock");
    if (rmt_lock_try(self, rmt_lock_of(((LockObject *)op)->lock)))
        Py_RETURN_TRUE;
    return acquire_slow(op, NULL);
}

PyObject *rmt_py_lock_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames)
{
    struct rmt_self *self;
    ramet_wait wait;
    int r;

    if (nargs == 0 && !kwnames)
        return rmt_py_lock_enter(op, NULL);
    if (rmt_py_wait_args("acquire", args, nargs, kwnames, &wait) < 0)
        return NULL;
    r = rmt_self(&self);
    if (r < 0)
        return rmt_py_sync_error(r, "acquire a lock");
    if (rmt_lock_try(self, rmt_lock_of(((LockObject *)op)->lock)))
        Py_RETURN_TRUE;
    return acquire_slow(op, &wait);
}

PyObject *rmt_py_lock_release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    int r = ramet_lock_release(((LockObject *)op)->lock);

    if (r == 0)
        Py_RETURN_NONE;
    if (r == -EPERM) {
        PyErr_SetString(PyExc_ValueError, "semaphore or lock released too many times");
        return NULL;
    }
    return rmt_py_sync_error(r, "release a lock");
}

PyObject *rmt_py_lock_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
                           Py_ssize_t Py_UNUSED(nargs))
{
    return rmt_py_lock_release(op, NULL);
}

static PyObject *lock_locked(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(rmt_lock_owner(rmt_lock_of(((LockObject *)op)->lock)) != 0);
}

static PyObject *lock_state(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    int r = ramet_lock_state(((LockObject *)op)->lock);

    return r < 0 ? rmt_py_sync_error(r, "look at a lock") : PyLong_FromLong(r);
}

PyDoc_STRVAR(acquire_doc, "acquire($self, /, block=True, timeout=None)\n--\n\n"
                          "Take the lock: True, or False if it was not to be had in time.\n\n"
                          "If the process that held it died, this warns with OwnerDiedWarning.");
PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\n"
                          "Give the lock back. Any thread of any process may.");
PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\nWhether somebody holds the lock now.");

static PyMethodDef lock_methods[] = {
    {"acquire", RMT_PY_FAST(rmt_py_lock_acquire), METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", rmt_py_lock_release, METH_NOARGS, release_doc},
    {"locked", lock_locked, METH_NOARGS, locked_doc},
    {"__enter__", rmt_py_lock_enter, METH_NOARGS, NULL},
    {"__exit__", RMT_PY_FAST(rmt_py_lock_exit), METH_FASTCALL, NULL},
    {"__reduce__", lock_reduce, METH_NOARGS, NULL},
    {"_from_ref", lock_from_ref, METH_O | METH_CLASS, NULL},
    {"_state", lock_state, METH_NOARGS,
     PyDoc_STR(
         "0 free, 1 held by this thread, 2 by another one of this process, 3 by another process.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The engine of ramet.synchronize.Lock.")},
    {Py_tp_new, (void *)lock_new},
    {Py_tp_dealloc, (void *)lock_dealloc},
    {Py_tp_methods, lock_methods},
    {0, NULL},
};

static PyType_Spec lock_spec = {
    .name = "ramet._ramet.Lock",
    .basicsize = sizeof(LockObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = lock_slots,
};

PyDoc_STRVAR(owner_died_doc, "A lock was taken over from a process that died while it held it.");

int rmt_py_add_lock(PyObject *module)
{
    struct rmt_py_state *st = rmt_py_state(module);
    PyObject *warning = PyErr_NewExceptionWithDoc("ramet.OwnerDiedWarning", owner_died_doc,
                                                  PyExc_RuntimeWarning, NULL);

    if (!warning)
        return -1;
    st->types[RMT_PY_TYPE_OWNER_DIED_WARNING] = (PyTypeObject *)warning;
    if (PyModule_AddObjectRef(module, "OwnerDiedWarning", warning) < 0)
        return -1;
    return rmt_py_add_type(module, RMT_PY_TYPE_LOCK, &lock_spec, NULL);
}
