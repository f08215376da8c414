/* SPDX-License-Identifier: MIT
 *
 * What the files of the pool's extension share: pool_ext.c has the pool and job_ext.c its jobs as
 * the parent sees them, pool_worker.c the loop of a worker.
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

typedef struct {
    PyObject_HEAD PyObject *pool; /* a PoolObject; keeps the pool open */
    uint64_t job;                 /* offset; 0: none */
    uint64_t owner; /* process that submitted it: in a forked child the job is somebody else's */
} JobObject;

/* Packets are of about this many bytes, where their items are not larger. */
#define RMT_PY_PACKET_BYTES 65536

/* ---- job_ext.c */
extern PyType_Spec rmt_py_job_spec;

/* Makes and submits a job of the pool whose message is `object`: a new Job. */
PyObject *rmt_py_job_submit(PyObject *pool, struct rmt_py_state *st, PyObject *object,
                            const struct rmt_job_options *options);

/* The job for an operation of its submitter; NULL with an exception elsewhere. */
JobObject *rmt_py_job_own(PyObject *op, struct rmt_self **ret_self);

/* Feeds one packet of `n` items, and releases what was encoded. 1 fed, 0 the table is full, -1 with
 * an exception. */
int rmt_py_job_send(struct rmt_py_state *st, struct rmt_self *self, uint64_t job,
                    struct rmt_encoded *enc, size_t n, uint64_t floor);

/* The same with items that are still to be encoded. */
int rmt_py_job_feed(struct rmt_py_state *st, struct rmt_self *self, uint64_t job,
                    PyObject *const *items, size_t n, uint64_t floor);

/* Builds a message of what was encoded; it is left in the caller's hold. As rmt_message_build. */
int rmt_py_pool_message(struct rmt_self *self, const struct rmt_encoded *enc, int *ret_hold,
                        uint64_t *ret_offset);

/* ---- pool_map_ext.c: the method SharedPool.map */
PyObject *rmt_py_pool_map(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames);
extern const char rmt_py_pool_map_doc[];

/* ---- pool_worker.c: the method SharedPool.work */
PyObject *rmt_py_pool_work(PyObject *op, PyTypeObject *defining, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames);
extern const char rmt_py_pool_work_doc[];

#endif
