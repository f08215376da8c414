/* SPDX-License-Identifier: MIT
 *
 * What every file of the extension `ramet._ramet` shares: the module's state, and the helpers that
 * turn errors and time-outs of libramet into Python's and back.
 *
 * No file of the extension has a Python object in a C global: everything lives in the state of one
 * module object, so that each interpreter has its own and all of it is freed with the module.
 *
 * To add a type: write `int rmt_py_add_<noun>(PyObject *module)` in its own file, declare it at the
 * end of this header, append it to the list in module.c, and give its heap type a slot in
 * `enum rmt_py_type`.
 */
#ifndef RMT_PY_MODULE_H
#define RMT_PY_MODULE_H

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
#include <Python.h>

#include <stdint.h>

#include <ramet/base.h>

#include "codec.h"

/* Index of each heap type in `rmt_py_state.types`; append before RMT_PY_TYPE_COUNT. */
enum rmt_py_type {
    RMT_PY_TYPE_PICKLE_SINK,
    RMT_PY_TYPE_VIEW,
    RMT_PY_TYPE_QUEUE,
    RMT_PY_TYPE_JOINABLE_QUEUE,
    RMT_PY_TYPE_SIMPLE_QUEUE,
    RMT_PY_TYPE_QUEUE_EMPTY,
    RMT_PY_TYPE_QUEUE_FULL,
    RMT_PY_TYPE_QUEUE_SHUTDOWN,
    RMT_PY_TYPE_JOB,
    RMT_PY_TYPE_SHARED_POOL,
    RMT_PY_TYPE_CONNECTION,
    RMT_PY_TYPE_PARCEL,
    RMT_PY_TYPE_OWNER_DIED_WARNING,
    RMT_PY_TYPE_LOCK,
    RMT_PY_TYPE_RLOCK,
    RMT_PY_TYPE_SEMAPHORE,
    RMT_PY_TYPE_EVENT,
    RMT_PY_TYPE_CONDITION,
    RMT_PY_TYPE_BARRIER,
    RMT_PY_TYPE_BLOCK,
    RMT_PY_TYPE_CHILD,
    RMT_PY_TYPE_LOCKED_ATTRIBUTE,
    RMT_PY_TYPE_SYNCHRONIZED,
    RMT_PY_TYPE_SYNCHRONIZED_ARRAY,
    RMT_PY_TYPE_WATCH,
    RMT_PY_TYPE_COUNT,
};

/*
 * State of one module object. Written by the module's exec functions, before anybody else can see
 * the module, and read-only after, but for the exceptions of queues, which come with the first
 * queue; `codec` says for itself what changes later.
 */
struct rmt_py_state {
    PyTypeObject *types[RMT_PY_TYPE_COUNT]; /* strong, NULL until its rmt_py_add_<noun> ran */
    struct rmt_py_codec codec;
};

extern PyModuleDef rmt_py_module_def;

/* The state of the extension's module object. */
struct rmt_py_state *rmt_py_state(PyObject *module);

/*
 * The state, from a type of the extension or a Python class derived from one. NULL with TypeError
 * if no base of `type` is ours. A METH_METHOD function has its defining class and finds the state
 * faster with PyType_GetModuleState(defining_class).
 */
struct rmt_py_state *rmt_py_state_of_type(PyTypeObject *type);

/*
 * Makes the heap type of `spec` (with one `base`, or NULL for object), stores it in the state's
 * slot `index` and adds it to the module under the last part of its name. 0, or -1 with an
 * exception.
 */
int rmt_py_add_type(PyObject *module, enum rmt_py_type index, PyType_Spec *spec,
                    PyTypeObject *base);

/*
 * Raises the Python exception for a negative errno and returns NULL: -ENOMEM is MemoryError,
 * -EINVAL ValueError; -EINTR first runs the signal handlers, whose exception wins; all others are
 * OSError with that errno, which makes -ETIMEDOUT TimeoutError, -EPERM PermissionError and so on.
 * `what` says what failed ("get from the queue"), or is NULL.
 */
PyObject *rmt_py_error(int negative_errno, const char *what);

/* The exception that is set, as an object with its traceback; nothing is set any more. */
PyObject *rmt_py_caught(void);

/*
 * The absolute deadline, in nanoseconds of CLOCK_MONOTONIC, of a time-out given by a user: None (or
 * NULL) is RAMET_FOREVER, a number is seconds from now, and one that is not positive gives 0, which
 * means: try, never sleep. 0, or -1 with TypeError for what is not a number and ValueError for NaN.
 */
int rmt_py_deadline(PyObject *timeout, int64_t *ret_deadline_ns);

/* (timeout=None), or another one argument by that name, of a fast call; `ret_value` is borrowed,
 * NULL if not given. 0, or -1 with TypeError. */
int rmt_py_one_arg(const char *function, const char *name, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames, PyObject **ret_value);

/* A fast call's function, as what a table of methods takes. */
#define RMT_PY_FAST(function) (PyCFunction)(void (*)(void))(function)

/* One per file of the extension; called once per module object, from the list in module.c. */
int rmt_py_add_codec(PyObject *module);
int rmt_py_add_arena(PyObject *module);
int rmt_py_add_process(PyObject *module);
int rmt_py_add_child(PyObject *module);
int rmt_py_add_pool(PyObject *module);
int rmt_py_add_view(PyObject *module);
int rmt_py_add_queue(PyObject *module);
int rmt_py_add_connection(PyObject *module);
int rmt_py_add_parcel(PyObject *module);
int rmt_py_add_lock(PyObject *module);
int rmt_py_add_rlock(PyObject *module);
int rmt_py_add_semaphore(PyObject *module);
int rmt_py_add_event(PyObject *module);
int rmt_py_add_condition(PyObject *module);
int rmt_py_add_barrier(PyObject *module);
int rmt_py_add_block(PyObject *module);
int rmt_py_add_synchronized(PyObject *module);
int rmt_py_add_watch(PyObject *module);

#endif
