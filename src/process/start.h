/* SPDX-License-Identifier: MIT
 *
 * start.h: the three ways to start a child, each giving the same: a pid, a pidfd, and for children
 * of the server the pipe on which their exit status comes.
 */
#ifndef RMT_START_H
#define RMT_START_H

#include "arena/handle.h"

#include <ramet/process.h>

/* argv[1] of executed children: [2] descriptor of the arena, [3] the request, or the server's
 * socket and how many spares it keeps */
#define RMT_CHILD_FLAG "--ramet-child"
#define RMT_SERVER_FLAG "--ramet-server"

struct rmt_started {
    pid_t pid;
    int pidfd;
    int status_fd; /* -1: this process's own child, to be waited for; else read end of the status
                      pipe */
};

int rmt_start_fork(const ramet_ref *request, struct rmt_started *ret_started);
int rmt_start_spawn(const ramet_ref *request, struct rmt_started *ret_started);
int rmt_start_forkserver(struct rmt_self *self, const struct rmt_handle *request,
                         struct rmt_started *ret_started);

/* Runs the program anew with the three arguments; `keep` stays open in it under the number in its
 * argument. */
int rmt_exec_self(const char *flag, int arena_fd, const char *last, int keep, pid_t *ret_pid);

#endif
