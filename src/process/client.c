/* SPDX-License-Identifier: MIT
 *
 * client.c: this process's fork server: started when it is first needed, started again when it has
 * died or when this process has other credentials than it had then.  Forked children share their
 * parent's.
 */
#include "base/fault.h"
#include "base/nocancel.h"
#include "base/os.h"
#include "process/start.h"
#include "process/task.h"
#include <ramet/arena.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct credentials {
    uid_t uid, euid;
    gid_t gid, egid;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int server_socket = -1; /* under the mutex, as all of this */
static pid_t server_pid;
static pid_t server_owner; /* the process whose child the server is */
static struct credentials server_rights;

/* Servers that were given up and had not ended by then: they do when the last who has their socket
 * open closes it.  Waited for whenever a server is asked for something. */
#define FORMER 16
static struct former {
    pid_t pid; /* 0: none */
    pid_t owner;
} former[FORMER];

static struct credentials rights_now(void)
{
    return (struct credentials){getuid(), geteuid(), getgid(), getegid()};
}

static bool same_rights(const struct credentials *a, const struct credentials *b)
{
    return a->uid == b->uid && a->euid == b->euid && a->gid == b->gid && a->egid == b->egid;
}

/* True if this process need not think of it again. */
static bool reaped(pid_t pid, pid_t owner)
{
    RMT_NO_CANCEL;
    if (owner != getpid())
        return true; /* a parent's child */
    pid_t ended = waitpid(pid, NULL, WNOHANG);
    if (ended == pid)
        ramet_reap(pid);
    return ended != 0; /* or somebody else has waited for it */
}

static void reap_former(void)
{
    for (int i = 0; i < FORMER; i++) {
        if (former[i].pid != 0 && reaped(former[i].pid, former[i].owner))
            former[i].pid = 0;
    }
}

static void drop_server(void)
{
    RMT_NO_CANCEL;
    if (server_socket >= 0)
        close(server_socket); /* it ends when nobody else has it open */
    server_socket = -1;
    reap_former();
    for (int i = 0; i < FORMER; i++) {
        if (former[i].pid == 0) {
            former[i] = (struct former){server_pid, server_owner};
            break;
        }
    }
    reap_former();
}

static int start_server(void)
{
    RMT_NO_CANCEL;
    int r = rmt_fault(RMT_FAULT_SOCKETPAIR);
    if (r < 0)
        return r;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    char text[16];
    snprintf(text, sizeof text, "%d", pair[1]);
    r = rmt_exec_self(RMT_SERVER_FLAG, ramet_arena_fd(), text, pair[1], &server_pid);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        return r;
    }
    server_socket = pair[0];
    server_owner = getpid();
    server_rights = rights_now();
    return 0;
}

static int ensure_server(void)
{
    struct credentials now = rights_now();
    reap_former();
    if (server_socket >= 0 && !same_rights(&now, &server_rights))
        drop_server();
    return server_socket >= 0 ? 0 : start_server();
}

static int send_request(const ramet_ref *request, int status_fd, int directory)
{
    RMT_NO_CANCEL;
    int r = rmt_fault(RMT_FAULT_SENDMSG);
    if (r < 0)
        return r;
    struct rmt_server_request packet = {.request = *request};
    struct iovec part = {&packet, sizeof packet};
    const int fds[RMT_SERVER_FDS] = {status_fd, 0, 1, 2, directory};
    union {
        char space[CMSG_SPACE(sizeof fds)];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(c), fds, sizeof fds);
    ssize_t n;
    do {
        n = sendmsg(server_socket, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* The pid of the child; -EPIPE if the server is gone. */
static int read_pid(int fd, pid_t *ret_pid)
{
    RMT_NO_CANCEL;
    struct rmt_server_reply reply;
    ssize_t n;
    do {
        n = read(fd, &reply, sizeof reply);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (n != (ssize_t)sizeof reply)
        return -EPIPE;
    if (reply.pid < 0)
        return reply.pid;
    *ret_pid = reply.pid;
    return 0;
}

/* The child cannot be told from others without its pidfd, so it is ended again, as one's own child
 * is (start.c).  The server waits for it at once, but a pid comes round again only after all
 * others. */
static void end_child(pid_t pid, int status_fd)
{
    RMT_NO_CANCEL;
    struct rmt_server_reply reply;
    kill(pid, SIGKILL);
    while (read(status_fd, &reply, sizeof reply) < 0 && errno == EINTR)
        ;
}

static int request_once(const ramet_ref *request, int directory, struct rmt_started *ret_started)
{
    RMT_NO_CANCEL;
    int r = ensure_server();
    int status[2];
    if (r < 0)
        return r;
    if (pipe2(status, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = 0;
    int pidfd = -1;
    r = send_request(request, status[1], directory);
    close(status[1]);
    if (r == 0)
        r = read_pid(status[0], &pid);
    if (r == 0) {
        r = rmt_os_pidfd_open(pid, &pidfd);
        if (r == -ESRCH) { /* it has ended, and was reaped: its status is in the pipe */
            pidfd = -1;
            r = 0;
        } else if (r < 0) {
            end_child(pid, status[0]);
        }
    }
    if (r < 0) {
        close(status[0]);
        return r;
    }
    *ret_started = (struct rmt_started){.pid = pid, .pidfd = pidfd, .status_fd = status[0]};
    return 0;
}

int rmt_start_forkserver(const ramet_ref *request, struct rmt_started *ret_started)
{
    RMT_NO_CANCEL;
    for (int i = 0; i < 3; i++) {
        if (fcntl(i, F_GETFD) < 0)
            return -EBADF; /* descriptors 0 to 2 are what the child gets: they must be open */
    }
    int directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -errno;
    pthread_mutex_lock(&mutex);
    int r = request_once(request, directory, ret_started);
    if (r == -EPIPE || r == -ECONNRESET) { /* the server has died: a new one, once */
        drop_server();
        r = request_once(request, directory, ret_started);
    }
    pthread_mutex_unlock(&mutex);
    close(directory);
    return r;
}

static void before_fork(void)
{
    pthread_mutex_lock(&mutex);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&mutex);
}

__attribute__((constructor)) static void setup(void)
{
    static const struct rmt_fork_hook hook = {before_fork, after_fork, after_fork};
    rmt_fork_register(&hook);
}
