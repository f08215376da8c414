/* SPDX-License-Identifier: MIT
 *
 * What the two files of the pool's extension share: pool_ext.c has the pool and its jobs as the
 * parent sees them, pool_worker.c the loop of a worker.
 */
#ifndef RMT_PY_POOL_EXT_H
#define RMT_PY_POOL_EXT_H

#include "module.h"

#include "channel/message.h"
#include "pool/claim.h"

/* rmt_job.user: how the function of a job is called. */
enum rmt_py_call {
    RMT_PY_CALL_ITEM = 0, /* function(item) */
    RMT_PY_CALL_STAR = 1, /* function(*item) */
    RMT_PY_CALL_GIVEN =
        2, /* the job's message is (function, args, kwds): function(*args, **kwds) */
};

typedef struct {
    PyObject_HEAD struct rmt_handle handle; /* offset 0 before __new__ is through */
} PoolObject;

/* Builds a message of what was encoded; it is left in the caller's hold. As rmt_message_build. */
int rmt_py_pool_message(struct rmt_self *self, const struct rmt_encoded *enc, int *ret_hold,
                        uint64_t *ret_offset);

/* The method Pool.work. */
PyObject *rmt_py_pool_work(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames);
extern const char rmt_py_pool_work_doc[];

#endif
