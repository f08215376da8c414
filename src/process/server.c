/* SPDX-License-Identifier: MIT
 *
 * server.c: the fork server: a fresh execution of the program that has done nothing but join the
 * arena, and forks on request.  One thread; it ends when the last client has closed the socket.
 *
 * A request comes as one packet with five descriptors: the status pipe, the client's 0, 1 and 2,
 * and its working directory.  The pid, and in the end the exit status, go to the status pipe.
 */
#include "base/os.h"
#include "process/start.h"
#include "process/task.h"
#include <ramet/arena.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct served { /* children that live */
    pid_t pid;
    int status_fd;
} *served;
static size_t served_count, served_room;

static void close_all(const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

int rmt_server_receive(int socket, struct rmt_server_request *ret_request, int fds[RMT_SERVER_FDS])
{
    union {
        char space[CMSG_SPACE(sizeof(int) * RMT_SERVER_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec part = {ret_request, sizeof *ret_request};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             /* not CMSG_SPACE, in which one descriptor more has room */
                             .msg_controllen = CMSG_LEN(sizeof(int) * RMT_SERVER_FDS)};
    ssize_t n;
    do {
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    int count = 0;
    if (c && c->cmsg_len <= CMSG_LEN(sizeof(int) * RMT_SERVER_FDS) && c->cmsg_level == SOL_SOCKET &&
        c->cmsg_type == SCM_RIGHTS) {
        count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t)count);
    }
    if (n == (ssize_t)sizeof *ret_request && count == RMT_SERVER_FDS)
        return 1;
    close_all(fds, count);
    return -EPROTO;
}

static void reply(int fd, pid_t pid, int code)
{
    struct rmt_server_reply answer = {.pid = pid, .code = code};
    /* Smaller than PIPE_BUF: whole or not at all.  The client may be gone: nobody to tell. */
    if (write(fd, &answer, sizeof answer) < 0)
        return;
}

static _Noreturn void become_child(const struct rmt_server_request *request, const int *fds,
                                   int socket, int signals)
{
    close(socket);
    close(signals);
    close(fds[0]);
    for (size_t i = 0; i < served_count; i++)
        close(served[i].status_fd);
    for (int i = 0; i < 3; i++) {
        if (dup2(fds[1 + i], i) < 0)
            rmt_child_exit(RMT_EXIT_LOST);
    }
    if (fchdir(fds[4]) < 0)
        rmt_child_exit(RMT_EXIT_LOST);
    close_all(fds + 1, RMT_SERVER_FDS - 1);
    rmt_child_exit(rmt_request_run(&request->request, true));
}

static int remember(pid_t pid, int status_fd)
{
    if (served_count == served_room) {
        size_t room = served_room ? served_room * 2 : 16;
        struct served *s = realloc(served, room * sizeof *s);
        if (!s)
            return -ENOMEM;
        served = s;
        served_room = room;
    }
    served[served_count++] = (struct served){pid, status_fd};
    return 0;
}

static void serve(const struct rmt_server_request *request, const int *fds, int socket, int signals)
{
    int r = remember(0, fds[0]); /* before there is a child that could not be remembered */
    pid_t pid = r < 0 ? -1 : fork();
    if (pid == 0) {
        served_count--;
        become_child(request, fds, socket, signals);
    }
    if (pid < 0) {
        reply(fds[0], r < 0 ? r : -errno, 0);
        if (r == 0)
            served_count--;
        close(fds[0]);
    } else {
        served[served_count - 1].pid = pid;
        reply(fds[0], pid, 0);
    }
    close_all(fds + 1, RMT_SERVER_FDS - 1);
}

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        ramet_reap(pid);
        for (size_t i = 0; i < served_count; i++) {
            if (served[i].pid != pid)
                continue;
            reply(served[i].status_fd, pid,
                  WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
            close(served[i].status_fd);
            served[i] = served[--served_count];
            break;
        }
    }
}

_Noreturn void rmt_server_run(int socket)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT); /* Ctrl-C is for the programs; this one ends with them */
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigdelset(&set, SIGPIPE);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        rmt_child_exit(RMT_EXIT_LOST);
    for (;;) {
        struct pollfd p[2] = {{.fd = socket, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[1].revents) {
            struct signalfd_siginfo info;
            while (read(signals, &info, sizeof info) > 0)
                ;
            reap();
        }
        if (p[0].revents) {
            struct rmt_server_request request;
            int fds[RMT_SERVER_FDS];
            int r = rmt_server_receive(socket, &request, fds);
            if (r == 1)
                serve(&request, fds, socket, signals);
            else if (r != -EPROTO)
                break;
        }
    }
    rmt_child_exit(0);
}
