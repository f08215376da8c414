/* SPDX-License-Identifier: MIT
 *
 * fork.c: what happens around fork(2).  The parent, before: takes the process-local mutexes,
 * reserves a member slot for the child and copies its handle entries into it, each with a count of
 * its own.  The child, after: claims the slot and is somebody else from then on; locks, holds and
 * waits are not inherited.
 *
 * A reservation that no child claims (fork failed, or the child died at once) is found by the
 * lifeline: a pipe whose write end only the child keeps.  It is looked at before the next fork, and
 * when somebody reaps or sweeps; if the parent dies, its recovery takes the reservation back.
 */
#include "arena/local.h"
#include "arena/registry.h"
#include "base/nocancel.h"
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#define LIFELINES 64
#define SWEEP_FROM 64 /* slots */

static struct lifeline { /* under the table lock */
    uint32_t slot, epoch;
    int fd; /* read end; -1: unused */
} lifelines[LIFELINES], pending;
static int pending_write = -1;
static bool have_child; /* a slot is reserved for the child of the fork that is under way */
static pid_t parent_pid;
static struct rmt_self *bookkeeper_in_use;

static void forget(struct lifeline *l)
{
    RMT_NO_CANCEL;
    close(l->fd);
    l->fd = -1;
    l->slot = 0;
}

/* Closes the lifelines of children that live, and takes back the reservations of those that never
 * did. */
static void check_lifelines(void)
{
    RMT_NO_CANCEL;
    for (int i = 0; i < LIFELINES; i++) {
        struct lifeline *l = &lifelines[i];
        if (l->slot == 0)
            continue;
        uint64_t state = rmt_load64(&rmt_member_at(l->slot)->state);
        uint64_t reserved = rmt_member_word(l->epoch, getpid(), RMT_MEMBER_RESERVED);
        struct pollfd p = {.fd = l->fd, .events = 0};
        if (state != reserved) {
            forget(l);
        } else if (poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0) {
            rmt_recover_slot(bookkeeper_in_use, l->slot, state);
            forget(l);
        }
    }
}

void rmt_lifelines_look(void)
{
    rmt_table_lock();
    if (rmt_local.slot != 0 && rmt_local.error == 0 && rmt_load32_relaxed(rmt_member_mark) != 0) {
        bookkeeper_in_use = rmt_bookkeeper();
        check_lifelines();
    }
    rmt_table_unlock();
}

/* A slot for the child.  Those of children whose deaths nobody announced are found here: when all
 * are in use, and each time that their number has doubled. */
static int take_slot(uint32_t *ret_slot, uint32_t *ret_epoch)
{
    int r = rmt_member_take(ret_slot, ret_epoch);
    if (r == -EUSERS && rmt_sweep(bookkeeper_in_use) > 0)
        r = rmt_member_take(ret_slot, ret_epoch);
    else if (r == 0 && *ret_slot >= SWEEP_FROM && (*ret_slot & (*ret_slot - 1)) == 0)
        (void)rmt_sweep(bookkeeper_in_use);
    return r;
}

static int reserve(void)
{
    RMT_NO_CANCEL;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    uint32_t slot, epoch;
    int r = take_slot(&slot, &epoch);
    if (r < 0) {
        close(fds[0]);
        close(fds[1]);
        return r;
    }
    rmt_member_reserve(slot, epoch);
    pending = (struct lifeline){slot, epoch, fds[0]};
    pending_write = fds[1];
    have_child = true;
    r = rmt_handles_copy(bookkeeper_in_use, slot);
    if (r < 0) { /* the child cannot be a member */
        rmt_recover_slot(bookkeeper_in_use, slot,
                         rmt_member_word(epoch, getpid(), RMT_MEMBER_RESERVED));
        close(pending_write);
        pending_write = -1;
        forget(&pending);
        have_child = false;
    }
    return r;
}

static int reserve_error;
static _Thread_local bool outside; /* this thread's next fork makes no member */

static void prepare(void)
{
    for (int i = RMT_REGISTRY_MAX; i-- > 0;) {
        if (rmt_fork_hooks[i] && rmt_fork_hooks[i]->prepare)
            rmt_fork_hooks[i]->prepare();
    }
    rmt_table_lock();
    have_child = false;
    reserve_error = -ECHILD; /* the child of a process that is no member under its own name */
    parent_pid = getpid();
    if (rmt_local.slot != 0 && rmt_local.error == 0 && rmt_load32_relaxed(rmt_member_mark) != 0) {
        bookkeeper_in_use = rmt_bookkeeper();
        check_lifelines();
        reserve_error = outside ? 0 : reserve();
    }
    rmt_death_before_fork(); /* these two last: what was done above may map windows and ask who is
                                dead */
    rmt_local_lock();
}

static void in_parent(void)
{
    RMT_NO_CANCEL;
    rmt_local_unlock();
    rmt_death_after_fork();
    if (have_child) {
        close(pending_write);
        pending_write = -1;
        int i = 0;
        while (i < LIFELINES && lifelines[i].slot != 0)
            i++;
        /* With the table full the reservation is left to the recovery of this process. */
        if (i < LIFELINES)
            lifelines[i] = pending;
        else
            close(pending.fd);
        have_child = false;
    }
    rmt_table_unlock();
    for (int i = 0; i < RMT_REGISTRY_MAX; i++) {
        if (rmt_fork_hooks[i] && rmt_fork_hooks[i]->parent)
            rmt_fork_hooks[i]->parent();
    }
}

/* The child of a member: its own identity, or an error that every later call returns. */
static void become_child(void)
{
    RMT_NO_CANCEL;
    for (int i = 0; i < LIFELINES; i++) {
        if (lifelines[i].slot != 0)
            forget(&lifelines[i]);
    }
    rmt_local.slot = 0;
    int r = reserve_error;
    if (have_child) {
        /* No parent is to be seen in a new pid namespace, nor the pids by which members know each
         * other. */
        r = getppid() == 0 ? -EXDEV : rmt_member_claim(pending.slot, pending.epoch, parent_pid);
    }
    rmt_local.error = r;
    rmt_store32_relaxed((rmt_a32 *)rmt_member_mark, 1);
    rmt_thread_after_fork();
    rmt_handles_after_fork();
    if (have_child) {
        close(pending_write); /* from now on the slot speaks for this process */
        pending_write = -1;
        forget(&pending);
        have_child = false;
    }
}

static void in_child(void)
{
    rmt_local_unlock();
    rmt_death_after_fork();
    if (rmt_local.slot != 0)
        become_child();
    rmt_table_unlock();
    for (int i = 0; i < RMT_REGISTRY_MAX; i++) {
        if (rmt_fork_hooks[i] && rmt_fork_hooks[i]->child)
            rmt_fork_hooks[i]->child();
    }
}

/* Puts `to` where `from` stands, or, if that is 0, where nothing does.  With the list full it is
 * not noted, and reservations are kept as long as it lives. */
static void note_outside(pid_t from, pid_t to)
{
    rmt_table_lock();
    struct rmt_member *m = rmt_local.slot != 0 ? rmt_member_at(rmt_local.slot) : NULL;
    uint32_t n = m ? rmt_load32_relaxed(&m->outside_count) : 0, i = 0;
    while (i < n && rmt_load32_relaxed(&m->outside[i]) != (uint32_t)from)
        i++;
    if (m && (i < n || (from == 0 && n < RMT_OUTSIDERS))) {
        rmt_store32(&m->outside[i], (uint32_t)to);
        if (i == n)
            rmt_store32(&m->outside_count, n + 1);
    }
    rmt_table_unlock();
}

pid_t rmt_fork_outside(void)
{
    outside = true;
    pid_t pid = fork();
    outside = false;
    if (pid > 0)
        note_outside(0, pid);
    return pid;
}

void rmt_outside_over(pid_t pid)
{
    note_outside(pid, 0);
}

int rmt_fork_setup(void)
{
    static bool done; /* under the table lock */
    if (done)
        return 0;
    int r = pthread_atfork(prepare, in_parent, in_child);
    done = r == 0;
    return -r;
}
