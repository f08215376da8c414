/* SPDX-License-Identifier: MIT
 *
 * test_pipe.c: pipes within a process, between forked processes, and when one of them is killed or
 * stopped. Waits have no limit of their own where an answer must come: a watchdog ends a test that
 * hangs.
 */
#include "arena/handle.h"
#include "channel/pipe.h"

#include <ramet/arena.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WATCHDOG 120 /* seconds */

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition,      \
                    errno);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static const ramet_wait now_or_never = {sizeof(ramet_wait), 0};

static void make(int duplex, size_t bytes, ramet_end **a, ramet_end **b)
{
    ramet_pipe_options options = {sizeof options, bytes, duplex};
    CHECK(ramet_pipe_create(&options, a, b) == 0);
}

static void fill(uint8_t *data, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)((i * 31 + seed * 7) ^ (i >> 8));
}

static void send_pattern(ramet_end *end, size_t size, uint32_t seed)
{
    uint8_t *data = malloc(size + 1);
    CHECK(data);
    fill(data, size, seed);
    CHECK(ramet_end_send(end, data, size, NULL) == 0);
    free(data);
}

static void recv_pattern(ramet_end *end, size_t size, uint32_t seed)
{
    uint8_t *data = malloc(size + 1), *expected = malloc(size + 1);
    CHECK(data && expected);
    size_t got = SIZE_MAX;
    CHECK(ramet_end_recv(end, data, size, &got, NULL) == 0);
    CHECK(got == size);
    fill(expected, size, seed);
    CHECK(memcmp(data, expected, size) == 0);
    free(data);
    free(expected);
}

static int recv_any(ramet_end *end, const ramet_wait *wait)
{
    char data[64];
    size_t size;
    int r = ramet_end_recv(end, data, sizeof data, &size, wait);
    return r < 0 ? r : (int)size;
}

static short polled(int fd, int timeout)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    do {
        n = poll(&p, 1, timeout);
    } while (n < 0 && errno == EINTR);
    CHECK(n >= 0);
    return n == 0 ? 0 : p.revents;
}

static pid_t child_of(void (*run)(ramet_end *, ramet_end *), ramet_end *mine, ramet_end *other)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(WATCHDOG);
        run(mine, other);
        _exit(0);
    }
    return pid;
}

static void reaped(pid_t pid, int expected_signal)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (expected_signal)
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == expected_signal);
    else
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(ramet_reap(pid) >= 0);
}

/* ---- in one process */

static void test_sizes(void)
{
    static const size_t sizes[] = {0,    1,    7,    8,     9,     63,    64,     255,    2040,
                                   2047, 2048, 2049, 16383, 16384, 65535, 65536,  100000, 1000000,
                                   0,    5,    2048, 2049,  2048,  1,     4194304};
    ramet_end *a, *b;
    make(1, 0, &a, &b);
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        send_pattern(a, sizes[i], i);
        send_pattern(b, sizes[i] / 2, i + 1);
        recv_pattern(b, sizes[i], i);
        recv_pattern(a, sizes[i] / 2, i + 1);
    }
    ramet_end_close(a);
    ramet_end_close(b);
}

/* A small ring, so that entries wrap at every place. */
static void test_wrap(void)
{
    ramet_end *a, *b;
    make(0, 512, &a, &b);
    for (uint32_t i = 0; i < 3000; i++) {
        size_t size = i * 7919 % 150; /* the limit of inline messages here is 128 */
        send_pattern(b, size, i);
        send_pattern(b, i % 11, i + 1);
        recv_pattern(a, size, i);
        recv_pattern(a, i % 11, i + 1);
    }
    ramet_end_close(a);
    ramet_end_close(b);
}

static void test_one_way(void)
{
    ramet_end *a, *b;
    char c;
    size_t size;
    make(0, 0, &a, &b);
    CHECK(ramet_end_send(a, "x", 1, NULL) == -EBADF);
    CHECK(ramet_end_recv(b, &c, 1, &size, NULL) == -EBADF);
    CHECK(ramet_end_poll(b, NULL) == -EBADF);
    CHECK(ramet_end_next(b, &size) == -EBADF);
    CHECK(ramet_end_poll(a, &now_or_never) == 0);
    CHECK(recv_any(a, &now_or_never) == -ETIMEDOUT);
    CHECK(ramet_end_next(a, &size) == -EAGAIN);
    CHECK(ramet_end_send(b, "xyz", 3, NULL) == 0);
    CHECK(ramet_end_poll(a, NULL) == 1);
    CHECK(ramet_end_next(a, &size) == 0 && size == 3);
    CHECK(ramet_end_recv(a, &c, 1, &size, NULL) == -EMSGSIZE && size == 3);
    CHECK(recv_any(a, NULL) == 3);
    ramet_end_close(b);
    CHECK(ramet_end_poll(a, &now_or_never) == 1);
    CHECK(ramet_end_next(a, &size) == -ENODATA);
    CHECK(recv_any(a, NULL) == -ENODATA);
    ramet_end_close(a);
    ramet_end_close(NULL);
}

static void test_bad_arguments(void)
{
    ramet_end *a = NULL, *b = NULL;
    ramet_pipe_options options = {1, 0, 1};
    ramet_wait strange = {.size = 3};
    CHECK(ramet_pipe_create(&options, &a, &b) == -EINVAL);
    options = (ramet_pipe_options){sizeof options, (size_t)1 << 40, 1};
    CHECK(ramet_pipe_create(&options, &a, &b) == -EINVAL);
    CHECK(a == NULL && b == NULL);
    CHECK(ramet_pipe_create(NULL, &a, &b) == 0);
    CHECK(recv_any(a, &strange) == -EINVAL);
    ramet_end_close(a);
    ramet_end_close(b);
}

static void test_end_of_file(void)
{
    ramet_end *a, *b, *b2;
    ramet_ref ref;
    make(1, 0, &a, &b);
    CHECK(ramet_end_ref(b, &ref) == 0);
    CHECK(ramet_end_open(&ref, -1, &b2) == 0);
    CHECK(ramet_end_send(b, "1", 1, NULL) == 0);
    send_pattern(b2, 100000, 3);
    ramet_end_close(b);
    CHECK(recv_any(a, NULL) == 1);
    recv_pattern(a, 100000, 3);
    CHECK(recv_any(a, &now_or_never) == -ETIMEDOUT); /* b2 is open */
    CHECK(ramet_end_send(b2, "22", 2, NULL) == 0);
    ramet_end_close(b2);
    CHECK(recv_any(a, NULL) == 2);
    CHECK(recv_any(a, NULL) == -ENODATA);
    CHECK(recv_any(a, NULL) == -ENODATA);
    CHECK(ramet_end_send(a, "x", 1, NULL) == -EPIPE);
    ramet_end_close(a);
    CHECK(ramet_end_open(&ref, -1, &b2) == -ESTALE);
}

/* What was sent to nobody, and what was not yet received, is freed with the pipe. */
static void test_nothing_left(void)
{
    ramet_usage before = {.size = sizeof before}, after = {.size = sizeof after};
    ramet_end *a, *b;
    for (int round = 0; round < 3; round++) {
        make(1, 0, &a, &b);
        send_pattern(a, 50000, 1);
        send_pattern(a, 10, 1);
        send_pattern(b, 50000, 1);
        send_pattern(b, 60000, 1);
        if (round == 1) {
            ramet_end_close(a);
            ramet_end_close(b);
        } else {
            recv_pattern(b, 50000, 1);
            ramet_end_close(b);
            ramet_end_close(a);
        }
        CHECK(ramet_arena_usage(round == 0 ? &before : &after) == 0);
    }
    CHECK(before.blocks == after.blocks);
    CHECK(before.bytes_in_use == after.bytes_in_use);
    CHECK(ramet_arena_check(2) == 0);
}

/* A sender that finds no room waits; what may wait in the pipe is bounded. */
static void test_full(void)
{
    ramet_end *a, *b;
    uint32_t sent = 0, received = 0;
    char data[100] = {0};
    size_t size;
    make(0, 4096, &a, &b);
    for (;; sent++) {
        memcpy(data, &sent, sizeof sent);
        int r = ramet_end_send(b, data, sizeof data, &now_or_never);
        if (r == -ETIMEDOUT)
            break;
        CHECK(r == 0);
    }
    CHECK(sent == 4096 / 112);
    ramet_wait soon = ramet_within(20000000);
    CHECK(ramet_end_send(b, data, sizeof data, &soon) == -ETIMEDOUT);
    CHECK(ramet_now() >= soon.deadline);
    for (;; received++) {
        uint32_t n;
        int r = ramet_end_recv(a, data, sizeof data, &size, &now_or_never);
        if (r == -ETIMEDOUT)
            break;
        memcpy(&n, data, sizeof n);
        CHECK(r == 0 && n == received && size == sizeof data);
    }
    CHECK(received == sent);
    /* Large messages: as many as sixteen rings hold, or one of any size. */
    static uint8_t large[40000];
    CHECK(ramet_end_send(b, large, 40000, &now_or_never) == 0);
    CHECK(ramet_end_send(b, large, 40000, &now_or_never) == -ETIMEDOUT);
    CHECK(ramet_end_send(b, large, 20000, &now_or_never) == 0);
    CHECK(ramet_end_send(b, "s", 1, &now_or_never) == 0);
    ramet_end_close(b);
    ramet_end_close(a);
    CHECK(ramet_arena_check(2) == 0);
}

/* ---- between processes */

static void echo(ramet_end *mine, ramet_end *other)
{
    ramet_end_close(other);
    static uint8_t data[1 << 20];
    size_t size;
    int r;
    while ((r = ramet_end_recv(mine, data, sizeof data, &size, NULL)) == 0)
        CHECK(ramet_end_send(mine, data, size, NULL) == 0);
    CHECK(r == -ENODATA);
    ramet_end_close(mine);
}

static void test_echo(void)
{
    ramet_end *a, *b;
    make(1, 0, &a, &b);
    pid_t pid = child_of(echo, b, a);
    ramet_end_close(b);
    for (uint32_t i = 0; i < 3000; i++) {
        size_t size = i % 50 == 0 ? i * 300 : i % 17 * 20;
        send_pattern(a, size, i);
        recv_pattern(a, size, i);
    }
    ramet_end_close(a);
    reaped(pid, 0);
}

#define STREAM 20000

static size_t stream_size(uint32_t i)
{
    return i % 1000 == 0 ? 300000 : i % 100 == 0 ? 5000 : 4 + i % 60;
}

static void stream(ramet_end *mine, ramet_end *other)
{
    ramet_end_close(other);
    static uint8_t data[300000];
    for (uint32_t i = 0; i < STREAM; i++) {
        memcpy(data, &i, sizeof i);
        CHECK(ramet_end_send(mine, data, stream_size(i), NULL) == 0);
    }
    ramet_end_close(mine);
}

/* The sender is faster or slower than the receiver, and waits for room. */
static void test_stream(void)
{
    ramet_end *a, *b;
    static uint8_t data[300000];
    size_t size;
    make(0, 4096, &a, &b);
    pid_t pid = child_of(stream, b, a);
    ramet_end_close(b);
    for (uint32_t i = 0, n; i < STREAM; i++) {
        CHECK(ramet_end_recv(a, data, sizeof data, &size, NULL) == 0);
        memcpy(&n, data, sizeof n);
        CHECK(n == i && size == stream_size(i));
    }
    CHECK(ramet_end_recv(a, data, sizeof data, &size, NULL) == -ENODATA);
    reaped(pid, 0);
    ramet_end_close(a);
}

#define SHARED 20000
static uint32_t *seen_by_all; /* shared with children: how often each number was received */

static void share_send(ramet_end *mine, ramet_end *other)
{
    ramet_end_close(other);
    for (uint32_t i = 0; i < SHARED; i++)
        CHECK(ramet_end_send(mine, &i, sizeof i, NULL) == 0);
    ramet_end_close(mine);
}

static void share_recv(ramet_end *mine, ramet_end *other)
{
    ramet_end_close(other);
    uint32_t i;
    size_t size;
    int r;
    while ((r = ramet_end_recv(mine, &i, sizeof i, &size, NULL)) == 0)
        __atomic_fetch_add(&seen_by_all[i], 1, __ATOMIC_RELAXED);
    CHECK(r == -ENODATA);
    ramet_end_close(mine);
}

static void test_shared_ends(void)
{
    struct rmt_self *self;
    ramet_end *a, *b;
    int hold;
    uint64_t offset;
    CHECK(rmt_self(&self) == 0);
    CHECK(rmt_block_alloc(self, SHARED * sizeof(uint32_t), RAMET_KIND_DATA, &hold, &offset) == 0);
    seen_by_all = rmt_payload(offset);
    memset(seen_by_all, 0, SHARED * sizeof(uint32_t));
    make(0, 1024, &a, &b);
    pid_t pids[4];
    for (int i = 0; i < 4; i++)
        pids[i] = i < 2 ? child_of(share_send, b, a) : child_of(share_recv, a, b);
    ramet_end_close(a);
    ramet_end_close(b);
    for (int i = 0; i < 4; i++)
        reaped(pids[i], 0);
    for (uint32_t i = 0; i < SHARED; i++)
        CHECK(seen_by_all[i] == 2);
    rmt_block_free(self, hold);
    CHECK(ramet_arena_check(2) == 0);
}

static void open_by_reference(ramet_end *mine, ramet_end *other)
{
    ramet_ref ref;
    ramet_end *again;
    CHECK(ramet_end_ref(mine, &ref) == 0);
    int fd = dup(ramet_end_socket(mine));
    CHECK(fd >= 0);
    CHECK(ramet_end_open(&ref, fd, &again) == 0);
    ramet_end_close(mine);
    echo(again, other);
}

static void test_reference(void)
{
    ramet_end *a, *b, *c;
    ramet_ref ref;
    make(1, 0, &a, &b);
    pid_t pid = child_of(open_by_reference, b, a);
    CHECK(ramet_end_ref(b, &ref) == 0);
    ramet_ref wrong = ref;
    wrong.kind = RAMET_KIND_QUEUE;
    CHECK(ramet_end_open(&wrong, -1, &c) == -EINVAL);
    wrong = ref;
    wrong.generation++;
    CHECK(ramet_end_open(&wrong, -1, &c) == -ESTALE);
    ramet_end_close(b);
    send_pattern(a, 1000, 1);
    recv_pattern(a, 1000, 1);
    CHECK(polled(ramet_end_fd(a), 0) == 0);
    send_pattern(a, 100000, 2);
    CHECK(polled(ramet_end_fd(a), -1) == POLLIN);
    recv_pattern(a, 100000, 2);
    ramet_end_close(a);
    reaped(pid, 0);
}

/* ---- the descriptor */

static void test_descriptor(void)
{
    ramet_end *a, *b;
    make(1, 0, &a, &b);
    CHECK(ramet_end_send(b, "1", 1, NULL) == 0); /* there before anybody asks */
    int fd = ramet_end_fd(a);
    CHECK(fd >= 0 && polled(fd, 0) == POLLIN && polled(fd, 0) == POLLIN);
    CHECK(ramet_end_fd(a) == fd && polled(fd, 0) == POLLIN);
    CHECK(recv_any(a, NULL) == 1);
    CHECK(polled(fd, 0) == 0);
    for (int i = 0; i < 2000; i++) { /* more messages than a socket buffer holds bytes of a bell */
        CHECK(ramet_end_send(b, "22", 2, NULL) == 0);
        CHECK(polled(fd, 0) == POLLIN);
    }
    for (int i = 0; i < 2000; i++) {
        CHECK(polled(fd, 0) == POLLIN);
        CHECK(recv_any(a, NULL) == 2);
    }
    CHECK(polled(fd, 0) == 0);
    CHECK(ramet_end_poll(a, &now_or_never) == 0);
    CHECK(polled(ramet_end_fd(b), 0) == 0);
    CHECK(ramet_end_send(a, "333", 3, NULL) == 0);
    CHECK(polled(ramet_end_socket(b), 0) == POLLIN);
    ramet_end_close(b);
    CHECK((polled(fd, 0) & (POLLIN | POLLHUP)) == (POLLIN | POLLHUP));
    CHECK(recv_any(a, NULL) == -ENODATA);
    ramet_end_close(a);
    CHECK(ramet_arena_check(2) == 0);
}

/* A handle without a descriptor cannot ring, and says so instead of leaving a poller asleep. */
static void test_no_descriptor(void)
{
    ramet_end *a, *b, *c;
    ramet_ref ref;
    make(1, 0, &a, &b);
    CHECK(ramet_end_ref(b, &ref) == 0);
    CHECK(ramet_end_open(&ref, -1, &c) == 0);
    CHECK(ramet_end_fd(c) == -EBADF);
    CHECK(ramet_end_socket(c) == -EBADF);
    CHECK(ramet_end_send(c, "1", 1, NULL) == 0);
    CHECK(recv_any(a, NULL) == 1);
    CHECK(ramet_end_fd(a) >= 0);
    CHECK(ramet_end_send(c, "1", 1, NULL) == -ENOTCONN);
    CHECK(ramet_end_send(b, "22", 2, NULL) == 0);
    CHECK(ramet_end_send(c, "333", 3, NULL) == 0); /* the bell has rung already */
    CHECK(recv_any(a, NULL) == 2);
    CHECK(recv_any(a, NULL) == 3);
    ramet_end_close(c);
    ramet_end_close(b);
    ramet_end_close(a);
}

static void bursts(ramet_end *mine, ramet_end *other)
{
    ramet_end_close(other);
    for (uint32_t i = 0; i < STREAM; i++) {
        CHECK(ramet_end_send(mine, &i, sizeof i, NULL) == 0);
        if (i % 64 == 0)
            usleep(i % 3 * 50);
    }
    ramet_end_close(mine);
}

/* A receiver that only ever waits in poll(2), two senders: it never sleeps past a message. */
static void test_poller(void)
{
    ramet_end *a, *b;
    make(0, 1024, &a, &b);
    pid_t one = child_of(bursts, b, a), two = child_of(bursts, b, a);
    int fd = ramet_end_fd(a);
    ramet_end_close(b);
    uint32_t count = 0, sum = 0, spurious = 0;
    for (;;) {
        short events = polled(fd, -1);
        CHECK((events & POLLIN) != 0);
        uint32_t i;
        size_t size;
        int r = ramet_end_recv(a, &i, sizeof i, &size, &now_or_never);
        if (r == -ENODATA)
            break;
        if (r ==
            -ETIMEDOUT) { /* hung up, not yet known to be dead; or rung and not yet published */
            spurious++;
            ramet_end_poll(a, &now_or_never);
            continue;
        }
        CHECK(r == 0);
        count++;
        sum += i;
    }
    CHECK(count == 2 * STREAM && sum == (uint32_t)STREAM * (STREAM - 1));
    reaped(one, 0);
    reaped(two, 0);
    ramet_end_close(a);
}

/* ---- deaths */

static void sleep_for_ever(ramet_end *mine, ramet_end *other)
{
    ramet_end_close(other);
    CHECK(ramet_end_send(mine, "up", 2, NULL) == 0);
    for (;;)
        pause();
}

static void *kill_soon(void *arg)
{
    usleep(100000);
    kill(*(pid_t *)arg, SIGKILL);
    return NULL;
}

/* The receiver sleeps already; nobody reaps the dead one. */
static void test_killed_sender(void)
{
    ramet_end *a, *b;
    pthread_t thread;
    make(1, 0, &a, &b);
    pid_t pid = child_of(sleep_for_ever, b, a);
    ramet_end_close(b);
    CHECK(recv_any(a, NULL) == 2);
    CHECK(pthread_create(&thread, NULL, kill_soon, &pid) == 0);
    CHECK(recv_any(a, NULL) == -ENODATA);
    CHECK(ramet_end_send(a, "x", 1, NULL) == -EPIPE);
    CHECK(pthread_join(thread, NULL) == 0);
    reaped(pid, SIGKILL);
    ramet_end_close(a);
}

/* As above, with a copy of the descriptor left somewhere, so that nothing hangs up. */
static void test_killed_sender_without_hang_up(void)
{
    ramet_end *a, *b;
    pthread_t thread;
    make(1, 0, &a, &b);
    pid_t pid = child_of(sleep_for_ever, b, a);
    int copy = dup(ramet_end_socket(b));
    CHECK(copy >= 0);
    ramet_end_close(b);
    CHECK(recv_any(a, NULL) == 2);
    CHECK(pthread_create(&thread, NULL, kill_soon, &pid) == 0);
    CHECK(recv_any(a, NULL) == -ENODATA);
    CHECK(pthread_join(thread, NULL) == 0);
    reaped(pid, SIGKILL);
    close(copy);
    ramet_end_close(a);
}

static void test_killed_receiver(void)
{
    ramet_end *a, *b;
    pthread_t thread;
    make(1, 1024, &a, &b);
    pid_t pid = child_of(sleep_for_ever, b, a);
    ramet_end_close(b);
    CHECK(recv_any(a, NULL) == 2);
    CHECK(pthread_create(&thread, NULL, kill_soon, &pid) == 0);
    int r;
    while ((r = ramet_end_send(a, "0123456789", 10, NULL)) == 0)
        ;
    CHECK(r == -EPIPE);
    CHECK(pthread_join(thread, NULL) == 0);
    reaped(pid, SIGKILL);
    ramet_end_close(a);
}

/* A poller finds the end of file of a process that was killed. */
static void test_killed_and_polled(void)
{
    ramet_end *a, *b;
    make(1, 0, &a, &b);
    pid_t pid = child_of(sleep_for_ever, b, a);
    ramet_end_close(b);
    CHECK(recv_any(a, NULL) == 2);
    int fd = ramet_end_fd(a);
    CHECK(polled(fd, 0) == 0);
    kill(pid, SIGKILL);
    CHECK((polled(fd, -1) & POLLHUP) != 0);
    CHECK(ramet_end_poll(a, NULL) == 1);
    CHECK(recv_any(a, NULL) == -ENODATA);
    reaped(pid, SIGKILL);
    ramet_end_close(a);
}

/* A stopped process is not dead. */
static void test_stopped(void)
{
    ramet_end *a, *b;
    int status;
    make(1, 0, &a, &b);
    pid_t pid = child_of(echo, b, a);
    ramet_end_close(b);
    kill(pid, SIGSTOP);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK(ramet_end_send(a, "four", 4, NULL) == 0);
    ramet_wait a_while = ramet_within(700000000);
    CHECK(recv_any(a, &a_while) == -ETIMEDOUT);
    kill(pid, SIGCONT);
    CHECK(recv_any(a, NULL) == 4);
    ramet_end_close(a);
    reaped(pid, 0);
}

static void send_for_ever(ramet_end *mine, ramet_end *other)
{
    ramet_end_close(other);
    static uint8_t data[5000];
    for (uint32_t i = 0;; i++) {
        size_t size = i % 5 == 0 ? sizeof data : 4 + i % 40;
        memcpy(data, &i, sizeof i);
        memset(data + 4, (int)(i % 251), size - 4);
        CHECK(ramet_end_send(mine, data, size, NULL) == 0);
    }
}

/* Senders are killed anywhere while another one, and a poller, go on: each message is whole, each
 * sender's are in order without a gap, and the poller never sleeps on a pipe that is not empty. */
static void test_killed_anywhere(void)
{
    ramet_end *a, *b;
    static uint8_t data[5000];
    make(0, 4096, &a, &b);
    int fd = ramet_end_fd(a);
    for (uint32_t round = 0; round < 60; round++) {
        pid_t pid = child_of(send_for_ever, b, a);
        uint32_t expected = 0, n, stop = round * 37 % 500;
        for (int dead = 0;;) {
            size_t size;
            if (polled(fd, dead ? 0 : -1) == 0) {
                CHECK(ramet_end_poll(a, &now_or_never) == 0);
                break;
            }
            int r = ramet_end_recv(a, data, sizeof data, &size, &now_or_never);
            if (r == -ETIMEDOUT) {
                if (dead && polled(fd, 0) == 0)
                    break;
                continue;
            }
            CHECK(r == 0);
            memcpy(&n, data, sizeof n);
            CHECK(n == expected && size == (n % 5 == 0 ? sizeof data : 4 + n % 40));
            for (size_t i = 4; i < size; i++)
                CHECK(data[i] == n % 251);
            if (++expected > stop && !dead) {
                kill(pid, SIGKILL);
                reaped(pid, SIGKILL);
                dead = 1;
            }
        }
    }
    CHECK(ramet_arena_check(2) == 0);
    ramet_end_close(a);
    ramet_end_close(b);
    CHECK(ramet_arena_check(2) == 0);
}

/* ---- signals and threads */

static void on_alarm(int signal)
{
    (void)signal;
}

static void *signal_soon(void *arg)
{
    usleep(50000);
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

static void test_interrupted(void)
{
    ramet_end *a, *b;
    pthread_t me = pthread_self(), thread;
    struct sigaction action = {.sa_handler = on_alarm};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    make(1, 0, &a, &b);
    CHECK(pthread_create(&thread, NULL, signal_soon, &me) == 0);
    CHECK(recv_any(a, NULL) == -EINTR);
    CHECK(pthread_join(thread, NULL) == 0);
    ramet_end_close(a);
    ramet_end_close(b);
}

static void *thread_echo(void *arg)
{
    ramet_end *end = arg;
    uint32_t i;
    size_t size;
    int r;
    while ((r = ramet_end_recv(end, &i, sizeof i, &size, NULL)) == 0)
        CHECK(ramet_end_send(end, &i, sizeof i, NULL) == 0);
    CHECK(r == -ENODATA);
    return NULL;
}

static void test_threads(void)
{
    ramet_end *a, *b;
    pthread_t threads[3];
    make(1, 0, &a, &b);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, thread_echo, b) == 0);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        size_t size;
        uint32_t n;
        CHECK(ramet_end_send(a, &i, sizeof i, NULL) == 0);
        CHECK(ramet_end_recv(a, &n, sizeof n, &size, NULL) == 0);
        sum += n;
    }
    CHECK(sum == 3000ull * 2999 / 2);
    ramet_end_close(a);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    ramet_end_close(b);
}

/* What no process closes is closed by its death, whose proof is a pidfd. */
static void test_deaths(void)
{
    long fd = syscall(SYS_pidfd_open, getpid(), 0);
    if (fd < 0 && errno == ENOSYS) {
        printf("no pidfds here (an old valgrind?): not tested: deaths\n");
        return;
    }
    CHECK(fd >= 0);
    close((int)fd);
    test_killed_sender();
    test_killed_sender_without_hang_up();
    test_killed_receiver();
    test_killed_and_polled();
    test_killed_anywhere();
}

int main(void)
{
    alarm(WATCHDOG);
    test_sizes();
    test_wrap();
    test_one_way();
    test_bad_arguments();
    test_end_of_file();
    test_nothing_left();
    test_full();
    test_echo();
    test_stream();
    test_shared_ends();
    test_reference();
    test_descriptor();
    test_no_descriptor();
    test_poller();
    test_stopped();
    test_interrupted();
    test_threads();
    test_deaths();
    return 0;
}
