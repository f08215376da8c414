/* SPDX-License-Identifier: MIT
 *
 * What the files of the Python queue types share: the object, its arguments and errors, and the
 * methods. queue_ext.c has the types and what is not putting and getting; queue_put_ext.c and
 * queue_get_ext.c those.
 *
 * The GIL is held while a call can go through at once (tens of nanoseconds under the queue's guard)
 * and released before it sleeps. The handle is closed when the object is freed, never by close(),
 * so that no other thread can be using it then.
 */
#ifndef RMT_PY_QUEUE_EXT_H
#define RMT_PY_QUEUE_EXT_H

#include "view.h"

#include "channel/queue.h"

struct rmt_py_queue {
    PyObject ob_base;         /* what PyObject_HEAD is */
    struct ramet_queue queue; /* shared NULL: not open */
    struct rmt_py_state *st;  /* of the module, which the type keeps alive */
    rmt_a64 watch;            /* address of that for its descriptor; 0 until that is asked for */
    char closed;              /* close() was called; never unset */
    char used;                /* put() was called through this object */
};

/* A wait with a deadline in the past: for what is tried with the GIL held. */
extern const ramet_wait rmt_py_at_once;

/* A sleep ends at the deadline, or after a while to look for signals: one that was delivered
 * between the release of the GIL and the sleep does not interrupt it. -ETIMEDOUT before the
 * deadline means that. */
#define RMT_PY_QUEUE_SLICE 2000000000 /* ns */
static inline ramet_wait rmt_py_queue_wait(int64_t deadline)
{
    int64_t slice = ramet_now() + RMT_PY_QUEUE_SLICE;
    return (ramet_wait){.size = sizeof(ramet_wait),
                        .deadline = slice < deadline ? slice : deadline};
}

/* Sorts positional and keyword arguments into `values` (NULL where not given). 0, or -1 with
 * TypeError. */
int rmt_py_parse(const char *function, const char *const *names, int count, int required,
                 PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, PyObject **values);

/* The deadline that (block, timeout) mean; either may be NULL. 0, or -1 with the exception. */
int rmt_py_block_deadline(PyObject *block, PyObject *timeout, int64_t *ret_deadline);

/* 0, or -1 with ValueError for an object that no __init__ or __setstate__ has seen. */
int rmt_py_queue_check(struct rmt_py_queue *o);

/* The same; and ValueError, or for SimpleQueue OSError, after close(). */
int rmt_py_queue_check_not_closed(struct rmt_py_queue *o);
int rmt_py_queue_check_handle(struct rmt_py_queue *o);

/* watch_ext.c: the descriptor that is readable when something may be got; -1 with the exception.
 * From then on the gets through this object settle it. */
int rmt_py_queue_fd(struct rmt_py_queue *o);
void rmt_py_queue_close_fd(struct rmt_py_queue *o);
static inline struct rmt_watch *rmt_py_queue_watch(const struct rmt_py_queue *o)
{
    return (struct rmt_watch *)(uintptr_t)rmt_load64(&o->watch);
}
static inline void rmt_py_queue_settle(struct rmt_py_queue *o)
{
    struct rmt_watch *watch = rmt_py_queue_watch(o);
    if (RMT_UNLIKELY(watch != NULL))
        (void)rmt_watch_settle(watch); /* an error is one of the next get, too */
}

/* Raises what the negative errno of a put or get means; `timed_out`: the type for -ETIMEDOUT. */
void rmt_py_queue_raise(struct rmt_py_queue *o, ptrdiff_t r, enum rmt_py_type timed_out,
                        const char *what);

/* queue_put_ext.c. rmt_py_queue_put: 0, or -1 with the exception. */
int rmt_py_queue_put(struct rmt_py_queue *o, PyObject *obj, int64_t deadline);

/* queue_get_ext.c. rmt_py_queue_get: a new reference, or NULL with the exception. */
PyObject *rmt_py_queue_get(struct rmt_py_queue *o, int64_t deadline);

/* The methods, for the table of the type. */
PyObject *rmt_py_queue_put_method(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames);
PyObject *rmt_py_queue_obj(const char *function, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames);
PyObject *rmt_py_queue_put_nowait(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames);
PyObject *rmt_py_queue_put_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames);
PyObject *rmt_py_queue_get_method(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames);
PyObject *rmt_py_queue_get_nowait(PyObject *op, PyObject *ignored);
PyObject *rmt_py_queue_get_many(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames);
PyObject *rmt_py_queue_next(PyObject *op);
extern const char rmt_py_queue_put_doc[], rmt_py_queue_put_nowait_doc[],
    rmt_py_queue_put_many_doc[], rmt_py_queue_get_doc[], rmt_py_queue_get_nowait_doc[],
    rmt_py_queue_get_many_doc[];

#endif
