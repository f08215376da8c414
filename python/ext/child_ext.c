/* SPDX-License-Identifier: MIT
 *
 * The engine of the package's Popen classes: a child's pid, its sentinel and its exit code, and how
 * it is waited for. In C because starting and joining a process costs little but page faults: after
 * a fork each page with an object that either side so much as mentions is faulted in anew.
 *
 * The sentinel is a pidfd: readable once every thread of that very process is gone. It is closed by
 * the process that started the child, with close() or with the last reference; a forked child of
 * ours inherits the descriptor, but it is not its own.
 *
 * `code` goes once from NOT_KNOWN to the exit code, before the child is waited for in a way that
 * frees its pid: so a thread that finds no child to ask finds the code.
 */
#include "module.h"

#include "base/atomic.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ramet/arena.h>

#define BY_PIDFD ((idtype_t)3) /* P_PIDFD, which older headers lack */
#define NOT_KNOWN 0x80000000u  /* no exit code, and no negative number of a signal */

/* The exit code of a child whose own was lost: somebody else waited for it, or its server died. */
#define UNKNOWN_EXIT 255

typedef struct {
    PyObject_HEAD int pid;
    int sentinel; /* -1: none */
    int owner;    /* the process that started the child; in others it is a stranger */
    rmt_a32 code;
} ChildObject;

static ChildObject *child_of(PyObject *self)
{
    return (ChildObject *)self;
}

static PyObject *child_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                           PyObject *Py_UNUSED(kwargs))
{
    PyObject *self = type->tp_alloc(type, 0);

    if (self) {
        child_of(self)->sentinel = -1;
        child_of(self)->owner = getpid();
        rmt_store32(&child_of(self)->code, NOT_KNOWN);
    }
    return self;
}

static void child_close(ChildObject *child)
{
    int fd = child->sentinel;

    child->sentinel = -1;
    if (fd >= 0 && child->owner == getpid())
        close(fd);
}

static void child_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    child_close(child_of(self));
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *child_close_now(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    child_close(child_of(self));
    Py_RETURN_NONE;
}

/* ---- taking a child on */

/* A sentinel that has fired already. */
static int fired(int *ret_fd)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    close(fds[1]);
    *ret_fd = fds[0];
    return 0;
}

static void kill_and_wait(pid_t pid)
{
    Py_BEGIN_ALLOW_THREADS;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    Py_END_ALLOW_THREADS;
}

static PyObject *child_adopt(PyObject *self, PyObject *arg)
{
    ChildObject *child = child_of(self);
    int fd, r;
    long pid = PyLong_AsLong(arg);

    if (pid == -1 && PyErr_Occurred())
        return NULL;
    if (pid <= 0 || (long)(pid_t)pid != pid || child->sentinel >= 0) {
        PyErr_SetString(PyExc_ValueError, "not the id of a process, or not the first");
        return NULL;
    }
    r = rmt_os_pidfd_open((pid_t)pid, &fd);
    if (r == -ESRCH) { /* gone already and nobody's zombie, as where SIGCHLD is ignored */
        r = fired(&fd);
        if (r == 0)
            rmt_store32(&child->code, UNKNOWN_EXIT);
    } else if (r < 0) {
        kill_and_wait((pid_t)pid);
    }
    if (r < 0)
        return rmt_py_error(r, "open a descriptor of the child");
    child->pid = (int)pid;
    child->sentinel = fd;
    Py_RETURN_NONE;
}

static PyObject *child_adopt_known(PyObject *self, PyObject *args)
{
    ChildObject *child = child_of(self);
    int pid, fd;

    if (!PyArg_ParseTuple(args, "ii:_adopt_known", &pid, &fd))
        return NULL;
    if (pid <= 0 || fd < 0 || child->sentinel >= 0) {
        PyErr_SetString(PyExc_ValueError, "not a process and its descriptor, or not the first");
        return NULL;
    }
    child->pid = pid;
    child->sentinel = fd;
    Py_RETURN_NONE;
}

/* ---- waiting */

/* 1 once the sentinel has fired, 0 at the deadline, -1 with an exception. */
static int wait_until(const ChildObject *child, int64_t deadline)
{
    struct pollfd ready = {.fd = child->sentinel, .events = POLLIN};
    int r;

    if (child->sentinel < 0) { /* closed; poll would sleep on it for ever */
        rmt_py_error(-EBADF, "wait for a process");
        return -1;
    }
    do {
        struct timespec left = {0, 0}, *limit = &left;
        if (deadline == RAMET_FOREVER) {
            limit = NULL;
        } else if (deadline > 0) {
            int64_t ns = deadline - ramet_now();
            if (ns > 0)
                left = (struct timespec){ns / 1000000000, ns % 1000000000};
        }
        Py_BEGIN_ALLOW_THREADS;
        r = ppoll(&ready, 1, limit, NULL);
        if (r < 0)
            r = -errno;
        Py_END_ALLOW_THREADS;
        if (r == -EINTR && PyErr_CheckSignals() < 0)
            return -1;
    } while (r == -EINTR);
    if (r < 0) {
        rmt_py_error(r, "wait for a process");
        return -1;
    }
    return r;
}

/* 1 and the exit code if the child is gone, which is told any number of times; 0; or negative
 * errno. */
static int status_of(ChildObject *child, uint32_t *ret_code)
{
    siginfo_t info = {0};
    uint32_t code;

    if (child->sentinel < 0)
        return -EBADF;
    if (waitid(BY_PIDFD, (id_t)child->sentinel, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        if (info.si_pid == 0)
            return 0;
        code = (uint32_t)(info.si_code == CLD_EXITED ? info.si_status : -info.si_status);
    } else if (errno != ECHILD) {
        return -errno;
    } else {
        /* Somebody waited for it: another thread of ours, which has noted the code, or not. */
        code = rmt_load32(&child->code);
        if (code == NOT_KNOWN) {
            int r = rmt_os_pidfd_dead(child->sentinel);
            if (r <= 0)
                return r;
            code = UNKNOWN_EXIT;
        }
    }
    *ret_code = code;
    return 1;
}

/* Notes the exit code of a child that is gone, has what it held taken back, and releases its entry
 * in the table of processes: in this order, so that threads that come here at once each find a
 * child to ask or the code, and until the last step no other process has that pid. */
static int collect(ChildObject *child)
{
    uint32_t code;
    int r = status_of(child, &code);

    if (r <= 0)
        return r;
    rmt_store32(&child->code, code);
    Py_BEGIN_ALLOW_THREADS;
    (void)ramet_reap((pid_t)child->pid);
    (void)waitpid((pid_t)child->pid, NULL, WNOHANG);
    Py_END_ALLOW_THREADS;
    return 1;
}

static PyObject *code_now(const ChildObject *child)
{
    uint32_t code = rmt_load32(&child->code);

    if (code == NOT_KNOWN)
        Py_RETURN_NONE;
    return PyLong_FromLong((int32_t)code);
}

static bool to_be_asked(const ChildObject *child)
{
    return rmt_load32(&child->code) == NOT_KNOWN && child->owner == getpid();
}

static PyObject *child_poll(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    ChildObject *child = child_of(self);
    long flag = WNOHANG;
    int r;

    if (count > 1) {
        PyErr_SetString(PyExc_TypeError, "poll() takes at most one argument");
        return NULL;
    }
    if (count == 1) {
        flag = PyLong_AsLong(args[0]);
        if (flag == -1 && PyErr_Occurred())
            return NULL;
    }
    if (!to_be_asked(child))
        return code_now(child);
    if (flag != WNOHANG && wait_until(child, RAMET_FOREVER) < 0)
        return NULL;
    r = collect(child);
    if (r < 0)
        return rmt_py_error(r, "ask for the status of a process");
    return code_now(child);
}

static PyObject *child_wait(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *names)
{
    ChildObject *child = child_of(self);
    PyObject *timeout;
    int64_t deadline;
    int r;

    if (rmt_py_one_arg("wait", "timeout", args, count, names, &timeout) < 0)
        return NULL;
    if (rmt_load32(&child->code) != NOT_KNOWN)
        return code_now(child);
    if (rmt_py_deadline(timeout, &deadline) < 0)
        return NULL;
    r = wait_until(child, deadline);
    if (r < 0)
        return NULL;
    if (r > 0) { /* a derived class may know more of its children's ends */
        PyObject *code = PyObject_CallMethod(self, "poll", NULL);
        if (!code)
            return NULL;
        Py_DECREF(code);
    }
    return code_now(child);
}

/* ---- the type */

static PyObject *get_returncode(PyObject *self, void *Py_UNUSED(closure))
{
    return code_now(child_of(self));
}

static int set_returncode(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    long code;

    if (!value || value == Py_None) {
        rmt_store32(&child_of(self)->code, NOT_KNOWN);
        return 0;
    }
    code = PyLong_AsLong(value);
    if (code == -1 && PyErr_Occurred())
        return -1;
    if (code <= INT32_MIN || code > INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "not an exit code");
        return -1;
    }
    rmt_store32(&child_of(self)->code, (uint32_t)code);
    return 0;
}

PyDoc_STRVAR(adopt_doc, "_adopt($self, pid, /)\n--\n\n"
                        "Take on the child `pid`, which nobody has waited for.");
PyDoc_STRVAR(adopt_known_doc, "_adopt_known($self, pid, sentinel, /)\n--\n\n"
                              "Take on a process with its pidfd, which becomes ours.");
PyDoc_STRVAR(poll_doc, "poll($self, flag=os.WNOHANG, /)\n--\n\n"
                       "The exit code, or None; waits for it unless `flag` is os.WNOHANG.");
PyDoc_STRVAR(wait_doc, "wait($self, /, timeout=None)\n--\n\n"
                       "The exit code, once the child is gone; None if it is not after `timeout`\n"
                       "seconds.");
PyDoc_STRVAR(close_doc, "close($self, /)\n--\n\nClose the sentinel.");

static PyMethodDef child_methods[] = {
    {"_adopt", child_adopt, METH_O, adopt_doc},
    {"_adopt_known", child_adopt_known, METH_VARARGS, adopt_known_doc},
    {"poll", RMT_PY_FAST(child_poll), METH_FASTCALL, poll_doc},
    {"wait", RMT_PY_FAST(child_wait), METH_FASTCALL | METH_KEYWORDS, wait_doc},
    {"close", child_close_now, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef child_members[] = {
    {"pid", T_INT, offsetof(ChildObject, pid), READONLY, PyDoc_STR("The child's process id.")},
    {"sentinel", T_INT, offsetof(ChildObject, sentinel), READONLY,
     PyDoc_STR("A descriptor that is readable once the child is gone.")},
    {"_owner", T_INT, offsetof(ChildObject, owner), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef child_getset[] = {
    {"returncode", get_returncode, set_returncode, PyDoc_STR("The exit code, as far as known."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot child_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The engine of the package's Popen classes.")},
    {Py_tp_new, (void *)child_new},
    {Py_tp_dealloc, (void *)child_dealloc},
    {Py_tp_methods, child_methods},
    {Py_tp_members, child_members},
    {Py_tp_getset, child_getset},
    {0, NULL},
};

static PyType_Spec child_spec = {
    .name = "ramet._ramet.Child",
    .basicsize = sizeof(ChildObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = child_slots,
};

int rmt_py_add_child(PyObject *module)
{
    if (rmt_py_add_type(module, RMT_PY_TYPE_CHILD, &child_spec, NULL) < 0)
        return -1;
    return PyModule_AddIntConstant(module, "UNKNOWN_EXIT", UNKNOWN_EXIT);
}
