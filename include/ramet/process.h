/* SPDX-License-Identifier: MIT
 *
 * ramet/process.h: starting processes that belong to the caller's arena, and waiting for them.
 *
 * What a child runs is a task: a named function in a table that the program gives to ramet_enter()
 * at the top of main.  A forked child calls it directly; a spawned one is a fresh execution of the
 * program whose ramet_enter() runs the task and does not return; a forkserver child is forked by a
 * server that was started from a fresh execution.
 *
 * Threads: all calls may be made by any thread; calls on one ramet_process may run at the same
 * time. Fork: a forked child has no children of its own; its inherited handles answer -ECHILD. If a
 * participant dies: a dead child is an exit status; if the parent dies, daemonic children get
 * SIGTERM.
 */
#ifndef RAMET_PROCESS_H
#define RAMET_PROCESS_H

#include <ramet/base.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Runs in the child; its result is the exit code (0..255).  `arg` is a private copy of the bytes
 * given to start, valid until the task returns; references among them stay open-able until then. */
typedef int ramet_task_fn(const void *arg, size_t size);

typedef struct ramet_task {
    const char *name; /* unique in the table, at most 63 bytes */
    ramet_task_fn *run;
} ramet_task;

/* Call it first in main, before threads are started.  `tasks` must outlive the process.  Returns 0
 * in a program that was started by its user; in a spawned child or fork server it does not return.
 * -EINVAL: an entry without a name or function, or with a name longer than 63 bytes. */
RAMET_API int ramet_enter(int argc, char **argv, const ramet_task *tasks, size_t count);

enum ramet_start_method { RAMET_FORK = 1, RAMET_SPAWN = 2, RAMET_FORKSERVER = 3 };

typedef struct ramet_process_options {
    size_t size; /* sizeof(ramet_process_options) */
    enum ramet_start_method method;
    const char *task; /* a name in the table */
    const void *arg;  /* copied */
    size_t arg_size;
    const ramet_ref
        *refs; /* objects kept alive from start until the child's task returns or it dies */
    size_t ref_count;
    int daemon; /* non-zero: ends with its parent */
} ramet_process_options;

/* The fork server keeps processes ready that were forked beforehand, so that a start by it is a
 * message to one of them and not a fork. */
#define RAMET_SPARES_MAX 64

typedef struct ramet_forkserver_options {
    size_t size;     /* sizeof(ramet_forkserver_options) */
    unsigned spares; /* that wait for a start, at most RAMET_SPARES_MAX; 0: each start is a fork */
} ramet_forkserver_options;

/* Starts this process's fork server, which the first start by it does otherwise.  NULL: with one
 * spare.  -EALREADY: it is there, and was not changed.  -EINVAL, -EBADF (one of the descriptors 0
 * to 2 is closed), or an error of ramet_join() or of ramet_process_start(). */
RAMET_API int ramet_forkserver_start(const ramet_forkserver_options *options);

typedef struct ramet_process ramet_process;

/* -EINVAL (unknown task or method: nothing was started), -ESTALE (one of `refs` is gone), -EBADF
 * (forkserver, and one of the descriptors 0 to 2 is closed), -ENOSPC (this thread holds too much),
 * -EAGAIN, -ENOMEM, -EMFILE, -ENFILE, -ENOTRECOVERABLE (the arena was found damaged), errors of
 * ramet_join(). */
RAMET_API int ramet_process_start(const ramet_process_options *options,
                                  ramet_process **ret_process);

/* Waits for its end.  ret_code: the exit code, or minus the number of the signal that killed it;
 * 120: the child did not find its request, because its parent was gone; 255: nobody knows, because
 * the fork server died or somebody else waited for it.  The status is remembered: any number of
 * calls.  -ETIMEDOUT, -EINTR, -ECANCELED (ramet/cancel.h), -ECHILD. */
RAMET_API int ramet_process_join(ramet_process *process, const ramet_wait *wait, int *ret_code);

RAMET_API pid_t ramet_process_pid(const ramet_process *process);

/* A descriptor that is readable once the process has ended (a pidfd); owned by the handle. */
RAMET_API int ramet_process_sentinel(const ramet_process *process);

RAMET_API int ramet_process_terminate(ramet_process *process); /* SIGTERM; 0 also if it has ended */
RAMET_API int ramet_process_kill(ramet_process *process);      /* SIGKILL; 0 also if it has ended */

/* Frees the handle, not the process.  -EBUSY while it runs. */
RAMET_API int ramet_process_close(ramet_process *process);

#ifdef __cplusplus
}
#endif
#endif
