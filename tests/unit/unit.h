/* SPDX-License-Identifier: MIT
 *
 * unit.h: what the C tests share: CHECK, a watchdog, children.  A test is a program; it prints what
 * failed and exits with 1; exit status 77 is a skip.
 */
#ifndef RAMET_TEST_UNIT_H
#define RAMET_TEST_UNIT_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                \
            _exit(1); /* also in a child: its parent checks the status */                          \
        }                                                                                          \
    } while (0)

/* The value of a call that must succeed. */
#define OK(call)                                                                                   \
    __extension__({                                                                                \
        int ok_ = (call);                                                                          \
        if (ok_ < 0) {                                                                             \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, strerror(-ok_));         \
            _exit(1);                                                                              \
        }                                                                                          \
        ok_;                                                                                       \
    })

#define RUN(test)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "%s\n", #test);                                                            \
        test();                                                                                    \
    } while (0)

/* A hung test dies by SIGALRM: not a limit that a slow machine meets. Inherited by no child: see
 * child(). */
static inline void watchdog(void)
{
    alarm(600);
}

/* Forks; in the child runs fn(arg) and exits with 0.  The child dies with a hung test. */
static inline pid_t child(void (*fn)(void *), void *arg)
{
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    if (pid == 0) {
        watchdog();
        fn(arg);
        _exit(0);
    }
    return pid;
}

/* Waits for a child; its exit code, or minus the signal that ended it. */
static inline int finish(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        CHECK(errno == EINTR);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#endif
