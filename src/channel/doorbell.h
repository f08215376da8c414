/* SPDX-License-Identifier: MIT
 *
 * doorbell.h: the socket pair of a pipe: a byte in it makes a descriptor readable, and the closing
 * of one side hangs up the other.  Only the system calls; when they are made is decided in
 * pipe_io.c.
 *
 * The sockets are in blocking mode, since programs may use the descriptor for traffic of their own
 * (passing descriptors, as multiprocessing.reduction.send_handle does); no call here ever blocks.
 */
#ifndef RMT_DOORBELL_H
#define RMT_DOORBELL_H

#include <stddef.h>

/* A connected pair, close-on-exec.  -EMFILE, -ENFILE, -ENOMEM. */
int rmt_doorbell_pair(int ret_fds[2]);

/* Puts one byte before the other side.  -EAGAIN: its buffer is full, so that it is readable anyhow;
 * -EPIPE: nobody has the other side. */
int rmt_doorbell_ring(int fd);

/* Takes up to `count` bytes out. */
void rmt_doorbell_drain(int fd, size_t count);

/* 1 if nobody has the other side any more, else 0. */
int rmt_doorbell_hung_up(int fd);

#endif
