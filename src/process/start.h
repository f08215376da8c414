/* SPDX-License-Identifier: MIT
 *
 * start.h: the three ways to start a child, each giving the same: a pid, a pidfd, and for children
 * of the server the pipe on which their exit status comes.
 */
#ifndef RMT_START_H
#define RMT_START_H

#include <ramet/process.h>

/* argv[1] of executed children: [2] descriptor of the arena, [3] the request, or the server's
 * socket */
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
int rmt_start_forkserver(const ramet_ref *request, struct rmt_started *ret_started);

/* Runs the program anew with the three arguments; `keep` stays open in it under the number in its
 * argument. */
int rmt_exec_self(const char *flag, int arena_fd, const char *last, int keep, pid_t *ret_pid);

/* What the client sends to the server, with the descriptors {status pipe, 0, 1, 2, working
 * directory}. */
#define RMT_SERVER_FDS 5
struct rmt_server_request {
    ramet_ref request;
};
/* 1 a request, 0 the end, -EPROTO what is none, <0.  Of a request the descriptors are the caller's,
 * of what is none they are closed. */
int rmt_server_receive(int socket, struct rmt_server_request *ret_request, int fds[RMT_SERVER_FDS]);

/* What comes back on the status pipe: first the pid (or minus errno), later how it ended. */
struct rmt_server_reply {
    int32_t pid;
    int32_t code; /* as ramet_process_join gives it */
};

#endif
