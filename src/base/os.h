/* SPDX-License-Identifier: MIT
 *
 * os.h: the operating system as the rest of the library sees it.  os.c is the one file that makes
 * these calls; each can be made to fail by fault.h.  All return 0 or a negative errno unless said
 * otherwise; ret_ parameters are untouched on failure.
 */
#ifndef RMT_OS_H
#define RMT_OS_H

#include "base/atomic.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* --- time */
int64_t rmt_os_now(void);        /* CLOCK_MONOTONIC, ns */
int64_t rmt_os_now_coarse(void); /* the same as of the last tick, some ms ago; a few ns */

uint64_t rmt_os_ticks(void); /* clock ticks since boot, as in /proc/PID/stat */

/* --- futex (shared between processes).
 * wait: 0 woken, -EAGAIN the word was not `expect`, -ETIMEDOUT, -EINTR.  `deadline` is absolute. */
int rmt_os_futex_wait(rmt_a32 *word, uint32_t expect, int64_t deadline);
int rmt_os_futex_wake(rmt_a32 *word, int count); /* the number of sleepers woken */

/* --- eventfd: a descriptor that is readable while it is raised.  Close-on-exec, non-blocking. */
int rmt_os_eventfd(bool raised, int *ret_fd);
void rmt_os_eventfd_raise(int fd);
void rmt_os_eventfd_lower(int fd);
/* Puts a new eventfd, raised, in the place of `fd`; on failure `fd` is what it was. */
int rmt_os_eventfd_renew(int fd);

/* --- memory.  All file descriptors are close-on-exec. */
int rmt_os_memfd(const char *name, uint64_t size, int *ret_fd); /* sparse, of `size` bytes */
int rmt_os_commit(int fd, uint64_t offset, uint64_t length); /* -ENOMEM where the limit is known */
int rmt_os_punch(int fd, uint64_t offset, uint64_t length);  /* gives pages back */
int rmt_os_map_shared(int fd, uint64_t offset, size_t length, void **ret_address);
int rmt_os_map_private(int fd, uint64_t offset, size_t length,
                       void **ret_address); /* copy on write */
int rmt_os_unmap(void *address, size_t length);
int rmt_os_policy(void); /* of scheduling, of the calling thread; <0: denied */
/* The calling process's policy of scheduling, SCHED_OTHER before: as SCHED_BATCH it does not take
 * the processor from whoever wakes it. */
int rmt_os_batch(bool batch); /* 1 changed; 0 it was neither of these, or denied */
/* Maps what is there already, for `write` as a page of one's own.  A kernel before 5.14, or a page
 * that has no access, does nothing. */
void rmt_os_populate(void *address, size_t length, bool write);
uint64_t rmt_os_available(void); /* bytes: the least of MemAvailable and the cgroup's headroom */
int rmt_os_wipe_on_fork_page(
    void **ret_address); /* one page, zero in a child however it was made */

/* --- processes */
int rmt_os_pidfd_open(pid_t pid, int *ret_fd);
int rmt_os_pidfd_dead(int pidfd);                      /* 1 every thread is gone, 0 not, <0 */
int rmt_os_start_time(pid_t pid, uint64_t *ret_start); /* field 22 of /proc/PID/stat */
int rmt_os_maps_inode(pid_t pid, uint64_t dev, uint64_t ino); /* 1 pid maps that file, 0 not, <0 */
/* Calls fn for each process that can be seen, until it returns non-zero, which is then the result.
 */
int rmt_os_each_process(int (*fn)(pid_t pid, void *arg), void *arg);
/* Opens, read-only, each memfd called `name` that process pid has: fn owns the descriptor.  Until
 * fn returns non-zero, which is then the result.  -ENOENT: no such process; -EACCES. */
int rmt_os_each_memfd(pid_t pid, const char *name, int (*fn)(int fd, void *arg), void *arg);
char rmt_os_thread_state(pid_t pid, pid_t tid); /* the letter in /proc: R, S, T, ...; 0 unknown */
int rmt_os_read_at(int fd, uint64_t offset, void *to, size_t length); /* all of it, or <0 */
int rmt_os_identity(int fd, uint64_t *ret_dev, uint64_t *ret_ino);
uint64_t rmt_os_image(void); /* differs for each exec, the same in a forked child */

/* --- the machine */
unsigned rmt_os_cpus(void);       /* that this process may run on, at least 1 */
bool rmt_os_multiprocessor(void); /* whether another processor exists, be it out of bounds for us */
int rmt_os_random(void *buffer, size_t length);
void rmt_os_complain(const char *prefix, const char *text); /* one line on standard error */

#endif
