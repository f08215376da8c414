/* SPDX-License-Identifier: MIT
 *
 * fuzz_server.c: what the fork server reads: packets with descriptors, of which there may be too
 * many or too few, and requests, which lie in a message.
 */
#include "arena/local.h"
#include "channel/message.h"
#include "fuzz.h"
#include "process/packet.h"
#include "process/start.h"
#include "process/task.h"

#include <errno.h>
#include <ramet/ramet.h>
#include <sys/socket.h>
#include <unistd.h>

extern char **environ;

static int noop(const void *arg, size_t size)
{
    read_all(arg, size);
    return 0;
}

static const ramet_task table[] = {{"task", noop}};

/* ---- packets */

#define MANY 9

static void send_packet(int socket, struct input *in, unsigned count)
{
    int fds[MANY];
    uint8_t bytes[2 * sizeof(struct rmt_server_request)];
    struct iovec part = {bytes, take_byte(in) & 1 ? sizeof(struct rmt_server_request)
                                                  : 1 + take_byte(in) % (sizeof bytes - 1)};
    union {
        char space[CMSG_SPACE(sizeof fds)];
        struct cmsghdr align;
    } control = {.space = {0}};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    take(in, bytes, sizeof bytes);
    for (unsigned i = 0; i < count; i++)
        fds[i] = 2;
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    }
    MUST(sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)part.iov_len);
}

static void packet(struct input *in)
{
    int pair[2];
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    int before = dup(2);
    close(before);
    struct {
        int fds[RMT_SERVER_FDS];
        int beyond;
    } got = {.beyond = 0x5a5a5a5a};
    struct rmt_server_request request;
    send_packet(pair[0], in, take_byte(in) % (MANY + 1));
    int r = rmt_server_receive(pair[1], &request, got.fds, 0);
    MUST(r == 1 || r == -EPROTO || r == -EMFILE);
    MUST(got.beyond == 0x5a5a5a5a);
    for (int i = 0; r == 1 && i < RMT_SERVER_FDS; i++)
        MUST(close(got.fds[i]) == 0);
    int after = dup(2); /* lowest first: none is left open */
    MUST(after == before);
    close(after);
    close(pair[0]);
    close(pair[1]);
}

/* ---- requests */

static void request(struct input *in)
{
    struct rmt_self *self;
    struct rmt_handle handle;
    struct rmt_request r = {.size = sizeof r, .name_size = 5};
    char name[8] = "task", rest[64];
    int hold;
    uint64_t offset;
    uint8_t change = take_byte(in);
    r.arg_size = take_byte(in) % 48;
    r.environment_size = take_byte(in) % 16;
    size_t size = 5 + r.arg_size + r.environment_size;
    uint32_t attempt = change & 1;
    if (change & 2)
        r.size = take_word(in);
    if (change & 4)
        r.name_size = take_word(in);
    if (change & 8)
        r.arg_size = take_word(in);
    if (change & 16)
        r.environment_size = take_word(in);
    if (change & 32)
        name[take_byte(in) % 5] = (char)take_byte(in);
    if (change & 64)
        size = take_byte(in) % 64;
    take(in, rest, sizeof rest);
    memcpy(rest, name, 5);
    const struct iovec parts[] = {{&r, change & 128 ? take_byte(in) % sizeof r : sizeof r},
                                  {rest, size < sizeof rest ? size : sizeof rest}};
    MUST(rmt_self(&self) == 0);
    r.asker = rest[60] & 1 ? self->word : take_word(in);
    rmt_store32_relaxed(&r.allowed, (1 + (rest[61] & 1u)) << 1 | (rest[62] & 1u));
    MUST(rmt_message_build(self, parts, 2, NULL, 0, &hold, &offset) == 0);
    MUST(rmt_handle_create(self, hold, &handle) == 0);
    ramet_ref ref = rmt_handle_ref(&handle);
    char **before = environ;
    int code = rmt_request_run(&ref, attempt);
    if (environ != before)
        free(environ);
    environ = before;
    MUST(code == 0 || code == RMT_EXIT_LOST);
    rmt_handle_close(self, &handle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    rmt_tasks = table;
    rmt_task_count = 1;
    if (take_byte(&in) & 1)
        packet(&in);
    else
        request(&in);
    return 0;
}
