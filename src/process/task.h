/* SPDX-License-Identifier: MIT
 *
 * task.h: what a child is asked to do, and how it gets there: the task table, the request that
 * travels through the arena, the life of a child up to its task.
 *
 * A request is a message (channel/message.h): struct rmt_request, then the task's name, the
 * argument and the environment, each as so many bytes.  The parent holds a handle of it until the
 * child has ended; the child opens it as its first act, and with it the objects that it mentions.
 */
#ifndef RMT_TASK_H
#define RMT_TASK_H

#include "arena/handle.h"

#include <ramet/process.h>
#include <signal.h>

struct rmt_request {                                /* at the start of the message's data */
    uint64_t size;                                  /* of this structure */
    uint64_t name_size, arg_size, environment_size; /* bytes that follow, in this order */
    int32_t parent;                                 /* pid of the process that asked */
    uint32_t daemon;                                /* ends with it */
    uint32_t pdeathsig;    /* the asking thread was a main thread, and the child will be its own */
    uint32_t umask;        /* forkserver only, as is the environment */
    uint64_t parent_alive; /* it lived then (ticks since boot), a later one with its pid did not */
    uint64_t signal_mask;  /* signals 1 to 64 that were blocked */
};

/* The program's table; NULL and 0 before ramet_enter. */
extern const ramet_task *rmt_tasks;
extern size_t rmt_task_count;
extern char **rmt_argv; /* of main; NULL before ramet_enter */
const ramet_task *rmt_task_find(const char *name);

/* Builds the request as an object with a handle. */
int rmt_request_make(struct rmt_self *self, const ramet_process_options *options,
                     struct rmt_handle *ret_handle);

/* Whether the `size` bytes of a message, at least a struct rmt_request of which are readable, are a
 * request as rmt_request_make makes it. */
bool rmt_request_sound(const struct rmt_request *request, size_t size);

/* In the child: opens the request, follows the parent if it is a daemon, runs the task.  Returns
 * the exit code; RMT_EXIT_LOST if the request is gone, because the parent is. */
#define RMT_EXIT_LOST 120
int rmt_request_run(const ramet_ref *ref, bool by_server);

/* Flushes and ends the process without its parent's exit handlers. */
_Noreturn void rmt_child_exit(int code);

/* References as text in the command line of an executed child. */
#define RMT_REF_TEXT 64
void rmt_ref_format(const ramet_ref *ref, char text[RMT_REF_TEXT]);
int rmt_ref_parse(const char *text, ramet_ref *ret_ref);

/* follow.c: ends this process with SIGTERM when process `parent`, who lived then, is gone. */
int rmt_follow(pid_t parent, uint64_t parent_alive, bool by_kernel);

/* server.c: the fork server's loop, on its socket; ends when the last client has closed it. */
_Noreturn void rmt_server_run(int socket);

#endif
