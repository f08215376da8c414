/* SPDX-License-Identifier: MIT
 *
 * `_ramet.SynchronizedBase`, `SynchronizedArray` and `LockedAttribute`: ctypes objects whose
 * attributes and items are read and written under a lock. The classes of ramet.sharedctypes are
 * made of them; what they promise is what multiprocessing.sharedctypes does.
 */
#include "sync_ext.h"

#include <stddef.h>
#include <structmember.h>

/* How the lock is taken: ours, unless a subclass does it another way, without a call by name. */
enum way { WAY_CALL, WAY_LOCK, WAY_RLOCK };

typedef struct {
    PyObject_HEAD PyObject *obj; /* NULL until it is set */
    PyObject *lock;              /* the same */
    enum way way;                /* of `lock` */
} SynchronizedObject;

typedef struct {
    PyObject_HEAD PyObject *name; /* an interned str */
} AttributeObject;

/* ---- the lock */

/* Whether the class of `lock` has these two methods from our `type`. */
static int inherits(PyObject *lock, PyTypeObject *type)
{
    static const char *const names[] = {"acquire", "release"};
    int same = PyObject_TypeCheck(lock, type);

    for (int i = 0; same && i < 2; i++) {
        PyObject *used = PyObject_GetAttrString((PyObject *)Py_TYPE(lock), names[i]);
        PyObject *ours = PyObject_GetAttrString((PyObject *)type, names[i]);
        if (!used || !ours)
            PyErr_Clear(); /* then it is not ours */
        same = used && used == ours;
        Py_XDECREF(used);
        Py_XDECREF(ours);
    }
    return same;
}

static PyObject *get_lock(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *lock = ((SynchronizedObject *)op)->lock;
    if (lock)
        return Py_NewRef(lock);
    PyErr_SetString(PyExc_AttributeError, "_lock");
    return NULL;
}

static int set_lock(PyObject *op, PyObject *lock, void *Py_UNUSED(closure))
{
    SynchronizedObject *me = (SynchronizedObject *)op;
    struct rmt_py_state *st = rmt_py_state_of_type(Py_TYPE(op));

    if (!st)
        return -1;
    me->way = WAY_CALL;
    if (lock && inherits(lock, st->types[RMT_PY_TYPE_LOCK]))
        me->way = WAY_LOCK;
    else if (lock && inherits(lock, st->types[RMT_PY_TYPE_RLOCK]))
        me->way = WAY_RLOCK;
    Py_XSETREF(me->lock, Py_XNewRef(lock));
    return 0;
}

struct taken { /* a lock that this call holds */
    PyObject *lock;
    enum way way;
};

static int take(PyObject *op, struct taken *ret_taken)
{
    SynchronizedObject *me = (SynchronizedObject *)op;
    PyObject *r;

    if (!me->lock || !me->obj) {
        PyErr_SetString(PyExc_AttributeError, "it was not initialized");
        return -1;
    }
    *ret_taken = (struct taken){Py_NewRef(me->lock), me->way};
    if (me->way == WAY_RLOCK)
        r = rmt_py_rlock_enter(me->lock, NULL);
    else if (me->way == WAY_LOCK)
        r = rmt_py_lock_enter(me->lock, NULL);
    else
        r = PyObject_CallMethod(me->lock, "acquire", NULL);
    if (!r)
        Py_DECREF(ret_taken->lock);
    Py_XDECREF(r);
    return r ? 0 : -1;
}

/* Gives it back, whether or not an exception is set. -1 if one is set after that. */
static int give(struct taken *taken)
{
    PyObject *type, *value, *traceback, *r;

    PyErr_Fetch(&type, &value, &traceback);
    if (taken->way == WAY_RLOCK)
        r = rmt_py_rlock_release(taken->lock, NULL);
    else if (taken->way == WAY_LOCK)
        r = rmt_py_lock_release(taken->lock, NULL);
    else
        r = PyObject_CallMethod(taken->lock, "release", NULL);
    Py_DECREF(taken->lock);
    if (r) {
        Py_DECREF(r);
        PyErr_Restore(type, value, traceback);
        return type ? -1 : 0;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return -1;
}

static PyObject *given(struct taken *taken, PyObject *result)
{
    if (give(taken) < 0)
        Py_CLEAR(result);
    return result;
}

/* ---- LockedAttribute */

static PyObject *attribute_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"name", NULL};
    PyObject *name;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "U:LockedAttribute", keywords, &name))
        return NULL;
    AttributeObject *self = (AttributeObject *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->name = Py_NewRef(name);
    PyUnicode_InternInPlace(&self->name);
    return (PyObject *)self;
}

static void attribute_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    Py_XDECREF(((AttributeObject *)op)->name);
    type->tp_free(op);
    Py_DECREF(type);
}

/* The object that has the attribute, or NULL with TypeError. */
static SynchronizedObject *holder(PyObject *attribute, PyObject *op)
{
    struct rmt_py_state *st = rmt_py_state_of_type(Py_TYPE(attribute));

    if (!st)
        return NULL;
    if (PyObject_TypeCheck(op, st->types[RMT_PY_TYPE_SYNCHRONIZED]))
        return (SynchronizedObject *)op;
    PyErr_Format(PyExc_TypeError, "'%U' is an attribute of a synchronized object, not of '%s'",
                 ((AttributeObject *)attribute)->name, Py_TYPE(op)->tp_name);
    return NULL;
}

static PyObject *attribute_get(PyObject *op, PyObject *object, PyObject *Py_UNUSED(type))
{
    SynchronizedObject *me;
    struct taken taken;

    if (!object)
        return Py_NewRef(op);
    me = holder(op, object);
    if (!me || take(object, &taken) < 0)
        return NULL;
    return given(&taken, PyObject_GetAttr(me->obj, ((AttributeObject *)op)->name));
}

static int attribute_set(PyObject *op, PyObject *object, PyObject *value)
{
    SynchronizedObject *me = holder(op, object);
    struct taken taken;

    if (!me)
        return -1;
    if (!value) {
        PyErr_Format(PyExc_AttributeError, "can't delete attribute '%U'",
                     ((AttributeObject *)op)->name);
        return -1;
    }
    if (take(object, &taken) < 0)
        return -1;
    (void)PyObject_SetAttr(me->obj, ((AttributeObject *)op)->name, value);
    return give(&taken);
}

static PyType_Slot attribute_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("LockedAttribute(name)\n--\n\n"
                                  "That attribute of the object that a synchronized object has.")},
    {Py_tp_new, (void *)attribute_new},
    {Py_tp_dealloc, (void *)attribute_dealloc},
    {Py_tp_descr_get, (void *)attribute_get},
    {Py_tp_descr_set, (void *)attribute_set},
    {0, NULL},
};
static PyType_Spec attribute_spec = {
    .name = "ramet._ramet.LockedAttribute",
    .basicsize = sizeof(AttributeObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = attribute_slots,
};

/* ---- SynchronizedBase */

static int synchronized_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((SynchronizedObject *)op)->obj);
    Py_VISIT(((SynchronizedObject *)op)->lock);
    return 0;
}

static int synchronized_clear(PyObject *op)
{
    Py_CLEAR(((SynchronizedObject *)op)->obj);
    Py_CLEAR(((SynchronizedObject *)op)->lock);
    return 0;
}

static void synchronized_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    (void)synchronized_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *synchronized_get_lock(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return get_lock(op, NULL);
}

static PyObject *synchronized_get_obj(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *obj = ((SynchronizedObject *)op)->obj;
    if (obj)
        return Py_NewRef(obj);
    PyErr_SetString(PyExc_AttributeError, "_obj");
    return NULL;
}

PyDoc_STRVAR(get_lock_doc, "get_lock($self, /)\n--\n\nThe lock under which it is used.");
PyDoc_STRVAR(get_obj_doc, "get_obj($self, /)\n--\n\nThe object itself, to be used without it.");

static PyMethodDef synchronized_methods[] = {
    {"get_lock", synchronized_get_lock, METH_NOARGS, get_lock_doc},
    {"get_obj", synchronized_get_obj, METH_NOARGS, get_obj_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef synchronized_members[] = {
    {"_obj", T_OBJECT_EX, offsetof(SynchronizedObject, obj), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef synchronized_getset[] = {
    {"_lock", get_lock, set_lock, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot synchronized_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("An object and the lock under which it is used.")},
    {Py_tp_traverse, (void *)synchronized_traverse},
    {Py_tp_clear, (void *)synchronized_clear},
    {Py_tp_dealloc, (void *)synchronized_dealloc},
    {Py_tp_methods, synchronized_methods},
    {Py_tp_members, synchronized_members},
    {Py_tp_getset, synchronized_getset},
    {0, NULL},
};
static PyType_Spec synchronized_spec = {
    .name = "ramet._ramet.SynchronizedBase",
    .basicsize = sizeof(SynchronizedObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = synchronized_slots,
};

/* ---- SynchronizedArray */

static PyObject *array_item(PyObject *op, PyObject *key)
{
    struct taken taken;

    if (take(op, &taken) < 0)
        return NULL;
    return given(&taken, PyObject_GetItem(((SynchronizedObject *)op)->obj, key));
}

static int array_set_item(PyObject *op, PyObject *key, PyObject *value)
{
    struct taken taken;

    if (take(op, &taken) < 0)
        return -1;
    if (value)
        (void)PyObject_SetItem(((SynchronizedObject *)op)->obj, key, value);
    else
        (void)PyObject_DelItem(((SynchronizedObject *)op)->obj, key);
    return give(&taken);
}

static PyType_Slot array_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("An array and the lock under which its items are used.")},
    {Py_mp_subscript, (void *)array_item},
    {Py_mp_ass_subscript, (void *)array_set_item},
    {0, NULL},
};
static PyType_Spec array_spec = {
    .name = "ramet._ramet.SynchronizedArray",
    .basicsize = sizeof(SynchronizedObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = array_slots,
};

int rmt_py_add_synchronized(PyObject *module)
{
    PyTypeObject **types = rmt_py_state(module)->types;

    if (rmt_py_add_type(module, RMT_PY_TYPE_LOCKED_ATTRIBUTE, &attribute_spec, NULL) < 0 ||
        rmt_py_add_type(module, RMT_PY_TYPE_SYNCHRONIZED, &synchronized_spec, NULL) < 0)
        return -1;
    return rmt_py_add_type(module, RMT_PY_TYPE_SYNCHRONIZED_ARRAY, &array_spec,
                           types[RMT_PY_TYPE_SYNCHRONIZED]);
}
