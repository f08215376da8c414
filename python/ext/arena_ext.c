/* SPDX-License-Identifier: MIT
 *
 * The arena, as the package's process modules need it: joining it, handing it to a program that is
 * about to be started, and announcing children that are gone. Thin over ramet/arena.h; no types, no
 * state. Everything that may block or touch the arena runs without the GIL.
 */
#include "module.h"

#include <errno.h>

#include <ramet/arena.h>

PyDoc_STRVAR(join_doc, "join()\n--\n\n"
                       "Join the arena of this family of processes; create it if there is none.");

static PyObject *arena_join(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    int r;

    Py_BEGIN_ALLOW_THREADS;
    r = ramet_join();
    Py_END_ALLOW_THREADS;
    if (r < 0)
        return rmt_py_error(r, "join the arena");
    Py_RETURN_NONE;
}

PyDoc_STRVAR(attach_doc, "attach(fd, /)\n--\n\n"
                         "Join the arena behind a descriptor, which stays the caller's.");

static PyObject *arena_attach(PyObject *Py_UNUSED(module), PyObject *arg)
{
    int fd = PyObject_AsFileDescriptor(arg);
    int r;

    if (fd < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    r = ramet_attach(fd);
    Py_END_ALLOW_THREADS;
    if (r < 0)
        return rmt_py_error(r, "attach to the arena");
    Py_RETURN_NONE;
}

PyDoc_STRVAR(arena_fd_doc,
             "arena_fd()\n--\n\n"
             "Join the arena, and return its descriptor.\n\n"
             "It is close-on-exec and the library's own, not to be closed: pass it to a program\n"
             "that is started in the way that makes it inheritable in the child alone.");

static PyObject *arena_fd(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    int r;

    Py_BEGIN_ALLOW_THREADS;
    r = ramet_join();
    if (r >= 0)
        r = ramet_arena_fd();
    Py_END_ALLOW_THREADS;
    if (r < 0)
        return rmt_py_error(r, "join the arena");
    return PyLong_FromLong(r);
}

PyDoc_STRVAR(arena_id_doc, "arena_id()\n--\n\n"
                           "The random identity of the arena; 0 when this process has none.");

static PyObject *arena_id(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLongLong(ramet_arena_id());
}

PyDoc_STRVAR(reap_doc,
             "reap(pid, /)\n--\n\n"
             "Announce that child `pid` was waited for and is gone, so that what it held\n"
             "is taken back now. True if it was a member of the arena.");

static PyObject *arena_reap(PyObject *Py_UNUSED(module), PyObject *arg)
{
    long pid = PyLong_AsLong(arg);
    int r;

    if (pid == -1 && PyErr_Occurred())
        return NULL;
    if (pid <= 0 || (long)(pid_t)pid != pid) {
        PyErr_SetString(PyExc_ValueError, "not the id of a process");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    r = ramet_reap((pid_t)pid);
    Py_END_ALLOW_THREADS;
    if (r == -ENODEV) /* no arena, so nothing of his in it */
        r = 0;
    if (r < 0)
        return rmt_py_error(r, "recover what a child held");
    return PyBool_FromLong(r);
}

PyDoc_STRVAR(sweep_doc,
             "sweep()\n--\n\n"
             "Recover what members held that died and were not waited for; their number.");

static PyObject *arena_sweep(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    int r;

    Py_BEGIN_ALLOW_THREADS;
    r = ramet_sweep();
    Py_END_ALLOW_THREADS;
    if (r < 0)
        return rmt_py_error(r, "sweep the arena");
    return PyLong_FromLong(r);
}

PyDoc_STRVAR(usage_doc,
             "arena_usage()\n--\n\n"
             "What the arena holds, as a dict: bytes_in_use, bytes_committed, blocks and\n"
             "members. Exact when nothing else runs.");

static PyObject *arena_usage(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    ramet_usage usage = {.size = sizeof(usage)};
    int r;

    Py_BEGIN_ALLOW_THREADS;
    r = ramet_arena_usage(&usage);
    Py_END_ALLOW_THREADS;
    if (r < 0)
        return rmt_py_error(r, "ask for the usage of the arena");
    return Py_BuildValue("{sKsKsKsI}", "bytes_in_use", (unsigned long long)usage.bytes_in_use,
                         "bytes_committed", (unsigned long long)usage.bytes_committed, "blocks",
                         (unsigned long long)usage.blocks, "members", (unsigned int)usage.members);
}

PyDoc_STRVAR(check_doc, "arena_check()\n--\n\n"
                        "Verify the invariants of the whole arena while nobody else uses it. The\n"
                        "first violation is described on standard error and raises OSError.");

static PyObject *arena_check(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    int r;

    Py_BEGIN_ALLOW_THREADS;
    r = ramet_arena_check(2);
    Py_END_ALLOW_THREADS;
    if (r < 0)
        return rmt_py_error(r, "check the arena");
    Py_RETURN_NONE;
}

static PyMethodDef arena_methods[] = {
    {"join", arena_join, METH_NOARGS, join_doc},
    {"attach", arena_attach, METH_O, attach_doc},
    {"arena_fd", arena_fd, METH_NOARGS, arena_fd_doc},
    {"arena_id", arena_id, METH_NOARGS, arena_id_doc},
    {"reap", arena_reap, METH_O, reap_doc},
    {"sweep", arena_sweep, METH_NOARGS, sweep_doc},
    {"arena_usage", arena_usage, METH_NOARGS, usage_doc},
    {"arena_check", arena_check, METH_NOARGS, check_doc},
    {NULL, NULL, 0, NULL},
};

int rmt_py_add_arena(PyObject *module)
{
    return PyModule_AddFunctions(module, arena_methods);
}
