/* SPDX-License-Identifier: MIT
 *
 * packet.c: see packet.h.
 */
#include "process/packet.h"
#include "base/fault.h"
#include "base/nocancel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    char space[CMSG_SPACE(sizeof(int) * RMT_PACKET_FDS)];
    struct cmsghdr align;
};

int rmt_packet_send(int socket, const void *data, size_t size, const int *fds, int count)
{
    RMT_NO_CANCEL;
    int r = rmt_fault(RMT_FAULT_SENDMSG);
    if (r < 0)
        return r;
    struct iovec part = {(void *)(uintptr_t)data, size};
    union control control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)count);
    ssize_t n;
    do {
        n = sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int rmt_packet_receive(int socket, void *data, size_t size, int *fds, int count, int flags)
{
    RMT_NO_CANCEL;
    union control control;
    struct iovec part = {data, size};
    size_t room = CMSG_LEN(sizeof(int) * (size_t)count); /* CMSG_SPACE might hold one more */
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = room};
    ssize_t n;
    do {
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    int got = 0;
    if (c && c->cmsg_len <= room && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        got = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(c), sizeof(int) * (size_t)got);
    }
    if (n == (ssize_t)size && got == count && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return 1;
    for (int i = 0; i < got; i++)
        close(fds[i]);
    return n == (ssize_t)size && (message.msg_flags & MSG_CTRUNC) ? -EMFILE : -EPROTO;
}
