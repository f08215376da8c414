/* SPDX-License-Identifier: MIT
 *
 * fault_calls.c: the functions that --wrap puts in the place of the C library's; see fault_calls.h.
 * Each either fails with an error that the real one has, or calls it.
 */
#include "fault_calls.h"
#include "base/atomic.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int armed_in; /* pid; 0 nowhere */
static atomic_uint left;    /* calls until the one that fails */
static struct fault last;   /* written by the thread whose call fails, once */
static atomic_long allocations;
static int report_to = -1;

void fault_arm(unsigned nth)
{
    last = (struct fault){NULL, 0};
    atomic_store(&left, nth);
    atomic_store(&armed_in, nth > 0 ? getpid() : 0);
}

struct fault fault_disarm(void)
{
    atomic_store(&armed_in, 0);
    return last;
}

/* ---- elsewhere.  The pipe survives exec; its number goes through the environment. */

#define ELSEWHERE "RAMET_TEST_FAULT"
static int report_from = -1;

struct report {
    char call[40];
    int error;
};

void fault_arm_elsewhere(const char *where, unsigned nth)
{
    int fds[2];
    char text[64];
    if (pipe(fds) < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ||
        fcntl(fds[0], F_SETFD, FD_CLOEXEC) < 0)
        abort();
    report_from = fds[0];
    report_to = fds[1];
    snprintf(text, sizeof text, "%s %u %d", where, nth, fds[1]);
    setenv(ELSEWHERE, text, 1);
}

struct fault fault_elsewhere_done(void)
{
    static struct report report;
    struct fault fault = {NULL, 0};
    unsetenv(ELSEWHERE);
    if (read(report_from, &report, sizeof report) == (ssize_t)sizeof report)
        fault = (struct fault){report.call, report.error};
    close(report_from);
    close(report_to);
    report_from = report_to = -1;
    return fault;
}

void fault_no_more(void)
{
    unsetenv(ELSEWHERE);
}

static void tell(void)
{
    struct report report = {.error = last.error};
    snprintf(report.call, sizeof report.call, "%s", last.call);
    if (report_to >= 0 && write(report_to, &report, sizeof report) < 0)
        abort();
}

void fault_start(const char *where)
{
    const char *text = getenv(ELSEWHERE);
    char name[32];
    unsigned nth;
    if (text && sscanf(text, "%31s %u %d", name, &nth, &report_to) == 3 && strcmp(name, where) == 0)
        fault_arm(nth);
}

long fault_allocations(void)
{
    return atomic_load(&allocations);
}

int __real_poll(struct pollfd *fds, nfds_t count, int ms);

/* A server outlives the run that it was armed for: what it is asked for later does not fail. */
static bool nobody_listens(void)
{
    struct pollfd end = {.fd = report_to};
    return report_to >= 0 && __real_poll(&end, 1, 0) == 1 && (end.revents & POLLERR) != 0;
}

/* Whether this call is the one that fails; then errno says how. */
static bool fails_as(const char *call, int error, int seen)
{
    if (atomic_load(&armed_in) == 0 || atomic_load(&armed_in) != getpid() ||
        atomic_fetch_sub(&left, 1) != 1)
        return false;
    atomic_store(&armed_in, 0);
    if (nobody_listens())
        return false;
    last = (struct fault){call, -seen};
    tell();
    errno = error;
    return true;
}

static bool fails(const char *call, int error)
{
    return fails_as(call, error, error);
}

/* `arguments` in brackets; the function's own declaration is in the header of the C library. */
#define REAL(result, name, parameters)                                                             \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters

#define FAIL_OR_CALL(name, error, failed, arguments)                                               \
    {                                                                                              \
        return fails(#name, error) ? (failed) : __real_##name arguments;                           \
    }

/* Functions with a file offset have two names in glibc. */
#if defined(__GLIBC__) && defined(__USE_FILE_OFFSET64)
#define REAL_OFFSET(result, name, parameters, error, failed, arguments)                            \
    REAL(result, name##64, parameters)                                                             \
    FAIL_OR_CALL(name##64, error, failed, arguments)
#else
#define REAL_OFFSET(result, name, parameters, error, failed, arguments)                            \
    REAL(result, name, parameters)                                                                 \
    FAIL_OR_CALL(name, error, failed, arguments)
#endif

/* ---- memory */

static void *counted(void *p)
{
    if (p)
        atomic_fetch_add(&allocations, 1);
    return p;
}

REAL(void *, malloc, (size_t size))
{
    return fails("malloc", ENOMEM) ? NULL : counted(__real_malloc(size));
}

REAL(void *, calloc, (size_t count, size_t size))
{
    return fails("calloc", ENOMEM) ? NULL : counted(__real_calloc(count, size));
}

REAL(void *, realloc, (void *p, size_t size))
{
    if (fails("realloc", ENOMEM))
        return NULL;
    return p ? __real_realloc(p, size) : counted(__real_realloc(NULL, size));
}

REAL(char *, strndup, (const char *text, size_t size))
{
    return fails("strndup", ENOMEM) ? NULL : counted(__real_strndup(text, size));
}

REAL(void, free, (void *p))
{
    if (p)
        atomic_fetch_sub(&allocations, 1);
    __real_free(p);
}

REAL_OFFSET(void *, mmap, (void *at, size_t size, int prot, int flags, int fd, off_t offset),
            ENOMEM, MAP_FAILED, (at, size, prot, flags, fd, offset))
REAL(int, madvise, (void *at, size_t size, int advice))
FAIL_OR_CALL(madvise, ENOMEM, -1, (at, size, advice))

/* ---- files */

REAL(int, memfd_create, (const char *name, unsigned flags))
FAIL_OR_CALL(memfd_create, EMFILE, -1, (name, flags))
REAL_OFFSET(int, ftruncate, (int fd, off_t size), EFBIG, -1, (fd, size))
REAL(int, pipe2, (int fds[2], int flags))
FAIL_OR_CALL(pipe2, EMFILE, -1, (fds, flags))
REAL_OFFSET(int, fstat, (int fd, struct stat *to), EOVERFLOW, -1, (fd, to))
REAL_OFFSET(ssize_t, pread, (int fd, void *to, size_t size, off_t at), EIO, -1, (fd, to, size, at))
REAL_OFFSET(FILE *, fopen, (const char *path, const char *mode), EMFILE, NULL, (path, mode))
REAL(DIR *, opendir, (const char *path))
FAIL_OR_CALL(opendir, EMFILE, NULL, (path))
REAL(ssize_t, readlink, (const char *path, char *to, size_t size))
FAIL_OR_CALL(readlink, EACCES, -1, (path, to, size))
REAL(int, fchdir, (int fd))
FAIL_OR_CALL(fchdir, EACCES, -1, (fd))
REAL(int, sched_setaffinity, (pid_t pid, size_t size, const cpu_set_t *cpus))
FAIL_OR_CALL(sched_setaffinity, EPERM, -1, (pid, size, cpus))
REAL(int, dup2, (int from, int to))
FAIL_OR_CALL(dup2, EBUSY, -1, (from, to))

REAL(int, dup3, (int from, int to, int flags))
FAIL_OR_CALL(dup3, EBUSY, -1, (from, to, flags))

REAL(int, eventfd, (unsigned count, int flags))
FAIL_OR_CALL(eventfd, EMFILE, -1, (count, flags))
REAL(ssize_t, getrandom, (void *to, size_t size, unsigned flags))
FAIL_OR_CALL(getrandom, ENOSYS, -1, (to, size, flags))

#if defined(__GLIBC__) && defined(__USE_FILE_OFFSET64)
#define OPEN(end) end##open64
#define FCNTL(end) end##fcntl64
#define FALLOCATE(end) end##fallocate64
#else
#define OPEN(end) end##open
#define FCNTL(end) end##fcntl
#define FALLOCATE(end) end##fallocate
#endif

/* The arena says that there is no memory, which is what "no space" is for a memfd. */
int FALLOCATE(__real_)(int fd, int mode, off_t at, off_t size);
int FALLOCATE(__wrap_)(int fd, int mode, off_t at, off_t size);
int FALLOCATE(__wrap_)(int fd, int mode, off_t at, off_t size)
{
    return fails_as("fallocate", ENOSPC, ENOMEM) ? -1 : FALLOCATE(__real_)(fd, mode, at, size);
}

int OPEN(__real_)(const char *path, int flags, ...);
int OPEN(__wrap_)(const char *path, int flags, ...);
int OPEN(__wrap_)(const char *path, int flags, ...)
{
    return fails("open", EMFILE) ? -1 : OPEN(__real_)(path, flags); /* nothing here creates */
}

/* Asking for flags cannot fail; duplicating can. */
int FCNTL(__real_)(int fd, int command, ...);
int FCNTL(__wrap_)(int fd, int command, ...);
int FCNTL(__wrap_)(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    int argument = va_arg(arguments, int);
    va_end(arguments);
    if (command == F_DUPFD_CLOEXEC && fails("fcntl", EMFILE))
        return -1;
    return FCNTL(__real_)(fd, command, argument);
}

/* ---- waiting, sockets */

REAL(int, poll, (struct pollfd * fds, nfds_t count, int ms))
FAIL_OR_CALL(poll, ENOMEM, -1, (fds, count, ms))
REAL(int, ppoll,
     (struct pollfd * fds, nfds_t count, const struct timespec *limit, const sigset_t *set))
FAIL_OR_CALL(ppoll, ENOMEM, -1, (fds, count, limit, set))
REAL(int, signalfd, (int fd, const sigset_t *set, int flags))
FAIL_OR_CALL(signalfd, EMFILE, -1, (fd, set, flags))
REAL(int, socketpair, (int domain, int type, int protocol, int fds[2]))
FAIL_OR_CALL(socketpair, EMFILE, -1, (domain, type, protocol, fds))
REAL(ssize_t, send, (int fd, const void *from, size_t size, int flags))
FAIL_OR_CALL(send, ENOBUFS, -1, (fd, from, size, flags))
REAL(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags))
FAIL_OR_CALL(sendmsg, ENOBUFS, -1, (fd, message, flags))
REAL(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags))
FAIL_OR_CALL(recvmsg, ENOMEM, -1, (fd, message, flags))

/* ---- processes and threads */

REAL(pid_t, fork, (void))
FAIL_OR_CALL(fork, EAGAIN, -1, ())
REAL(int, prctl, (int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d))
FAIL_OR_CALL(prctl, EINVAL, -1, (option, a, b, c, d))

/* These return their error. */
#define REAL_RETURNING(name, parameters, error, arguments)                                         \
    REAL(int, name, parameters)                                                                    \
    {                                                                                              \
        return fails(#name, error) ? (error) : __real_##name arguments;                            \
    }

REAL_RETURNING(posix_spawn,
               (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const environment[]),
               EAGAIN, (pid, path, actions, attributes, argv, environment))
REAL_RETURNING(posix_spawn_file_actions_init, (posix_spawn_file_actions_t * actions), ENOMEM,
               (actions))
REAL_RETURNING(posix_spawn_file_actions_adddup2,
               (posix_spawn_file_actions_t * actions, int from, int to), ENOMEM,
               (actions, from, to))
REAL_RETURNING(pthread_attr_init, (pthread_attr_t * attributes), ENOMEM, (attributes))
REAL_RETURNING(pthread_create,
               (pthread_t * thread, const pthread_attr_t *attributes, void *(*start)(void *),
                void *arg),
               EAGAIN, (thread, attributes, start, arg))
REAL_RETURNING(pthread_key_create, (pthread_key_t * key, void (*destroy)(void *)), EAGAIN,
               (key, destroy))
REAL_RETURNING(pthread_setspecific, (pthread_key_t key, const void *value), ENOMEM, (key, value))
REAL_RETURNING(pthread_atfork, (void (*prepare)(void), void (*parent)(void), void (*child)(void)),
               ENOMEM, (prepare, parent, child))

/* Of the calls that go by number only pidfd_open can fail for want of something. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long a[6] = {0};
    int count = number == SYS_futex                ? 6
                : number == SYS_pidfd_send_signal  ? 4
                : number == SYS_sched_setscheduler ? 3
                : number == SYS_sched_getscheduler ? 1
                                                   : 2; /* as many as there are */
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < count; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_pidfd_open && fails("pidfd_open", EMFILE))
        return -1;
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
