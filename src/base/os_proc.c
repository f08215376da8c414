/* SPDX-License-Identifier: MIT
 *
 * os_proc.c: what /proc says of other processes, for the view: their memfds, and whether a thread
 * is stopped.  Part of os.h; makes system calls only.
 */
#include "base/nocancel.h"
#include "base/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* Opens `path` for reading and gives the descriptor to fn, unless it has gone meanwhile. */
static int give(const char *path, int (*fn)(int fd, void *arg), void *arg)
{
    RMT_NO_CANCEL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0)
        return fn(fd, arg);
    return errno == ENOENT ? 0 : -errno;
}

static int try_descriptors(pid_t pid, const char *target, int (*fn)(int fd, void *arg), void *arg)
{
    RMT_NO_CANCEL;
    char path[300], link[80];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    if (!d)
        return -errno;
    int r = 0;
    const struct dirent *entry;
    while (r == 0 && (entry = readdir(d)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, entry->d_name);
        ssize_t n = readlink(path, link, sizeof link);
        if (n < 0 && errno != ENOENT) /* as gone meanwhile */
            r = -errno;
        else if (n == (ssize_t)strlen(target) && memcmp(link, target, (size_t)n) == 0)
            r = give(path, fn, arg);
    }
    closedir(d);
    return r;
}

/* The kernel gives each program that it starts 16 random bytes (getauxval(3), AT_RANDOM).  They are
 * the seed of the C library's defences, so what is shown to others is less than they are. */
uint64_t rmt_os_image(void)
{
    const unsigned char *bytes = (const unsigned char *)(uintptr_t)getauxval(AT_RANDOM);
    uint64_t h = 14695981039346656037ull; /* FNV-1a, 64 bits */
    for (int i = 0; bytes && i < 16; i++)
        h = (h ^ bytes[i]) * 1099511628211ull;
    return h;
}

/* For a process that has closed the descriptor; the kernel wants CAP_CHECKPOINT_RESTORE for it. */
static int try_maps(pid_t pid, const char *target, int (*fn)(int fd, void *arg), void *arg)
{
    RMT_NO_CANCEL;
    char path[100], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return -errno;
    int r = 0;
    while (r == 0 && fgets(line, sizeof line, f)) {
        unsigned long from, to;
        line[strcspn(line, "\n")] = 0;
        const char *name = strchr(line, '/');
        if (!name || strcmp(name, target) != 0 || sscanf(line, "%lx-%lx", &from, &to) != 2)
            continue;
        snprintf(path, sizeof path, "/proc/%d/map_files/%lx-%lx", (int)pid, from, to);
        r = give(path, fn, arg);
    }
    fclose(f);
    return r;
}

int rmt_os_each_memfd(pid_t pid, const char *name, int (*fn)(int fd, void *arg), void *arg)
{
    char target[64];
    snprintf(target, sizeof target, "/memfd:%s (deleted)", name);
    int r = try_descriptors(pid, target, fn, arg);
    if (r == 0)
        r = try_maps(pid, target, fn, arg);
    return r;
}

char rmt_os_thread_state(pid_t pid, pid_t tid)
{
    RMT_NO_CANCEL;
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)pid, (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    const char *p = strrchr(text, ')'); /* the command in brackets may contain anything */
    return p && p[1] == ' ' ? p[2] : 0;
}

int rmt_os_read_at(int fd, uint64_t offset, void *to, size_t length)
{
    RMT_NO_CANCEL;
    char *p = to;
    while (length > 0) {
        ssize_t n = pread(fd, p, length, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        p += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return 0;
}
