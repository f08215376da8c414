/* SPDX-License-Identifier: MIT
 *
 * test_watch.c: descriptors that say when an object is ready: rung by other processes, settled,
 * shared with nobody over fork, and right although who rings, holds or watches dies.
 */
#include "sync/event.h"
#include "sync/lock.h"
#include "sync/semaphore.h"
#include "sync/watch.h"
#include "sync_unit.h"

#include <poll.h>

#define LOCKS 200

static ramet_lock *lock;
static ramet_event *event;
static ramet_semaphore *semaphore;
static rmt_a64 *word;

static bool readable(const struct rmt_watch *watch, int timeout)
{
    struct pollfd p = {.fd = watch->fd, .events = POLLIN};
    return poll(&p, 1, timeout) == 1 && (p.revents & POLLIN) != 0;
}

static void release_lock(void *arg)
{
    (void)arg;
    OK(ramet_lock_release(lock)); /* anybody may */
}

static void set_event(void *arg)
{
    (void)arg;
    OK(ramet_event_set(event));
    OK(ramet_event_clear(event));
}

static void give_permit(void *arg)
{
    (void)arg;
    OK(ramet_semaphore_release(semaphore, 1));
}

static void others_ring(void)
{
    struct rmt_watch l, e, s;
    rmt_lock_watch(rmt_lock_of(lock), &l);
    rmt_event_watch(rmt_event_of(event), &e);
    rmt_semaphore_watch(rmt_semaphore_of(semaphore), &s);
    OK(rmt_watch_open(&l));
    OK(rmt_watch_open(&e));
    OK(rmt_watch_open(&s));
    CHECK(readable(&l, 0) && !readable(&e, 0) && !readable(&s, 0));
    OK(ramet_lock_acquire(lock, NULL));
    CHECK(readable(&l, 0)); /* until somebody looks */
    for (int i = 0; i < 20; i++) {
        CHECK(rmt_watch_settle(&l) == 0 && !readable(&l, 0));
        CHECK(finish(child(release_lock, NULL)) == 0);
        CHECK(readable(&l, -1) && rmt_watch_settle(&l) == 1);
        OK(ramet_lock_acquire(lock, at_once()));
        CHECK(finish(child(set_event, NULL)) == 0); /* a pulse */
        CHECK(readable(&e, -1) && rmt_watch_settle(&e) == 0 && !readable(&e, 0));
        CHECK(finish(child(give_permit, NULL)) == 0);
        CHECK(readable(&s, -1));
        OK(ramet_semaphore_acquire(semaphore, at_once()));
        CHECK(rmt_watch_settle(&s) == 0 && !readable(&s, 0));
    }
    OK(ramet_lock_release(lock));
    rmt_watch_close(&l);
    rmt_watch_close(&e);
    rmt_watch_close(&s);
}

static void hold(void *arg)
{
    (void)arg;
    OK(ramet_lock_acquire(lock, NULL));
    OK(ramet_semaphore_acquire_owned(semaphore, NULL));
    rmt_store64(&word[0], 1);
    for (;;)
        pause();
}

static void a_death_makes_ready(void)
{
    struct rmt_watch l, s;
    OK(ramet_semaphore_release(semaphore, 1));
    rmt_store64(&word[0], 0);
    pid_t pid = child(hold, NULL);
    await_value(&word[0], 1);
    rmt_lock_watch(rmt_lock_of(lock), &l);
    rmt_semaphore_watch(rmt_semaphore_of(semaphore), &s);
    OK(rmt_watch_open(&l));
    OK(rmt_watch_open(&s));
    CHECK(!readable(&l, 0) && !readable(&s, 0));
    kill_child(pid); /* announces nothing */
    CHECK(readable(&l, -1) && readable(&s, -1));
    CHECK(ramet_lock_acquire(lock, at_once()) == -EOWNERDEAD);
    OK(ramet_semaphore_acquire(semaphore, at_once()));
    OK(ramet_lock_release(lock));
    rmt_watch_close(&l);
    rmt_watch_close(&s);
}

static void hold_and_exec(void *arg)
{
    (void)arg;
    static char name[] = "sleep";
    char *const argv[] = {name, name, NULL};
    OK(ramet_lock_acquire(lock, NULL));
    rmt_store64(&word[0], 1);
    execve("/proc/self/exe", argv, environ); /* not execl: tests/qemu/preload.c */
}

/* That is seen in its memory map, at which the family looks now and then: who was told that the
 * lock may be had must get it, though the look is just over. */
static void a_leave_by_exec_makes_ready(void)
{
    struct rmt_watch l;
    rmt_store64(&word[0], 0);
    pid_t pid = child(hold_and_exec, NULL);
    await_value(&word[0], 1);
    rmt_lock_watch(rmt_lock_of(lock), &l);
    OK(rmt_watch_open(&l));
    CHECK(readable(&l, -1));
    CHECK(ramet_lock_acquire(lock, at_once()) == -EOWNERDEAD);
    OK(ramet_lock_release(lock));
    rmt_watch_close(&l);
    kill_child(pid);
}

/* Lives and dies among the watched, and leaves its filter behind. */
static void watch_and_die(void *arg)
{
    struct rmt_watch watch;
    (void)arg;
    rmt_event_watch(rmt_event_of(event), &watch);
    OK(rmt_watch_open(&watch));
    rmt_add64(&word[1], 1);
    for (;;)
        pause();
}

static void watches_nothing(void *arg)
{
    (void)arg;
    struct rmt_self *self;
    uint64_t offset;
    OK(rmt_self(&self));
    CHECK(rmt_load64(&rmt_watch_slot(self, &offset)->watched) == 0);
}

static void dead_watchers_do_no_harm(void)
{
    struct rmt_watch e;
    pid_t pids[4];
    rmt_store64(&word[1], 0);
    for (int i = 0; i < 4; i++)
        pids[i] = child(watch_and_die, NULL);
    await_value(&word[1], 4);
    for (int i = 0; i < 4; i++)
        kill_child(pids[i]);
    CHECK(ramet_sweep() >= 0); /* if our own watcher has not been there first */
    uint64_t slots = rmt_load64(&rmt_header()->members_high); /* theirs are among them */
    for (uint64_t i = 1; i < slots; i++)
        CHECK(finish(child(watches_nothing, NULL)) == 0);
    rmt_event_watch(rmt_event_of(event), &e);
    OK(rmt_watch_open(&e));
    CHECK(!readable(&e, 0));
    CHECK(finish(child(set_event, NULL)) == 0);
    CHECK(readable(&e, -1));
    rmt_watch_close(&e);
}

/* The descriptor is another one under the same number, and says "look" until it was settled. */
static void use_inherited(void *arg)
{
    struct rmt_watch *watch = arg;
    CHECK(readable(watch, 0));
    CHECK(rmt_watch_settle(watch) == 0 && !readable(watch, 0));
    rmt_store64(&word[2], 1);
    CHECK(readable(watch, -1));
    rmt_watch_close(watch);
}

static void a_child_has_its_own(void)
{
    struct rmt_watch e;
    rmt_event_watch(rmt_event_of(event), &e);
    OK(rmt_watch_open(&e));
    rmt_store64(&word[2], 0);
    pid_t pid = child(use_inherited, &e);
    await_value(&word[2], 1);
    CHECK(!readable(&e, 0));
    OK(ramet_event_set(event));
    OK(ramet_event_clear(event));
    CHECK(finish(pid) == 0);
    CHECK(readable(&e, -1)); /* not lowered by the child */
    rmt_watch_close(&e);
}

static void *release_all(void *arg)
{
    ramet_lock **locks = arg;
    for (int i = 0; i < LOCKS; i++)
        OK(ramet_lock_release(locks[i]));
    return NULL;
}

/* More than there are bits in the filter, opened while others ring. */
static void many(void)
{
    static ramet_lock *locks[LOCKS];
    static struct rmt_watch watches[LOCKS];
    pthread_t thread;
    for (int i = 0; i < LOCKS; i++) {
        OK(ramet_lock_create(NULL, &locks[i]));
        OK(ramet_lock_acquire(locks[i], NULL));
    }
    CHECK(pthread_create(&thread, NULL, release_all, locks) == 0);
    for (int i = 0; i < LOCKS; i++) {
        rmt_lock_watch(rmt_lock_of(locks[i]), &watches[i]);
        OK(rmt_watch_open(&watches[i]));
    }
    for (int i = 0; i < LOCKS; i++)
        CHECK(readable(&watches[i], -1));
    CHECK(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < LOCKS; i++) {
        rmt_watch_close(&watches[i]);
        ramet_lock_close(locks[i]);
    }
}

int main(int argc, char **argv)
{
    (void)argv;
    while (argc > 1) /* another program by now: hold_and_exec */
        pause();
    watchdog();
    word = words(3);
    OK(ramet_lock_create(NULL, &lock));
    OK(ramet_event_create(NULL, &event));
    ramet_semaphore_options options = {.size = sizeof options, .value = 0, .max = 100};
    OK(ramet_semaphore_create(&options, &semaphore));
    RUN(others_ring);
    RUN(a_death_makes_ready);
    RUN(a_leave_by_exec_makes_ready);
    /* qemu-user 7.2 fails an assertion of its own where a process was forked off one with threads
     * and makes one (plugins/core.c, qemu_plugin_vcpu_init_hook). */
    if (!getenv("RAMET_QEMU")) {
        RUN(dead_watchers_do_no_harm);
        RUN(a_child_has_its_own);
    }
    RUN(many);
    ramet_lock_close(lock);
    ramet_event_close(event);
    ramet_semaphore_close(semaphore);
    return 0;
}
