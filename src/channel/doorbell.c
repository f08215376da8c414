/* SPDX-License-Identifier: MIT
 *
 * doorbell.c: see doorbell.h.  Source: unix(7), send(2), poll(2).
 */
#include "channel/doorbell.h"
#include "base/atomic.h"
#include "base/fault.h"
#include "base/nocancel.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

int rmt_doorbell_pair(int ret_fds[2])
{
    int r = rmt_fault(RMT_FAULT_SOCKETPAIR);
    if (r < 0)
        return r;
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

int rmt_doorbell_ring(int fd)
{
    RMT_NO_CANCEL;
    int r = rmt_fault(RMT_FAULT_SENDMSG);
    if (r < 0)
        return r;
    RMT_HOOK(RMT_HOOK_BELL, NULL);
    while (send(fd, "b", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno != EINTR)
            return errno == ECONNRESET ? -EPIPE : -errno;
    }
    return 0;
}

void rmt_doorbell_drain(int fd, size_t count)
{
    RMT_NO_CANCEL;
    char bytes[64];
    while (count > 0) {
        ssize_t n = recv(fd, bytes, count < sizeof bytes ? count : sizeof bytes, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        count -= (size_t)n;
    }
}

int rmt_doorbell_hung_up(int fd)
{
    RMT_NO_CANCEL;
    struct pollfd p = {.fd = fd, .events = 0}; /* POLLHUP is always told */
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}
