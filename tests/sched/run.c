/* SPDX-License-Identifier: MIT
 *
 * run.c: one schedule.  See schedule.h.
 *
 * An actor runs until its next atomic operation (base/atomic.h, RAMET_HOOKS) and there asks, before
 * it does it, who goes on.  A sleep on a futex, which the linker leads here (--wrap), takes the
 * actor out of those who can until somebody wakes the word; no time passes, so that no sleep ends
 * by itself.  An actor that is killed never goes on, and counts as dead (rmt_dead_hook).
 */
#include "../kill/step/actor.h"
#include "arena/local.h"
#include "base/os.h"
#include "schedule.h"
#include <ramet/arena.h>

#include <sys/mman.h>

#define STEPS_ENOUGH 100000 /* operations in one schedule: it does not end */
#define ROUNDS_ENOUGH 10    /* calls of `enable` */
#define LIMIT 600           /* seconds: a schedule that hangs */

struct sched_told *sched_told;
long sched_blocks_more;

static const struct sched_case *the_case;
static struct actor driver, actor[SCHED_ACTORS];
static long blocks_before, chunks[SCHED_ACTORS];

static struct { /* of actor i */
    bool exists, dead;
    bool dirty;                  /* has changed something since it could be killed last */
    const volatile void *asleep; /* on that word; NULL */
    uint64_t asleep_since;       /* who slept first is woken first */
    int64_t now;                 /* its clock: calls of rmt_os_now */
} is[SCHED_ACTORS];

static const struct sched_choice *choices;
static unsigned choice_count, choices_made, points;
static bool running; /* the actors, not the driver */
static bool say;     /* what happens, on stdout */
static int next;     /* who goes on when the present actor yields; -1 nobody */
static int killed;   /* so far */
static uint64_t steps, sleeps;

struct rmt_self *step_self(void)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    return self;
}

uint64_t sched_blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

int sched_me(void)
{
    return actor_now == &driver ? -1 : (int)(actor_now - actor);
}

bool sched_is_dead(int i)
{
    return is[i].dead;
}

static const char *name_of(int i)
{
    return i < SCHED_WORKERS ? the_case->actor[i].name : "recoverer";
}

static uint64_t offset_of(const volatile void *word)
{
    return (uint64_t)((const volatile char *)word - (const char *)rmt_at(0));
}

static int is_dead(pid_t pid)
{
    for (int i = 0; i < SCHED_ACTORS; i++)
        if (is[i].exists && pid == actor[i].pid) {
            if (running && sched_me() >= 0)
                trace_access(sched_me(), &is[i].dead, false);
            return is[i].dead;
        }
    return 0;
}

/* ---- who can go on, and who does */

static bool can(int i)
{
    bool called = i < SCHED_WORKERS || i - SCHED_WORKERS < killed;
    return is[i].exists && called && !is[i].dead && !is[i].asleep && !actor[i].done;
}

static unsigned all_who_can(void)
{
    unsigned mask = 0;
    for (int i = 0; i < SCHED_ACTORS; i++)
        mask |= (unsigned)can(i) << i;
    return mask;
}

/* A point at which there is a choice. */
static int choose(int would, unsigned others, bool costs, bool killable)
{
    if (others == 0 && !killable)
        return would;
    CHECK(points < SCHED_POINTS);
    /* Equal: the same state, and the same choice in it. */
    uint64_t state = trace_state() ^ (uint64_t)(would + 1 + (costs ? 16 : 0)) << 40;
    sched_told->point[points] = (struct sched_point){
        .state = state, .others = (uint8_t)others, .costs = costs, .killable = killable};
    unsigned at = points++;
    sched_told->points = points;
    if (choices_made == choice_count || choices[choices_made].at != at)
        return would;
    int choice = choices[choices_made++].choice;
    CHECK(choice == SCHED_KILL ? killable : (others >> choice & 1) != 0);
    return choice;
}

/* The present one cannot go on, or need not: somebody else.  -1: nobody can. */
static int choose_any(void)
{
    unsigned mask = all_who_can();
    if (mask == 0)
        return -1;
    int would = __builtin_ctz(mask);
    return choose(would, mask & ~(1u << would), false, false);
}

static void go(int i)
{
    next = i;
    actor_yield();
}

static void die(int me)
{
    if (say)
        printf("%4u: %s is killed\n", points - 1, name_of(me));
    trace_access(me, &is[me].dead, true);
    is[me].dead = true;
    killed++;
    sched_told->kills++;
    go(choose_any());
    CHECK(!"a dead actor goes on");
}

/* ---- what an actor does */

/* Words that nobody else looks at while their thread lives: nothing is gained by a switch before
 * them.  (A death is: recovery reads them.) */
static bool is_private(const volatile void *word)
{
    const struct rmt_thread *t = actor_now->self.thread;
    uint64_t at = offset_of(word), guard = offset_of(t);
    if (at >= RMT_WINDOW0)
        return true; /* not of the arena */
    if (at >= guard && at < guard + sizeof *t) {
        const volatile void *shared[] = {&t->word,      &t->waits,     &t->waits_owner, &t->wake,
                                         &t->list_next, &t->list_prev, &t->list_of,     &t->cancel};
        for (unsigned i = 0; i < sizeof shared / sizeof shared[0]; i++)
            if (word == shared[i])
                return false;
        return true;
    }
    /* The commit record of the guard that it holds. */
    guard = atomic_load_explicit(&t->guard, memory_order_relaxed);
    return rmt_self_now->in_guard && at > guard && at < guard + sizeof(struct rmt_guard);
}

static void step(const volatile void *word, bool writes)
{
    int me = sched_me();
    if (++steps == STEPS_ENOUGH) {
        fprintf(stderr, "no end after %d operations\n", STEPS_ENOUGH);
        _exit(1);
    }
    bool private = is_private(word);
    bool killable = is[me].dirty && killed < SCHED_KILLS;
    int who = choose(me, private ? 0 : all_who_can() & ~(1u << me), true, killable);
    is[me].dirty = false;
    if (who == SCHED_KILL)
        die(me);
    if (who != me) {
        if (say)
            printf("%4u: %s stops before %s +%#lx, %s goes on\n", points - 1, name_of(me),
                   writes ? "writing" : "reading", (unsigned long)offset_of(word), name_of(who));
        go(who);
    }
    if (offset_of(word) < RMT_WINDOW0)
        trace_access(me, word, writes);
    is[me].dirty = writes;
}

static void hook(enum rmt_hook_kind kind, const volatile void *word)
{
    /* The futex calls do not come here, but see below. */
    if (running && (kind <= RMT_HOOK_ADD || kind == RMT_HOOK_BELL))
        step(word, kind != RMT_HOOK_LOAD);
}

int __wrap_rmt_os_futex_wait(rmt_a32 *word, uint32_t expect, int64_t deadline);
int __wrap_rmt_os_futex_wake(rmt_a32 *word, int count);
int64_t __wrap_rmt_os_now(void);
int64_t __wrap_rmt_os_now_coarse(void);

int __wrap_rmt_os_futex_wait(rmt_a32 *word, uint32_t expect, int64_t deadline)
{
    (void)deadline;
    if (!running) {
        fprintf(stderr, "the driver would sleep on +%#lx\n", (unsigned long)offset_of(word));
        _exit(1);
    }
    int me = sched_me();
    step(word, true); /* of the line of sleepers, too */
    if (atomic_load(word) != expect)
        return -EAGAIN;
    is[me].asleep = word;
    is[me].asleep_since = ++sleeps;
    if (say)
        printf("      %s falls asleep on +%#lx\n", name_of(me), (unsigned long)offset_of(word));
    go(choose_any());
    is[me].dirty = true; /* who dies now dies with the wake */
    return 0;
}

int __wrap_rmt_os_futex_wake(rmt_a32 *word, int count)
{
    int woken = 0;
    if (running)
        step(word, true);
    for (; woken < count; woken++) {
        int first = -1;
        for (int i = 0; i < SCHED_ACTORS; i++)
            if (is[i].asleep == word && (first < 0 || is[i].asleep_since < is[first].asleep_since))
                first = i;
        if (first < 0)
            break;
        is[first].asleep = NULL;
        if (say)
            printf("      %s is woken\n", name_of(first));
    }
    return woken;
}

/* A clock for each actor, of which nothing depends on the others. */
int64_t __wrap_rmt_os_now(void)
{
    int me = sched_me();
    return INT64_C(1000000000000) + (me >= 0 ? ++is[me].now * 1000 : 0);
}

int64_t __wrap_rmt_os_now_coarse(void)
{
    return __wrap_rmt_os_now();
}

static void act(void)
{
    actor_yield(); /* the schedule has not begun */
    the_case->actor[sched_me()].run();
}

/* Recovers all who are dead, as their parent would, or waits for those who are doing so. */
static void recover(void)
{
    actor_yield();
    while (rmt_sweep(step_self()) > 0) {
        unsigned others = all_who_can() & ~(1u << sched_me());
        if (others != 0) {
            int would = __builtin_ctz(others);
            go(choose(would, others & ~(1u << would), false, false));
        }
    }
}

/* ---- the whole of it */

static long handle_chunks(uint32_t slot)
{
    long n = 0;
    for (uint64_t b = rmt_load64(&rmt_member_at(slot)->handles); b != 0; n++)
        b = rmt_load64(&((struct rmt_handle_chunk *)rmt_payload(b))->next);
    return n;
}

void sched_prepare(const struct sched_case *c)
{
    the_case = c;
    OK(ramet_join());
    actor_first(&driver);
    c->setup();
    for (int i = 0; i < SCHED_ACTORS; i++) {
        if (i < SCHED_WORKERS && !c->actor[i].run)
            continue;
        actor_make(&actor[i]);
        is[i].exists = is[i].dirty = true;
        chunks[i] = handle_chunks(actor[i].slot);
    }
    CHECK(rmt_sweep(step_self()) == 0); /* opens the pidfds of all, once for all schedules */
    /* From here on the arena is this process's own, and copied with it. */
    void *p = mmap(rmt_at(0), RMT_WINDOW0, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                   rmt_local.fd, 0);
    CHECK(p == rmt_at(0));
    step_self()->spin = 0;
    blocks_before = (long)sched_blocks();
    rmt_hook = hook;
    rmt_dead_hook = is_dead;
    for (int i = 0; i < SCHED_ACTORS; i++)
        if (is[i].exists)
            actor_start(&actor[i], i < SCHED_WORKERS ? act : recover);
}

void sched_end(void)
{
    actor_end_idle();
}

static void run_until_nobody_can(void)
{
    running = true;
    next = choose_any();
    while (next >= 0) {
        int i = next;
        if (say)
            printf("      %s goes on\n", name_of(i));
        actor_resume(&actor[i]);
        if (actor[i].done && next == i)
            next = choose_any();
    }
    running = false;
}

/* Whether somebody sleeps: rightly, or else it was not woken. */
static bool somebody_sleeps(void)
{
    bool any = false;
    for (int i = 0; i < SCHED_ACTORS; i++) {
        if (!is[i].exists || is[i].dead || !is[i].asleep)
            continue;
        any = true;
        uint64_t word = offset_of(is[i].asleep);
        if (i >= SCHED_WORKERS || !the_case->may_sleep(i, word)) {
            fprintf(stderr, "%s sleeps on +%#lx though it may go on: nobody has woken it\n",
                    name_of(i), (unsigned long)word);
            _exit(1);
        }
    }
    return any;
}

static void check_end(void)
{
    long expected = blocks_before;
    OK(ramet_arena_check(2));
    for (int i = 0; i < SCHED_ACTORS; i++)
        if (is[i].dead) {
            CHECK(actor_slot_of(actor[i].pid) == 0); /* it is recovered */
            expected -= chunks[i];
        }
    the_case->verify();
    OK(ramet_arena_check(2));
    expected += sched_blocks_more;
    if ((long)sched_blocks() != expected) {
        fprintf(stderr, "%ld blocks too many\n", (long)sched_blocks() - expected);
        _exit(1);
    }
}

_Noreturn void sched_run(const struct sched_choice *given, unsigned count, bool aloud)
{
    alarm(LIMIT);
    rmt_store32_relaxed((rmt_a32 *)(uintptr_t)rmt_member_mark, 1);
    choices = given;
    choice_count = count;
    say = aloud;
    if (say)
        setvbuf(stdout, NULL, _IONBF, 0); /* it ends by _exit */
    trace_start();
    if (the_case->begin)
        the_case->begin();
    run_until_nobody_can();
    for (int round = 0; somebody_sleeps(); round++) {
        CHECK(round < ROUNDS_ENOUGH);
        the_case->enable();
        trace_all();
        run_until_nobody_can();
    }
    CHECK(choices_made == choice_count);
    check_end();
    sched_told->steps += steps;
    _exit(0);
}
