/* SPDX-License-Identifier: MIT
 *
 * driver.c: the driver's half of step.h.  One process a case: it makes an arena, the idle members
 * whose names the actors bear, the sleeper, and the victim; then at each state that the victim
 * shows it forks those who try what comes of it.  A try that fails prints why, and where the victim
 * had come to.
 */
#include "actor.h"
#include "arena/local.h"
#include "step.h"
#include <ramet/arena.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define SEEN (1u << 20) /* of the table of second deaths; a power of two */
#define BAD_ENOUGH 8
#define WAITS_ENOUGH 40 /* of an actor that ought to go on: many slices */
#define TRY_LIMIT 600   /* seconds: a try that hangs */
#define STRIDE_SHORT 37 /* the short form makes one in so many second deaths, and pairs */

struct step_shared *step_shared;
bool step_peer_ran;
uint64_t step_blocks_less;

static struct { /* shared by all processes of a case */
    uint64_t states, second, pairs, wakes, bad;
    uint64_t seen_count;
    uint64_t seen[SEEN];
} *tally;

static bool long_form;
static const struct step_case *the_case;
static struct actor driver, second, sleeper, recoverer;
static pid_t victim;
static bool victim_is_dead, driver_is_dead;
static uint64_t blocks_before, chunks_of_driver;

struct rmt_self *step_self(void)
{
    struct rmt_self *self;
    OK(rmt_self(&self));
    return self;
}

uint64_t step_blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

uint64_t step_members(void)
{
    return driver_is_dead ? 3 : 4;
}

/* ---- who is dead */

static int is_dead(pid_t pid)
{
    return (victim_is_dead && pid == victim) || (driver_is_dead && pid == driver.pid);
}

/* ---- what the hook does, in the present process */

static enum { HOOK_NOTHING, HOOK_FALL_ASLEEP, HOOK_RECOVER, HOOK_PAIR } hook_does;
static uint64_t woken[STEP_WAKES * 4]; /* futex words that recovery woke */
static unsigned woken_count;
static unsigned waits;           /* sleeps since the victim died */
static uint64_t pair_left;       /* operations of the peer until the victim dies */
static bool pair_over;           /* the peer was through before */
static struct actor *pair_other; /* whom to let go on where this one sleeps */

static void enough_waits(void)
{
    if (++waits == WAITS_ENOUGH) {
        fprintf(stderr, "still asleep after %d slices\n", WAITS_ENOUGH);
        _exit(1);
    }
}

static void pair_hook(enum rmt_hook_kind kind);

static void hook(enum rmt_hook_kind kind, const volatile void *word)
{
    if (hook_does == HOOK_FALL_ASLEEP && kind == RMT_HOOK_FUTEX_WAIT) {
        actor_yield();
        return;
    }
    if (kind == RMT_HOOK_FUTEX_WAKE && hook_does != HOOK_NOTHING &&
        woken_count < sizeof woken / sizeof woken[0])
        woken[woken_count++] = (uint64_t)((const volatile char *)word - (char *)rmt_at(0));
    if (hook_does == HOOK_PAIR)
        pair_hook(kind);
    else if (kind == RMT_HOOK_FUTEX_WAIT && hook_does == HOOK_RECOVER) {
        enough_waits();
        step_over_futex();
    }
}

/* ---- one try */

/* From here on the arena is this process's own copy. */
static void take_copy(void)
{
    alarm(TRY_LIMIT);
    void *p = mmap(rmt_at(0), RMT_WINDOW0, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                   rmt_local.fd, 0);
    CHECK(p == rmt_at(0));
    rmt_store32_relaxed((rmt_a32 *)(uintptr_t)rmt_member_mark, 1);
    step_self()->spin = 0;
}

static void recover(void)
{
    while (rmt_sweep(step_self()) > 0)
        ;
}

static uint64_t handle_chunks(uint32_t slot)
{
    uint64_t n = 0;
    for (uint64_t b = rmt_load64(&rmt_member_at(slot)->handles); b != 0; n++)
        b = rmt_load64(&((struct rmt_handle_chunk *)rmt_payload(b))->next);
    return n;
}

static bool was_woken(uint64_t word)
{
    for (unsigned i = 0; i < woken_count; i++)
        if (woken[i] == word)
            return true;
    for (uint64_t i = 0; i < step_shared->woken; i++)
        if (step_shared->wake[i] == word)
            return true;
    return false;
}

/* The wake oracle: whoever may go on has been woken since he might. */
static void check_sleeper(void)
{
    uint64_t word = rmt_load64(&sleeper.self.thread->waits);
    if (word == 0)
        return;
    if (!the_case->enabled()) {
        the_case->enable();
        CHECK(the_case->enabled());
    }
    if (!was_woken(word)) {
        fprintf(stderr, "the sleeper on %#lx may go on, and nobody has woken it\n",
                (unsigned long)word);
        _exit(1);
    }
    __atomic_add_fetch(&tally->wakes, 1, __ATOMIC_RELAXED);
    waits = 0;
    while (!sleeper.done)
        actor_resume(&sleeper);
}

/* After recovery by the present actor. */
static void check_all(void)
{
    hook_does = HOOK_RECOVER;
    OK(ramet_arena_check(2));
    CHECK(actor_slot_of(victim) == 0);
    if (driver_is_dead)
        CHECK(actor_slot_of(driver.pid) == 0);
    if (the_case->sleeps)
        check_sleeper();
    the_case->verify();
    OK(ramet_arena_check(2));
    uint64_t expected = blocks_before - (driver_is_dead ? chunks_of_driver : 0);
    if (step_blocks() != expected)
        fprintf(stderr, "%ld blocks too many\n", (long)(step_blocks() - expected));
    CHECK(step_blocks() == expected);
}

static void where(const char *what)
{
    fprintf(stderr, "%s: %s: after store %lu, instruction %lu, at +%#lx, which changed %#lx\n",
            the_case->name, what, (unsigned long)step_shared->stores,
            (unsigned long)step_shared->steps, (unsigned long)step_shared->at,
            (unsigned long)step_shared->offset_at);
}

/* Waits for a try; its exit code. */
static int judge(pid_t pid, const char *what)
{
    int status = finish(pid);
    if (status == 0 || status == 2)
        return status;
    if (status < 0)
        fprintf(stderr, "ended by signal %d\n", -status);
    where(what);
    __atomic_add_fetch(&tally->bad, 1, __ATOMIC_RELAXED);
    return status;
}

/* ---- the second death: the recoverer's, at each of its own changes */

static bool is_new(uint64_t key)
{
    if (key == 0)
        key = 1;
    uint64_t i = key;
    for (; tally->seen[i % SEEN] != 0; i++)
        if (tally->seen[i % SEEN] == key)
            return false;
    CHECK(++tally->seen_count < SEEN / 2);
    tally->seen[i % SEEN] = key;
    return true;
}

/* In the recoverer's signal handler, after a store: nothing process-local of the arena layer is
 * held there, since recovery takes no mutex over a store. */
static void die_again(void)
{
    uint64_t key = step_seen.state + step_shared->state;
    for (unsigned i = 0; i < sizeof step_shared->did / sizeof step_shared->did[0]; i++)
        key = step_mix(key, step_shared->did[i]);
    key = step_mix(step_mix(key, step_shared->woken), woken_count);
    /* The short form: a few at each state, others at the next, and the same in every run. */
    bool skipped = !long_form && (step_seen.stores + tally->states * 5) % STRIDE_SHORT != 0;
    if (skipped || tally->bad >= BAD_ENOUGH || !is_new(key))
        return;
    tally->second++;
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(TRY_LIMIT);
        step_end();
        rmt_store32_relaxed((rmt_a32 *)(uintptr_t)rmt_member_mark, 1);
        driver_is_dead = true;
        actor_become(&second);
        step_self()->spin = 0;
        recover();
        check_all();
        _exit(0);
    }
    char what[80];
    snprintf(what, sizeof what, "recoverer dead after its store %lu, to %#lx",
             (unsigned long)step_seen.stores, (unsigned long)step_seen.offset);
    judge(pid, what);
}

static void try_recovery(bool again)
{
    tally->states++;
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        take_copy();
        victim_is_dead = true;
        hook_does = HOOK_RECOVER;
        if (again)
            step_begin(false, die_again, NULL);
        recover();
        if (again)
            step_end();
        check_all();
        _exit(0);
    }
    judge(pid, "recovery");
}

/* ---- pairs: the peer goes up to its nth operation, the victim is dead, somebody recovers it, the
 * peer goes on */

static void let_recover(void)
{
    /* What is left is in the hands of the peer, who may be recovering somebody himself. */
    while (rmt_sweep(step_self()) > 0)
        actor_yield();
}

static void pair_hook(enum rmt_hook_kind kind)
{
    bool sleeps = kind == RMT_HOOK_FUTEX_WAIT;
    if (!victim_is_dead && (--pair_left == 0 || sleeps)) {
        pair_over = sleeps; /* it sleeps until the victim is dead: there is no later point */
        victim_is_dead = true;
        pair_other = &recoverer;
        actor_start(&recoverer, let_recover);
        pair_other = NULL;
        return;
    }
    if (!victim_is_dead || !sleeps)
        return;
    enough_waits();
    /* One waits for the other: let that one go on. */
    if (actor_now == &recoverer)
        actor_yield();
    else if (!recoverer.done)
        actor_resume(&recoverer);
}

/* 2: the peer was through before its nth operation, or slept: there is no later one. */
static void try_pair(uint64_t nth)
{
    take_copy();
    hook_does = HOOK_PAIR;
    pair_left = nth;
    step_peer_ran = true;
    the_case->peer();
    bool through = !victim_is_dead;
    while (!through && !recoverer.done)
        actor_resume(&recoverer);
    hook_does = HOOK_RECOVER;
    victim_is_dead = true;
    recover();
    check_all();
    _exit(through || pair_over ? 2 : 0);
}

static void try_pairs(void)
{
    /* The short form: a few of the peer's operations at each state, others at the next. */
    uint64_t nth = long_form ? 1 : 1 + tally->states * 5 % STRIDE_SHORT;
    for (;; nth += long_form ? 1 : STRIDE_SHORT) {
        if (tally->bad >= BAD_ENOUGH)
            return;
        tally->pairs++;
        pid_t pid = _Fork();
        CHECK(pid >= 0);
        if (pid == 0)
            try_pair(nth);
        char what[80];
        snprintf(what, sizeof what, "peer at its operation %lu", (unsigned long)nth);
        if (judge(pid, what) != 0)
            return;
    }
}

/* ---- the victim */

static char victim_program[4096];

static pid_t start_victim(int shared, int *ret_line)
{
    int pair[2];
    char numbers[4][16];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    int fds[3] = {shared, ramet_arena_fd(), pair[1]};
    snprintf(numbers[0], sizeof numbers[0], "%d", (int)(the_case - step_cases));
    for (int i = 0; i < 3; i++)
        snprintf(numbers[i + 1], sizeof numbers[i + 1], "%d", fds[i]);
    char *argv[] = {victim_program, numbers[0], numbers[1], numbers[2], numbers[3], NULL};
    pid_t pid = _Fork(); /* no member: it attaches by itself */
    CHECK(pid >= 0);
    if (pid == 0) {
        for (int i = 0; i < 3; i++)
            CHECK(fcntl(fds[i], F_SETFD, 0) == 0);
        for (int i = 0; i < STEP_NAMES; i++)
            CHECK(step_shared->fd[i] == 0 || fcntl(step_shared->fd[i], F_SETFD, 0) == 0);
        execv(victim_program, argv);
        perror(victim_program);
        _exit(7);
    }
    close(pair[1]);
    *ret_line = pair[0];
    return pid;
}

static void fall_asleep(void)
{
    hook_does = HOOK_FALL_ASLEEP;
    actor_start(&sleeper, the_case->sleeps);
    hook_does = HOOK_NOTHING;
    CHECK(!sleeper.done && rmt_load64(&sleeper.self.thread->waits) != 0);
    step_shared->sleeper = sleeper.self.offset;
}

static void at_state(void)
{
    if (tally->bad >= BAD_ENOUGH)
        return;
    try_recovery(long_form || !the_case->large);
    if (the_case->peer && (long_form || !the_case->large))
        try_pairs();
}

static void run(int shared)
{
    OK(ramet_join());
    actor_first(&driver);
    the_case->setup();
    actor_make(&second);
    actor_make(&sleeper);
    actor_make(&recoverer);
    rmt_hook = hook;
    rmt_dead_hook = is_dead;
    blocks_before = step_blocks() - step_blocks_less;
    chunks_of_driver = handle_chunks(driver.slot);
    int line;
    victim = start_victim(shared, &line);
    for (char c = 0; c != 'e';) {
        if (read(line, &c, 1) != 1) {
            fprintf(stderr, "the victim ended: %d\n", finish(victim));
            where("stepping");
            _exit(1);
        }
        if (c == 'p' && the_case->sleeps)
            fall_asleep();
        else if (c == 's')
            at_state();
        if (write(line, "g", 1) != 1)
            _exit(1);
    }
    CHECK(finish(victim) == 0);
    actor_end_idle();
    _exit(tally->bad != 0);
}

static int one_case(int shared)
{
    memset(tally, 0, sizeof *tally);
    memset(step_shared, 0, sizeof *step_shared);
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0)
        run(shared);
    int status = finish(pid);
    printf("%-34s %6lu instructions %5lu stores %5lu states %6lu second deaths %6lu pairs",
           the_case->name, (unsigned long)step_shared->steps, (unsigned long)step_shared->stores,
           (unsigned long)tally->states, (unsigned long)tally->second, (unsigned long)tally->pairs);
    if (the_case->sleeps)
        printf(" %5lu wakes", (unsigned long)tally->wakes);
    printf(" %3lu bad\n", (unsigned long)tally->bad);
    if (status != 0)
        fprintf(stderr, "%s: failed (%d); where: addr2line -fpe %s +OFFSET\n", the_case->name,
                status, victim_program);
    fflush(stdout);
    return status != 0;
}

/* [case]: only that one.  RAMET_LONG=1: the long form. */
int main(int argc, char **argv)
{
    const char *form = getenv("RAMET_LONG");
    long_form = form && strcmp(form, "1") == 0;
    ssize_t n = readlink("/proc/self/exe", victim_program, sizeof victim_program - 16);
    CHECK(n > 0);
    strcpy(victim_program + n, "_victim");
    int shared = (int)syscall(SYS_memfd_create, "step", 1u /* MFD_CLOEXEC */);
    CHECK(shared >= 0 && ftruncate(shared, sizeof *step_shared) == 0);
    void *p = mmap(NULL, sizeof *step_shared, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    void *t = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED && t != MAP_FAILED);
    step_shared = p;
    tally = t;
    int failed = 0;
    for (int i = 0; i < step_case_count; i++) {
        the_case = &step_cases[i];
        if (argc < 2 || strcmp(argv[1], the_case->name) == 0)
            failed += one_case(shared);
    }
    return failed != 0;
}
