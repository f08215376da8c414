/* SPDX-License-Identifier: MIT
 *
 * spare.c: the children of the fork server, and the spares among them: forked ahead, and asleep in
 * recvmsg at the very socket that the client writes to, so that a start is one packet and one wake.
 *
 * Who runs a request, exactly once: a packet is received by one process.  A spare that has it
 * reports it to the server before anything else, so that the server knows whose end it is to tell;
 * writes to the status pipe that it begins; then runs the task.  Whoever sees the pipe end, or be
 * told of a kill, without that word knows that the task has not run and never will.
 *
 * While it waits a spare is no member of the arena, has nothing of any client's open, writes
 * nothing that others can see, and dies with the server.
 */
#include "process/spare.h"
#include "arena/self.h"
#include "base/os.h"
#include "process/task.h"

#include <errno.h>
#include <link.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static bool settle_in(const int fds[RMT_SERVER_FDS])
{
    for (int i = 0; i < 3; i++) {
        if (dup2(fds[1 + i], i) < 0)
            return false;
    }
    return fchdir(fds[4]) == 0;
}

_Noreturn void rmt_child_begin(const struct rmt_server_request *request,
                               const int fds[RMT_SERVER_FDS])
{
    const struct rmt_server_reply begun = {.pid = getpid()};
    bool settled = settle_in(fds);
    RMT_STEP();
    ssize_t n;
    do { /* SIGPIPE is blocked: the server has seen to that */
        n = write(fds[0], &begun, sizeof begun);
    } while (n < 0 && errno == EINTR);
    RMT_STEP();
    if (n != (ssize_t)sizeof begun ||
        !settled) /* the client is gone, or this is not what it gave */
        rmt_child_exit(RMT_EXIT_LOST);
    for (int i = 0; i < RMT_SERVER_FDS; i++)
        close(fds[i]);
    rmt_child_exit(rmt_request_run(&request->request, request->attempt));
}

/* Fork has left every page either unmapped or write-protected, at a fault each.  Larger segments
 * than this are a program's own business. */
#define WARM_MOST (4u << 20)
#define WARM_STACK 16384

static int warm_segments(struct dl_phdr_info *object, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    ElfW(Addr) sealed = 0; /* the end of what the linker has made read-only in a writable one */
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &object->dlpi_phdr[i];
        if (p->p_type == PT_GNU_RELRO)
            sealed = p->p_vaddr + p->p_memsz;
    }
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &object->dlpi_phdr[i];
        bool writable = (p->p_flags & PF_W) != 0;
        ElfW(Addr) from = p->p_vaddr, to = p->p_vaddr + p->p_memsz;
        if (p->p_type != PT_LOAD || p->p_memsz > WARM_MOST)
            continue;
        if (writable && from < sealed && sealed < to)
            from = sealed;
        rmt_os_populate((void *)(object->dlpi_addr + from), to - from, writable);
    }
    return 0;
}

static void warm(void)
{
    volatile char stack[WARM_STACK];
    for (size_t i = 0; i < sizeof stack; i += 1024)
        stack[i] = 0;
    dl_iterate_phdr(warm_segments, NULL);
    rmt_arena_touch();
    rmt_request_warm();
}

/* Blocked signals that came while it slept, a Ctrl-C for one, are not for the child that it becomes
 * now: to ignore a signal discards it. */
static void discard_signals(void)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction was;
    sigset_t pending;
    if (sigpending(&pending) < 0)
        return;
    for (int s = 1; s <= 64; s++) {
        if (sigismember(&pending, s) == 1 && sigaction(s, &ignore, &was) == 0)
            sigaction(s, &was, NULL);
    }
}

_Noreturn void rmt_spare_run(int socket, int report, pid_t server)
{
    struct rmt_server_request request;
    int fds[RMT_SERVER_FDS], r;
    /* The server has one thread, whose end is its own. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != server)
        rmt_child_exit(RMT_EXIT_LOST);
    RMT_STEP();
    r = rmt_server_receive(socket, &request, fds, MSG_DONTWAIT); /* somebody may wait already */
    if (r == -EAGAIN)
        warm();
    while (r == -EPROTO || r == -EMFILE || r == -EAGAIN) {
        RMT_STEP();
        r = rmt_server_receive(socket, &request, fds, 0);
    }
    RMT_STEP();
    if (r <= 0)
        rmt_child_exit(r == 0 ? 0 : RMT_EXIT_LOST);
    discard_signals();
    const struct rmt_spare_report given = {.pid = getpid()};
    if (rmt_packet_send(report, &given, sizeof given, fds, 1) < 0)
        rmt_child_exit(RMT_EXIT_LOST); /* nobody could tell its end; the client asks again */
    RMT_STEP();
    if (prctl(PR_SET_PDEATHSIG, 0) < 0)
        rmt_child_exit(RMT_EXIT_LOST);
    close(socket);
    close(report);
    rmt_child_begin(&request, fds);
}
