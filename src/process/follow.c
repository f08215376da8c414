/* SPDX-License-Identifier: MIT
 *
 * follow.c: a daemonic child ends when its parent does.  The kernel's PR_SET_PDEATHSIG follows the
 * thread that forked, not the process (prctl(2)), so it is used only where that was the main
 * thread; otherwise a thread of the child watches the parent's pidfd.
 */
#include "base/nocancel.h"
#include "base/os.h"
#include "process/task.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* 1 if the pidfd is of the process that lived at `alive` (clock ticks since boot), 0 if that one is
 * gone: another that got the pid later started later.  The start time is read after the open. */
static int open_parent(pid_t parent, uint64_t alive, int *ret_fd)
{
    RMT_NO_CANCEL;
    uint64_t start;
    int r = rmt_os_pidfd_open(parent, ret_fd);
    if (r < 0)
        return r == -ESRCH ? 0 : r;
    if (rmt_os_start_time(parent, &start) == 0 && start <= alive && rmt_os_pidfd_dead(*ret_fd) == 0)
        return 1;
    close(*ret_fd);
    return 0;
}

static void *watch(void *arg)
{
    struct pollfd p = {.fd = (int)(intptr_t)arg, .events = POLLIN};
    const struct timespec moment = {.tv_nsec = 100000000};
    while (poll(&p, 1, -1) < 0) { /* that it could not look does not say that the parent is gone */
        if (errno != EINTR)
            nanosleep(&moment, NULL);
    }
    kill(getpid(), SIGTERM);
    return NULL;
}

static int start_watch(int fd)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    int r = -pthread_attr_init(&attr);
    if (r < 0)
        return r;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 65536);
    sigfillset(&all); /* the program's signals are the business of its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = -pthread_create(&thread, &attr, watch, (void *)(intptr_t)fd);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return r;
}

int rmt_follow(pid_t parent, uint64_t parent_alive, bool by_kernel)
{
    RMT_NO_CANCEL;
    int fd;
    if (by_kernel && prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        return -errno;
    int r =
        open_parent(parent, parent_alive, &fd); /* after prctl: or it may have died in between */
    if (r <= 0)
        return r < 0 ? r : -ESRCH;
    if (by_kernel) {
        close(fd);
        return 0;
    }
    r = start_watch(fd);
    if (r < 0)
        close(fd);
    return r;
}
