/* SPDX-License-Identifier: MIT
 *
 * pipe_common.h: what the tests of the pipe share.  Waits have no limit of their own where an
 * answer must come: a watchdog ends a test that hangs.
 */
#ifndef PIPE_COMMON_H
#define PIPE_COMMON_H

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

#define WATCHDOG 600 /* seconds */

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition,      \
                    errno);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static const ramet_wait now_or_never = {sizeof(ramet_wait), 0};

static inline void make(int duplex, size_t bytes, ramet_end **a, ramet_end **b)
{
    ramet_pipe_options options = {sizeof options, bytes, duplex};
    CHECK(ramet_pipe_create(&options, a, b) == 0);
}

static inline void fill(uint8_t *data, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)((i * 31 + seed * 7) ^ (i >> 8));
}

static inline void send_pattern(ramet_end *end, size_t size, uint32_t seed)
{
    uint8_t *data = malloc(size + 1);
    CHECK(data);
    fill(data, size, seed);
    CHECK(ramet_end_send(end, data, size, NULL) == 0);
    free(data);
}

static inline void recv_pattern(ramet_end *end, size_t size, uint32_t seed)
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

static inline int recv_any(ramet_end *end, const ramet_wait *wait)
{
    char data[64];
    size_t size;
    int r = ramet_end_recv(end, data, sizeof data, &size, wait);
    return r < 0 ? r : (int)size;
}

static inline short polled(int fd, int timeout)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    do {
        n = poll(&p, 1, timeout);
    } while (n < 0 && errno == EINTR);
    CHECK(n >= 0);
    return n == 0 ? 0 : p.revents;
}

static inline pid_t child_of(void (*run)(ramet_end *, ramet_end *), ramet_end *mine,
                             ramet_end *other)
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

static inline void reaped(pid_t pid, int expected_signal)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (expected_signal)
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == expected_signal);
    else
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(ramet_reap(pid) >= 0);
}

#endif
