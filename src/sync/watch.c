/* SPDX-License-Identifier: MIT
 *
 * watch.c: the list of watches and the thread that sleeps for them; see watch.h.
 *
 * One mutex guards all of it.  Under it no guard is taken and nothing waits; ready() functions run
 * under it, and only read and arm.  The thread is nobody's: it blocks all signals, and the end of
 * the process ends it.  When there have been no watches for a while it ends itself.
 */
#include "sync/watch.h"
#include "base/nocancel.h"
#include "base/os.h"
#include "sync/waiter.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#define SLICE 200000000 /* ns, from one look that nobody asked for to the next */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
/* Under the mutex: */
static struct rmt_watch *first;
static unsigned counts[64]; /* watches with this bit */
static bool running;        /* the thread runs, in this process */
static bool stale;          /* a fork made this process: the watches were its parent's */

static void set(struct rmt_watch *watch, bool ready)
{
    if (ready == watch->raised)
        return;
    if (ready)
        rmt_os_eventfd_raise(watch->fd);
    else
        rmt_os_eventfd_lower(watch->fd);
    watch->raised = ready;
}

static void raise_all(void)
{
    for (struct rmt_watch *w = first; w; w = w->next)
        set(w, true);
}

/* ---- the thread */

/* Looks at the watches of which the filter speaks.  Whether there are any at all. */
static bool pass(uint64_t hits, enum rmt_watch_when when)
{
    for (struct rmt_watch *w = first; w; w = w->next) {
        if (when == RMT_WATCH_RUNG && (w->raised || (rmt_watch_bit(w->word) & hits) == 0))
            continue;
        set(w, w->ready(w, when));
    }
    return first != NULL;
}

/* Until there have been no watches for a while, and then has said that it does not run: 0; or until
 * there is nothing to wait for any more: -ENOTRECOVERABLE. */
static int watch(struct rmt_self *self, struct rmt_waiter *w, struct rmt_member *m, uint64_t offset)
{
    int64_t last = rmt_os_now();
    for (unsigned idle = 0;;) {
        /* Armed before the hits are taken: see rmt_watch_ring_slow. */
        uint32_t v = rmt_or32(&m->watch, 1) | 1;
        rmt_fence();
        uint64_t hits = rmt_xchg64(&m->watch_hits, 0);
        int64_t now = rmt_os_now();
        bool slice = now - last >= SLICE;
        if (slice) {
            last = now;
            rmt_look_for_dead(self);
        }
        pthread_mutex_lock(&mutex);
        if (pass(hits, slice ? RMT_WATCH_SLICE : RMT_WATCH_RUNG))
            idle = 0;
        else
            idle += slice;
        running = idle < 4;
        bool over = !running;
        pthread_mutex_unlock(&mutex);
        if (over)
            return 0;
        w->slice = last + SLICE - now; /* also where others ring all the time */
        if (rmt_sleep(w, &m->watch, v, offset, 0) == -ENOTRECOVERABLE)
            return -ENOTRECOVERABLE;
    }
}

static void *run(void *unused)
{
    struct rmt_self *self;
    struct rmt_waiter w;
    uint64_t offset;
    (void)unused;
    int r = rmt_self(&self);
    if (r == 0)
        r = rmt_wait_start(&w, self, NULL);
    if (r == 0) {
        struct rmt_member *m = rmt_watch_slot(self, &offset);
        w.spins = 0;
        r = watch(self, &w, m, offset + offsetof(struct rmt_member, watch));
    }
    if (r == 0)
        return NULL; /* another may run by now */
    /* Nobody shall wait for what will not be told: a try will say why. */
    pthread_mutex_lock(&mutex);
    running = false;
    raise_all();
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static int start_thread(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, old;
    int r = pthread_attr_init(&attr);
    if (r != 0)
        return -r;
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&thread, &attr, run, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return -r;
}

/* ---- the watches */

static void set_filter(const struct rmt_self *self)
{
    uint64_t filter = 0, offset;
    struct rmt_member *m = rmt_watch_slot(self, &offset);
    for (unsigned i = 0; i < 64; i++)
        filter |= (uint64_t)(counts[i] != 0) << i;
    rmt_watch_announce(self, filter);
    if (rmt_load64_relaxed(&m->watched) != filter)
        rmt_store64(&m->watched, filter);
}

/* Under the mutex: has the slot speak for the watches, and the thread run. */
static int ensure(struct rmt_self *self)
{
    set_filter(self);
    if (running)
        return 0;
    int r = start_thread();
    if (r < 0)
        return r;
    running = true;
    if (stale) {
        stale = false;
        pass(0, RMT_WATCH_SLICE);
    }
    return 0;
}

static unsigned bit_of(const struct rmt_watch *watch)
{
    return (unsigned)__builtin_ctzll(rmt_watch_bit(watch->word));
}

static void unlink_watch(struct rmt_watch *watch)
{
    if (watch->prev)
        watch->prev->next = watch->next;
    else
        first = watch->next;
    if (watch->next)
        watch->next->prev = watch->prev;
    counts[bit_of(watch)]--;
}

int rmt_watch_open(struct rmt_watch *watch)
{
    RMT_NO_CANCEL;
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r == 0)
        r = rmt_os_eventfd(false, &watch->fd);
    if (r < 0)
        return r;
    watch->raised = false;
    pthread_mutex_lock(&mutex);
    watch->prev = NULL;
    watch->next = first;
    if (first)
        first->prev = watch;
    first = watch;
    counts[bit_of(watch)]++;
    r = ensure(self);
    if (r == 0)
        set(watch, watch->ready(watch, RMT_WATCH_SETTLE));
    else
        unlink_watch(watch);
    pthread_mutex_unlock(&mutex);
    if (r < 0)
        close(watch->fd);
    return r;
}

int rmt_watch_settle(struct rmt_watch *watch)
{
    RMT_NO_CANCEL;
    struct rmt_self *self;
    int r = rmt_self(&self);
    if (r < 0)
        return r;
    pthread_mutex_lock(&mutex);
    if (!running || stale)
        r = ensure(self);
    if (r == 0) {
        r = watch->ready(watch, RMT_WATCH_SETTLE);
        set(watch, r != 0);
    }
    pthread_mutex_unlock(&mutex);
    return r;
}

void rmt_watch_close(struct rmt_watch *watch)
{
    RMT_NO_CANCEL;
    struct rmt_self *self;
    int r = rmt_self(&self);
    pthread_mutex_lock(&mutex);
    unlink_watch(watch);
    if (r == 0)
        set_filter(self);
    pthread_mutex_unlock(&mutex);
    close(watch->fd);
}

/* ---- fork */

static void prepare(void)
{
    pthread_mutex_lock(&mutex);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&mutex);
}

/* The parent's eventfds must not be the child's.  They are raised until somebody who uses them
 * comes by and settles them, since until then nobody watches. */
static void in_child(void)
{
    running = false;
    stale = first != NULL;
    for (struct rmt_watch *w = first; w; w = w->next) {
        if (rmt_os_eventfd_renew(w->fd) == 0)
            w->raised = true;
    }
    pthread_mutex_unlock(&mutex);
}

__attribute__((constructor)) static void register_hook(void)
{
    static const struct rmt_fork_hook hook = {prepare, in_parent, in_child};
    rmt_fork_register(&hook);
}
