/* SPDX-License-Identifier: MIT
 *
 * `_ramet.Event`.
 */
#include "sync_ext.h"

#include "sync/event.h"

#include <errno.h>

typedef struct {
    PyObject_HEAD ramet_event *event; /* never NULL outside the constructors and the deallocator */
} EventObject;

RMT_PY_HANDLE_NEW(event, EventObject, "an event")
RMT_PY_HANDLE_OPEN(event, EventObject, "an event")
RMT_PY_HANDLE_REDUCE(event, EventObject)

struct rmt_event *rmt_py_event_of(PyObject *op)
{
    return rmt_event_of(((EventObject *)op)->event);
}

static PyObject *event_ticket(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLongLong(rmt_event_ticket(rmt_py_event_of(op)));
}

static PyObject *event_passed(PyObject *op, PyObject *arg)
{
    uint64_t ticket = PyLong_AsUnsignedLongLong(arg);

    if (ticket == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(rmt_event_passed(rmt_py_event_of(op), ticket));
}

static PyObject *event_is_set(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(ramet_event_is_set(((EventObject *)op)->event));
}

static PyObject *event_set(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    int r = ramet_event_set(((EventObject *)op)->event);

    if (r < 0)
        return rmt_py_sync_error(r, "set an event");
    Py_RETURN_NONE;
}

static PyObject *event_clear(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    int r = ramet_event_clear(((EventObject *)op)->event);

    if (r < 0)
        return rmt_py_sync_error(r, "clear an event");
    Py_RETURN_NONE;
}

static PyObject *event_wait(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    ramet_wait wait = {.size = sizeof wait};
    ramet_event *event = ((EventObject *)op)->event;
    struct rmt_event *shared = rmt_event_of(event);
    struct rmt_self *self;
    PyObject *timeout;
    uint64_t ticket;
    int r;

    if (rmt_py_one_arg("wait", "timeout", args, nargs, kwnames, &timeout) < 0 ||
        rmt_py_deadline(timeout, &wait.deadline) < 0)
        return NULL;
    if (rmt_event_is_set(shared))
        Py_RETURN_TRUE;
    /* With the ticket of the start, no pulse is missed while a signal handler runs. */
    ticket = rmt_event_ticket(shared);
    do {
        r = rmt_self(&self);
        if (r < 0)
            break;
        Py_BEGIN_ALLOW_THREADS;
        r = rmt_event_wait(self, shared, event->object.at, ticket, &wait);
        Py_END_ALLOW_THREADS;
        if (r == -EINTR && PyErr_CheckSignals() < 0)
            return NULL;
    } while (r == -EINTR);
    return rmt_py_waited(r, "wait for an event");
}

PyDoc_STRVAR(ticket_doc, "_ticket($self, /)\n--\n\nWhat tells _passed() when a wait began.");
PyDoc_STRVAR(passed_doc, "_passed($self, ticket, /)\n--\n\n"
                         "Whether the flag is set, or was since the ticket was taken.");
PyDoc_STRVAR(is_set_doc, "is_set($self, /)\n--\n\nWhether the flag is set.");
PyDoc_STRVAR(set_doc, "set($self, /)\n--\n\nSet the flag, and let go all who wait.");
PyDoc_STRVAR(clear_doc, "clear($self, /)\n--\n\nTake the flag back.");
PyDoc_STRVAR(wait_doc, "wait($self, /, timeout=None)\n--\n\n"
                       "Wait until the flag is set: True, or False if it was not in time.");

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS, is_set_doc},
    {"set", event_set, METH_NOARGS, set_doc},
    {"clear", event_clear, METH_NOARGS, clear_doc},
    {"wait", RMT_PY_FAST(event_wait), METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"_ticket", event_ticket, METH_NOARGS, ticket_doc},
    {"_passed", event_passed, METH_O, passed_doc},
    {"__reduce__", event_reduce, METH_NOARGS, NULL},
    {"_from_ref", event_from_ref, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The engine of ramet.synchronize.Event.")},
    {Py_tp_new, (void *)event_new},
    {Py_tp_dealloc, (void *)event_dealloc},
    {Py_tp_methods, event_methods},
    {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "ramet._ramet.Event",
    .basicsize = sizeof(EventObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = event_slots,
};

int rmt_py_add_event(PyObject *module)
{
    return rmt_py_add_type(module, RMT_PY_TYPE_EVENT, &event_spec, NULL);
}
