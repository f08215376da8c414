/* SPDX-License-Identifier: MIT
 *
 * os.c: the one file that makes the system calls which the arena is built on.  See os.h.
 *
 * Sources: futex(2), memfd_create(2), fallocate(2), pidfd_open(2), madvise(2), proc(5).
 */
#include "base/os.h"
#include "base/fault.h"
#include "base/nocancel.h"
#include "base/seeded.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000

/* From the kernel's ABI (linux/futex.h), since musl-gcc finds no headers of the kernel. */
enum { OP_WAKE = 1, OP_WAIT_BITSET = 9 };
#define ANY_BIT 0xffffffffu

int64_t rmt_os_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail with this clock */
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

uint64_t rmt_os_ticks(void)
{
    struct timespec t;
    uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
    clock_gettime(CLOCK_BOOTTIME, &t); /* cannot fail with this clock */
    return (uint64_t)t.tv_sec * hz + (uint64_t)t.tv_nsec / (NS_PER_S / hz);
}

int64_t rmt_os_now_coarse(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* ---- futex */

int rmt_os_futex_wait(rmt_a32 *word, uint32_t expect, int64_t deadline)
{
    struct timespec t = {.tv_sec = deadline / NS_PER_S, .tv_nsec = deadline % NS_PER_S};
    RMT_HOOK(RMT_HOOK_FUTEX_WAIT, word);
    /* FUTEX_WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC; FUTEX_WAIT a relative one. */
    if (syscall(SYS_futex, word, OP_WAIT_BITSET, expect, deadline == INT64_MAX ? NULL : &t, NULL,
                ANY_BIT) == 0)
        return 0;
    return -errno;
}

int rmt_os_futex_wake(rmt_a32 *word, int count)
{
    RMT_HOOK(RMT_HOOK_FUTEX_WAKE, word);
    long woken = syscall(SYS_futex, word, OP_WAKE, count, NULL, NULL, 0);
    return woken < 0 ? 0 : (int)woken;
}

/* ---- memory */

int rmt_os_memfd(const char *name, uint64_t size, int *ret_fd)
{
    RMT_NO_CANCEL;
    int r = rmt_fault(RMT_FAULT_MEMFD);
    if (r < 0)
        return r;
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = rmt_fault(RMT_FAULT_TRUNCATE);
    if (r == 0 && ftruncate(fd, (off_t)size) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

int rmt_os_commit(int fd, uint64_t offset, uint64_t length)
{
    RMT_NO_CANCEL;
    int r = rmt_fault(RMT_FAULT_COMMIT);
    if (r < 0)
        return r;
    while (fallocate(fd, 0, (off_t)offset, (off_t)length) < 0) {
        if (errno == EINTR)
            continue;
        return errno == ENOSPC ? -ENOMEM : -errno;
    }
    return 0;
}

int rmt_os_punch(int fd, uint64_t offset, uint64_t length)
{
    RMT_NO_CANCEL;
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    while (fallocate(fd, mode, (off_t)offset, (off_t)length) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}

/* ---- eventfd */

int rmt_os_eventfd(bool raised, int *ret_fd)
{
    int r = rmt_fault(RMT_FAULT_EVENTFD);
    if (r < 0)
        return r;
    int fd = eventfd(raised, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    *ret_fd = fd;
    return 0;
}

void rmt_os_eventfd_raise(int fd)
{
    RMT_NO_CANCEL;
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ; /* -EAGAIN: it is as high as it can be */
}

void rmt_os_eventfd_lower(int fd)
{
    RMT_NO_CANCEL;
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ; /* -EAGAIN: it is low */
}

int rmt_os_eventfd_renew(int fd)
{
    RMT_NO_CANCEL;
    int made = -1;
    int r = rmt_os_eventfd(true, &made);
    if (r < 0)
        return r;
    while (dup3(made, fd, O_CLOEXEC) < 0 && r == 0) {
        if (errno != EINTR && errno != EBUSY)
            r = -errno;
    }
    close(made);
    return r;
}

/* ---- maps */

static int map(int fd, uint64_t offset, size_t length, int flags, void **ret_address)
{
    int r = rmt_fault(RMT_FAULT_MAP);
    if (r < 0)
        return r;
    void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);
    if (p == MAP_FAILED)
        return -errno;
    *ret_address = p;
    return 0;
}

int rmt_os_map_shared(int fd, uint64_t offset, size_t length, void **ret_address)
{
    void *p = NULL;
    int r = map(fd, offset, length, MAP_SHARED | MAP_NORESERVE, &p);
    if (r < 0)
        return r;
    (void)madvise(p, length, MADV_DONTDUMP); /* an advice: its failure changes no result */
    *ret_address = p;
    return 0;
}

int rmt_os_map_private(int fd, uint64_t offset, size_t length, void **ret_address)
{
    return map(fd, offset, length, MAP_PRIVATE | MAP_NORESERVE, ret_address);
}

int rmt_os_unmap(void *address, size_t length)
{
    return munmap(address, length) < 0 ? -errno : 0;
}

enum { POPULATE_READ = 22, POPULATE_WRITE = 23 }; /* the kernel's ABI, which older headers lack */

void rmt_os_populate(void *address, size_t length, bool write)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)address & ~(page - 1);
    uintptr_t to = ((uintptr_t)address + length + page - 1) & ~(page - 1);
    (void)madvise((void *)from, to - from, write ? POPULATE_WRITE : POPULATE_READ);
}

int rmt_os_wipe_on_fork_page(void **ret_address)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    if (madvise(p, page, MADV_WIPEONFORK) < 0) {
        int r = -errno;
        munmap(p, page);
        return r;
    }
    *ret_address = p;
    return 0;
}

/* One "Name: N kB" line of /proc/meminfo, in bytes. */
static int meminfo(const char *name, uint64_t *ret_bytes)
{
    RMT_NO_CANCEL;
    FILE *f = fopen("/proc/meminfo", "re");
    if (!f)
        return -errno;
    char line[128];
    size_t n = strlen(name);
    int r = -ENOENT;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, name, n) == 0 && line[n] == ':') {
            *ret_bytes = strtoull(line + n + 1, NULL, 10) * 1024;
            r = 0;
            break;
        }
    }
    fclose(f);
    return r;
}

static int number_in_file(const char *path, uint64_t *ret_number)
{
    RMT_NO_CANCEL;
    FILE *f = fopen(path, "re");
    if (!f)
        return -errno;
    unsigned long long v;
    int r = fscanf(f, "%llu", &v) == 1 ? 0 : -EINVAL; /* "max": no limit */
    fclose(f);
    if (r == 0)
        *ret_number = v;
    return r;
}

/* What this process's memory cgroup (v2) still allows; -errno where there is no such limit. */
static int cgroup_headroom(uint64_t *ret_bytes)
{
    RMT_NO_CANCEL;
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return -errno;
    char line[512], path[640];
    const char *group = NULL;
    while (!group && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "0::", 3) == 0)
            group = line + 3;
    }
    fclose(f);
    if (!group)
        return -ENOENT;
    uint64_t limit = 0, used = 0;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
    int r = number_in_file(path, &limit);
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.current", group);
    r = number_in_file(path, &used);
    if (r < 0)
        return r;
    *ret_bytes = limit > used ? limit - used : 0;
    return 0;
}

uint64_t rmt_os_available(void)
{
    uint64_t available = UINT64_MAX, v = 0;
    if (meminfo("MemAvailable", &v) == 0)
        available = v;
    if (cgroup_headroom(&v) == 0 && v < available)
        available = v;
    return available;
}

/* ---- processes */

int rmt_os_pidfd_open(pid_t pid, int *ret_fd)
{
    int r = rmt_fault(RMT_FAULT_PIDFD);
    if (r < 0)
        return r;
    long fd = syscall(SYS_pidfd_open, pid, 0); /* close-on-exec always */
    if (fd < 0)
        return -errno;
    *ret_fd = (int)fd;
    return 0;
}

int rmt_os_pidfd_dead(int pidfd)
{
    RMT_NO_CANCEL;
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int n = poll(&p, 1, 0);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n > 0 && (p.revents & POLLIN) != 0;
}

int rmt_os_start_time(pid_t pid, uint64_t *ret_start)
{
    RMT_NO_CANCEL;
    char path[40], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n;
    do {
        n = read(fd, text, sizeof text - 1);
    } while (n < 0 && errno == EINTR);
    int r = n < 0 ? -errno : 0;
    close(fd);
    if (r < 0)
        return r;
    text[n] = 0;
    /* Field 2 is the command in brackets and may contain anything: count from the last bracket. */
    const char *p = strrchr(text, ')');
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (!p)
        return -EPROTO;
    *ret_start = strtoull(p + 1, NULL, 10);
    return 0;
}

int rmt_os_maps_inode(pid_t pid, uint64_t dev, uint64_t ino)
{
    RMT_NO_CANCEL;
    char path[40], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return -errno;
    int found = 0;
    bool empty = true; /* so it is once the main thread has ended, whatever the others map */
    while (!found && fgets(line, sizeof line, f)) {
        unsigned major, minor;
        unsigned long long inode;
        empty = false;
        if (sscanf(line, "%*s %*s %*s %x:%x %llu", &major, &minor, &inode) == 3)
            found = inode == ino && makedev(major, minor) == dev;
    }
#if RMT_SEEDED(THREAD_FOR_PROCESS)
    empty = false;
#endif
    int r = ferror(f) ? -EIO : empty ? -ENODATA : found;
    fclose(f);
    return r;
}

int rmt_os_each_process(int (*fn)(pid_t pid, void *arg), void *arg)
{
    RMT_NO_CANCEL;
    DIR *d = opendir("/proc");
    if (!d)
        return -errno;
    int r = 0;
    const struct dirent *entry;
    while (r == 0 && (entry = readdir(d)) != NULL) {
        long pid = strtol(entry->d_name, NULL, 10);
        if (pid > 0)
            r = fn((pid_t)pid, arg);
    }
    closedir(d);
    return r;
}

int rmt_os_identity(int fd, uint64_t *ret_dev, uint64_t *ret_ino)
{
    RMT_NO_CANCEL;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    *ret_dev = st.st_dev;
    *ret_ino = st.st_ino;
    return 0;
}

/* ---- the machine */

/* By number: musl's functions of these names do nothing. */
int rmt_os_policy(void)
{
    return (int)syscall(SYS_sched_getscheduler, 0);
}

int rmt_os_batch(bool batch)
{
    static const struct sched_param none;
    int from = batch ? SCHED_OTHER : SCHED_BATCH, to = batch ? SCHED_BATCH : SCHED_OTHER;
    return rmt_os_policy() == from && syscall(SYS_sched_setscheduler, 0, to, &none) == 0;
}

unsigned rmt_os_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than a cpu_set_t has */
    return n < 1 ? 1 : (unsigned)n;
}

bool rmt_os_multiprocessor(void)
{
    static rmt_a32 known; /* 0 not asked yet, else 1 + the answer; any thread writes the same */
    uint32_t seen = rmt_load32_relaxed(&known);
    if (seen == 0) {
        seen = sysconf(_SC_NPROCESSORS_ONLN) == 1 ? 1 : 2;
        rmt_store32_relaxed(&known, seen);
    }
    return seen == 2;
}

int rmt_os_random(void *buffer, size_t length)
{
    RMT_NO_CANCEL;
    char *p = buffer;
    while (length > 0) {
        ssize_t n = getrandom(p, length, 0);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        p += n;
        length -= (size_t)n;
    }
    return 0;
}

void rmt_os_complain(const char *prefix, const char *text)
{
    RMT_NO_CANCEL;
    char line[256];
    int n = snprintf(line, sizeof line, "%s%s\n", prefix, text);
    size_t length = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    if (write(STDERR_FILENO, line, length) < 0)
        return; /* nobody listens: there is nowhere else to say it */
}
