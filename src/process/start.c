/* SPDX-License-Identifier: MIT
 *
 * start.c: starting by fork and by spawn.  spawn is a real exec of this program (/proc/self/exe),
 * by posix_spawn, which does not copy the parent's page tables.
 */
#include "process/start.h"
#include "base/fault.h"
#include "base/nocancel.h"
#include "base/os.h"
#include "process/task.h"
#include <ramet/arena.h>

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The child cannot be told from others without its pidfd: without one it is ended again. */
static int with_pidfd(pid_t pid, struct rmt_started *ret_started)
{
    RMT_NO_CANCEL;
    int fd;
    int r = rmt_os_pidfd_open(pid, &fd);
    if (r < 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        ramet_reap(pid);
        return r;
    }
    *ret_started = (struct rmt_started){.pid = pid, .pidfd = fd, .status_fd = -1};
    return 0;
}

static void flush(void)
{
    RMT_NO_CANCEL;
    fflush(NULL);
}

int rmt_start_fork(const ramet_ref *request, struct rmt_started *ret_started)
{
    int r = rmt_fault(RMT_FAULT_FORK);
    if (r < 0)
        return r;
    flush(); /* or what is buffered would be written twice */
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        rmt_child_exit(rmt_request_run(request, 0));
    return with_pidfd(pid, ret_started);
}

/* Descriptors are duplicated so that the numbers that go into the arguments are not close-on-exec;
 * only for the child, by the file actions. */
static int spawn_actions(posix_spawn_file_actions_t *actions, int arena_fd, int keep)
{
    int r = posix_spawn_file_actions_init(actions);
    if (r != 0)
        return -r;
    /* dup2 onto itself clears close-on-exec in the child (POSIX.1-2024; glibc 2.29). */
    r = posix_spawn_file_actions_adddup2(actions, arena_fd, arena_fd);
    if (r == 0 && keep >= 0)
        r = posix_spawn_file_actions_adddup2(actions, keep, keep);
    if (r != 0)
        posix_spawn_file_actions_destroy(actions);
    return -r;
}

int rmt_exec_self(const char *flag, int arena_fd, const char *last, int keep, pid_t *ret_pid)
{
    if (!rmt_argv)
        return -EINVAL; /* the program has not called ramet_enter: its child would not know what to
                           do */
    int r = rmt_fault(RMT_FAULT_FORK);
    if (r < 0)
        return r;
    char fd_text[16];
    snprintf(fd_text, sizeof fd_text, "%d", arena_fd);
    char *argv[] = {rmt_argv[0], (char *)(uintptr_t)flag, fd_text, (char *)(uintptr_t)last, NULL};
    posix_spawn_file_actions_t actions;
    r = spawn_actions(&actions, arena_fd, keep);
    if (r < 0)
        return r;
    pid_t pid;
    r = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (r != 0)
        return -r;
    *ret_pid = pid;
    return 0;
}

int rmt_start_spawn(const ramet_ref *request, struct rmt_started *ret_started)
{
    char text[RMT_REF_TEXT];
    rmt_ref_format(request, text);
    pid_t pid;
    int r = rmt_exec_self(RMT_CHILD_FLAG, ramet_arena_fd(), text, -1, &pid);
    return r == 0 ? with_pidfd(pid, ret_started) : r; /* only then is there a pid */
}
