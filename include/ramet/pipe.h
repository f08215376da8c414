/* SPDX-License-Identifier: MIT
 *
 * ramet/pipe.h: a pipe between processes: whole messages, one way or both ways, with a descriptor
 * that can be polled and an end of file when the other side is gone.
 *
 * A pipe has two ends.  Any number of processes may have an end open (a forked child has those of
 * its parent, others open a reference), and any number of handles: each message that one sends is
 * received once, by one of those that receive at the other end.  Messages are whole, keep their
 * order, and are never merged; they may be empty.
 *
 * Bounds.  About options.bytes of small messages each way wait to be received, and beside them
 * large ones (which are copied once, into a block of the arena) of sixteen times that in sum, or
 * one of any size; who sends more waits.
 *
 * Threads and processes: all calls on an end may run at once in any threads and processes, except
 * ramet_end_close, which must not run while another thread of this process uses the same handle.
 *
 * Fork: a forked child has its parent's ends open, too, on counts of its own.  It closes those that
 * it does not want; as long as it has them, the other side sees no end of file.
 *
 * If a participant dies: at any instant a message is in the pipe, or was received, and never half.
 * The handles of a dead process are closed when its death is known: at once when its parent waited
 * for it and said so (ramet_reap; ramet_process_join does), after a quarter of a second at most to
 * those that wait for it. A stopped process is not dead.
 *
 * Errors, of all calls that take part in the arena: -ENOMEM; -ENOSPC: the thread holds too much
 * (about 20 things, such as items of a queue that it has not released); -ENOTRECOVERABLE: the arena
 * was found damaged.  Of those that wait also -EINVAL for a wait of an unknown size, and -ECANCELED
 * (ramet/cancel.h).
 */
#ifndef RAMET_PIPE_H
#define RAMET_PIPE_H

#include <ramet/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ramet_end ramet_end; /* a handle of one end of a pipe */

typedef struct ramet_pipe_options {
    size_t size;  /* sizeof(ramet_pipe_options) */
    size_t bytes; /* of small messages that may wait, each way; 0: about 64 KiB.  At most 64 MiB */
    int duplex;   /* not 0: both ends send and receive; 0: `a` only receives and `b` only sends */
} ramet_pipe_options;

/* Makes a pipe.  options NULL: {.duplex = 1}.  -EINVAL, -ENOMEM, -EMFILE, -ENFILE. */
RAMET_API int ramet_pipe_create(const ramet_pipe_options *options, ramet_end **ret_a,
                                ramet_end **ret_b);

/* Sends one message, a copy of `size` bytes at `data` (which may be NULL if size is 0).  Waits
 * while the pipe is full.  -EPIPE: nobody has the other end any more.  -EBADF: this end only
 * receives.  -ETIMEDOUT and -EINTR: nothing was sent.  -ENOMEM.  -ENOTCONN: who receives waits on
 * his descriptor, and this handle was opened without one, so that he could not be told; nothing was
 * sent. */
RAMET_API int ramet_end_send(ramet_end *end, const void *data, size_t size, const ramet_wait *wait);

/* Receives one message into `buffer`; waits until there is one.  ret_size: its size.  -ENODATA: end
 * of file, all was received and nobody has the other end any more.  -EMSGSIZE: it is longer than
 * `capacity` and stays in the pipe, first in line (ramet_end_next tells its size).  -EBADF: this
 * end only sends.  -ETIMEDOUT, -EINTR. */
RAMET_API int ramet_end_recv(ramet_end *end, void *buffer, size_t capacity, size_t *ret_size,
                             const ramet_wait *wait);

/* The size of the message that the next ramet_end_recv would receive; -EAGAIN if there is none now,
 * -ENODATA at end of file, -EBADF.  With other receivers at the same end it may be gone before the
 * call. */
RAMET_API int ramet_end_next(ramet_end *end, size_t *ret_size);

/* 1 as soon as ramet_end_recv would not wait, be it for a message or for the end of file; 0 if not
 * before the deadline; -EBADF, -EINTR. */
RAMET_API int ramet_end_poll(ramet_end *end, const ramet_wait *wait);

/* A descriptor for poll, select and epoll: from this call on, for good and for all handles of this
 * end, it is readable (POLLIN) whenever a message may be there, and (POLLIN | POLLHUP) at end of
 * file.  Rarely it is readable for a moment without a message; ramet_end_poll tells, and puts it
 * right.  A pipe whose descriptor was asked for makes system calls when it becomes empty and when
 * it stops to be.  Never read from it, write to it or close it: it belongs to the handle.  -EBADF
 * if the handle was opened without one. */
RAMET_API int ramet_end_fd(ramet_end *end);

/* The same descriptor, to be passed on to a process that shall open this end, without the effect
 * above. */
RAMET_API int ramet_end_socket(const ramet_end *end);

/* The reference of the end, for ramet_end_open in another process.  It keeps nothing alive. */
RAMET_API int ramet_end_ref(const ramet_end *end, ramet_ref *ret_ref);

/* Opens an end.  `fd`: a duplicate of the descriptor of another handle of the same end, which comes
 * to belong to the new handle (on failure it stays the caller's); -1: none, then ramet_end_fd
 * fails, and ramet_end_send does where the other side relies on its descriptor.  -ESTALE: the end
 * is gone.  -EINVAL: the reference is not one of an end.  -ENOMEM. */
RAMET_API int ramet_end_open(const ramet_ref *ref, int fd, ramet_end **ret_end);

/* Closes the handle, which is then no longer valid.  NULL is allowed.  When the last handle of an
 * end is closed, the other side reads what is there and then the end of file, and can no longer
 * send. */
RAMET_API void ramet_end_close(ramet_end *end);

#ifdef __cplusplus
}
#endif
#endif
