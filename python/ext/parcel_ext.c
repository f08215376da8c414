/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Parcel`: a count on an object of the arena that travels outside of messages, into a
 * process that is being started or through a foreign transport. The sender keeps the parcel; the
 * receiver opens the object and then takes the count out of the parcel, so that from that moment on
 * only those count who have the object open, whenever the sender may drop the parcel. A pipe's end
 * of file needs it that exact. A parcel is a message without data that mentions one object.
 */
#include "module.h"

#include "channel/message.h"

#include <errno.h>
#include <string.h>

typedef struct {
    PyObject_HEAD struct rmt_handle handle; /* offset 0: none yet */
} ParcelObject;

static void parcel_dealloc(PyObject *op)
{
    ParcelObject *parcel = (ParcelObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    struct rmt_self *self;

    if (parcel->handle.offset != 0 && rmt_self(&self) == 0)
        rmt_handle_close(self, &parcel->handle);
    type->tp_free(op);
    Py_DECREF(type);
}

static int parcel_fill(struct rmt_self *self, const ramet_ref *ref, struct rmt_handle *ret_handle)
{
    struct rmt_handle object;
    uint64_t message;
    int hold;
    int r = rmt_handle_open(self, ref, RAMET_KIND_NONE, &object);

    if (r < 0)
        return r;
    r = rmt_message_build(self, NULL, 0, &object.offset, 1, &hold, &message);
    if (r == 0 && (r = rmt_handle_create(self, hold, ret_handle)) < 0)
        rmt_block_free(self, hold);
    rmt_handle_close(self, &object);
    return r;
}

PyDoc_STRVAR(parcel_doc, "Parcel(ref, /)\n--\n\n"
                         "A count on the object of a reference, which the caller has open.\n\n"
                         "It is pickled as bytes, to be given to open_parcel().");

static PyObject *parcel_new(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char empty[] = "", *names[] = {empty, NULL}; /* CPython wants them not const */
    ParcelObject *parcel;
    struct rmt_self *self;
    const char *bytes;
    Py_ssize_t length;
    ramet_ref ref;
    int r;

    if (!PyArg_ParseTupleAndKeywords(args, kwds, "y#:Parcel", names, &bytes, &length))
        return NULL;
    if (length != (Py_ssize_t)sizeof(ref)) {
        PyErr_SetString(PyExc_ValueError, "not a reference");
        return NULL;
    }
    memcpy(&ref, bytes, sizeof(ref));
    parcel = (ParcelObject *)type->tp_alloc(type, 0);
    if (!parcel)
        return NULL;
    r = rmt_self(&self);
    if (r == 0)
        r = parcel_fill(self, &ref, &parcel->handle);
    if (r < 0) {
        Py_DECREF(parcel);
        return rmt_py_error(r, "count an object that is sent");
    }
    return (PyObject *)parcel;
}

static PyObject *parcel_reduce(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ramet_ref ref = rmt_handle_ref(&((ParcelObject *)op)->handle);

    return Py_BuildValue("(O(y#))", (PyObject *)&PyBytes_Type, (const char *)&ref,
                         (Py_ssize_t)sizeof(ref));
}

PyDoc_STRVAR(open_parcel_doc, "open_parcel(ref, /)\n--\n\n"
                              "Take the count out of a parcel, after its object was opened.");

static PyObject *open_parcel(PyObject *Py_UNUSED(module), PyObject *arg)
{
    struct rmt_handle handle;
    struct rmt_self *self;
    ramet_ref ref;
    int r;

    if (!PyBytes_Check(arg) || PyBytes_GET_SIZE(arg) != (Py_ssize_t)sizeof(ref)) {
        PyErr_SetString(PyExc_ValueError, "not a reference");
        return NULL;
    }
    memcpy(&ref, PyBytes_AS_STRING(arg), sizeof(ref));
    r = rmt_self(&self);
    if (r == 0)
        r = rmt_handle_open(self, &ref, RAMET_KIND_MESSAGE, &handle);
    if (r == -ESTALE) /* dropped by the sender, and the count with it */
        Py_RETURN_NONE;
    if (r < 0)
        return rmt_py_error(r, "open a parcel");
    rmt_count_drop(self, handle.offset + RMT_BLOCK_HEADER + offsetof(struct rmt_message, ref));
    rmt_handle_close(self, &handle);
    Py_RETURN_NONE;
}

static PyMethodDef parcel_methods[] = {
    {"__reduce__", parcel_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot parcel_slots[] = {
    {Py_tp_new, parcel_new},
    {Py_tp_dealloc, parcel_dealloc},
    {Py_tp_methods, parcel_methods},
    {Py_tp_doc, (void *)parcel_doc},
    {0, NULL},
};

static PyType_Spec parcel_spec = {
    .name = "ramet._ramet.Parcel",
    .basicsize = sizeof(ParcelObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = parcel_slots,
};

static PyMethodDef module_methods[] = {
    {"open_parcel", open_parcel, METH_O, open_parcel_doc},
    {NULL, NULL, 0, NULL},
};

int rmt_py_add_parcel(PyObject *module)
{
    if (rmt_py_add_type(module, RMT_PY_TYPE_PARCEL, &parcel_spec, NULL) < 0)
        return -1;
    return PyModule_AddFunctions(module, module_methods);
}
