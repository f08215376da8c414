/* SPDX-License-Identifier: MIT
 *
 * process.c: handles of children: start, join, signals.  A handle is process-local; its mutex
 * guards who collects the exit status.
 */
#include "arena/wait.h"
#include "base/nocancel.h"
#include "base/os.h"
#include "process/packet.h"
#include "process/start.h"
#include "process/task.h"
#include <ramet/arena.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CODE_UNKNOWN                                                                               \
    255 /* the server died before it could tell, as in the standard library of Python */

struct ramet_process {
    pid_t pid;
    pid_t owner; /* the process that started it */
    int pidfd;   /* -1: it had ended, and was reaped by the server, before it could be opened */
    int status_fd;
    struct rmt_handle request; /* kept until the child has ended, for it to open */
    pthread_mutex_t mutex;     /* of what follows */
    int ended;
    int code;
};

static int start(struct rmt_self *self, const ramet_process_options *options,
                 const struct rmt_handle *request, struct rmt_started *ret_started)
{
    ramet_ref ref = rmt_handle_ref(request);
    switch (options->method) {
    case RAMET_FORK:
        return rmt_start_fork(&ref, ret_started);
    case RAMET_SPAWN:
        return rmt_start_spawn(&ref, ret_started);
    case RAMET_FORKSERVER:
        return rmt_start_forkserver(self, request, ret_started);
    }
    return -EINVAL;
}

int ramet_process_start(const ramet_process_options *options, ramet_process **ret_process)
{
    if (!options || options->size != sizeof *options || !rmt_task_find(options->task) ||
        options->method < RAMET_FORK || options->method > RAMET_FORKSERVER ||
        (options->arg_size > 0 && !options->arg) || (options->ref_count > 0 && !options->refs))
        return -EINVAL;
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    ramet_process *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    struct rmt_started started;
    r = rmt_request_make(self, options, &p->request);
    if (r < 0) {
        free(p);
        return r;
    }
    r = start(self, options, &p->request, &started);
    if (r < 0) {
        rmt_handle_close(self, &p->request);
        free(p);
        return r;
    }
    pthread_mutex_init(&p->mutex, NULL); /* cannot fail with default attributes */
    p->owner = getpid();
    p->pid = started.pid;
    p->pidfd = started.pidfd;
    p->status_fd = started.status_fd;
    *ret_process = p;
    return 0;
}

/* ---- the end */

/* Its own child: 1 and the code, 0 it lives, <0. */
static int collect_child(ramet_process *p, int *ret_code)
{
    RMT_NO_CANCEL;
    siginfo_t info = {0};
    while (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    if (info.si_pid == 0)
        return 0;
    *ret_code = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 1;
}

/* A child of the server, which has proven to be gone: its status, as soon as the server has sent
 * it. */
static int collect_reply(ramet_process *p, int *ret_code)
{
    RMT_NO_CANCEL;
    struct rmt_server_reply reply;
    ssize_t n;
    do {
        n = read(p->status_fd, &reply, sizeof reply);
    } while (n < 0 && errno == EINTR);
    *ret_code = n == (ssize_t)sizeof reply ? reply.code : CODE_UNKNOWN;
    return 1;
}

/* Under the mutex, with the child known to have ended (or about to be known). */
static int collect(ramet_process *p)
{
    if (p->ended)
        return 1;
    int code = CODE_UNKNOWN;
    int r = p->status_fd < 0 ? collect_child(p, &code) : collect_reply(p, &code);
    if (r == -ECHILD) { /* somebody else's wait(), or SIGCHLD ignored: gone, and nobody knows how */
        r = 1;
    }
    if (r <= 0)
        return r;
    p->ended = 1;
    p->code = code;
    struct rmt_self *self;
    if (rmt_self(&self) == 0)
        rmt_handle_close(self, &p->request);
    ramet_reap(p->pid);
    return 1;
}

#define CANCEL_LOOK 10000000 /* ns: how soon a join finds that it was cancelled */

/* One poll of at most `left` ns (RAMET_FOREVER: no limit): 1 readable, 0 not, <0. */
static int poll_for(const ramet_process *p, int64_t left)
{
    RMT_NO_CANCEL;
    struct pollfd fd = {.fd = p->pidfd >= 0 ? p->pidfd : p->status_fd, .events = POLLIN};
    struct timespec limit = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    int n = ppoll(&fd, 1, left == RAMET_FOREVER ? NULL : &limit, NULL);
    return n < 0 ? -errno : n > 0;
}

/* Until the pidfd, or without one the status pipe, is readable. 0, -ETIMEDOUT, -EINTR, -ECANCELED.
 * A descriptor and a futex cannot be waited for at once, so a wait that can be cancelled is cut. */
static int wait_readable(const ramet_process *p, const ramet_wait *wait)
{
    int64_t deadline = wait ? wait->deadline : RAMET_FOREVER;
    struct rmt_cancel_watch watch = {0};
    if (rmt_self_now)
        rmt_cancel_watch(&watch, rmt_self_now);
    int r = poll_for(p, 0);
    while (r == 0) {
        int64_t left = deadline;
        if (deadline != RAMET_FOREVER) {
            left = deadline == 0 ? 0 : deadline - rmt_os_now();
            if (left <= 0)
                return -ETIMEDOUT;
        }
        if (rmt_cancelled(&watch))
            return -ECANCELED;
        r = poll_for(p, watch.word && left > CANCEL_LOOK ? CANCEL_LOOK : left);
    }
    return r < 0 ? r : 0;
}

int ramet_process_join(ramet_process *p, const ramet_wait *wait, int *ret_code)
{
    if (wait && wait->size != sizeof *wait)
        return -EINVAL;
    if (p->owner != getpid())
        return -ECHILD;
    pthread_mutex_lock(&p->mutex);
    int r = p->ended;
    pthread_mutex_unlock(&p->mutex);
    while (r == 0) {
        r = wait_readable(p, wait);
        if (r < 0)
            return r;
        pthread_mutex_lock(&p->mutex);
        r = collect(p);
        pthread_mutex_unlock(&p->mutex);
    }
    if (r < 0)
        return r;
    if (ret_code)
        *ret_code = p->code; /* written once, before `ended` was set under the mutex */
    return 0;
}

pid_t ramet_process_pid(const ramet_process *p)
{
    return p->pid;
}

int ramet_process_sentinel(const ramet_process *p)
{
    return p->pidfd >= 0 ? p->pidfd : p->status_fd;
}

static int send_signal(ramet_process *p, int signal)
{
    if (p->owner != getpid())
        return -ECHILD;
    if (p->pidfd < 0) /* it had ended when it was started */
        return 0;
    if (syscall(SYS_pidfd_send_signal, p->pidfd, signal, NULL, 0) < 0)
        return errno == ESRCH ? 0 : -errno;
    return 0;
}

int ramet_process_terminate(ramet_process *p)
{
    return send_signal(p, SIGTERM);
}

int ramet_process_kill(ramet_process *p)
{
    return send_signal(p, SIGKILL);
}

int ramet_process_close(ramet_process *p)
{
    RMT_NO_CANCEL;
    if (!p)
        return 0;
    if (p->owner == getpid()) {
        static const ramet_wait now = {.size = sizeof now, .deadline = 0};
        int r = ramet_process_join(p, &now, NULL);
        if (r == -ETIMEDOUT)
            return -EBUSY;
        if (r < 0)
            return r;
    }
    if (p->pidfd >= 0)
        close(p->pidfd);
    if (p->status_fd >= 0)
        close(p->status_fd);
    struct rmt_self *self;
    if (rmt_self(&self) == 0)
        rmt_handle_close(self, &p->request);
    pthread_mutex_destroy(&p->mutex);
    free(p);
    return 0;
}
