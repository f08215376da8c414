/* SPDX-License-Identifier: MIT
 *
 * test_pipe_peers.c: pipes between forked processes, and when one of them is killed or stopped.
 */
#include "pipe_common.h"

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

static void become_another_program(ramet_end *mine, ramet_end *other)
{
    ramet_end_close(other);
    CHECK(ramet_end_send(mine, "up", 2, NULL) == 0);
    execlp("sleep", "sleep", "100000", (char *)NULL);
}

/* exec is a leave: the process lives on, but it has no end any more. */
static void test_exec(void)
{
    ramet_end *a, *b;
    make(1, 0, &a, &b);
    pid_t pid = child_of(become_another_program, b, a);
    ramet_end_close(b);
    CHECK(recv_any(a, NULL) == 2);
    CHECK(recv_any(a, NULL) == -ENODATA);
    kill(pid, SIGKILL);
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
    test_exec();
    test_killed_and_polled();
    test_killed_anywhere();
}

int main(void)
{
    alarm(WATCHDOG);
    test_echo();
    test_stream();
    test_shared_ends();
    test_reference();
    test_poller();
    test_stopped();
    test_deaths();
    return 0;
}
