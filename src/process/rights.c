/* SPDX-License-Identifier: MIT
 *
 * rights.c: see rights.h.  Only looks; changes nothing of the process.
 */
#include "process/rights.h"
#include "base/nocancel.h"
#include "base/os.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

#define HASH_START UINT64_C(14695981039346656037) /* FNV-1a, 64 bits */

static uint64_t hash(uint64_t h, const void *bytes, size_t size)
{
    const uint8_t *b = bytes;
    for (size_t i = 0; i < size; i++)
        h = (h ^ b[i]) * UINT64_C(1099511628211);
    return h;
}

static uint64_t groups_now(void)
{
    static gid_t list[NGROUPS_MAX]; /* of which no page is touched that is not needed */
    int n = getgroups(NGROUPS_MAX, list);
    return n < 0 ? 0 : hash(HASH_START, list, (size_t)n * sizeof list[0]);
}

/* Variables that have their effect when a program starts: a running server cannot take them on. */
static uint64_t variables_now(void)
{
    static const char *const prefixes[] = {"LD_", "GLIBC_", "MALLOC_", "ASAN_", "UBSAN_", "TSAN_"};
    uint64_t h = HASH_START;
    for (char **e = environ; e && *e; e++) {
        for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
            if (strncmp(*e, prefixes[i], strlen(prefixes[i])) == 0)
                h = hash(h, *e, strlen(*e) + 1);
        }
    }
    return h;
}

/* capget(2), of which the C library has no declaration. */
#define CAPABILITY_VERSION_3 0x20080522

static void capabilities_now(uint64_t ret[static 3])
{
    struct {
        uint32_t version;
        int pid; /* 0: the caller */
    } header = {CAPABILITY_VERSION_3, 0};
    struct {
        uint32_t effective, permitted, inheritable;
    } data[2] = {{0}}; /* the low halves, the high halves */
    if (syscall(SYS_capget, &header, data) < 0)
        return;
    ret[0] = data[0].effective | (uint64_t)data[1].effective << 32;
    ret[1] = data[0].permitted | (uint64_t)data[1].permitted << 32;
    ret[2] = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
}

static void limits_now(uint64_t ret[RMT_RIGHTS_LIMITS][2])
{
    for (int i = 0; i < RMT_RIGHTS_LIMITS; i++) {
        struct rlimit limit;
        if (getrlimit(i, &limit) == 0) {
            ret[i][0] = limit.rlim_cur;
            ret[i][1] = limit.rlim_max;
        }
    }
}

/* A mask can otherwise only be read by setting it; where /proc does not tell, that is done, with
 * one that for this instant lets files of other threads be no one else's. */
static uint32_t umask_by_setting(void)
{
    mode_t mask = umask(077);
    umask(mask);
    return (uint32_t)mask;
}

static uint64_t number_in(const char *text, const char *name)
{
    const char *line = strstr(text, name);
    return line ? strtoull(line + strlen(name), NULL, 16) : 0;
}

/* What only /proc tells, or by fewer calls. */
static void status_now(uint32_t *ret_umask, struct rmt_rights *ret_rights)
{
    RMT_NO_CANCEL;
    char text[4096];
    unsigned mask;
    int fd = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = 0;
    const char *line = strstr(text, "\nUmask:");
    *ret_umask = line && sscanf(line, " Umask: %o", &mask) == 1 ? mask : umask_by_setting();
    line = strstr(text, "\nSeccomp_filters:");
    ret_rights->filters = line ? strtol(line + sizeof "\nSeccomp_filters:" - 1, NULL, 10) : -1;
    ret_rights->capabilities[3] = number_in(text, "\nCapBnd:");
    ret_rights->capabilities[4] = number_in(text, "\nCapAmb:");
}

void rmt_rights_now(struct rmt_rights *ret_rights, uint32_t *ret_umask)
{
    RMT_NO_CANCEL;
    struct rmt_rights now;
    uid_t u[3] = {0};
    gid_t g[3] = {0};
    struct stat root;
    memset(&now, 0, sizeof now);
    (void)getresuid(&u[0], &u[1], &u[2]);
    (void)getresgid(&g[0], &g[1], &g[2]);
    for (int i = 0; i < 3; i++) {
        now.users[i] = u[i];
        now.groups[i] = g[i];
    }
    now.more_groups = groups_now();
    capabilities_now(now.capabilities);
    limits_now(now.limits);
    if (stat("/", &root) == 0) {
        now.root[0] = root.st_dev;
        now.root[1] = root.st_ino;
    }
    now.variables = variables_now();
    now.no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    now.filtered = prctl(PR_GET_SECCOMP, 0, 0, 0, 0);
    now.nice = getpriority(PRIO_PROCESS, 0);
    now.policy = rmt_os_policy();
    now.secure_bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
    status_now(ret_umask, &now);
    *ret_rights = now;
}

bool rmt_rights_same(const struct rmt_rights *a, const struct rmt_rights *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}
