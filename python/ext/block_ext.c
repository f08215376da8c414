/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Block`: shared memory of the arena, zeroed at first, as a writable buffer. What stands
 * under RawValue, RawArray and all that is made of them. A buffer that was exported keeps the
 * object alive, and the object the memory.
 */
#include "sync_ext.h"

#include <ramet/data.h>

#include <errno.h>

typedef struct {
    PyObject_HEAD ramet_data *data; /* never NULL outside the constructors and the deallocator */
} BlockObject;

static PyObject *block_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    BlockObject *self;
    Py_ssize_t size;
    int r;

    if (!PyArg_ParseTuple(args, "n:Block", &size))
        return NULL;
    if (size < 0) {
        PyErr_Format(PyExc_ValueError, "Size %zd out of range", size);
        return NULL;
    }
    self = (BlockObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    Py_BEGIN_ALLOW_THREADS; /* it is cleared, which takes its time where it is large */
    r = ramet_data_create((size_t)size, &self->data);
    Py_END_ALLOW_THREADS;
    if (r < 0) {
        Py_DECREF(self);
        return rmt_py_sync_error(r, "allocate shared memory");
    }
    return (PyObject *)self;
}

static PyObject *block_from_ref(PyObject *cls, PyObject *bytes)
{
    PyTypeObject *type = (PyTypeObject *)cls;
    BlockObject *self;
    ramet_ref ref;
    int r;

    if (rmt_py_ref_from(bytes, &ref) < 0 || !(self = (BlockObject *)type->tp_alloc(type, 0)))
        return NULL;
    r = ramet_data_open(&ref, &self->data);
    if (r < 0) {
        Py_DECREF(self);
        return rmt_py_sync_error(r, "open shared memory");
    }
    return (PyObject *)self;
}

static void block_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    ramet_data *data = ((BlockObject *)op)->data;

    if (data)
        ramet_data_close(data);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *block_reduce(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return rmt_py_reduce(op, ramet_data_ref(((BlockObject *)op)->data), NULL);
}

static int block_getbuffer(PyObject *op, Py_buffer *view, int flags)
{
    const ramet_data *data = ((BlockObject *)op)->data;

    return PyBuffer_FillInfo(view, op, ramet_data_address(data), (Py_ssize_t)ramet_data_size(data),
                             0, flags);
}

static Py_ssize_t block_length(PyObject *op)
{
    return (Py_ssize_t)ramet_data_size(((BlockObject *)op)->data);
}

static PyMethodDef block_methods[] = {
    {"__reduce__", block_reduce, METH_NOARGS, NULL},
    {"_from_ref", block_from_ref, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot block_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("Block(size)\n--\n\nShared memory of `size` bytes, zeroed, as a buffer.")},
    {Py_tp_new, (void *)block_new},
    {Py_tp_dealloc, (void *)block_dealloc},
    {Py_tp_methods, block_methods},
    {Py_sq_length, (void *)block_length},
    {Py_bf_getbuffer, (void *)block_getbuffer},
    {0, NULL},
};

static PyType_Spec block_spec = {
    .name = "ramet._ramet.Block",
    .basicsize = sizeof(BlockObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = block_slots,
};

int rmt_py_add_block(PyObject *module)
{
    return rmt_py_add_type(module, RMT_PY_TYPE_BLOCK, &block_spec, NULL);
}
