/* SPDX-License-Identifier: MIT
 *
 * client.c: this process's fork server: started when it is first needed, started again when it has
 * died or when this process has other credentials than it had then.  Forked children share their
 * parent's.
 */
#include "base/atomic.h"
#include "base/fault.h"
#include "base/nocancel.h"
#include "base/os.h"
#include "process/rights.h"
#include "process/spare.h"
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

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int server_socket = -1; /* under the mutex, as all of this */
static pid_t server_pid;
static pid_t server_owner;                   /* the process whose child the server is */
static struct rmt_rights server_rights;      /* of its client, when it was started */
static unsigned spares = RMT_SPARES_DEFAULT; /* of the next server */

/* Servers that were given up and had not ended by then: they do when the last who has their socket
 * open closes it.  Waited for whenever a server is asked for something. */
#define FORMER 16
static struct former {
    pid_t pid; /* 0: none */
    pid_t owner;
} former[FORMER];

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
    struct rmt_rights
        now; /* the server has no more than this: who raises them meanwhile starts anew */
    uint32_t mask;
    rmt_rights_now(&now, &mask);
    char text[32];
    snprintf(text, sizeof text, "%d:%u", pair[1], spares);
    r = rmt_exec_self(RMT_SERVER_FLAG, ramet_arena_fd(), text, pair[1], &server_pid);
    RMT_STEP();
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        return r;
    }
    server_socket = pair[0];
    server_owner = getpid();
    server_rights = now;
    return 0;
}

static int ensure_server(void)
{
    reap_former();
    return server_socket >= 0 ? 0 : start_server();
}

#define UNHEARD 1 /* the request was taken, but will not be run: it may be made again */

/* The pid of the child that has begun; UNHEARD; <0 if there is none. */
static int read_begun(int fd, pid_t *ret_pid)
{
    RMT_NO_CANCEL;
    struct rmt_server_reply reply;
    ssize_t n;
    do {
        n = read(fd, &reply, sizeof reply);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (n != (ssize_t)sizeof reply || reply.ended)
        return UNHEARD; /* who had received it died before the task */
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

#define CHANGED 2 /* the request was sent to a server of other rights, and not allowed to run */

/* While whoever takes the packet wakes up. */
static int allow(struct rmt_self *self, const struct rmt_handle *request, uint32_t attempt)
{
    struct rmt_rights now;
    uint32_t mask;
    rmt_rights_now(&now, &mask);
    if (!rmt_rights_same(&now, &server_rights)) {
        drop_server();
        return CHANGED;
    }
    rmt_request_allow(self, request, attempt, mask);
    return 0;
}

static int request_once(struct rmt_self *self, const struct rmt_handle *request, uint32_t attempt,
                        int directory, struct rmt_started *ret_started)
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
    const struct rmt_server_request packet = {.request = rmt_handle_ref(request),
                                              .attempt = attempt};
    const int fds[RMT_SERVER_FDS] = {status[1], 0, 1, 2, directory};
    r = rmt_packet_send(server_socket, &packet, sizeof packet, fds, RMT_SERVER_FDS);
    RMT_STEP();
    close(status[1]);
    if (r == 0)
        r = allow(self, request, attempt);
    RMT_STEP();
    if (r == 0)
        r = read_begun(status[0], &pid);
    if (r == 0) {
        r = rmt_os_pidfd_open(pid, &pidfd);
        if (r == -ESRCH) { /* it has ended, and was reaped: its status is in the pipe */
            pidfd = -1;
            r = 0;
        } else if (r < 0) {
            end_child(pid, status[0]);
        }
    }
    if (r != 0) {
        close(status[0]);
        return r;
    }
    *ret_started = (struct rmt_started){.pid = pid, .pidfd = pidfd, .status_fd = status[0]};
    return 0;
}

/* A spare that was killed with the request costs another attempt, a server that was killed a new
 * server, once.  Whoever kills each of them as it comes gets an error, not a loop. */
#define ATTEMPTS 16

static int request_started(struct rmt_self *self, const struct rmt_handle *request, int directory,
                           struct rmt_started *ret_started)
{
    bool anew = false;
    int r = UNHEARD;
    for (uint32_t i = 1; i <= ATTEMPTS && (r == UNHEARD || r == CHANGED); i++) {
        r = request_once(self, request, i, directory, ret_started);
        if ((r == -EPIPE || r == -ECONNRESET) && !anew) {
            drop_server();
            anew = true;
            r = UNHEARD;
        }
    }
    if (r != 0) /* whoever still has it must not run it any more */
        rmt_request_allow(self, request, RMT_ATTEMPT_NONE, 0);
    return r > 0 || r == -ECONNRESET ? -EPIPE : r;
}

/* Descriptors 0 to 2 are what the child gets: they must be open.  Nor may any of the server's own
 * have these numbers, on which its children put the client's. */
static bool standard_open(void)
{
    RMT_NO_CANCEL;
    return fcntl(0, F_GETFD) >= 0 && fcntl(1, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0;
}

int rmt_start_forkserver(struct rmt_self *self, const struct rmt_handle *request,
                         struct rmt_started *ret_started)
{
    RMT_NO_CANCEL;
    if (!standard_open())
        return -EBADF;
    int directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -errno;
    pthread_mutex_lock(&mutex);
    int r = request_started(self, request, directory, ret_started);
    pthread_mutex_unlock(&mutex);
    close(directory);
    return r;
}

int ramet_forkserver_start(const ramet_forkserver_options *options)
{
    if (options && (options->size != sizeof *options || options->spares > RAMET_SPARES_MAX))
        return -EINVAL;
    if (!standard_open())
        return -EBADF;
    int r = ramet_join();
    if (r < 0)
        return r;
    pthread_mutex_lock(&mutex);
    struct rmt_rights now;
    uint32_t mask;
    rmt_rights_now(&now, &mask);
    if (server_socket >= 0 && server_owner == getpid() && reaped(server_pid, server_owner))
        drop_server();
    if (server_socket >= 0 && !rmt_rights_same(&now, &server_rights))
        drop_server();
    if (server_socket >= 0) {
        r = -EALREADY;
    } else {
        spares = options ? options->spares : RMT_SPARES_DEFAULT;
        r = ensure_server();
    }
    pthread_mutex_unlock(&mutex);
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
