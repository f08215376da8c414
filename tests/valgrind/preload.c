/* SPDX-License-Identifier: MIT
 *
 * pidfd.c: pidfd_open and pidfd_send_signal for programs under a valgrind that does not know them
 * (3.19 answers ENOSYS).  Preloaded, it takes the place of syscall(): the number of a process goes
 * to the server that run.py keeps outside of valgrind, and the descriptor comes back over the
 * socket.  Every other call goes through.
 */
#include "base/nocancel.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

typedef long syscall_fn(long number, ...);
typedef int execve_fn(const char *path, char *const argv[], char *const envp[]);
typedef int spawn_fn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]);

/* A connection to the server, whose abstract name is in the environment; or -1 with errno. */
static int connect_to_server(void)
{
    const char *name = getenv("RAMET_PIDFD_SERVER");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!name || strlen(name) > sizeof address.sun_path - 2) {
        errno = ENOSYS;
        return -1;
    }
    memcpy(address.sun_path + 1, name, strlen(name));
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (s >= 0 && connect(s, (struct sockaddr *)&address, length) < 0) {
        int error = errno;
        close(s);
        errno = error;
        return -1;
    }
    return s;
}

static int open_by_server(pid_t pid)
{
    int error = 0, fd = -1;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof fd)];
    } control;
    struct iovec answer = {&error, sizeof error};
    struct msghdr message = {.msg_iov = &answer,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    int s = connect_to_server();
    if (s < 0)
        return -1;
    if (send(s, &pid, sizeof pid, MSG_NOSIGNAL) != sizeof pid ||
        recvmsg(s, &message, MSG_CMSG_CLOEXEC) != sizeof error)
        error = EIO;
    struct cmsghdr *passed = error ? NULL : CMSG_FIRSTHDR(&message);
    if (passed)
        memcpy(&fd, CMSG_DATA(passed), sizeof fd);
    close(s);
    errno = error;
    return fd;
}

/* The kernel names the process of a pidfd in /proc.  Between the two calls it could be reaped and
 * its number reused; the tests' processes are children that wait to be reaped by the caller. */
static long send_signal(int pidfd, int sig)
{
    char path[40], line[80];
    int pid = -1;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    FILE *f = fopen(path, "re");
    if (!f) {
        errno = EBADF;
        return -1;
    }
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "Pid: %d", &pid) == 1)
            break;
    }
    fclose(f);
    if (pid <= 0) {
        errno = ESRCH;
        return -1;
    }
    return kill(pid, sig);
}

PUBLIC long syscall(long number, ...)
{
    long a[6];
    va_list arguments;
    RMT_NO_CANCEL; /* syscall() is no cancellation point; what is called here is */
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_pidfd_open)
        return open_by_server((pid_t)a[0]);
    if (number == SYS_pidfd_send_signal)
        return send_signal((int)a[0], (int)a[1]);
    syscall_fn *next;
    *(void **)&next = dlsym(RTLD_NEXT, "syscall");
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static const char *real_path(const char *path, char buffer[PATH_MAX])
{
    if (strcmp(path, "/proc/self/exe") != 0)
        return path;
    ssize_t n = readlink(path, buffer, PATH_MAX - 1);
    if (n < 0)
        return path;
    buffer[n] = 0;
    return buffer;
}

PUBLIC int execve(const char *path, char *const argv[], char *const envp[])
{
    char buffer[PATH_MAX];
    execve_fn *next;
    *(void **)&next = dlsym(RTLD_NEXT, "execve");
    return next(real_path(path, buffer), argv, envp);
}

PUBLIC int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                       const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    char buffer[PATH_MAX];
    spawn_fn *next;
    *(void **)&next = dlsym(RTLD_NEXT, "posix_spawn");
    return next(pid, real_path(path, buffer), actions, attributes, argv, envp);
}
