/* SPDX-License-Identifier: MIT
 *
 * What a daemonic child needs to end with its parent. Two ways, because the kernel's own signal on
 * a parent's death follows the thread that forked, not the process:
 *
 *   set_pdeathsig()  where the thread that forked is the parent's first one, which ends last;
 *   watch_parent()   everywhere else: a thread in C that sleeps on the parent's pidfd. It needs no
 *                    GIL, so that a child which never releases it ends as well.
 *
 * No types, no state.
 */
#include "module.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define WATCH_STACK (64 * 1024)

PyDoc_STRVAR(set_pdeathsig_doc,
             "set_pdeathsig(signum, /)\n--\n\n"
             "Have this process sent `signum` (0: nothing) when the thread that made it ends.");

static PyObject *set_pdeathsig(PyObject *Py_UNUSED(module), PyObject *arg)
{
    long signum = PyLong_AsLong(arg);

    if (signum == -1 && PyErr_Occurred())
        return NULL;
    if (signum < 0 || signum >= NSIG) {
        PyErr_SetString(PyExc_ValueError, "signal number out of range");
        return NULL;
    }
    if (prctl(PR_SET_PDEATHSIG, (unsigned long)signum, 0UL, 0UL, 0UL) < 0)
        return rmt_py_error(-errno, "arm the signal on the parent's death");
    Py_RETURN_NONE;
}

/* What the watching thread is given; the thread's to free. */
struct watch {
    int pidfd;
    int signum;
};

static void *watch_main(void *arg)
{
    struct watch watch = *(struct watch *)arg;
    struct pollfd ready = {.fd = watch.pidfd, .events = POLLIN};

    free(arg);
    /* A pidfd is readable once every thread of the parent is gone. The only lasting failure is that
     * the program closed all of its descriptors, this one too: then nobody is watched any more. */
    do {
        if (poll(&ready, 1, -1) < 0)
            continue;
        if (ready.revents & POLLNVAL)
            return NULL;
    } while (!(ready.revents & POLLIN));
    kill(getpid(), watch.signum);
    close(watch.pidfd);
    return NULL;
}

static int watch_start(struct watch *watch)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    int r = pthread_attr_init(&attributes);

    if (r)
        return -r;
    r = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (!r)
        r = pthread_attr_setstacksize(&attributes, WATCH_STACK);
    if (!r) {
        /* The thread must never run a signal handler in the place of a thread of the program. */
        sigfillset(&all);
        r = pthread_sigmask(SIG_SETMASK, &all, &before);
        if (!r) {
            r = pthread_create(&thread, &attributes, watch_main, watch);
            pthread_sigmask(SIG_SETMASK, &before, NULL);
        }
    }
    pthread_attr_destroy(&attributes);
    return -r;
}

PyDoc_STRVAR(
    watch_parent_doc,
    "watch_parent(pidfd, signum, /)\n--\n\n"
    "Start a thread that sends this process `signum` once the process of `pidfd` is gone.\n"
    "The descriptor becomes the thread's own.");

static PyObject *watch_parent(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct watch *watch;
    int pidfd, signum, r;

    if (!PyArg_ParseTuple(args, "ii:watch_parent", &pidfd, &signum))
        return NULL;
    if (pidfd < 0 || signum <= 0 || signum >= NSIG) {
        PyErr_SetString(PyExc_ValueError, "descriptor or signal number out of range");
        return NULL;
    }
    watch = malloc(sizeof(*watch));
    if (!watch)
        return PyErr_NoMemory();
    watch->pidfd = pidfd;
    watch->signum = signum;
    r = watch_start(watch);
    if (r < 0) {
        free(watch);
        return rmt_py_error(r, "start the thread that watches the parent");
    }
    Py_RETURN_NONE;
}

static PyMethodDef process_methods[] = {
    {"set_pdeathsig", set_pdeathsig, METH_O, set_pdeathsig_doc},
    {"watch_parent", watch_parent, METH_VARARGS, watch_parent_doc},
    {NULL, NULL, 0, NULL},
};

int rmt_py_add_process(PyObject *module)
{
    return PyModule_AddFunctions(module, process_methods);
}
