/* SPDX-License-Identifier: MIT
 *
 * server.c: the fork server: a fresh execution of the program that has done nothing but join the
 * arena.  It keeps spares, which take requests by themselves (spare.c), and forks on request when
 * none is there to take it.  One thread; it ends when the last client has closed the socket, and
 * nobody is left who waits to be told of an end: a client that lives may have given it up.
 *
 * A request comes as one packet with five descriptors: the status pipe, the client's 0, 1 and 2,
 * and its working directory.  To the status pipe goes in the end how the child ended.
 *
 * Who receives: the spares, as long as any is ready; then the server does not even look at the
 * socket.  Of several who wait the kernel wakes one for a packet, and if that one is killed or
 * stopped with the wake but without the packet, nobody else hears of it.  So from such a spare's
 * end or stop on the server looks, too, until a request has been taken.
 */
#include "base/os.h"
#include "process/spare.h"
#include "process/start.h"
#include "process/task.h"
#include <ramet/arena.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct served { /* children that run a request */
    pid_t pid;
    int status_fd; /* -1: nobody is to be told */
} *served;
static size_t served_count, served_room; /* room is there for the spares, too */

static struct spare { /* children that have not reported one */
    pid_t pid;
    bool stopped;
} spares[RAMET_SPARES_MAX];
_Static_assert(RAMET_SPARES_MAX <= RMT_OUTSIDERS, "each stands in the server's slot");
static size_t spare_count, spares_wanted;
static bool wary; /* a spare may have failed to take a request: look for oneself, fork no more */

static int client, signals;
static struct sigaction told;      /* of SIGCHLD, as the server was started, and its children are */
static int report_from, report_to; /* the server's end, and the spares' */
static bool batch;                 /* the server gives way to its children: rmt_os_batch */

static void close_all(const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

static size_t spares_ready(void)
{
    size_t n = 0;
    for (size_t i = 0; i < spare_count; i++)
        n += !spares[i].stopped;
    return n;
}

static void reply(int fd, const struct rmt_server_reply *answer)
{
    ssize_t n;
    do {
        n = write(fd, answer, sizeof *answer);
    } while (n < 0 && errno == EINTR); /* the client may be gone: then there is nobody to tell */
}

/* In a child just forked: without what the server has for itself and for its other children. */
static void become_other(void)
{
    if (batch)
        rmt_os_batch(false);
    sigaction(SIGCHLD, &told, NULL);
    close(signals);
    close(report_from);
    for (size_t i = 0; i < served_count; i++) {
        if (served[i].status_fd >= 0)
            close(served[i].status_fd);
    }
}

/* So that whoever is to be remembered can be. */
static int make_room(void)
{
    if (served_count + spare_count < served_room)
        return 0;
    size_t room = served_room ? served_room * 2 : 16;
    struct served *s = realloc(served, room * sizeof *s);
    if (!s)
        return -ENOMEM;
    served = s;
    served_room = room;
    return 0;
}

static void serve(const struct rmt_server_request *request, const int *fds)
{
    int r = make_room();
    RMT_STEP();
    pid_t pid = r < 0 ? -1 : fork();
    if (pid == 0) {
        become_other();
        close(client);
        close(report_to);
        rmt_child_begin(request, fds);
    }
    RMT_STEP();
    if (pid < 0) {
        const struct rmt_server_reply none = {.pid = r < 0 ? r : -errno};
        reply(fds[0], &none);
        close(fds[0]);
    } else {
        served[served_count++] = (struct served){pid, fds[0]};
    }
    close_all(fds + 1, RMT_SERVER_FDS - 1);
}

/* ---- spares */

static int fork_spare(void)
{
    pid_t server = getpid();
    int r = make_room();
    if (r < 0)
        return r;
    RMT_STEP();
    pid_t pid = rmt_fork_outside();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        become_other();
        rmt_spare_run(client, report_to, server);
    }
    RMT_STEP();
    spares[spare_count++] = (struct spare){.pid = pid};
    return 0;
}

static void refill(void)
{
    while (!wary && spare_count < RAMET_SPARES_MAX && spares_ready() < spares_wanted)
        wary = fork_spare() < 0; /* until the next request: it may be better then */
}

static struct spare *find_spare(pid_t pid)
{
    for (size_t i = 0; i < spare_count; i++) {
        if (spares[i].pid == pid)
            return &spares[i];
    }
    return NULL;
}

/* Spares that have been given a request are children like others. */
static void hear_reports(void)
{
    struct rmt_spare_report given;
    int fd, r;
    do {
        r = rmt_packet_receive(report_from, &given, sizeof given, &fd, 1, MSG_DONTWAIT);
        if (r == -EMFILE) /* its end cannot be told: the client will see only that it came */
            fd = -1;
        struct spare *s = r == 1 || r == -EMFILE ? find_spare(given.pid) : NULL;
        if (s) {
            rmt_outside_over(given.pid);
            *s = spares[--spare_count];
            served[served_count++] = (struct served){given.pid, fd};
            wary = false;
        } else if (r == 1) {
            close(fd);
        }
    } while (r == 1 || r == -EPROTO || r == -EMFILE);
}

/* ---- ends */

static void ended(pid_t pid, int status)
{
    const struct rmt_server_reply answer = {.pid = pid,
                                            .ended = 1,
                                            .code = WIFSIGNALED(status) ? -WTERMSIG(status)
                                                                        : WEXITSTATUS(status)};
    RMT_STEP();
    struct spare *s = find_spare(pid);
    if (s) { /* of no use any more, whatever the reason */
        rmt_outside_over(pid);
        *s = spares[--spare_count];
        wary = true;
        return;
    }
    for (size_t i = 0; i < served_count; i++) {
        if (served[i].pid != pid)
            continue;
        if (served[i].status_fd >= 0) {
            reply(served[i].status_fd, &answer);
            RMT_STEP();
            close(served[i].status_fd);
        }
        served[i] = served[--served_count];
        break;
    }
}

static void stopped_or_continued(pid_t pid, bool stopped)
{
    struct spare *s = find_spare(pid);
    if (s) {
        s->stopped = stopped;
        wary |= stopped;
    }
}

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0) {
        hear_reports(); /* what it said came before */
        if (WIFSTOPPED(status) || WIFCONTINUED(status)) {
            stopped_or_continued(pid, WIFSTOPPED(status));
            continue;
        }
        ramet_reap(pid);
        ended(pid, status);
    }
}

/* ---- the loop */

static int open_all(void)
{
    const struct sigaction tell = {.sa_handler = SIG_DFL}; /* not if it were ignored, for one */
    sigset_t set;
    int pair[2];
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGINT); /* Ctrl-C is for the programs; this one ends with them */
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigaction(SIGCHLD, &tell, &told);
    sigdelset(&set, SIGPIPE);
    signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    report_from = pair[0];
    report_to = pair[1];
    return 0;
}

/* False at the end. */
static bool receive(void)
{
    struct rmt_server_request request;
    int fds[RMT_SERVER_FDS];
    RMT_STEP();
    int r = rmt_server_receive(client, &request, fds, MSG_DONTWAIT);
    RMT_STEP();
    if (r == 1) {
        wary = false;
        serve(&request, fds);
    }
    return r == 1 || r == -EPROTO || r == -EMFILE ||
           r == -EAGAIN; /* a spare may have been quicker */
}

/* Whether anybody has the other end of a status pipe. */
static bool awaited(void)
{
    for (size_t i = 0; i < served_count; i++) {
        struct pollfd p = {.fd = served[i].status_fd, .events = 0};
        if (p.fd >= 0 && poll(&p, 1, 0) == 0)
            return true;
    }
    return false;
}

#define LOOK_AGAIN 1000 /* ms: how soon it is seen that nobody waits any more */

_Noreturn void rmt_server_run(int socket, unsigned wanted)
{
    bool over = false; /* the last client has closed the socket */
    client = socket;
    spares_wanted = wanted < RAMET_SPARES_MAX ? wanted : RAMET_SPARES_MAX;
    if (open_all() < 0)
        rmt_child_exit(RMT_EXIT_LOST);
    (void)rmt_os_multiprocessor(); /* once for all children */
    batch = rmt_os_batch(true);
    while (!over || awaited()) {
        if (!over)
            refill();
        bool look = !over && (wary || spares_ready() == 0);
        struct pollfd p[3] = {{.fd = signals, .events = POLLIN},
                              {.fd = report_from, .events = POLLIN},
                              {.fd = look ? client : -1, .events = POLLIN}};
        if (poll(p, 3, over ? LOOK_AGAIN : -1) < 0 && errno != EINTR)
            break;
        if (p[1].revents)
            hear_reports();
        if (p[0].revents) {
            struct signalfd_siginfo info;
            while (read(signals, &info, sizeof info) > 0)
                ;
            reap();
        }
        if (p[2].revents && !receive()) {
            over = true;
            hear_reports(); /* of starts that came before */
        }
    }
    rmt_child_exit(0);
}
