/* SPDX-License-Identifier: MIT
 *
 * The type Job: what the process that submitted a job does with it: feeds it, and takes its
 * results.
 */
#include "pool_ext.h"

#include <errno.h>

int rmt_py_pool_message(struct rmt_self *self, const struct rmt_encoded *enc, int *ret_hold,
                        uint64_t *ret_offset)
{
    int r;
    if (enc->size < RMT_PY_PACKET_BYTES)
        return rmt_message_build(self, enc->iov, enc->iovcnt, enc->refs, enc->nrefs, ret_hold,
                                 ret_offset);
    Py_BEGIN_ALLOW_THREADS r =
        rmt_message_build(self, enc->iov, enc->iovcnt, enc->refs, enc->nrefs, ret_hold, ret_offset);
    Py_END_ALLOW_THREADS return r;
}

/* ------------------------------------------------------------------------------ jobs */

static int message_of(struct rmt_py_state *st, struct rmt_self *self, PyObject *object,
                      int *ret_hold)
{
    struct rmt_encoded enc;
    uint64_t offset;
    if (rmt_encode(st, object, &enc) < 0)
        return -1;
    int r = rmt_py_pool_message(self, &enc, ret_hold, &offset);
    rmt_encoded_release(st, &enc);
    if (r < 0) {
        rmt_py_error(r, "send to a pool");
        return -1;
    }
    return 0;
}

/* Makes and submits a job whose message is `object`. */
PyObject *rmt_py_job_submit(PyObject *op, struct rmt_py_state *st, PyObject *object,
                            const struct rmt_job_options *options)
{
    PyTypeObject *type = st->types[RMT_PY_TYPE_JOB];
    struct rmt_self *self;
    int hold, function, r = rmt_self(&self);
    uint64_t job;
    JobObject *made;

    if (r < 0)
        return rmt_py_error(r, "use a pool");
    if (message_of(st, self, object, &function) < 0)
        return NULL;
    made = (JobObject *)type->tp_alloc(type, 0);
    if (!made) {
        rmt_block_free(self, function);
        return NULL;
    }
    r = rmt_job_make(self, ((PoolObject *)op)->handle.offset, options, &hold, &job);
    if (r < 0) {
        rmt_block_free(self, function);
    } else {
        r = rmt_job_set_function(self, job, function);
        if (r == 0)
            r = rmt_job_submit(self, job, hold);
        if (r < 0)
            rmt_block_free(self, hold);
    }
    if (r < 0) {
        Py_DECREF(made);
        return rmt_py_error(r, "submit to a pool");
    }
    made->pool = Py_NewRef(op);
    made->job = job;
    made->owner = rmt_word_process(self->word);
    return (PyObject *)made;
}

static void job_dealloc(PyObject *op)
{
    JobObject *me = (JobObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    struct rmt_self *self;

    if (me->job && rmt_self(&self) == 0 && rmt_word_process(self->word) == me->owner) {
        if (rmt_load64(&rmt_job_at(me->job)->total) == RMT_OPEN)
            (void)rmt_job_end(self, me->job);
        rmt_job_drop(self, me->job);
    }
    Py_XDECREF(me->pool);
    type->tp_free(op);
    Py_DECREF(type);
}

/* The job for an operation of its submitter; NULL with an exception elsewhere. */
JobObject *rmt_py_job_own(PyObject *op, struct rmt_self **ret_self)
{
    JobObject *me = (JobObject *)op;
    int r = rmt_self(ret_self);
    if (r == 0 && rmt_word_process((*ret_self)->word) != me->owner)
        r = -ECHILD;
    if (r < 0) {
        rmt_py_error(r, "use a job of a pool");
        return NULL;
    }
    return me;
}

int rmt_py_job_send(struct rmt_py_state *st, struct rmt_self *self, uint64_t job,
                    struct rmt_encoded *enc, size_t n, uint64_t floor)
{
    uint64_t offset;
    int hold, r;

    r = rmt_py_pool_message(self, enc, &hold, &offset);
    rmt_encoded_release(st, enc);
    if (r == 0) {
        r = rmt_job_feed(self, job, hold, n, floor);
        if (r < 0)
            rmt_block_free(self, hold);
    }
    if (r < 0 && r != -EAGAIN) {
        rmt_py_error(r, "send to a pool");
        return -1;
    }
    return r == 0;
}

int rmt_py_job_feed(struct rmt_py_state *st, struct rmt_self *self, uint64_t job,
                    PyObject *const *items, size_t n, uint64_t floor)
{
    struct rmt_encoded enc;
    if (rmt_encode_many(st, items, n, &enc) < 0)
        return -1;
    return rmt_py_job_send(st, self, job, &enc, n, floor);
}

PyDoc_STRVAR(
    job_feed_doc,
    "feed(items, floor)\n--\n\n"
    "Add the items of a tuple as packets, all of them full but the last of the job, as far as\n"
    "there is room: how many were added. All items below `floor` are finished. If one cannot\n"
    "be sent, that raises, and `published` tells how far it went.");

static PyObject *job_feed(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    struct rmt_py_state *st = PyType_GetModuleState(defining);
    struct rmt_self *self;
    JobObject *me = rmt_py_job_own(op, &self);
    size_t at = 0;

    if (!me)
        return NULL;
    if (nargs != 2 || !PyTuple_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "feed() takes a tuple and a number");
        return NULL;
    }
    unsigned long long floor = PyLong_AsUnsignedLongLong(args[1]);
    if (floor == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    size_t batch = rmt_job_at(me->job)->batch, n = (size_t)PyTuple_GET_SIZE(args[0]);
    while (at < n) {
        size_t count = n - at < batch ? n - at : batch;
        PyObject *const *items = ((PyTupleObject *)args[0])->ob_item + at;
        int r = rmt_py_job_feed(st, self, me->job, items, count, floor);
        if (r < 0)
            return NULL;
        if (r == 0)
            break;
        at += count;
    }
    return PyLong_FromSize_t(at);
}

PyDoc_STRVAR(job_end_doc, "end()\n--\n\nNothing more will be fed.");
static PyObject *job_end(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_self *self;
    JobObject *me = rmt_py_job_own(op, &self);
    int r = me ? rmt_job_end(self, me->job) : 0;
    if (!me || r < 0)
        return me ? rmt_py_error(r, "end a job") : NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(job_cancel_doc, "cancel()\n--\n\nHave no more items begun.");
static PyObject *job_cancel(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_self *self;
    JobObject *me = rmt_py_job_own(op, &self);
    int r = me ? rmt_job_cancel(self, me->job) : 0;
    if (!me || r < 0)
        return me ? rmt_py_error(r, "cancel a job") : NULL;
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------------------ results */

/* Results on their way to the caller: values go into the list where there is one, else they come as
 * (index of the first, True, list of values); what failed always comes, as (index, False, error),
 * (index, ..., error) where it is the decoding here that failed, or (index, None, pid). */
struct sink {
    PyObject *into; /* list or NULL */
    PyObject *out;  /* list of tuples */
    PyObject *run;  /* list of values of consecutive items, or NULL */
    uint64_t run_first;
};

static int put(struct sink *sink, uint64_t index, PyObject *how, PyObject *value) /* steals value */
{
    PyObject *entry = value ? Py_BuildValue("(KON)", (unsigned long long)index, how, value) : NULL;
    int r = entry ? PyList_Append(sink->out, entry) : -1;
    Py_XDECREF(entry);
    return r;
}

static int end_run(struct sink *sink)
{
    PyObject *run = sink->run;
    sink->run = NULL;
    return run ? put(sink, sink->run_first, Py_True, run) : 0;
}

static int put_value(struct sink *sink, uint64_t index, PyObject *value) /* steals value */
{
    int r;
    if (sink->into) {
        if (index < (uint64_t)PyList_GET_SIZE(sink->into))
            return PyList_SetItem(sink->into, (Py_ssize_t)index, value);
        Py_DECREF(value);
        PyErr_SetString(PyExc_IndexError, "a pool's result has no place");
        return -1;
    }
    if (!sink->run) {
        sink->run = PyList_New(0);
        sink->run_first = index;
    }
    r = sink->run ? PyList_Append(sink->run, value) : -1;
    Py_DECREF(value);
    return r;
}

/* Puts what was decoded; NULL is an exception, which becomes the item's failure. */
static int put_decoded(struct sink *sink, uint64_t index, bool value, PyObject *decoded)
{
    PyObject *how = decoded ? Py_False : Py_Ellipsis;

    if (decoded && value)
        return put_value(sink, index, decoded);
    if (!decoded) {
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return -1;
        decoded = rmt_py_caught();
    }
    if (end_run(sink) < 0) {
        Py_XDECREF(decoded);
        return -1;
    }
    return put(sink, index, how, decoded);
}

static int put_pack(struct rmt_py_state *st, struct sink *sink, uint64_t block, uint64_t first)
{
    const struct rmt_pack_block *pack = rmt_payload(block);
    uint64_t state = rmt_load64(&pack->state);
    struct rmt_items items;

    rmt_pack_open(pack->data, rmt_pack_used(state), &items);
    for (uint64_t i = 0; i < rmt_pack_done(state); i++) {
        PyObject *value = rmt_decode_next(st, &items, NULL, NULL);
        if (!value && !PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, "a pool's results are fewer than they should be");
            return -1;
        }
        if (put_decoded(sink, first + i, true, value) < 0)
            return -1;
    }
    return 0;
}

static int put_block(struct rmt_py_state *st, struct sink *sink, uint64_t block)
{
    const struct rmt_block *header = rmt_block_at(block);
    uint64_t kind = header->arg[RMT_RESULT_KIND], first = header->arg[RMT_RESULT_FIRST];
    const uint8_t *data;
    size_t size;

    if (kind == RMT_RESULT_PACK)
        return put_pack(st, sink, block, first);
    if (kind == RMT_RESULT_DEATH)
        return put(sink, first, Py_None, PyLong_FromUnsignedLongLong(header->arg[2]));
    int r = rmt_message_data(block, &data, &size);
    if (r < 0) {
        rmt_py_error(r, "read a pool's result");
        return -1;
    }
    return put_decoded(sink, first, kind == RMT_RESULT_VALUE,
                       rmt_decode(st, data, size, NULL, NULL));
}

PyDoc_STRVAR(
    job_take_doc,
    "take(into=None)\n--\n\n"
    "Take the results that there are: a list of (index of the first, True, list of values),\n"
    "(index, False, exception), (index, ..., exception) for what could not be unpickled, and\n"
    "(index, None, pid of the worker that died). With a list, values are put there, each under\n"
    "its index, and only the rest is returned.");

static PyObject *job_take(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    struct rmt_py_state *st = PyType_GetModuleState(defining);
    struct rmt_self *self;
    JobObject *me = rmt_py_job_own(op, &self);
    struct sink sink = {.into = nargs > 0 && PyList_Check(args[0]) ? args[0] : NULL};
    uint64_t at;
    int hold, r;

    if (!me)
        return NULL;
    sink.out = PyList_New(0);
    if (!sink.out)
        return NULL;
    r = rmt_job_take(self, me->job, &hold, &at);
    if (r == -EAGAIN)
        return sink.out;
    if (r < 0) {
        Py_DECREF(sink.out);
        return rmt_py_error(r, "take the results of a job");
    }
    for (; r == 0 && at != 0; at = rmt_load64(&rmt_block_at(at)->next))
        r = put_block(st, &sink, at) < 0 ? -1 : end_run(&sink);
    rmt_block_free(self, hold);
    Py_XDECREF(sink.run);
    if (r < 0)
        Py_CLEAR(sink.out);
    return sink.out;
}

static PyObject *job_finished(PyObject *op, void *Py_UNUSED(closure))
{
    uint64_t job = ((JobObject *)op)->job;
    return PyLong_FromUnsignedLongLong(rmt_load64(&rmt_job_at(job)->finished));
}

static PyObject *job_published(PyObject *op, void *Py_UNUSED(closure))
{
    uint64_t job = ((JobObject *)op)->job;
    return PyLong_FromUnsignedLongLong(rmt_load64(&rmt_job_at(job)->published));
}

static PyObject *job_get_want(PyObject *op, void *Py_UNUSED(closure))
{
    uint64_t job = ((JobObject *)op)->job;
    return PyLong_FromUnsignedLongLong(rmt_load64(&rmt_job_at(job)->want));
}

static int job_set_want(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    unsigned long long want = value ? PyLong_AsUnsignedLongLong(value) : 0;
    if (want == (unsigned long long)-1 && PyErr_Occurred())
        return -1;
    rmt_store64(&rmt_job_at(((JobObject *)op)->job)->want, want);
    return 0;
}

static PyMethodDef job_methods[] = {
    {"feed", (PyCFunction)(void (*)(void))job_feed, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     job_feed_doc},
    {"end", job_end, METH_NOARGS, job_end_doc},
    {"cancel", job_cancel, METH_NOARGS, job_cancel_doc},
    {"take", (PyCFunction)(void (*)(void))job_take, METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     job_take_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef job_getset[] = {
    {"finished", job_finished, NULL, "How many items have a result or a failure.", NULL},
    {"published", job_published, NULL, "How many items were fed.", NULL},
    {"want", job_get_want, job_set_want, "How many of them wake who waits for the job.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot job_slots[] = {
    {Py_tp_doc, "A job of a pool, in the process that submitted it."},
    {Py_tp_dealloc, job_dealloc},
    {Py_tp_methods, job_methods},
    {Py_tp_getset, job_getset},
    {0, NULL},
};
PyType_Spec rmt_py_job_spec = {
    .name = "ramet._ramet.Job",
    .basicsize = sizeof(JobObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = job_slots,
};
