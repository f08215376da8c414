/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Semaphore`, the engine of the bounded one, too.
 *
 * `with semaphore:` takes a permit that this thread owns, so that it comes back if the process
 * dies; plain acquire() and release() are signals. A thread that owns permits of so many semaphores
 * at once that there is no place to write down one more takes a plain one: leaving finds out which
 * it was.
 */
#include "sync_ext.h"

#include "sync/semaphore.h"

#include <errno.h>
#include <limits.h>

typedef struct {
    PyObject_HEAD ramet_semaphore *semaphore; /* NULL until __init__ */
} SemaphoreObject;

ramet_semaphore *rmt_py_semaphore_of(PyObject *op)
{
    ramet_semaphore *semaphore = ((SemaphoreObject *)op)->semaphore;

    if (!semaphore)
        PyErr_SetString(PyExc_ValueError, "the semaphore was not initialised");
    return semaphore;
}

static int semaphore_init(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    ramet_semaphore *made;
    long long value, max = RAMET_SEMAPHORE_MAX;
    int r = -EINVAL;

    if (!PyArg_ParseTuple(args, "L|L:Semaphore", &value, &max))
        return -1;
    /* The exceptions of the standard library, which hands the value to sem_open() as an int. */
    if (value > INT_MAX || value < INT_MIN || max > INT_MAX || max < INT_MIN) {
        PyErr_SetString(PyExc_OverflowError, "semaphore value too large");
        return -1;
    }
    if (value >= 0 && max >= 0) {
        ramet_semaphore_options options = {
            .size = sizeof options, .value = (uint32_t)value, .max = (uint32_t)max};
        r = ramet_semaphore_create(&options, &made);
    }
    if (r < 0) {
        if (r == -EINVAL) {
            errno = EINVAL;
            PyErr_SetFromErrno(PyExc_OSError);
        } else {
            rmt_py_sync_error(r, "make a semaphore");
        }
        return -1;
    }
    if (((SemaphoreObject *)op)->semaphore) {
        ramet_semaphore_close(made);
        PyErr_SetString(PyExc_RuntimeError, "the semaphore was initialised already");
        return -1;
    }
    ((SemaphoreObject *)op)->semaphore = made;
    return 0;
}

RMT_PY_HANDLE_OPEN(semaphore, SemaphoreObject, "a semaphore")

static PyObject *semaphore_reduce(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ramet_semaphore *semaphore = rmt_py_semaphore_of(op);

    return semaphore ? rmt_py_reduce(op, ramet_semaphore_ref(semaphore), NULL) : NULL;
}

static PyObject *acquire(PyObject *op, const ramet_wait *wait, bool owned)
{
    ramet_semaphore *semaphore = rmt_py_semaphore_of(op);
    struct rmt_self *self;
    int r;

    if (!semaphore)
        return NULL;
    r = rmt_self(&self);
    if (r == 0)
        r = rmt_semaphore_try(self, rmt_semaphore_of(semaphore), semaphore->object.at, owned);
    if (r == -EAGAIN) {
        do {
            Py_BEGIN_ALLOW_THREADS;
            r = owned ? ramet_semaphore_acquire_owned(semaphore, wait)
                      : ramet_semaphore_acquire(semaphore, wait);
            Py_END_ALLOW_THREADS;
            if (r == -EINTR && PyErr_CheckSignals() < 0)
                return NULL;
        } while (r == -EINTR);
    }
    if (r == -ENOSPC && owned)
        return acquire(op, wait, false);
    return rmt_py_waited(r, "acquire a semaphore");
}

static PyObject *semaphore_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return acquire(op, NULL, true);
}

static PyObject *semaphore_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *kwnames)
{
    ramet_wait wait = {.size = sizeof wait, .deadline = RAMET_FOREVER};

    if ((nargs || kwnames) && rmt_py_wait_args("acquire", args, nargs, kwnames, &wait) < 0)
        return NULL;
    return acquire(op, &wait, false);
}

static PyObject *released(int r)
{
    if (r == 0)
        Py_RETURN_NONE;
    if (r == -EOVERFLOW) {
        PyErr_SetString(PyExc_ValueError, "semaphore or lock released too many times");
        return NULL;
    }
    return rmt_py_sync_error(r, "release a semaphore");
}

static PyObject *semaphore_release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ramet_semaphore *semaphore = rmt_py_semaphore_of(op);

    return semaphore ? released(ramet_semaphore_release(semaphore, 1)) : NULL;
}

static PyObject *semaphore_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
                                Py_ssize_t Py_UNUSED(nargs))
{
    ramet_semaphore *semaphore = rmt_py_semaphore_of(op);
    int r;

    if (!semaphore)
        return NULL;
    r = ramet_semaphore_release_owned(semaphore);
    if (r == -EPERM) /* it was a plain one, or that of a process before a fork */
        r = ramet_semaphore_release(semaphore, 1);
    return released(r);
}

static PyObject *semaphore_value(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ramet_semaphore *semaphore = rmt_py_semaphore_of(op);

    return semaphore ? PyLong_FromLong(ramet_semaphore_value(semaphore)) : NULL;
}

static PyObject *semaphore_locked(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ramet_semaphore *semaphore = rmt_py_semaphore_of(op);

    return semaphore ? PyBool_FromLong(ramet_semaphore_value(semaphore) == 0) : NULL;
}

static PyObject *semaphore_max(PyObject *op, void *Py_UNUSED(closure))
{
    ramet_semaphore *semaphore = rmt_py_semaphore_of(op);

    return semaphore ? PyLong_FromUnsignedLong(ramet_semaphore_max(semaphore)) : NULL;
}

PyDoc_STRVAR(acquire_doc, "acquire($self, /, block=True, timeout=None)\n--\n\n"
                          "Take a permit: True, or False if there was none in time.\n\n"
                          "Nobody owns it; `with semaphore:` takes one that comes back if the\n"
                          "process dies.");
PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\nAdd a permit. Any thread of any process may.");
PyDoc_STRVAR(value_doc, "get_value($self, /)\n--\n\nHow many permits there are now.");
PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\nWhether there is no permit now.");

PyDoc_STRVAR(try_owned_doc, "_try_owned($self, /)\n--\n\n"
                            "As __enter__, but False instead of waiting.");

static PyObject *semaphore_try_owned(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    const ramet_wait wait = {.size = sizeof wait, .deadline = 0};

    return acquire(op, &wait, true);
}

static PyMethodDef semaphore_methods[] = {
    {"acquire", RMT_PY_FAST(semaphore_acquire), METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", semaphore_release, METH_NOARGS, release_doc},
    {"get_value", semaphore_value, METH_NOARGS, value_doc},
    {"locked", semaphore_locked, METH_NOARGS, locked_doc},
    {"__enter__", semaphore_enter, METH_NOARGS, NULL},
    {"__exit__", RMT_PY_FAST(semaphore_exit), METH_FASTCALL, NULL},
    {"_try_owned", semaphore_try_owned, METH_NOARGS, try_owned_doc},
    {"__reduce__", semaphore_reduce, METH_NOARGS, NULL},
    {"_from_ref", semaphore_from_ref, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef semaphore_getset[] = {
    {"_maxvalue", semaphore_max, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot semaphore_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The engine of ramet.synchronize.Semaphore.")},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)semaphore_init},
    {Py_tp_dealloc, (void *)semaphore_dealloc},
    {Py_tp_methods, semaphore_methods},
    {Py_tp_getset, semaphore_getset},
    {0, NULL},
};

static PyType_Spec semaphore_spec = {
    .name = "ramet._ramet.Semaphore",
    .basicsize = sizeof(SemaphoreObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = semaphore_slots,
};

int rmt_py_add_semaphore(PyObject *module)
{
    return rmt_py_add_type(module, RMT_PY_TYPE_SEMAPHORE, &semaphore_spec, NULL);
}
