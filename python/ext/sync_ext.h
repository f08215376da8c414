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
