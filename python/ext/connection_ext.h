/* SPDX-License-Identifier: MIT
 *
 * What the files of the connection's extension share: connection_ext.c has the type and its life,
 * connection_io.c sends and receives, parcel_ext.c is about the way into another process.
 */
#ifndef RMT_PY_CONNECTION_EXT_H
#define RMT_PY_CONNECTION_EXT_H

#include "module.h"

#include "channel/pipe.h"

/*
 * One end of a pipe; or, if it was made from a descriptor, nothing: then every method is the
 * standard library's, which lies behind ours in the order of resolution.
 *
 * `use` is 2 for each call that is inside, and 1 more once it is closed. The last one out of a
 * closed connection closes the end, so that a thread that waits in a call does not lose what it
 * waits on. `process` says whose calls these are: in a forked child, those of other threads are
 * ghosts.
 */
typedef struct {
    PyObject_HEAD struct rmt_py_state *st; /* of the module, which our type keeps alive */
    ramet_end *end;                        /* valid while inside; NULL for a foreign one */
    rmt_a64 use;
    rmt_a64 process; /* rmt_word_process of who entered last */
    char ours, readable, writable;
} ConnectionObject;

/* How a message is to be read: the tag of rmt_pipe_message. */
enum { RMT_PY_BYTES = 0, RMT_PY_OBJECT = 1 };

/* Enters a call: 0, or -1 with OSError if the connection is closed. */
int rmt_py_connection_enter(ConnectionObject *c);
void rmt_py_connection_leave(ConnectionObject *c);

/* Forbids further calls and closes the end as soon as nobody is inside. */
void rmt_py_connection_close(ConnectionObject *c);

/* Calls the standard library's method of that name. */
PyObject *rmt_py_connection_foreign(PyObject *op, const char *name, PyObject *const *args,
                                    Py_ssize_t nargs, PyObject *kwnames);

/* The methods that send and receive, in connection_io.c. */
PyObject *rmt_py_connection_send(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames);
PyObject *rmt_py_connection_recv(PyObject *op, PyObject *ignored);
PyObject *rmt_py_connection_poll(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames);
/* In connection_bytes.c. */
PyObject *rmt_py_connection_send_bytes(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *kwnames);
PyObject *rmt_py_connection_recv_bytes(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *kwnames);
PyObject *rmt_py_connection_recv_bytes_into(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                            PyObject *kwnames);

/* ---- what these share (connection_io.c) */

/* A message that was received: small ones lie in `small`, others in a hold of this thread. */
struct rmt_py_received {
    struct rmt_pipe_taken taken;
    struct rmt_self *self;
    uint8_t small[RMT_PIPE_INLINE] __attribute__((aligned(RMT_CODEC_ALIGN)));
};

/* Checks that the connection is open and may do that, as the standard library does. -1: OSError. */
int rmt_py_connection_enter_to_send(ConnectionObject *c);
int rmt_py_connection_enter_to_receive(ConnectionObject *c);

/* Sends; waits, without the GIL, while the pipe is full. 0, or -1 with an exception. */
int rmt_py_connection_put(ConnectionObject *c, uint32_t tag, const struct iovec *parts, int count,
                          size_t size, const uint64_t *refs, size_t ref_count);

/* Receives; waits. 0, or -1 with an exception: EOFError at end of file. */
int rmt_py_connection_take(ConnectionObject *c, struct rmt_py_received *ret);

/* The object of the message, or its bytes, whichever way it was sent; gives the message back. */
PyObject *rmt_py_received_object(ConnectionObject *c, struct rmt_py_received *r);
PyObject *rmt_py_received_bytes(ConnectionObject *c, struct rmt_py_received *r);

/* Sorts the arguments of a call to a function with `count` parameters, of which the first
 * `required` must be given. Those that are not are left as they are. -1: TypeError. */
int rmt_py_arguments(const char *function, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames, const char *const *names, int count, int required,
                     PyObject **ret);

#endif
