/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Condition`: a condition and the Lock or RLock object it belongs to.
 *
 * A wait stays in the condition's list while a signal handler runs, so that no notification is
 * missed; if the handler raises, a notification that had come is handed to the next. The lock is
 * taken again in any case, and what was raised meanwhile is raised after that.
 */
#include "sync_ext.h"

#include "sync/condition.h"

#include <errno.h>

typedef struct {
    PyObject_HEAD ramet_condition *condition; /* NULL until __init__, then never changed */
    PyObject *lock;                           /* the object; set with `condition` */
    char recursive;
} ConditionObject;

static ConditionObject *initialised(PyObject *op)
{
    ConditionObject *self = (ConditionObject *)op;

    if (self->condition)
        return self;
    PyErr_SetString(PyExc_ValueError, "the condition was not initialised");
    return NULL;
}

/* Whether `lock` is one of ours: 1, 0, or -1 with an exception. */
static int lock_kind(PyObject *op, PyObject *lock, char *ret_recursive)
{
    struct rmt_py_state *st = rmt_py_state_of_type(Py_TYPE(op));

    if (!st)
        return -1;
    *ret_recursive = PyObject_TypeCheck(lock, st->types[RMT_PY_TYPE_RLOCK]);
    return *ret_recursive || PyObject_TypeCheck(lock, st->types[RMT_PY_TYPE_LOCK]);
}

static int condition_init(PyObject *op, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    ConditionObject *self = (ConditionObject *)op;
    ramet_condition_options options = {.size = sizeof options};
    ramet_condition *made;
    PyObject *lock, *has;
    char recursive;
    int r;

    if (!PyArg_ParseTuple(args, "O:Condition", &lock))
        return -1;
    r = lock_kind(op, lock, &recursive);
    if (r == 0 && (has = PyObject_GetAttrString(lock, "acquire")) != NULL) {
        Py_DECREF(has); /* what is no lock at all is the AttributeError of the standard library */
        PyErr_Format(PyExc_TypeError, "a Condition needs a Lock or an RLock of ramet, not %.200s",
                     Py_TYPE(lock)->tp_name);
    }
    if (r <= 0)
        return -1;
    if (self->condition) {
        PyErr_SetString(PyExc_RuntimeError, "the condition was initialised already");
        return -1;
    }
    options.lock = recursive ? NULL : ((LockObject *)lock)->lock;
    options.rlock = recursive ? ((RLockObject *)lock)->rlock : NULL;
    r = ramet_condition_create(&options, &made);
    if (r < 0) {
        rmt_py_sync_error(r, "make a condition");
        return -1;
    }
    Py_INCREF(lock);
    self->lock = lock;
    self->recursive = recursive;
    self->condition = made;
    return 0;
}

static PyObject *condition_from_ref(PyObject *cls, PyObject *args)
{
    PyTypeObject *type = (PyTypeObject *)cls;
    ConditionObject *self;
    PyObject *bytes, *lock;
    ramet_ref ref;
    int r;

    if (!PyArg_ParseTuple(args, "OO:_from_ref", &bytes, &lock) ||
        rmt_py_ref_from(bytes, &ref) < 0 || !(self = (ConditionObject *)type->tp_alloc(type, 0)))
        return NULL;
    r = lock_kind((PyObject *)self, lock, &self->recursive);
    if (r <= 0) {
        Py_DECREF(self);
        if (r == 0)
            PyErr_SetString(PyExc_TypeError, "not a lock");
        return NULL;
    }
    r = ramet_condition_open(&ref, &self->condition);
    if (r < 0) {
        Py_DECREF(self);
        return rmt_py_sync_error(r, "open a condition");
    }
    Py_INCREF(lock);
    self->lock = lock;
    return (PyObject *)self;
}

static int condition_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((ConditionObject *)op)->lock);
    return 0;
}

/* The lock of a condition is never in a cycle that needs breaking here: it refers to nothing of
 * ours, and the methods rely on it. A subclass's __dict__ is cleared by its own type. */
static void condition_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    ConditionObject *self = (ConditionObject *)op;

    PyObject_GC_UnTrack(op);
    ramet_condition_close(self->condition);
    Py_CLEAR(self->lock);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *condition_reduce(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ConditionObject *self = initialised(op);
    PyObject *more, *result;

    if (!self || !(more = PyTuple_Pack(1, self->lock)))
        return NULL;
    result = rmt_py_reduce(op, ramet_condition_ref(self->condition), more);
    Py_DECREF(more);
    return result;
}

/* ---- its lock */

static PyObject *condition_acquire(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                   PyObject *kwnames)
{
    ConditionObject *self = initialised(op);

    if (!self)
        return NULL;
    return (self->recursive ? rmt_py_rlock_acquire : rmt_py_lock_acquire)(self->lock, args, nargs,
                                                                          kwnames);
}

static PyObject *condition_release(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ConditionObject *self = initialised(op);

    return self ? (self->recursive ? rmt_py_rlock_release : rmt_py_lock_release)(self->lock, NULL)
                : NULL;
}

static PyObject *condition_enter(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ConditionObject *self = initialised(op);

    return self ? (self->recursive ? rmt_py_rlock_enter : rmt_py_lock_enter)(self->lock, NULL)
                : NULL;
}

static PyObject *condition_exit(PyObject *op, PyObject *const *Py_UNUSED(args),
                                Py_ssize_t Py_UNUSED(nargs))
{
    return condition_release(op, NULL);
}

/* ---- waiting */

/* Sleeps, running signal handlers in between, until the wait is over. 0 or -ETIMEDOUT; 1: a handler
 * raised, and the exception is set. */
static int sleep_until_notified(struct rmt_condition_wait *cw, const ramet_wait *wait)
{
    int r;

    do {
        Py_BEGIN_ALLOW_THREADS;
        r = rmt_condition_sleep(cw, wait);
        Py_END_ALLOW_THREADS;
        if (r == -EINTR && PyErr_CheckSignals() < 0)
            return 1;
    } while (r == -EINTR);
    return r;
}

/* Takes the lock again, whatever happens. An exception that was set stays; a handler's first one is
 * set if there was none. 0, -EOWNERDEAD, or an error without the lock. */
static int take_again(ConditionObject *self, struct rmt_self *thread, uint64_t count)
{
    PyObject *type, *value, *traceback;
    int r;

    PyErr_Fetch(&type, &value, &traceback);
    do {
        Py_BEGIN_ALLOW_THREADS;
        r = rmt_condition_relock(self->condition, thread, count);
        Py_END_ALLOW_THREADS;
        if (r == -EINTR && !type && PyErr_CheckSignals() < 0)
            PyErr_Fetch(&type, &value, &traceback);
    } while (r == -EINTR);
    PyErr_Restore(type, value, traceback);
    return r;
}

/* From entering the list to having the lock again; the caller holds it. Like ramet_condition_wait.
 */
static PyObject *wait_in_list(ConditionObject *self, struct rmt_self *thread,
                              const ramet_wait *wait)
{
    ramet_condition *condition = self->condition;
    struct rmt_condition_wait cw;
    uint64_t count = 0;
    int slept, notified, locked, r;

    r = rmt_condition_begin(&cw, thread, rmt_condition_of(condition), condition->object.at);
    if (r == -EDEADLK) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a signal handler cannot wait for a condition while the "
                        "thread that it interrupted waits for one");
        return NULL;
    }
    if (r < 0)
        return rmt_py_sync_error(r, "wait for a condition");
    r = rmt_condition_unlock(condition, thread, &count);
    slept = r < 0 ? r : sleep_until_notified(&cw, wait);
    notified = rmt_condition_leave(&cw);
    locked = r < 0 ? 0 : take_again(self, thread, count);
    if (notified == 1) /* what raised an exception has no use for it */
        rmt_condition_end(&cw, r == 0 && !PyErr_Occurred());
    if (PyErr_Occurred())
        return NULL;
    if (r < 0 || notified < 0 || (locked < 0 && locked != -EOWNERDEAD))
        return rmt_py_sync_error(r < 0          ? r
                                 : notified < 0 ? notified
                                                : locked,
                                 "wait for a condition");
    if (locked == -EOWNERDEAD && rmt_py_warn_owner_died(self->lock) < 0)
        return NULL; /* with the lock: who leaves a wait holds it */
    if (!notified && slept < 0 && slept != -ETIMEDOUT)
        return rmt_py_sync_error(slept, "wait for a condition");
    return PyBool_FromLong(notified);
}

static struct rmt_self *owner(ConditionObject *self, const char *otherwise)
{
    struct rmt_self *thread;
    int r = rmt_self(&thread);

    if (r < 0) {
        rmt_py_sync_error(r, "use a condition");
        return NULL;
    }
    if (!rmt_condition_owned(self->condition, thread)) {
        PyErr_SetString(PyExc_AssertionError, otherwise);
        return NULL;
    }
    return thread;
}

static PyObject *condition_wait(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    ConditionObject *self = initialised(op);
    ramet_wait wait = {.size = sizeof wait};
    struct rmt_self *thread;
    PyObject *timeout;

    if (!self || rmt_py_one_arg("wait", "timeout", args, nargs, kwnames, &timeout) < 0)
        return NULL;
    thread = owner(self, "must acquire() condition before using wait()");
    if (!thread || rmt_py_deadline(timeout, &wait.deadline) < 0)
        return NULL;
    return wait_in_list(self, thread, &wait);
}

static PyObject *notify(PyObject *op, uint64_t count)
{
    ConditionObject *self = initialised(op);
    struct rmt_self *thread = self ? owner(self, "lock is not owned") : NULL;
    int r;

    if (!thread)
        return NULL;
    r = rmt_condition_notify(thread, rmt_condition_of(self->condition), self->condition->object.at,
                             count);
    if (r < 0)
        return rmt_py_sync_error(r, "notify a condition");
    Py_RETURN_NONE;
}

static PyObject *condition_notify(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames)
{
    PyObject *number;
    Py_ssize_t n = 1;

    if (rmt_py_one_arg("notify", "n", args, nargs, kwnames, &number) < 0)
        return NULL;
    if (number) {
        n = PyNumber_AsSsize_t(number, NULL); /* clipped: more than there can be is all */
        if (n == -1 && PyErr_Occurred())
            return NULL;
    }
    return notify(op, n > 0 ? (uint64_t)n : 0);
}

static PyObject *condition_notify_all(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return notify(op, UINT64_MAX);
}

static PyObject *condition_waiters(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ConditionObject *self = initialised(op);

    return self ? PyLong_FromLong(ramet_condition_waiters(self->condition)) : NULL;
}

static PyObject *condition_lock(PyObject *op, void *Py_UNUSED(closure))
{
    ConditionObject *self = initialised(op);

    if (!self)
        return NULL;
    Py_INCREF(self->lock);
    return self->lock;
}

PyDoc_STRVAR(acquire_doc, "acquire($self, /, block=True, timeout=None)\n--\n\nTake the lock.");
PyDoc_STRVAR(release_doc, "release($self, /)\n--\n\nGive the lock back.");
PyDoc_STRVAR(wait_doc, "wait($self, /, timeout=None)\n--\n\n"
                       "Give the lock back, wait to be notified, and take the lock again.\n\n"
                       "True if notified, False if not in time.");
PyDoc_STRVAR(notify_doc, "notify($self, /, n=1)\n--\n\n"
                         "Let go `n` of those who wait, or all if there are fewer.");
PyDoc_STRVAR(notify_all_doc, "notify_all($self, /)\n--\n\nLet go all who wait.");

static PyMethodDef condition_methods[] = {
    {"acquire", RMT_PY_FAST(condition_acquire), METH_FASTCALL | METH_KEYWORDS, acquire_doc},
    {"release", condition_release, METH_NOARGS, release_doc},
    {"wait", RMT_PY_FAST(condition_wait), METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"notify", RMT_PY_FAST(condition_notify), METH_FASTCALL | METH_KEYWORDS, notify_doc},
    {"notify_all", condition_notify_all, METH_NOARGS, notify_all_doc},
    {"__enter__", condition_enter, METH_NOARGS, NULL},
    {"__exit__", RMT_PY_FAST(condition_exit), METH_FASTCALL, NULL},
    {"__reduce__", condition_reduce, METH_NOARGS, NULL},
    {"_from_ref", condition_from_ref, METH_VARARGS | METH_CLASS, NULL},
    {"_waiters", condition_waiters, METH_NOARGS, PyDoc_STR("How many wait now.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef condition_getset[] = {
    {"_lock", condition_lock, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The engine of ramet.synchronize.Condition.")},
    {Py_tp_new, (void *)PyType_GenericNew},
    {Py_tp_init, (void *)condition_init},
    {Py_tp_traverse, (void *)condition_traverse},
    {Py_tp_dealloc, (void *)condition_dealloc},
    {Py_tp_methods, condition_methods},
    {Py_tp_getset, condition_getset},
    {0, NULL},
};

static PyType_Spec condition_spec = {
    .name = "ramet._ramet.Condition",
    .basicsize = sizeof(ConditionObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = condition_slots,
};

int rmt_py_add_condition(PyObject *module)
{
    return rmt_py_add_type(module, RMT_PY_TYPE_CONDITION, &condition_spec, NULL);
}
