/* SPDX-License-Identifier: MIT
 *
 * The extension module `ramet._ramet`: its definition, its state, and the helpers of module.h.
 * Everything else is in the file of its own noun, which adds itself through the list below.
 */
#include "module.h"

#include "arena/wait.h"

#include <errno.h>
#include <math.h>
#include <string.h>

/* 253 years: from here on a time-out is for ever, and a deadline cannot overflow 64 bits of ns. */
#define FOREVER_SECONDS 8e9

/* Called in this order for each new module object. */
static int (*const adders[])(PyObject *module) = {
    rmt_py_add_codec,        rmt_py_add_arena,   rmt_py_add_process,    rmt_py_add_pool,
    rmt_py_add_view,         rmt_py_add_queue,   rmt_py_add_connection, rmt_py_add_parcel,
    rmt_py_add_lock,         rmt_py_add_rlock,   rmt_py_add_semaphore,  rmt_py_add_event,
    rmt_py_add_condition,    rmt_py_add_barrier, rmt_py_add_block,      rmt_py_add_child,
    rmt_py_add_synchronized, rmt_py_add_watch,
};

struct rmt_py_state *rmt_py_state(PyObject *module)
{
    return PyModule_GetState(module);
}

struct rmt_py_state *rmt_py_state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &rmt_py_module_def);
    return module ? PyModule_GetState(module) : NULL;
}

int rmt_py_add_type(PyObject *module, enum rmt_py_type index, PyType_Spec *spec, PyTypeObject *base)
{
    struct rmt_py_state *st = rmt_py_state(module);
    PyObject *type = PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
    if (!type)
        return -1;
    st->types[index] = (PyTypeObject *)type;
    return PyModule_AddType(module, (PyTypeObject *)type);
}

PyObject *rmt_py_error(int negative_errno, const char *what)
{
    int code = -negative_errno;
    PyObject *args;

    if (code == EINTR && PyErr_CheckSignals())
        return NULL;
    if (code == ENOMEM)
        return PyErr_NoMemory();
    if (code == EINVAL) {
        PyErr_SetString(PyExc_ValueError, what ? what : strerror(code));
        return NULL;
    }
    if (what)
        args = Py_BuildValue("(iN)", code, PyUnicode_FromFormat("%s: %s", what, strerror(code)));
    else
        args = Py_BuildValue("(is)", code, strerror(code));
    if (args) {
        /* OSError's constructor picks the subclass that belongs to the errno. */
        PyErr_SetObject(PyExc_OSError, args);
        Py_DECREF(args);
    }
    return NULL;
}

PyObject *rmt_py_caught(void)
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

int rmt_py_deadline(PyObject *timeout, int64_t *ret_deadline_ns)
{
    double seconds;

    if (!timeout || timeout == Py_None) {
        *ret_deadline_ns = RAMET_FOREVER;
        return 0;
    }
    seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "timeout must not be NaN");
        return -1;
    }
    if (seconds <= 0) {
        *ret_deadline_ns = 0;
    } else if (seconds >= FOREVER_SECONDS) {
        *ret_deadline_ns = RAMET_FOREVER;
    } else {
        int64_t ns = (int64_t)(seconds * 1e9);
        /* Rounded up, so that a wait is never shorter than what was asked for. */
        *ret_deadline_ns = ramet_now() + ns + ((double)ns < seconds * 1e9);
    }
    return 0;
}

int rmt_py_one_arg(const char *function, const char *name, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames, PyObject **ret_value)
{
    Py_ssize_t keywords = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    if (nargs + keywords > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most 1 argument (%zd given)", function,
                     nargs + keywords);
        return -1;
    }
    if (keywords && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), name)) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function,
                     PyTuple_GET_ITEM(kwnames, 0));
        return -1;
    }
    *ret_value = nargs + keywords ? args[0] : NULL;
    return 0;
}

static int module_exec(PyObject *module)
{
    rmt_store32(&rmt_signals_pend, 1);
    for (size_t i = 0; i < sizeof(adders) / sizeof(adders[0]); i++) {
        if (adders[i](module) < 0)
            return -1;
    }
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct rmt_py_state *st = rmt_py_state(module);

    for (int i = 0; i < RMT_PY_TYPE_COUNT; i++)
        Py_VISIT(st->types[i]);
    return rmt_py_codec_traverse(&st->codec, visit, arg);
}

static int module_clear(PyObject *module)
{
    struct rmt_py_state *st = rmt_py_state(module);

    rmt_py_codec_clear(&st->codec);
    for (int i = 0; i < RMT_PY_TYPE_COUNT; i++)
        Py_CLEAR(st->types[i]);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)module_exec},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030d0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

PyModuleDef rmt_py_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "ramet._ramet",
    .m_doc = PyDoc_STR("The C part of ramet. Private: use the package's public modules."),
    .m_size = sizeof(struct rmt_py_state),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__ramet(void);

PyMODINIT_FUNC PyInit__ramet(void)
{
    return PyModuleDef_Init(&rmt_py_module_def);
}
