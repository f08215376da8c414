/* SPDX-License-Identifier: MIT
 *
 * test_pipe.c: pipes within one process: messages, bounds, the end of file, the descriptor,
 * threads.
 */
#include "pipe_common.h"

#include "base/atomic.h"
#include "channel/message.h"

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

/* ---- signals and threads */

static void on_alarm(int signal)
{
    (void)signal;
}

static rmt_a32 interrupted;

/* Again and again: one that comes before the sleep, or between two slices of it, ends none. */
static void *signal_often(void *arg)
{
    while (rmt_load32(&interrupted) == 0) {
        pthread_kill(*(pthread_t *)arg, SIGUSR1);
        usleep(5000);
    }
    return NULL;
}

static void test_interrupted(void)
{
    ramet_end *a, *b;
    pthread_t me = pthread_self(), thread;
    struct sigaction action = {.sa_handler = on_alarm};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    make(1, 0, &a, &b);
    CHECK(pthread_create(&thread, NULL, signal_often, &me) == 0);
    CHECK(recv_any(a, NULL) == -EINTR);
    rmt_store32(&interrupted, 1);
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

/* ---- whether a message was received */

static void recv_into(ramet_end *end, uint8_t *data, size_t size)
{
    size_t got;
    CHECK(ramet_end_recv(end, data, size, &got, NULL) == 0 && got == size);
}

/* Sends a message of a block at the internal interface, and tells the position behind it. */
static uint64_t put_block(ramet_end *end, uint8_t *data, size_t size)
{
    struct rmt_self *self;
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct rmt_pipe_message m = {.size = size, .hold = -1};
    CHECK(rmt_self(&self) == 0);
    CHECK(rmt_message_build(self, &part, 1, NULL, 0, &m.hold, &m.block) == 0);
    CHECK(rmt_pipe_put(self, end, &m) == 0);
    return m.behind;
}

/* Sends, and waits until it was received, or nobody can do that any more. */
struct watched {
    ramet_end *end;
    uint64_t behind;
    int result;
};

static void *wait_for_taken(void *arg)
{
    struct watched *watched = arg;
    struct rmt_waiter w;
    struct rmt_self *self;
    CHECK(rmt_self(&self) == 0);
    CHECK(rmt_wait_start(&w, self, NULL) == 0);
    while ((watched->result = rmt_pipe_taken(watched->end, watched->behind)) == 0)
        CHECK(rmt_pipe_await_taken(watched->end, &w, watched->behind) == 0);
    return NULL;
}

static void test_taken(void)
{
    static uint8_t data[70000];
    ramet_end *a, *b;
    pthread_t thread;
    make(1, 4096, &a, &b);
    CHECK(!rmt_pipe_beyond_bound(a, RMT_PIPE_BLOCKS * 4096));
    CHECK(rmt_pipe_beyond_bound(a, RMT_PIPE_BLOCKS * 4096 + 1));
    struct watched first = {a, put_block(a, data, sizeof data), 0};
    struct rmt_waiter w;
    struct rmt_self *self;
    CHECK(rmt_self(&self) == 0 && rmt_wait_start(&w, self, &now_or_never) == 0);
    CHECK(rmt_pipe_taken(a, first.behind) == 0);
    CHECK(rmt_pipe_await_taken(a, &w, first.behind) == -ETIMEDOUT);
    CHECK(pthread_create(&thread, NULL, wait_for_taken, &first) == 0);
    recv_into(b, data, sizeof data);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(first.result == 1);
    /* The last is not received, though its block is freed when the other end closes. */
    uint64_t second = put_block(a, data, 5000);
    struct watched third = {a, put_block(a, data, 6000), 0};
    recv_into(b, data, 5000);
    CHECK(pthread_create(&thread, NULL, wait_for_taken, &third) == 0);
    ramet_end_close(b);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(third.result == -EPIPE);
    CHECK(rmt_pipe_taken(a, second) == 1);
    ramet_end_close(a);
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
    test_descriptor();
    test_no_descriptor();
    test_interrupted();
    test_threads();
    test_taken();
    return 0;
}
