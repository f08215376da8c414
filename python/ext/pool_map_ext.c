/* SPDX-License-Identifier: MIT
 *
 * The method SharedPool.map: a job whose items are all there when it is submitted, in packets that
 * are encoded one after the other while workers are already busy with those before.
 */
#include "pool_ext.h"

/* At most so many items go into a packet. */
#define PACKET_ITEMS 512

struct inputs {
    size_t n;             /* not 0 */
    PyObject *const *all; /* NULL: the numbers of a range */
    int64_t first, step;
};

static int get_int64(PyObject *range, const char *name, int64_t *ret)
{
    int overflow;
    PyObject *value = PyObject_GetAttrString(range, name);
    if (!value)
        return -1;
    *ret = PyLong_AsLongLongAndOverflow(value, &overflow);
    Py_DECREF(value);
    return overflow;
}

/* Of a range, if all its numbers are in 64 bits: they need not be made to be sent. 1: they are; 0:
 * not; -1 with an exception. */
static int range_inputs(PyObject *range, struct inputs *ret)
{
    int64_t last;
    Py_ssize_t n = PyObject_Size(range);
    int r = n < 0 ? -1 : get_int64(range, "start", &ret->first);
    if (r == 0)
        r = get_int64(range, "step", &ret->step);
    if (r != 0)
        return PyErr_Occurred() ? -1 : 0;
    ret->all = NULL;
    ret->n = (size_t)n;
    return n > 0 && !__builtin_mul_overflow((int64_t)n - 1, ret->step, &last) &&
           !__builtin_add_overflow(last, ret->first, &last);
}

static int encode(struct rmt_py_state *st, const struct inputs *in, size_t at, size_t n,
                  struct rmt_encoded *ret)
{
    if (in->all)
        return rmt_encode_many(st, in->all + at, n, ret);
    return rmt_encode_range(st, in->first + (int64_t)at * in->step, in->step, n, ret);
}

/* How many of the items make a packet: as many as fit a moderate size, by the first of them. */
static int packet_items(struct rmt_py_state *st, const struct inputs *in, size_t *ret_items)
{
    struct rmt_encoded enc;
    size_t batch = in->n / 64 + 1;
    if (encode(st, in, 0, 1, &enc) < 0)
        return -1;
    if (batch > RMT_PY_PACKET_BYTES / (enc.size + 1))
        batch = RMT_PY_PACKET_BYTES / (enc.size + 1);
    rmt_encoded_release(st, &enc);
    batch = batch < 1 ? 1 : batch > PACKET_ITEMS ? PACKET_ITEMS : batch;
    *ret_items = batch;
    return 0;
}

/* 0, or -1 with an exception. */
static int feed_all(struct rmt_py_state *st, struct rmt_self *self, uint64_t job,
                    const struct inputs *in, size_t batch)
{
    for (size_t at = 0; at < in->n; at += batch) {
        size_t count = in->n - at < batch ? in->n - at : batch;
        struct rmt_encoded enc;
        if (encode(st, in, at, count, &enc) < 0 ||
            rmt_py_job_send(st, self, job, &enc, count, 0) < 0)
            return -1;
    }
    int r = rmt_job_end(self, job);
    if (r < 0)
        rmt_py_error(r, "end a job");
    return r;
}

static PyObject *map(PyObject *pool, struct rmt_py_state *st, PyObject *function,
                     const struct inputs *in, struct rmt_job_options *options)
{
    size_t batch;
    struct rmt_self *self;
    if (packet_items(st, in, &batch) < 0)
        return NULL;
    options->batch = batch;
    options->expected = in->n;
    options->slots = (in->n + batch - 1) / batch;
    PyObject *job = rmt_py_job_submit(pool, st, function, options);
    JobObject *me = job ? rmt_py_job_own(job, &self) : NULL;
    if (me && feed_all(st, self, me->job, in, batch) == 0)
        return job;
    /* What cannot be sent raises here; what was sent before need not be worked on. */
    if (me)
        (void)rmt_job_cancel(self, me->job);
    Py_XDECREF(job);
    return NULL;
}

const char rmt_py_pool_map_doc[] =
    "map(function, items, star, chunk)\n--\n\n"
    "Submit a Job of all items of a tuple or range, which must not be empty. chunk 0: the pool\n"
    "divides them as it sees fit.";

PyObject *rmt_py_pool_map(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    struct rmt_py_state *st = PyType_GetModuleState(defining);
    struct rmt_job_options options = {.slots = 1};
    struct inputs in;

    if (nargs != 4 || !(PyTuple_Check(args[1]) || PyRange_Check(args[1])) ||
        PyObject_Size(args[1]) <= 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError,
                            "map() takes a function, a tuple or range, a bool and a number");
        return NULL;
    }
    int star = PyObject_IsTrue(args[2]);
    options.chunk = PyLong_AsUnsignedLongLong(args[3]);
    if (star < 0 || (options.chunk == (unsigned long long)-1 && PyErr_Occurred()))
        return NULL;
    options.user = star ? RMT_PY_CALL_STAR : RMT_PY_CALL_ITEM;
    int short_range = PyRange_Check(args[1]) ? range_inputs(args[1], &in) : 0;
    if (short_range != 0)
        return short_range < 0 ? NULL : map(op, st, args[0], &in, &options);
    PyObject *items = PySequence_Tuple(args[1]);
    if (!items)
        return NULL;
    in = (struct inputs){(size_t)PyTuple_GET_SIZE(items), ((PyTupleObject *)items)->ob_item, 0, 0};
    PyObject *job = map(op, st, args[0], &in, &options);
    Py_DECREF(items);
    return job;
}
