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
    uint32_t pdeathsig;     /* the asking thread was a main thread, and the child will be its own */
    uint32_t umask;         /* forkserver only, as all that follows and the environment */
    rmt_a32 allowed;        /* what the parent says of it: allow.c */
    uint32_t affinity_size; /* bytes; 0: it could not be found out */
    uint64_t parent_alive;  /* it lived then (ticks since boot), a later one with its pid did not */
    uint64_t signal_mask;   /* signals 1 to 64 that were blocked */
    uint64_t asker;         /* the parent's member word */
    uint8_t affinity[128];
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

/* In the child, of whom the server was asked in `attempt`, or 0: opens the request, follows the
 * parent if it is a daemon, runs the task.  Returns the exit code; RMT_EXIT_LOST if the request is
 * gone, because the parent is. */
#define RMT_EXIT_LOST 120
int rmt_request_run(const ramet_ref *ref, uint32_t attempt);

/* allow.c.  In the parent, once it has looked at its rights: `attempt` at the request may run, no
 * earlier one that has not. */
#define RMT_ATTEMPT_NONE (UINT32_MAX >> 1)
void rmt_request_allow(struct rmt_self *self, const struct rmt_handle *request, uint32_t attempt,
                       uint32_t umask);
/* In the child: 0 the attempt may run; <0 it must not: another is made, or the parent is gone. */
int rmt_request_allowed(struct rmt_self *self, const struct rmt_handle *request, uint32_t attempt);

/* Flushes and ends the process without its parent's exit handlers. */
_Noreturn void rmt_child_exit(int code);

/* References as text in the command line of an executed child. */
#define RMT_REF_TEXT 64
void rmt_ref_format(const ramet_ref *ref, char text[RMT_REF_TEXT]);
int rmt_ref_parse(const char *text, ramet_ref *ret_ref);

/* follow.c: ends this process with SIGTERM when process `parent`, who lived then, is gone. */
int rmt_follow(pid_t parent, uint64_t parent_alive, bool by_kernel);

/* In a process that will run a request later: touches what that needs, so that the pages are its
 * own by then. */
void rmt_request_warm(void);

/* server.c: the fork server's loop, on its socket; ends when the last client has closed it, and
 * nobody waits for a child any more. */
_Noreturn void rmt_server_run(int socket, unsigned spares);

#endif
