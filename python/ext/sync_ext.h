/* SPDX-License-Identifier: MIT
 *
 * What the types of the synchronisation nouns share (lock_ext.c has the functions).
 *
 * All of them: a C heap type is an open handle, made by its constructor or by `_from_ref`, and
 * closed when the object is freed, never before, so that no thread can find it closed in the middle
 * of a call. A first try runs with the GIL; only what has to wait gives it up. EINTR runs Python's
 * signal handlers, and the wait goes on with the same absolute deadline.
 */
#ifndef RMT_PY_SYNC_H
#define RMT_PY_SYNC_H

#include "module.h"

#include "sync/lock.h"
#include "sync/rlock.h"

typedef struct {
    PyObject_HEAD ramet_lock *lock; /* never NULL outside the constructors and the deallocator */
} LockObject;

typedef struct {
    PyObject_HEAD ramet_rlock *rlock;
} RLockObject;

/* (block=True, timeout=None) of a call, as a wait. 0, or -1 with an exception. */
int rmt_py_wait_args(const char *function, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames, ramet_wait *ret_wait);

/* (class._from_ref, (the reference as bytes, *more)); notes that a message which is being encoded
 * mentions the object. `more` is a tuple or NULL. */
PyObject *rmt_py_reduce(PyObject *self, ramet_ref ref, PyObject *more);

/* The reference from the bytes that rmt_py_reduce made. 0, or -1 with an exception. */
int rmt_py_ref_from(PyObject *bytes, ramet_ref *ret_ref);

/* The exception for an object that could not be opened or used; as rmt_py_error, but a stale
 * reference says what it is. NULL. */
PyObject *rmt_py_sync_error(int negative_errno, const char *what);

/* What a wait returns: True, False after the deadline, or the exception for another errno. */
PyObject *rmt_py_waited(int r, const char *what);

/* The `__new__`, for a type whose objects are made without arguments; the `_from_ref` and the
 * deallocator; and the `__reduce__` of a type that is no more than a handle of `noun`:
 * ramet_<noun>_create, _open, _close, _ref. `Object` has the handle in a field by the noun's name.
 */
#define RMT_PY_HANDLE_NEW(noun, Object, what)                                                      \
    static PyObject *noun##_new(PyTypeObject *type, PyObject *Py_UNUSED(args),                     \
                                PyObject *Py_UNUSED(kwargs))                                       \
    {                                                                                              \
        Object *self = (Object *)type->tp_alloc(type, 0);                                          \
        int r = self ? ramet_##noun##_create(NULL, &self->noun) : 0;                               \
        return rmt_py_made((PyObject *)self, r, "make " what);                                     \
    }
#define RMT_PY_HANDLE_OPEN(noun, Object, what)                                                     \
    static PyObject *noun##_from_ref(PyObject *cls, PyObject *bytes)                               \
    {                                                                                              \
        PyTypeObject *type = (PyTypeObject *)cls;                                                  \
        ramet_ref ref;                                                                             \
        if (rmt_py_ref_from(bytes, &ref) < 0)                                                      \
            return NULL;                                                                           \
        Object *self = (Object *)type->tp_alloc(type, 0);                                          \
        int r = self ? ramet_##noun##_open(&ref, &self->noun) : 0;                                 \
        return rmt_py_made((PyObject *)self, r, "open " what);                                     \
    }                                                                                              \
    static void noun##_dealloc(PyObject *op)                                                       \
    {                                                                                              \
        PyTypeObject *type = Py_TYPE(op);                                                          \
        ramet_##noun##_close(((Object *)op)->noun);                                                \
        type->tp_free(op);                                                                         \
        Py_DECREF(type);                                                                           \
    }
#define RMT_PY_HANDLE_REDUCE(noun, Object)                                                         \
    static PyObject *noun##_reduce(PyObject *op, PyObject *Py_UNUSED(ignored))                     \
    {                                                                                              \
        return rmt_py_reduce(op, ramet_##noun##_ref(((Object *)op)->noun), NULL);                  \
    }

/* What a Semaphore (NULL with ValueError before its __init__) and an Event are handles of. */
struct ramet_semaphore *rmt_py_semaphore_of(PyObject *semaphore);
struct rmt_event *rmt_py_event_of(PyObject *event);

/* `self`, new and without its handle if `r` is an error, or NULL with an exception. */
PyObject *rmt_py_made(PyObject *self, int r, const char *what);

/* Warns that the owner of `self` died with it. -1 if the warning became an error. */
int rmt_py_warn_owner_died(PyObject *self);

/* Methods of Lock and RLock, for conditions, which have one. */
PyObject *rmt_py_lock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames);
PyObject *rmt_py_lock_release(PyObject *self, PyObject *ignored);
PyObject *rmt_py_lock_enter(PyObject *self, PyObject *ignored);
PyObject *rmt_py_lock_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *rmt_py_rlock_acquire(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames);
PyObject *rmt_py_rlock_release(PyObject *self, PyObject *ignored);
PyObject *rmt_py_rlock_enter(PyObject *self, PyObject *ignored);
PyObject *rmt_py_rlock_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs);

#endif
