/* SPDX-License-Identifier: MIT
 *
 * The loop of a worker: claims ranges, decodes inputs, calls the function, encodes results into the
 * arena. It waits without the GIL. User functions run here and nowhere else.
 */
#include "pool_ext.h"

#include <errno.h>

/* A result from this size on is a message of its own, copied once to where its reader finds it. */
#define RESULT_LARGE 16384

struct loop {
    struct rmt_py_state *st;
    struct rmt_worker w;
    PyObject *describe;   /* error -> what is sent in its place */
    PyObject *unsendable; /* (error, result) -> error that says so */
    /* the function of the job whose block has this generation; NULL: none is decoded */
    uint64_t job, generation;
    PyObject *function, *args, *kwds;
    /* where the inputs of that job are read: the packet with items [packet_first, packet_end).
     * While an item of it is not finished, as one of ours is not, it stays. */
    uint64_t packet_first, packet_end; /* 0, 0: nowhere */
    struct rmt_items items;
};

/* ---- inputs */

static int decode_function(struct loop *l)
{
    const struct rmt_job *j = rmt_job_at(l->w.job);
    const uint8_t *data;
    size_t size;
    PyObject *got;
    int r;

    if (l->function && l->job == l->w.job && l->generation == l->w.generation)
        return 0;
    Py_CLEAR(l->function);
    Py_CLEAR(l->args);
    Py_CLEAR(l->kwds);
    l->packet_first = l->packet_end = 0;
    r = rmt_message_data(j->function, &data, &size);
    if (r < 0) {
        rmt_py_error(r, "read a pool's function");
        return -1;
    }
    got = rmt_decode(l->st, data, size, NULL, NULL);
    if (!got)
        return -1;
    if (j->user == RMT_PY_CALL_GIVEN) {
        PyObject *function, *args, *kwds;
        if (!PyArg_ParseTuple(got, "OOO", &function, &args, &kwds)) {
            Py_DECREF(got);
            return -1;
        }
        l->function = Py_NewRef(function);
        l->args = Py_NewRef(args);
        l->kwds = Py_NewRef(kwds);
        Py_DECREF(got);
    } else {
        l->function = got;
    }
    l->job = l->w.job;
    l->generation = l->w.generation;
    return 0;
}

static int open_packet(struct loop *l, uint64_t i)
{
    uint64_t packet, first;
    const uint8_t *data;
    size_t size;
    int r = rmt_worker_packet(&l->w, i, &packet, &first);

    l->packet_end = 0;
    if (r == 0)
        r = rmt_message_data(packet, &data, &size);
    if (r < 0) {
        rmt_py_error(r, "read a pool's input");
        return -1;
    }
    if (rmt_items_open(data, size, &l->items) < 0)
        return -1;
    l->packet_first = first;
    l->packet_end = first + rmt_job_at(l->w.job)->batch;
    return 0;
}

/* Item i of the range, decoded: a new reference. */
static PyObject *input(struct loop *l, uint64_t i)
{
    PyObject *item;

    /* Reading goes forward only. */
    if ((i >= l->packet_end || i < l->packet_first + l->items.index) && open_packet(l, i) < 0)
        return NULL;
    if (i != l->packet_first + l->items.index &&
        rmt_items_skip(&l->items, i - l->packet_first - l->items.index) < 0)
        return NULL;
    item = rmt_decode_next(l->st, &l->items, NULL, NULL);
    if (!item && !PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "a pool's input has fewer items than it should");
    return item;
}

static PyObject *call(struct loop *l, uint64_t i)
{
    PyObject *item, *result = NULL;

    if (decode_function(l) < 0)
        return NULL;
    if (rmt_job_at(l->w.job)->user == RMT_PY_CALL_GIVEN) {
        PyObject *args = PySequence_Tuple(l->args);
        if (!args)
            return NULL;
        if (PyDict_Check(l->kwds)) {
            result = PyObject_Call(l->function, args, l->kwds);
        } else {
            PyObject *kwds = PyDict_New();
            if (kwds && PyDict_Update(kwds, l->kwds) == 0)
                result = PyObject_Call(l->function, args, kwds);
            Py_XDECREF(kwds);
        }
        Py_DECREF(args);
        return result;
    }
    item = input(l, i);
    if (!item)
        return NULL;
    if (rmt_job_at(l->w.job)->user == RMT_PY_CALL_STAR) {
        PyObject *args = PySequence_Tuple(item);
        if (args)
            result = PyObject_Call(l->function, args, NULL);
        Py_XDECREF(args);
    } else {
        result = PyObject_CallOneArg(l->function, item);
    }
    Py_DECREF(item);
    return result;
}

/* ---- results */

static int post(struct loop *l, const struct rmt_encoded *enc, enum rmt_result_kind kind)
{
    int hold;
    uint64_t offset;
    int r = rmt_py_pool_message(l->w.self, enc, &hold, &offset);
    if (r == 0)
        r = rmt_worker_post(&l->w, hold, kind);
    return r;
}

static int append(struct loop *l, const struct rmt_encoded *enc)
{
    uint8_t *to;
    int r = rmt_worker_room(&l->w, rmt_pack_room(0, enc) + RMT_CODEC_ALIGN, &to);
    if (r < 0)
        return r;
    struct rmt_pack pack = {l->w.pack->data, l->w.pack_capacity, l->w.pack_used};
    r = rmt_pack_append(&pack, enc);
    if (r == 0)
        rmt_worker_done(&l->w, pack.used - l->w.pack_used);
    return r;
}

/* Appends what needs no encoding worth the name. 1: done; 0: it is something else; negative errno.
 */
static int append_small(struct loop *l, PyObject *object)
{
    uint8_t frame[RMT_PACK_SMALL], *to;
    size_t size = rmt_pack_small(object, frame);
    if (size == 0)
        return 0;
    int r = rmt_worker_room(&l->w, RMT_PACK_SMALL, &to);
    if (r < 0)
        return r;
    memcpy(to, frame, sizeof(frame)); /* all of it: a copy of a fixed size is no call */
    rmt_worker_done(&l->w, size);
    return 1;
}

/* Sends one object. 0; -1 with the exception that encoding it raised; 1 with another exception: the
 * arena has no memory, or worse. */
static int send_object(struct loop *l, PyObject *object, enum rmt_result_kind kind)
{
    struct rmt_encoded enc;
    int r = kind == RMT_RESULT_VALUE ? append_small(l, object) : 0;
    if (r > 0)
        return 0;
    if (r < 0)
        goto failed;
    if (rmt_encode(l->st, object, &enc) < 0)
        return -1;
    if (kind == RMT_RESULT_VALUE && enc.nrefs == 0 && enc.size < RESULT_LARGE)
        r = append(l, &enc);
    else
        r = post(l, &enc, kind);
    rmt_encoded_release(l->st, &enc);
    if (r == 0)
        return 0;
failed:
    rmt_py_error(r, "send a pool's result");
    return r == -ENOMEM ? -1 : 1;
}

/* Sends what describes the failure that is set. `result` is what could not be sent, or NULL if the
 * function raised. 0; -1 with an exception that ends this worker. */
static int send_error(struct loop *l, PyObject *result)
{
    PyObject *error, *sent;
    int r;

    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1; /* SystemExit, KeyboardInterrupt: this process ends, and tells so by ending */
    error = rmt_py_caught();
    sent = result ? PyObject_CallFunctionObjArgs(l->unsendable, error, result, NULL)
                  : PyObject_CallOneArg(l->describe, error);
    r = sent ? send_object(l, sent, RMT_RESULT_ERROR) : -1;
    Py_XDECREF(sent);
    if (r < 0 && PyErr_ExceptionMatches(PyExc_Exception)) { /* it cannot be sent as it is */
        PyObject *again = rmt_py_caught();
        sent = PyObject_CallFunctionObjArgs(l->unsendable, again, error, NULL);
        r = sent ? send_object(l, sent, RMT_RESULT_ERROR) : -1;
        Py_XDECREF(sent);
        Py_DECREF(again);
    }
    Py_DECREF(error);
    return r == 0 ? 0 : -1;
}

/* ---- the loop */

/* 0; -1 with an exception; 1: this is not the worker any more but a process that it forked. */
static int run_item(struct loop *l, uint64_t i)
{
    PyObject *result;
    int r;

    rmt_worker_begin(&l->w, i);
    result = call(l, i);
    if (!rmt_worker_mine(&l->w)) {
        Py_XDECREF(result);
        return result ? 1 : -1;
    }
    if (!result)
        return send_error(l, NULL);
    r = send_object(l, result, RMT_RESULT_VALUE);
    if (r < 0)
        r = send_error(l, result);
    Py_DECREF(result);
    return r == 0 ? 0 : -1;
}

static int run_range(struct loop *l)
{
    int r = 0;
    for (uint64_t i = l->w.first; r == 0 && i < l->w.end; i++) {
        r = run_item(l, i);
        if (r == 0 && i + 1 < l->w.end) {
            int paused = rmt_worker_pause(&l->w);
            if (paused < 0 && paused != -ENOMEM) {
                rmt_py_error(paused, "publish a pool's results");
                r = -1;
            }
        }
    }
    /* Not kept until the next job comes: arguments can be large. */
    if (r == 0 && rmt_job_at(l->w.job)->user == RMT_PY_CALL_GIVEN) {
        Py_CLEAR(l->function);
        Py_CLEAR(l->args);
        Py_CLEAR(l->kwds);
    }
    return r;
}

static int claim(struct loop *l)
{
    int r;
    do {
        Py_BEGIN_ALLOW_THREADS r = rmt_worker_claim(&l->w, NULL);
        Py_END_ALLOW_THREADS if (r == -EINTR && PyErr_CheckSignals())
        {
            if (!PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
                return -1;
            PyErr_Clear(); /* it has nothing to interrupt here; the parent gets it as well */
            return 1;
        }
    } while (r == -EINTR);
    if (r == 0)
        return 0;
    if (r == -ENOENT || r == -EPIPE)
        return 1;
    rmt_py_error(r, "claim work of a pool");
    return -1;
}

const char rmt_py_pool_work_doc[] =
    "work(number, ranges, describe, unsendable)\n--\n\n"
    "Work as the worker of that number until the pool ends, its parent dies, or `ranges` ranges\n"
    "were worked on (0: no limit). describe(error) makes what is sent of an exception that a\n"
    "function raised, unsendable(error, object) of an object that cannot be sent.";

PyObject *rmt_py_pool_work(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames)
{
    struct loop l = {.st = PyType_GetModuleState(defining)};
    unsigned long long number, ranges, done = 0;
    int r;

    if (nargs != 4 || (kwnames && PyTuple_GET_SIZE(kwnames) != 0)) {
        PyErr_SetString(PyExc_TypeError, "work() takes four positional arguments");
        return NULL;
    }
    number = PyLong_AsUnsignedLongLong(args[0]);
    if (number == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    ranges = PyLong_AsUnsignedLongLong(args[1]);
    if (ranges == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    l.describe = args[2];
    l.unsendable = args[3];
    r = rmt_worker_join(&l.w, ((PoolObject *)op)->handle.offset, number);
    if (r < 0)
        return rmt_py_error(r, "join a pool");
    while ((r = claim(&l)) == 0) {
        r = run_range(&l);
        if (r != 0 || ++done == ranges)
            break;
    }
    Py_XDECREF(l.function);
    Py_XDECREF(l.args);
    Py_XDECREF(l.kwds);
    rmt_worker_leave(&l.w);
    if (r < 0)
        return NULL;
    Py_RETURN_NONE;
}
