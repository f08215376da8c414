/* SPDX-License-Identifier: MIT
 *
 * kill_left.c: slots in recovery that somebody left to somebody else, who then dies or turns out
 * not to be at it.  Each death is told once, as by parents that reap, and nobody sweeps in the end:
 * all must be recovered all the same.
 */
#include "arena/local.h"
#include "kill.h"
#include <ramet/arena.h>

struct someone { /* a child that is a member */
    pid_t pid;
    uint32_t slot, epoch;
};

static void pause_for_ever(void *arg)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    struct someone me = {getpid(), rmt_local.slot, rmt_local.epoch};
    CHECK(write(*(const int *)arg, &me, sizeof me) == sizeof me);
    for (;;)
        pause();
}

static struct someone start(void)
{
    int fds[2];
    struct someone one;
    CHECK(pipe(fds) == 0);
    child(pause_for_ever, &fds[1]);
    CHECK(read(fds[0], &one, sizeof one) == sizeof one);
    close(fds[0]);
    close(fds[1]);
    return one;
}

static void end(pid_t pid)
{
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(finish(pid) == -SIGKILL);
}

static uint64_t word_of(const struct someone *one)
{
    return rmt_word(one->epoch, 1, one->slot);
}

static bool is_gone(const struct someone *one)
{
    return (uint32_t)(rmt_load64(&rmt_member_at(one->slot)->state) >> 32) != one->epoch;
}

/* What is there when `dead` has died, and `by` has begun to recover it. */
static void begin_recovery(const struct someone *dead, const struct someone *by)
{
    struct rmt_member *m = rmt_member_at(dead->slot);
    rmt_store64(&m->state, rmt_member_word(dead->epoch, dead->pid, RMT_MEMBER_DYING));
    rmt_store64(&m->recoverer, word_of(by));
}

/* ---- a recoverer who dies while others look after what was left */

static struct someone dies_late;
static int asked;

/* The first time it still lives; after that, not. */
static int ask(pid_t pid)
{
    if (pid == dies_late.pid && ++asked == 2)
        end(pid);
    return 0;
}

/* `first` was recovered by `second`, who died, and is recovered by `dies_late`.  This process looks
 * at all of them after a death that has nothing to do with it, and `dies_late` dies between the
 * look at the one and that at the other: who recovers him then must look at the one again. */
static void test_recoverer_dies_meanwhile(void)
{
    struct someone first = start(), second = start(), other = start();
    if (first.slot > second.slot) { /* the lower is looked at first */
        struct someone s = first;
        first = second;
        second = s;
    }
    dies_late = start();
    end(first.pid);
    end(second.pid);
    end(other.pid);
    begin_recovery(&first, &second);
    begin_recovery(&second, &dies_late);
    asked = 0;
    rmt_dead_hook = ask;
    OK(ramet_reap(other.pid));
    rmt_dead_hook = NULL;
    CHECK(asked >= 2);
    OK(ramet_reap(dies_late.pid));
    CHECK(is_gone(&other) && is_gone(&dies_late) && is_gone(&second));
    CHECK(is_gone(&first));
}

/* ---- what a sweep counts */

/* A slot that another one is recovering is not counted; when he is dead, both are. */
static void test_sweep_counts_its_own(void)
{
    struct someone first = start(), by = start();
    end(first.pid);
    begin_recovery(&first, &by);
    CHECK(ramet_sweep() == 0);
    CHECK(!is_gone(&first) && !is_gone(&by));
    end(by.pid);
    CHECK(ramet_sweep() == 2);
    CHECK(is_gone(&first) && is_gone(&by));
    CHECK(ramet_sweep() == 0);
}

/* ---- one who comes too late to be the recoverer, and whom others take for him */

static struct someone dead, heir; /* heir: lives in the slot after dead */
static int to_helper[2], from_helper[2];
static int step;

static void say(int fd)
{
    CHECK(write(fd, "", 1) == 1);
}

static void hear(int fd)
{
    char c;
    CHECK(read(fd, &c, 1) == 1);
}

/* Recovers `dead`; lets somebody live in its slot; ends him and says so. */
static void help(void *unused)
{
    struct rmt_self *self;
    (void)unused;
    OK(rmt_self(&self));
    say(from_helper[1]);
    hear(to_helper[0]);
    OK(ramet_reap(dead.pid));
    CHECK(is_gone(&dead));
    for (heir = start(); heir.slot != dead.slot; heir = start()) {
        end(heir.pid);
        OK(ramet_reap(heir.pid));
    }
    CHECK(write(from_helper[1], &heir, sizeof heir) == sizeof heir);
    hear(to_helper[0]);
    end(heir.pid);
    OK(ramet_reap(heir.pid));
    say(from_helper[1]);
    hear(to_helper[0]);
}

/* In this process, which is about to become the recoverer of `dead`, and when it has its name
 * there. */
static void stand_by(enum rmt_hook_kind kind, const volatile void *word)
{
    const struct rmt_member *m = rmt_member_at(dead.slot);
    if (step == 0 && kind == RMT_HOOK_CAS && word == &m->recoverer) {
        step = 1;
        say(to_helper[1]);
        CHECK(read(from_helper[0], &heir, sizeof heir) == sizeof heir);
    } else if (step == 1 && kind == RMT_HOOK_LOAD && word == &m->state) {
        step = 2;
        say(to_helper[1]);
        hear(from_helper[0]);
    }
}

static void test_too_late(void)
{
    CHECK(pipe(to_helper) == 0 && pipe(from_helper) == 0);
    dead = start();
    end(dead.pid);
    pid_t helper = child(help, NULL);
    hear(from_helper[0]);
    step = 0;
    rmt_hook = stand_by;
    OK(ramet_reap(dead.pid));
    rmt_hook = NULL;
    CHECK(step == 2);
    CHECK(is_gone(&dead));
    CHECK(is_gone(&heir));
    say(to_helper[1]);
    CHECK(finish(helper) == 0);
    OK(ramet_reap(helper));
    for (int i = 0; i < 2; i++) {
        close(to_helper[i]);
        close(from_helper[i]);
    }
}

/* ---- two dead owners of guards, whom nobody but the recovery of a third one meets */

static void hold_guard(struct rmt_guard *g, const struct someone *owner)
{
    CHECK(rmt_load64(&g->word) == 0);
    rmt_store64(&rmt_member_at(owner->slot)->thread[1].guard, rmt_load64(&g->self));
    rmt_store64(&g->word, word_of(owner));
}

static void test_two_in_guards(void)
{
    struct someone third = start(), one = start(), two = start();
    struct rmt_guard *g = rmt_header()->refs_guard;
    struct rmt_thread *thread = rmt_member_at(third.slot)->thread;
    end(one.pid);
    end(two.pid);
    end(third.pid);
    hold_guard(&g[1], &one);
    hold_guard(&g[2], &two);
    rmt_store64(&thread[1].guard, rmt_load64(&g[1].self));
    rmt_store64(&thread[2].guard, rmt_load64(&g[2].self));
    rmt_store64(&thread[2].word, rmt_word(third.epoch, 2, third.slot));
    OK(ramet_reap(third.pid));
    CHECK(is_gone(&third) && is_gone(&two));
    CHECK(is_gone(&one));
}

/* ---- a thousand who each died in recovering the one before */

#define CHAIN 2000
#define STACK (256 << 10) /* less than as many calls within each other take */

static void nothing(void *unused)
{
    (void)unused;
}

static void *reap(void *pid)
{
    OK(ramet_reap(*(const pid_t *)pid));
    return NULL;
}

static void test_long_chain(void)
{
    static uint32_t slot[CHAIN], epoch[CHAIN];
    pid_t pid = child(nothing, NULL);
    CHECK(finish(pid) == 0);
    OK(ramet_reap(pid));
    for (int i = 0; i < CHAIN; i++) {
        OK(rmt_member_take(&slot[i], &epoch[i]));
        struct rmt_member *m = rmt_member_at(slot[i]);
        rmt_store64(&m->recoverer, 0);
        rmt_store64(&m->state, rmt_member_word(epoch[i], pid, RMT_MEMBER_DYING));
    }
    for (int i = 0; i + 1 < CHAIN; i++) {
        uint64_t by = rmt_word(epoch[i + 1], 1, slot[i + 1]);
        rmt_store64(&rmt_member_at(slot[i])->recoverer, by);
    }
    pthread_attr_t attr;
    pthread_t thread;
    CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, STACK) == 0);
    CHECK(pthread_create(&thread, &attr, reap, &pid) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_attr_destroy(&attr) == 0);
    for (int i = 0; i < CHAIN; i++)
        CHECK((uint32_t)(rmt_load64(&rmt_member_at(slot[i])->state) >> 32) != epoch[i]);
}

int main(void)
{
    watchdog();
    OK(ramet_join());
    for (int i = 0; i < 3; i++) { /* whatever the order of the slots is */
        RUN(test_recoverer_dies_meanwhile);
        RUN(test_sweep_counts_its_own);
        RUN(test_too_late);
        RUN(test_two_in_guards);
    }
    RUN(test_long_chain);
    OK(ramet_arena_check(1));
    return 0;
}
