/* SPDX-License-Identifier: MIT
 *
 * The type SharedPool: a pool as the process that made it has it. What it promises to users
 * (results, exceptions, workers that are replaced) is made of this and of Job (job_ext.c) in
 * python/ramet/pool.py; maps are in pool_map_ext.c, the workers' side in pool_worker.c.
 */
#include "pool_ext.h"

#include <errno.h>
#include <poll.h>

#include "base/os.h"

/* Between two looks at whether a worker has died. */
#define LOOK_NS 50000000

static uint64_t pool_of(PyObject *op)
{
    return ((PoolObject *)op)->handle.offset;
}

static PyObject *pool_new(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char *keywords[] = {"processes", NULL};
    struct rmt_self *self;
    unsigned processes;
    PoolObject *made;
    int r;

    if (!PyArg_ParseTupleAndKeywords(args, kwds, "I:SharedPool", keywords, &processes))
        return NULL;
    made = (PoolObject *)type->tp_alloc(type, 0);
    if (!made)
        return NULL;
    r = rmt_self(&self);
    if (r == 0)
        r = rmt_pool_make(self, processes, &made->handle);
    if (r < 0) {
        Py_DECREF(made);
        return rmt_py_error(r, "make a pool");
    }
    return (PyObject *)made;
}

PyDoc_STRVAR(pool_from_ref_doc, "_from_ref(ref)\n--\n\nOpen the pool that a reference names.");
static PyObject *pool_from_ref(PyObject *cls, PyObject *arg)
{
    PyTypeObject *type = (PyTypeObject *)cls;
    struct rmt_self *self;
    ramet_ref ref;
    PoolObject *made;

    if (!PyBytes_Check(arg) || PyBytes_GET_SIZE(arg) != sizeof(ref)) {
        PyErr_SetString(PyExc_ValueError, "not a reference");
        return NULL;
    }
    memcpy(&ref, PyBytes_AS_STRING(arg), sizeof(ref));
    made = (PoolObject *)type->tp_alloc(type, 0);
    if (!made)
        return NULL;
    int r = rmt_self(&self);
    if (r == 0)
        r = rmt_handle_open(self, &ref, RAMET_KIND_POOL, &made->handle);
    if (r < 0) {
        Py_DECREF(made);
        return rmt_py_error(r, "open a pool");
    }
    return (PyObject *)made;
}

static PyObject *pool_reduce(PyObject *op, PyTypeObject *defining, PyObject *const *Py_UNUSED(args),
                             Py_ssize_t Py_UNUSED(nargs), PyObject *Py_UNUSED(kwnames))
{
    struct rmt_py_state *st = PyType_GetModuleState(defining);
    ramet_ref ref = rmt_handle_ref(&((PoolObject *)op)->handle);
    PyObject *open;

    if (rmt_encode_add_ref(st, ref.offset) < 0)
        return NULL;
    open = PyObject_GetAttrString((PyObject *)Py_TYPE(op), "_from_ref");
    if (!open)
        return NULL;
    return Py_BuildValue("(N(y#))", open, (const char *)&ref, (Py_ssize_t)sizeof(ref));
}

static void pool_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PoolObject *me = (PoolObject *)op;
    struct rmt_self *self;
    if (me->handle.offset && rmt_self(&self) == 0)
        rmt_handle_close(self, &me->handle);
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(pool_call_doc,
             "call(function, args, kwds)\n--\n\nSubmit one call: a Job of one item.");
static PyObject *pool_call(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    static const struct rmt_job_options options = {
        .chunk = 1, .batch = 1, .slots = 1, .user = RMT_PY_CALL_GIVEN, .given = 1};
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "call() takes three arguments");
        return NULL;
    }
    PyObject *given = PyTuple_Pack(3, args[0], args[1], args[2]);
    if (!given)
        return NULL;
    PyObject *job = rmt_py_job_submit(op, PyType_GetModuleState(defining), given, &options);
    Py_DECREF(given);
    return job;
}

PyDoc_STRVAR(
    pool_stream_doc,
    "stream(function, star, chunk, batch, packets)\n--\n\n"
    "Submit a Job that is to be fed, in packets of `batch` items (a multiple of chunk), of which\n"
    "so many may be there at once.");
static PyObject *pool_stream(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                             Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    struct rmt_job_options options = {.item_size = 0};
    uint64_t *number[] = {&options.chunk, &options.batch, &options.slots};
    if (nargs != 5) {
        PyErr_SetString(PyExc_TypeError, "stream() takes five arguments");
        return NULL;
    }
    int star = PyObject_IsTrue(args[1]);
    if (star < 0)
        return NULL;
    for (int i = 0; i < 3; i++) {
        unsigned long long value = PyLong_AsUnsignedLongLong(args[2 + i]);
        if (value == (unsigned long long)-1 && PyErr_Occurred())
            return NULL;
        *number[i] = value;
    }
    options.user = star ? RMT_PY_CALL_STAR : RMT_PY_CALL_ITEM;
    return rmt_py_job_submit(op, PyType_GetModuleState(defining), args[0], &options);
}

PyDoc_STRVAR(pool_set_state_doc,
             "set_state(state)\n--\n\n"
             "1: workers leave when every job is finished; 2: they leave as soon as they look.");
static PyObject *pool_set_state(PyObject *op, PyObject *arg)
{
    struct rmt_self *self;
    long state = PyLong_AsLong(arg);
    if (state == -1 && PyErr_Occurred())
        return NULL;
    int r = rmt_self(&self);
    if (r == 0)
        r = rmt_pool_set_state(self, pool_of(op), state == 1 ? RMT_POOL_CLOSED : RMT_POOL_ENDED);
    if (r < 0)
        return rmt_py_error(r, "close a pool");
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pool_notify_doc, "notify()\n--\n\nWake the threads in wait().");
static PyObject *pool_notify(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return rmt_py_error(r, "use a pool");
    rmt_pool_notify(self, pool_of(op));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(pool_idle_doc, "idle()\n--\n\nWhether no item waits, is worked on or is expected.");
static PyObject *pool_idle(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r == 0)
        r = rmt_pool_idle(self, pool_of(op));
    if (r < 0)
        return rmt_py_error(r, "use a pool");
    return PyBool_FromLong(r);
}

PyDoc_STRVAR(pool_joined_doc,
             "joined(number)\n--\n\nWhether the worker of that number has joined, and forget it.");
static PyObject *pool_joined(PyObject *op, PyObject *arg)
{
    unsigned long long number = PyLong_AsUnsignedLongLong(arg);
    if (number == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    rmt_a64 *word = &rmt_pool_at(pool_of(op))->joined[number % RMT_JOINED_BITS / 64];
    uint64_t bit = 1ull << (number % 64);
    return PyBool_FromLong((rmt_and64(word, ~bit) & bit) != 0);
}

PyDoc_STRVAR(pool_workers_doc,
             "workers()\n--\n\nThe pids of the workers that have joined and not left.");
static PyObject *pool_workers(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    uint64_t pids[1024];
    struct rmt_self *self;
    int count, r = rmt_self(&self);
    count = r == 0 ? rmt_pool_workers(self, pool_of(op), pids, 1024) : r;
    r = count;
    if (r < 0)
        return rmt_py_error(r, "use a pool");
    PyObject *list = PyList_New(count);
    for (int i = 0; list && i < count; i++) {
        PyObject *pid = PyLong_FromUnsignedLongLong(pids[i]);
        if (!pid)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, pid);
    }
    return list;
}

PyDoc_STRVAR(
    pool_wait_doc,
    "wait(jobs, departed, event, deadline, sentinels)\n--\n\n"
    "Wait until a job of the tuple has as many results as it wants, or event changes (None:\n"
    "no matter): 1; a worker has left or a sentinel of the tuple is readable: 2; or the\n"
    "monotonic time in ns is `deadline` (negative: for ever): 0.");

struct waiting {
    struct rmt_self *self;
    uint64_t pool;
    uint64_t *jobs;
    size_t count;
    struct pollfd *fds;
    size_t fd_count;
    uint64_t departed;
    const uint32_t *event;
    int64_t deadline;
};

/* 0, 1, 2 as wait() says, or -EINTR and the like. Without the GIL. Every now and then it is -EINTR
 * for nothing: a signal may have come between two sleeps. */
static int wait_without_gil(const struct waiting *w)
{
    int64_t now = rmt_os_now();
    int64_t slice = now + LOOK_NS < w->deadline ? now + LOOK_NS : w->deadline;
    ramet_wait wait = {.size = sizeof(wait), .deadline = slice};
    int r = rmt_pool_wait(w->self, w->pool, w->jobs, w->count, w->departed, w->event, &wait);
    if (r == 0 && rmt_load64(&rmt_pool_at(w->pool)->departed) != w->departed)
        return 2;
    if (r != -ETIMEDOUT)
        return r == 0 ? 1 : r;
    if (poll(w->fds, w->fd_count, 0) > 0)
        return 2;
    return rmt_os_now() >= w->deadline ? 0 : -EINTR;
}

static PyObject *pool_wait(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    struct rmt_py_state *st = PyType_GetModuleState(defining);
    struct waiting w = {.pool = pool_of(op)};
    uint32_t event = 0;
    int r = rmt_self(&w.self);

    if (r < 0)
        return rmt_py_error(r, "wait for a pool");
    if (nargs != 5 || !PyTuple_Check(args[0]) || !PyTuple_Check(args[4])) {
        PyErr_SetString(PyExc_TypeError, "wait() takes a tuple, three numbers and a tuple");
        return NULL;
    }
    w.departed = PyLong_AsUnsignedLongLong(args[1]);
    if (args[2] != Py_None) {
        event = (uint32_t)PyLong_AsUnsignedLong(args[2]);
        w.event = &event;
    }
    w.deadline = PyLong_AsLongLong(args[3]);
    if (PyErr_Occurred())
        return NULL;
    if (w.deadline < 0)
        w.deadline = RAMET_FOREVER;
    w.count = (size_t)PyTuple_GET_SIZE(args[0]);
    w.fd_count = (size_t)PyTuple_GET_SIZE(args[4]);
    w.jobs = PyMem_Calloc(w.count + 1, sizeof(*w.jobs));
    w.fds = PyMem_Calloc(w.fd_count + 1, sizeof(*w.fds));
    if (!w.jobs || !w.fds) {
        PyErr_NoMemory();
        goto out;
    }
    for (size_t i = 0; i < w.count; i++) {
        PyObject *job = PyTuple_GET_ITEM(args[0], (Py_ssize_t)i);
        if (!Py_IS_TYPE(job, st->types[RMT_PY_TYPE_JOB])) {
            PyErr_SetString(PyExc_TypeError, "not a Job");
            goto out;
        }
        w.jobs[i] = ((JobObject *)job)->job;
    }
    for (size_t i = 0; i < w.fd_count; i++) {
        long fd = PyLong_AsLong(PyTuple_GET_ITEM(args[4], (Py_ssize_t)i));
        if (fd == -1 && PyErr_Occurred())
            goto out;
        w.fds[i] = (struct pollfd){.fd = (int)fd, .events = POLLIN};
    }
    do {
        Py_BEGIN_ALLOW_THREADS r = wait_without_gil(&w);
        Py_END_ALLOW_THREADS
    } while (r == -EINTR && PyErr_CheckSignals() == 0);
    if (r < 0 && !PyErr_Occurred())
        rmt_py_error(r, "wait for a pool");
out:
    PyMem_Free(w.jobs);
    PyMem_Free(w.fds);
    return PyErr_Occurred() ? NULL : PyLong_FromLong(r);
}

static PyObject *pool_departed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(rmt_load64(&rmt_pool_at(pool_of(op))->departed));
}

static PyObject *pool_event(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(rmt_load32(&rmt_pool_at(pool_of(op))->event));
}

#define FAST(function)                                                                             \
    (PyCFunction)(void (*)(void)) function, METH_METHOD | METH_FASTCALL | METH_KEYWORDS

static PyMethodDef pool_methods[] = {
    {"_from_ref", pool_from_ref, METH_O | METH_CLASS, pool_from_ref_doc},
    {"__reduce__", FAST(pool_reduce), "For pickle."},
    {"call", FAST(pool_call), pool_call_doc},
    {"map", FAST(rmt_py_pool_map), rmt_py_pool_map_doc},
    {"stream", FAST(pool_stream), pool_stream_doc},
    {"wait", FAST(pool_wait), pool_wait_doc},
    {"work", FAST(rmt_py_pool_work), rmt_py_pool_work_doc},
    {"set_state", pool_set_state, METH_O, pool_set_state_doc},
    {"notify", pool_notify, METH_NOARGS, pool_notify_doc},
    {"idle", pool_idle, METH_NOARGS, pool_idle_doc},
    {"joined", pool_joined, METH_O, pool_joined_doc},
    {"workers", pool_workers, METH_NOARGS, pool_workers_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef pool_getset[] = {
    {"departed", pool_departed, NULL, "How many workers have left or died.", NULL},
    {"event", pool_event, NULL, "Changes whenever there is something to look at.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot pool_slots[] = {
    {Py_tp_doc, "SharedPool(processes)\n--\n\nWhat a pool and its workers share."},
    {Py_tp_new, pool_new},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_methods, pool_methods},
    {Py_tp_getset, pool_getset},
    {0, NULL},
};
static PyType_Spec pool_spec = {
    .name = "ramet._ramet.SharedPool",
    .basicsize = sizeof(PoolObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = pool_slots,
};

int rmt_py_add_pool(PyObject *module)
{
    if (rmt_py_add_type(module, RMT_PY_TYPE_JOB, &rmt_py_job_spec, NULL) < 0)
        return -1;
    return rmt_py_add_type(module, RMT_PY_TYPE_SHARED_POOL, &pool_spec, NULL);
}
