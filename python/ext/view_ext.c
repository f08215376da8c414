/* SPDX-License-Identifier: MIT
 *
 * Views: large buffers that arrived in a message, seen where they lie. A view is a private mapping
 * of the message's pages, so that its reader may write to it (the kernel then copies that page for
 * him alone) while the message stays what was put, for however many readers. The view owns a handle
 * on the message's block, which a forked child gets a copy of along with the mapping.
 */
#include "view.h"

#include "base/os.h"

#include <errno.h>
#include <unistd.h>

#include <ramet/arena.h>

typedef struct {
    PyObject ob_base; /* what PyObject_HEAD is */
    void *map;        /* NULL: not mapped */
    size_t map_size;
    uint8_t *data; /* in the mapping */
    Py_ssize_t size;
    int readonly;
    struct rmt_handle handle; /* offset 0: none yet */
} ViewObject;

static void view_dealloc(PyObject *op)
{
    ViewObject *view = (ViewObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    struct rmt_self *self;

    if (view->map)
        rmt_os_unmap(view->map, view->map_size);
    if (view->handle.offset != 0 && rmt_self(&self) == 0)
        rmt_handle_close(self, &view->handle);
    type->tp_free(op);
    Py_DECREF(type);
}

static int view_getbuffer(PyObject *op, Py_buffer *buffer, int flags)
{
    ViewObject *view = (ViewObject *)op;

    return PyBuffer_FillInfo(buffer, op, view->data, view->size, view->readonly, flags);
}

static PyType_Slot view_slots[] = {
    {Py_tp_dealloc, view_dealloc},
    {Py_bf_getbuffer, view_getbuffer},
    {Py_tp_doc, (void *)PyDoc_STR("A large buffer that was received, copied page by page when "
                                  "it is written to.")},
    {0, NULL},
};

static PyType_Spec view_spec = {
    .name = "ramet._ramet.View",
    .basicsize = sizeof(ViewObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = view_slots,
};

/* ---- receiving */

struct landing { /* the message that is being decoded */
    struct rmt_py_state *st;
    uint64_t message;
    PyObject *views; /* list of the views that were made of it; NULL: none */
};

/* Maps the pages in which the buffer lies. */
static int map_buffer(struct landing *landing, const uint8_t *data, size_t size, ViewObject *view)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const uint8_t *start = rmt_payload(landing->message);
    uint64_t at = landing->message + RMT_BLOCK_HEADER + (uint64_t)(data - start);
    size_t lead = (size_t)(at % page);
    void *map;
    int r = rmt_os_map_private(ramet_arena_fd(), at - lead, size + lead, &map);

    if (r < 0)
        return r;
    view->map = map;
    view->map_size = size + lead;
    view->data = (uint8_t *)map + lead;
    view->size = (Py_ssize_t)size;
    return 0;
}

static PyObject *make_buffer(void *arg, const uint8_t *data, size_t size, int readonly)
{
    struct landing *landing = arg;
    PyTypeObject *type = landing->st->types[RMT_PY_TYPE_VIEW];
    ViewObject *view;

    if (size < RMT_PY_VIEW_MIN)
        return NULL; /* the codec copies it */
    if (!landing->views && !(landing->views = PyList_New(0)))
        return NULL;
    view = (ViewObject *)type->tp_alloc(type, 0);
    if (!view)
        return NULL;
    view->readonly = readonly;
    if (map_buffer(landing, data, size, view) < 0) {
        Py_DECREF(view);
        return NULL; /* no address space for a mapping: the codec copies it, or fails clearly */
    }
    if (PyList_Append(landing->views, (PyObject *)view) < 0)
        Py_CLEAR(view);
    return (PyObject *)view;
}

/* Gives each view its own handle on the block: the first from the hold, the others from the first.
 */
static int keep_block(struct rmt_self *self, struct landing *landing, int hold)
{
    struct rmt_handle *first = NULL;

    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(landing->views); i++) {
        ViewObject *view = (ViewObject *)PyList_GET_ITEM(landing->views, i);
        int r = first ? rmt_handle_dup(self, first, &view->handle)
                      : rmt_handle_create(self, hold, &view->handle);
        if (r < 0) {
            view->handle.offset = 0;
            if (!first)
                rmt_block_free(self, hold);
            return r;
        }
        first = &view->handle;
    }
    return 0;
}

PyObject *rmt_py_receive(struct rmt_py_state *st, struct rmt_self *self, uint64_t message, int hold)
{
    struct landing landing = {.st = st, .message = message};
    uint64_t owner = self->word;
    PyObject *result = NULL;
    const uint8_t *data;
    size_t size;
    int r = rmt_message_data(message, &data, &size);

    if (r < 0)
        rmt_py_error(r, "read a message");
    else
        result = rmt_decode(st, data, size, make_buffer, &landing);
    r = rmt_self(&self);
    if (r < 0 || self->word != owner) {
        /* Decoding forked, and this is the child: the message is the parent's. */
        if (landing.views) {
            Py_CLEAR(result);
            PyErr_SetString(PyExc_RuntimeError, "forked while an object was being received");
        }
    } else {
        rmt_store64(&self->thread->hold[hold].what, message | RMT_HOLD_BLOCK);
        if (!landing.views) {
            rmt_block_free(self, hold);
        } else if ((r = keep_block(self, &landing, hold)) < 0) {
            Py_CLEAR(result);
            rmt_py_error(r, "keep a buffer that was received");
        }
    }
    Py_XDECREF(landing.views);
    return result;
}

int rmt_py_add_view(PyObject *module)
{
    return rmt_py_add_type(module, RMT_PY_TYPE_VIEW, &view_spec, NULL);
}
