/* SPDX-License-Identifier: MIT
 *
 * The types SharedPool and Job: a pool and its jobs as the process that made it has them. What they
 * promise to users (results, exceptions, workers that are replaced) is made of them in
 * python/ramet/pool.py; the workers' side is in pool_worker.c.
 */
#include "pool_ext.h"

#include <errno.h>
#include <poll.h>

#include "base/os.h"

/* Between two looks at whether a worker has died. */
#define LOOK_NS 50000000

/* Packets of about this many bytes, and of at most so many items. */
#define PACKET_BYTES 65536
#define PACKET_ITEMS 512

typedef struct {
    PyObject_HEAD PyObject *pool; /* a PoolObject; keeps the pool open */
    uint64_t job;                 /* offset; 0: none */
    uint64_t owner; /* process that submitted it: in a forked child the job is somebody else's */
} JobObject;

static uint64_t pool_of(PyObject *op)
{
    return ((PoolObject *)op)->handle.offset;
}

int rmt_py_pool_message(struct rmt_self *self, const struct rmt_encoded *enc, int *ret_hold,
                        uint64_t *ret_offset)
{
    int r;
    if (enc->size < PACKET_BYTES)
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
static PyObject *submit(PyObject *op, struct rmt_py_state *st, PyObject *object,
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
    r = rmt_job_make(self, pool_of(op), options, &hold, &job);
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
static JobObject *own(PyObject *op, struct rmt_self **ret_self)
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

/* One packet of `n` items. 1 fed, 0 the table is full, -1 with an exception. */
static int feed_packet(struct rmt_py_state *st, struct rmt_self *self, uint64_t job,
                       PyObject *const *items, size_t n, uint64_t floor)
{
    struct rmt_encoded enc;
    uint64_t offset;
    int hold, r;

    if (rmt_encode_many(st, items, n, &enc) < 0)
        return -1;
    r = rmt_py_pool_message(self, &enc, &hold, &offset);
    rmt_encoded_release(st, &enc);
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
    JobObject *me = own(op, &self);
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
        int r = feed_packet(st, self, me->job, items, count, floor);
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
    JobObject *me = own(op, &self);
    int r = me ? rmt_job_end(self, me->job) : 0;
    if (!me || r < 0)
        return me ? rmt_py_error(r, "end a job") : NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(job_cancel_doc, "cancel()\n--\n\nHave no more items begun.");
static PyObject *job_cancel(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    struct rmt_self *self;
    JobObject *me = own(op, &self);
    int r = me ? rmt_job_cancel(self, me->job) : 0;
    if (!me || r < 0)
        return me ? rmt_py_error(r, "cancel a job") : NULL;
    Py_RETURN_NONE;
}

/* ------------------------------------------------------------------------------ results */

/* The exception that is set, taken. */
static PyObject *caught(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* Results on their way to the caller: values go into the list where there is one, else they come as
 * (index of the first, True, list of values); what failed always comes, as (index, False, error) or
 * (index, None, pid). */
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
    if (decoded && value)
        return put_value(sink, index, decoded);
    if (!decoded) {
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return -1;
        decoded = caught();
    }
    if (end_run(sink) < 0) {
        Py_XDECREF(decoded);
        return -1;
    }
    return put(sink, index, Py_False, decoded);
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
    "(index, False, exception) and (index, None, pid of the worker that died). With a list,\n"
    "values are put there, each under its index, and only the rest is returned.");

static PyObject *job_take(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    struct rmt_py_state *st = PyType_GetModuleState(defining);
    struct rmt_self *self;
    JobObject *me = own(op, &self);
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
static PyType_Spec job_spec = {
    .name = "ramet._ramet.Job",
    .basicsize = sizeof(JobObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = job_slots,
};

/* ------------------------------------------------------------------------------ the pool */

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
    PyObject *job = submit(op, PyType_GetModuleState(defining), given, &options);
    Py_DECREF(given);
    return job;
}

/* How many of the items make a packet: as many as fit a moderate size, by the first of them. */
static int packet_items(struct rmt_py_state *st, PyObject *items, size_t n, size_t *ret_items)
{
    struct rmt_encoded enc;
    size_t batch = n / 64 + 1;
    if (rmt_encode_many(st, ((PyTupleObject *)items)->ob_item, 1, &enc) < 0)
        return -1;
    if (batch > PACKET_BYTES / (enc.size + 1))
        batch = PACKET_BYTES / (enc.size + 1);
    rmt_encoded_release(st, &enc);
    batch = batch < 1 ? 1 : batch > PACKET_ITEMS ? PACKET_ITEMS : batch;
    *ret_items = batch;
    return 0;
}

PyDoc_STRVAR(
    pool_map_doc,
    "map(function, items, star, chunk)\n--\n\n"
    "Submit a Job of all items of a tuple, which must not be empty. chunk 0: the pool divides\n"
    "them as it sees fit.");
static PyObject *pool_map(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *Py_UNUSED(kwnames))
{
    struct rmt_py_state *st = PyType_GetModuleState(defining);
    struct rmt_job_options options = {.slots = 1};
    size_t batch;
    int star;

    if (nargs != 4 || !PyTuple_Check(args[1]) || PyTuple_GET_SIZE(args[1]) == 0) {
        PyErr_SetString(PyExc_TypeError, "map() takes a function, a tuple, a bool and a number");
        return NULL;
    }
    size_t n = (size_t)PyTuple_GET_SIZE(args[1]);
    star = PyObject_IsTrue(args[2]);
    options.chunk = PyLong_AsUnsignedLongLong(args[3]);
    if (star < 0 || (options.chunk == (unsigned long long)-1 && PyErr_Occurred()))
        return NULL;
    if (packet_items(st, args[1], n, &batch) < 0)
        return NULL;
    options.user = star ? RMT_PY_CALL_STAR : RMT_PY_CALL_ITEM;
    options.batch = batch;
    options.expected = n;
    options.slots = (n + batch - 1) / batch;
    PyObject *job = submit(op, st, args[0], &options);
    if (!job)
        return NULL;
    struct rmt_self *self;
    JobObject *me = own(job, &self);
    int r = 0;
    for (size_t at = 0; me && r >= 0 && at < n; at += batch) {
        size_t count = n - at < batch ? n - at : batch;
        r = feed_packet(st, self, me->job, ((PyTupleObject *)args[1])->ob_item + at, count, 0);
    }
    if (me && r >= 0) {
        r = rmt_job_end(self, me->job);
        if (r < 0)
            rmt_py_error(r, "end a job");
    } else if (me) { /* what cannot be sent raises here; what was sent before need not be worked on
                      */
        (void)rmt_job_cancel(self, me->job);
    }
    if (!me || r < 0)
        Py_CLEAR(job);
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
    return submit(op, PyType_GetModuleState(defining), args[0], &options);
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
    {"map", FAST(pool_map), pool_map_doc},
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
    if (rmt_py_add_type(module, RMT_PY_TYPE_JOB, &job_spec, NULL) < 0)
        return -1;
    return rmt_py_add_type(module, RMT_PY_TYPE_SHARED_POOL, &pool_spec, NULL);
}
