/* SPDX-License-Identifier: MIT
 *
 * death.c: proof that a process is gone: its pidfd is readable, which says that every thread has
 * ended; or there is no process with the recorded pid and start time.  Never a time-out.  pidfds
 * are cached, one per member slot that this process has asked about (process-local, under a mutex
 * of its own).
 */
#include "arena/local.h"
#include "base/nocancel.h"
#include "base/os.h"
#include "base/seeded.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct cached { /* index: slot */
    int fd;     /* + 1; 0 none */
    uint32_t epoch;
};
static struct cached *cache; /* RMT_SLOTS entries, sparse in practice: calloc'ed on first use */
static pthread_mutex_t cache_mutex = PTHREAD_MUTEX_INITIALIZER;

#ifdef RAMET_HOOKS
rmt_dead_hook_fn *rmt_dead_hook;
#define IS_SAID_DEAD(pid) (rmt_dead_hook && rmt_dead_hook(pid))
#else
#define IS_SAID_DEAD(pid) 0
#endif

/* pidfd_open succeeds for whoever has the pid now.  If that one is dead, so is the recorded
 * process, whether it is the same or had the pid before it.  If it lives, its start time, read
 * after, tells: the recorded process had started when it wrote `before` (clock ticks since boot),
 * another that got the pid later starts later, and no pid comes round again within a tick. */
static int open_verified(pid_t pid, uint64_t before, int *ret_fd)
{
    RMT_NO_CANCEL;
    int fd;
    int r = rmt_os_pidfd_open(pid, &fd);
    if (r < 0) /* without a descriptor to spare at least one who was waited for is found */
        return kill(pid, 0) < 0 && errno == ESRCH ? -ESRCH : r;
    uint64_t start = 0;
    if (rmt_os_pidfd_dead(fd) > 0)
        r = -ESRCH;
    else if (before != 0)
        r = rmt_os_start_time(pid, &start);
    if (r == 0 && start > before)
        r = -ESRCH;
    /* No such file: the process is gone, or this one cannot see it there (chroot, hidepid). */
    if (r == -ENOENT && rmt_os_pidfd_dead(fd) > 0)
        r = -ESRCH;
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

int rmt_pid_gone(pid_t pid, uint64_t start_time)
{
    RMT_NO_CANCEL;
    int fd;
    if (IS_SAID_DEAD(pid))
        return 1;
    int r = open_verified(pid, start_time, &fd);
    if (r < 0)
        return r == -ESRCH;
    r = rmt_os_pidfd_dead(fd);
    close(fd);
    return r > 0;
}

/* 1 gone, 0 not, of the LIVE process in `slot`. */
static int poll_slot(uint32_t slot, uint32_t epoch, pid_t pid, uint64_t start_time)
{
    RMT_NO_CANCEL;
    int gone = 0;
    if (IS_SAID_DEAD(pid))
        return 1;
    pthread_mutex_lock(&cache_mutex);
    if (!cache && !(cache = calloc(RMT_SLOTS, sizeof *cache))) {
        pthread_mutex_unlock(&cache_mutex);
        return rmt_pid_gone(pid, start_time);
    }
    struct cached *c = &cache[slot];
    if (c->fd != 0 && c->epoch != epoch) {
        close(c->fd - 1);
        c->fd = 0;
    }
    if (c->fd == 0) {
        int fd;
        int r = open_verified(pid, start_time, &fd);
        if (r == 0)
            *c = (struct cached){.fd = fd + 1, .epoch = epoch};
        gone = r == -ESRCH;
    }
    if (c->fd != 0)
        gone = rmt_os_pidfd_dead(c->fd - 1) > 0;
    pthread_mutex_unlock(&cache_mutex);
    return gone;
}

/* A slot that nobody has asked about since somebody else recovered its member. */
void rmt_death_forget(void)
{
    RMT_NO_CANCEL;
    uint64_t high = rmt_load64(&rmt_header()->members_high);
    pthread_mutex_lock(&cache_mutex);
    for (uint32_t slot = 1; cache && slot < high; slot++) {
        struct cached *c = &cache[slot];
        if (c->fd != 0 && c->epoch != (uint32_t)(rmt_load64(&rmt_member_at(slot)->state) >> 32)) {
            close(c->fd - 1);
            c->fd = 0;
        }
    }
    pthread_mutex_unlock(&cache_mutex);
}

int rmt_dead_known(uint64_t word)
{
    uint64_t state = rmt_load64(&rmt_member_at(rmt_word_slot(word))->state);
#if !RMT_SEEDED(EPOCH_IGNORED)
    if ((uint32_t)(state >> 32) != rmt_word_epoch(word))
        return 1;
#endif
    return rmt_member_state_of(state) == RMT_MEMBER_DYING;
}

/* Who asks lives: no system call is needed to know it of one's own threads.  (Nor would its answer
 * always be right: qemu's user mode shows each thread a start time of its own.) */
static bool own(uint64_t word)
{
    return rmt_word_slot(word) == rmt_local.slot && rmt_word_epoch(word) == rmt_local.epoch;
}

int rmt_dead(uint64_t word)
{
    if (rmt_dead_known(word))
        return 1;
    if (own(word))
        return 0;
    uint32_t slot = rmt_word_slot(word);
    struct rmt_member *m = rmt_member_at(slot);
    uint64_t state = rmt_load64(&m->state); /* pairs-with: member.state (acquire) */
    if (rmt_member_state_of(state) != RMT_MEMBER_LIVE)
        return rmt_dead_known(word);
    /* Acquire, for the second look at the state to come after these. */
    pid_t pid = (pid_t)rmt_load64(&m->pid);
    uint64_t start = rmt_load64(&m->start_time);
    if (rmt_load64(&m->state) != state)
        return rmt_dead_known(word);
    return poll_slot(slot, rmt_word_epoch(word), pid, start);
}

/* The process does not map the arena: it has called exec, so the member is gone though the process
 * is not.  Unless the pid was another process's by now, in which case the member is gone, too.  A
 * map that cannot be read says nothing, and then who has the right to read it shall look. */
int rmt_left_by_exec(uint64_t word)
{
    struct rmt_member *m = rmt_member_at(rmt_word_slot(word));
    if (own(word))
        return 0;
    pid_t pid = (pid_t)rmt_load64(&m->pid);
    int maps = rmt_os_maps_inode(pid, rmt_local.dev, rmt_local.ino);
    if (rmt_dead_known(word))
        return 1;
    if (maps >= 0)
        rmt_poke64(&m->looked, (uint64_t)rmt_os_now_coarse());
    return maps == 0;
}

int rmt_dead_thorough(uint64_t word)
{
    if (rmt_dead(word))
        return 1;
    if (own(word))
        return 0;
    uint64_t looked = rmt_peek64(&rmt_member_at(rmt_word_slot(word))->looked);
    uint64_t now = (uint64_t)rmt_os_now_coarse();
    if (looked != 0 && looked <= now && now - looked < RMT_LOOK_PERIOD)
        return 0;
    return rmt_left_by_exec(word);
}

void rmt_death_before_fork(void)
{
    pthread_mutex_lock(&cache_mutex);
}

/* In the parent and in the child: pidfds are inherited and stay true. */
void rmt_death_after_fork(void)
{
    pthread_mutex_unlock(&cache_mutex);
}
