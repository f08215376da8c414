/* SPDX-License-Identifier: MIT
 *
 * The part of the codec for everything that is not encoded directly: pickle protocol 5 by the C
 * pickler, with the reducers of multiprocessing's ForkingPickler.
 *
 * ForkingPickler's constructor copies the table of reducers for each message. Here one plain
 * _pickle.Pickler serves many messages, and its dispatch_table is a merged dict that is made anew
 * only when one of the two tables it came from has changed.
 *
 * The pickler's file and buffer callback is one object, the sink, which puts what it is given into
 * the scratch. What runs during a dump may encode again: that takes another scratch, with another
 * pickler and sink.
 */
#include "codec_format.h"

/* A pickler keeps the size of its memo, and clearing it costs that; after more than this, a new
 * one. */
#define KEEP_PICKLER ((size_t)16 << 10)

/* The innermost encode of this thread that is inside a pickler; the others by `next`. */
static _Thread_local struct rmt_scratch *current;

int rmt_encode_add_ref(struct rmt_py_state *st, uint64_t offset)
{
    (void)st;
    return current ? rmt_scratch_ref(current, offset) : 1;
}

/* --- the sink */

struct sink {
    PyObject_HEAD struct rmt_scratch *scratch; /* NULL except during a dump */
};

static struct rmt_scratch *sink_scratch(PyObject *self)
{
    struct rmt_scratch *s = ((struct sink *)self)->scratch;
    if (!s)
        PyErr_SetString(PyExc_ValueError, "no message is being encoded");
    return s;
}

/* file.write: the next bytes of the pickle. Only a bytes object is certain to keep its content. */
static PyObject *sink_write(PyObject *self, PyObject *data)
{
    struct rmt_scratch *s = sink_scratch(self);
    Py_buffer view;
    uint8_t *to;

    if (!s)
        return NULL;
    if (PyBytes_CheckExact(data) && PyBytes_GET_SIZE(data) >= RMT_CODEC_LARGE) {
        if (rmt_scratch_piece(s, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), data) < 0)
            return NULL;
        Py_RETURN_NONE;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    to = rmt_scratch_add(s, (size_t)view.len);
    if (to)
        memcpy(to, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return to ? Py_NewRef(Py_None) : NULL;
}

/* buffer_callback: false takes the PickleBuffer out of band, true leaves it in the pickle. */
static PyObject *sink_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct rmt_scratch *s = sink_scratch(self);
    const Py_buffer *view;
    PyObject *buffer, *held;
    int r;

    if (!s || !PyArg_UnpackTuple(args, "buffer_callback", 1, 1, &buffer))
        return NULL;
    if (kwargs && PyDict_GET_SIZE(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "buffer_callback takes no keyword arguments");
        return NULL;
    }
    if (!(view = PyPickleBuffer_GetBuffer(buffer)))
        return NULL;
    if (view->len < RMT_CODEC_LARGE || !PyBuffer_IsContiguous(view, 'A'))
        Py_RETURN_TRUE;
    /* An export of its own, so that the memory stays even if the PickleBuffer is released. */
    if (!(held = PyMemoryView_FromObject(buffer)))
        return NULL;
    view = PyMemoryView_GET_BUFFER(held);
    r = rmt_scratch_late(s, view->buf, (size_t)view->len, held, view->readonly);
    Py_DECREF(held);
    return r < 0 ? NULL : Py_NewRef(Py_False);
}

static int sink_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void sink_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef sink_methods[] = {
    {"write", sink_write, METH_O, PyDoc_STR("Takes the next bytes of the pickle.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot sink_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("What a message's pickler writes to.")},
    {Py_tp_methods, sink_methods},
    {Py_tp_call, (void *)sink_call},
    {Py_tp_traverse, (void *)sink_traverse},
    {Py_tp_dealloc, (void *)sink_dealloc},
    {0, NULL},
};

static PyType_Spec sink_spec = {
    .name = "ramet._ramet.PickleSink",
    .basicsize = sizeof(struct sink),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = sink_slots,
};

int rmt_pickle_add_types(PyObject *module)
{
    struct rmt_py_codec *codec = &rmt_py_state(module)->codec;

    if (!(codec->str_dump = PyUnicode_InternFromString("dump")) ||
        !(codec->str_clear_memo = PyUnicode_InternFromString("clear_memo")) ||
        !(codec->str_dispatch_table = PyUnicode_InternFromString("dispatch_table")) ||
        !(codec->str_release = PyUnicode_InternFromString("release")) ||
        !(codec->kw_buffers = Py_BuildValue("(s)", "buffers")))
        return -1;
    return rmt_py_add_type(module, RMT_PY_TYPE_PICKLE_SINK, &sink_spec, NULL);
}

/* --- what comes from the standard library */

static PyObject *import_attribute(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *value = module ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    return value;
}

/* Imported when first needed: a process that sends only plain values never pays for it. */
int rmt_pickle_imports(struct rmt_py_codec *codec)
{
    PyObject *found[4] = {NULL}, **to[4] = {&codec->loads, &codec->forking_table,
                                            &codec->copyreg_table, &codec->pickler_type};
    PyObject *forking = NULL;
    bool ready, good;

    rmt_codec_lock(codec);
    ready = codec->pickler_type;
    rmt_codec_unlock(codec);
    if (ready)
        return 0;
    good = (found[0] = import_attribute("_pickle", "loads")) &&
           (forking = import_attribute("multiprocessing.reduction", "ForkingPickler")) &&
           (found[1] = PyObject_GetAttrString(forking, "_extra_reducers")) &&
           (found[2] = import_attribute("copyreg", "dispatch_table")) &&
           (found[3] = import_attribute("_pickle", "Pickler"));
    if (good && !(PyDict_Check(found[1]) && PyDict_Check(found[2]))) {
        PyErr_SetString(PyExc_TypeError, "a table of pickle reducers is not a dict");
        good = false;
    }
    rmt_codec_lock(codec); /* meanwhile another thread may have done the same: the first wins */
    for (int i = 0; good && !codec->pickler_type && i < 4; i++) {
        *to[i] = found[i];
        found[i] = NULL;
    }
    rmt_codec_unlock(codec);
    for (int i = 0; i < 4; i++)
        Py_XDECREF(found[i]);
    Py_XDECREF(forking);
    return good ? 0 : -1;
}

static PyObject *merge_reducers(struct rmt_py_codec *codec)
{
    PyObject *merged = PyDict_Copy(codec->copyreg_table);
    if (merged && PyDict_Update(merged, codec->forking_table) < 0)
        Py_CLEAR(merged);
    return merged;
}

#ifdef Py_GIL_DISABLED
/* Comparing tables that others may change would cost more than this does. */
static PyObject *get_reducers(struct rmt_py_codec *codec)
{
    return merge_reducers(codec);
}
#else
/* Whether `seen`, a copy of `table` as it once was, still has the very same keys and values. */
static bool unchanged(PyObject *table, PyObject *seen)
{
    PyObject *key, *value, *seen_key, *seen_value;
    Py_ssize_t pos = 0, seen_pos = 0;

    if (!seen || PyDict_GET_SIZE(table) != PyDict_GET_SIZE(seen))
        return false;
    while (PyDict_Next(table, &pos, &key, &value)) {
        if (!PyDict_Next(seen, &seen_pos, &seen_key, &seen_value) || key != seen_key ||
            value != seen_value)
            return false;
    }
    return true;
}

/* A new reference to the table of all reducers as of now. */
static PyObject *get_reducers(struct rmt_py_codec *codec)
{
    PyObject *forking_seen, *copyreg_seen, *merged;

    if (unchanged(codec->forking_table, codec->forking_seen) &&
        unchanged(codec->copyreg_table, codec->copyreg_seen))
        return Py_NewRef(codec->reducers);
    forking_seen = PyDict_Copy(codec->forking_table);
    copyreg_seen = PyDict_Copy(codec->copyreg_table);
    merged = merge_reducers(codec);
    if (!forking_seen || !copyreg_seen || !merged) {
        Py_XDECREF(forking_seen);
        Py_XDECREF(copyreg_seen);
        Py_XDECREF(merged);
        return NULL;
    }
    Py_XSETREF(codec->reducers, Py_NewRef(merged));
    Py_XSETREF(codec->forking_seen, forking_seen);
    Py_XSETREF(codec->copyreg_seen, copyreg_seen);
    return merged;
}
#endif

/* --- encoding */

static int make_pickler(struct rmt_py_state *st, struct rmt_scratch *s)
{
    PyTypeObject *type = st->types[RMT_PY_TYPE_PICKLE_SINK];

    if (!s->sink && !(s->sink = type->tp_alloc(type, 0)))
        return -1;
    s->pickler =
        PyObject_CallFunction(st->codec.pickler_type, "OiOO", s->sink, 5, Py_True, s->sink);
    s->pickler_reducers = NULL;
    return s->pickler ? 0 : -1;
}

static int set_reducers(struct rmt_py_codec *codec, struct rmt_scratch *s)
{
    PyObject *reducers = get_reducers(codec);
    int r = 0;

    if (!reducers)
        return -1;
    if (reducers != s->pickler_reducers) {
        r = PyObject_SetAttr(s->pickler, codec->str_dispatch_table, reducers);
        s->pickler_reducers = r < 0 ? NULL : reducers;
    }
    Py_DECREF(reducers);
    return r;
}

static int dump(struct rmt_py_codec *codec, struct rmt_scratch *s, PyObject *obj)
{
    PyObject *args[] = {s->pickler, obj}, *result;

    s->next = current;
    current = s;
    ((struct sink *)s->sink)->scratch = s;
    result = PyObject_VectorcallMethod(codec->str_dump, args, 2, NULL);
    ((struct sink *)s->sink)->scratch = NULL;
    current = s->next;
    s->next = NULL;
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Drops what the pickler's memo holds, and the pickler too where it is not worth keeping. */
static int rest_pickler(struct rmt_py_codec *codec, struct rmt_scratch *s)
{
    PyObject *result;

    if (s->pickle_size > KEEP_PICKLER) {
        Py_CLEAR(s->pickler);
        return 0;
    }
    result = PyObject_CallMethodNoArgs(s->pickler, codec->str_clear_memo);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int rmt_pickle_encode(struct rmt_py_state *st, struct rmt_scratch *s, PyObject *obj)
{
    struct rmt_py_codec *codec = &st->codec;
    size_t start = s->size, before = s->size + s->outside;
    uint8_t *tag;

    if (rmt_pickle_imports(codec) < 0 || (!s->pickler && make_pickler(st, s) < 0) ||
        set_reducers(codec, s) < 0 || !(tag = rmt_scratch_add(s, 1)))
        return -1;
    *tag = TAG_PICKLE;
    if (dump(codec, s, obj) < 0) {
        Py_CLEAR(s->pickler); /* it stopped anywhere */
        return -1;
    }
    if (s->nlate)
        s->data[start] = TAG_PICKLE_BUFFERS;
    s->pickle_size = s->size + s->outside - before - 1;
    return rest_pickler(codec, s);
}

int rmt_pickle_trailer(struct rmt_scratch *s)
{
    uint8_t *to = rmt_scratch_add(s, 8 * s->nlate + PICKLE_TRAILER);
    if (!to)
        return -1;
    for (size_t i = 0; i < s->nlate; i++, to += 8)
        rmt_write_u64(to, (uint64_t)s->late[i].size << 1 | s->late[i].readonly);
    rmt_write_u64(to, s->nlate);
    rmt_write_u64(to + 8, s->pickle_size);
    return 0;
}
