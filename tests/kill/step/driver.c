/* SPDX-License-Identifier: MIT
 *
 * driver.c: the driver's half of step.h.  One process a case: it makes an arena, the idle members
 * whose names the actors bear, the sleeper, and the victim; then at each state that the victim
 * shows it forks those who try what comes of it (tries.c, pairs.c).  And one for each operation of
 * the peer at which it stands before the victim begins.
 */
#include "driver.h"
#include "arena/local.h"
#include <ramet/arena.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define STRIDE_ALIKE 13 /* the short form tries one in so many states of what is like others */

struct step_shared *step_shared;
bool step_peer_ran;
uint64_t step_blocks_less;

struct tally *tally;
bool long_form;
unsigned stride;
static unsigned stride_of_all = 1; /* RAMET_STEP_STRIDE */
const struct step_case *the_case;
struct actor driver, second, sleeper, recoverer;
pid_t victim;
uint64_t blocks_before, chunks_of_driver, chunks_of_second;

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
    return 4 - (uint64_t)driver_is_dead - (uint64_t)second_is_dead;
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
    static uint64_t shown; /* others with each case */
    uint64_t n = shown++ + (uint64_t)(the_case - step_cases);
    bool skipped = !long_form && the_case->alike && n % STRIDE_ALIKE != 0;
    if (skipped || tally->bad >= BAD_ENOUGH)
        return;
    try_recovery(long_form || !the_case->large);
    if (the_case->peer && (long_form || !the_case->large))
        try_pairs();
}

static int line; /* to the victim */

static void begin(int shared)
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
    chunks_of_second = handle_chunks(second.slot);
    victim = start_victim(shared, &line);
}

/* What the victim says: 'p' it has prepared, 's' a new state, 'w' it waits for the peer, 'e' it has
 * come to its end. */
static char hear(void)
{
    char c;
    if (read(line, &c, 1) == 1)
        return c;
    fprintf(stderr, "the victim ended: %d\n", finish(victim));
    where("stepping");
    _exit(1);
}

static void go_on(void)
{
    if (write(line, "g", 1) != 1)
        _exit(1);
}

static void run(int shared)
{
    begin(shared);
    for (char c = 0; c != 'e'; go_on()) {
        c = hear();
        if (c == 'p' && the_case->sleeps)
            fall_asleep();
        else if (c == 's')
            at_state();
    }
    CHECK(finish(victim) == 0);
    actor_end_idle();
    _exit(tally->bad != 0);
}

/* ---- the peer first */

static uint64_t stands_at;

static void end_first(int code)
{
    kill(victim, SIGKILL);
    finish(victim);
    actor_end_idle();
    _exit(code);
}

static void serve(void)
{
    char c = 0;
    go_on();
    while (c != 'e' && c != 'w') {
        c = hear();
        if (c == 's' && try_first(stands_at))
            return;
        go_on();
    }
    end_first(tally->bad != 0 ? 1 : peer_sleeps ? 3 : 0);
}

/* 2: the peer was through before its nth operation; 3: it fell asleep, there is no later one. */
static void run_first(int shared, uint64_t nth)
{
    begin(shared);
    CHECK(hear() == 'p');
    stands_at = nth;
    stand(nth, serve);
    end_first(2);
}

static int in_process(int shared, uint64_t first)
{
    memset(step_shared, 0, sizeof *step_shared);
    step_shared->peer_first = first != 0;
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0 && first != 0)
        run_first(shared, first);
    else if (pid == 0)
        run(shared);
    return finish(pid);
}

/* The short form: one of the peer's operations, another for each case. */
static int peer_first(int shared)
{
    int status = 0;
    uint64_t n = (uint64_t)(the_case - step_cases);
    uint64_t nth = long_form ? 1 + n % stride : 1 + n * 7 % 32;
    if (!long_form && the_case->alike && n % 3 != 0)
        return 0;
    for (;;) {
        status = in_process(shared, nth);
        tally->points += status != 2;
        if (status == 2 && tally->points == 0) { /* it does not have so many */
            CHECK(tally->peer > 0);
            nth = nth % tally->peer + 1;
            continue;
        }
        if (status != 0 || !long_form)
            break;
        nth += stride;
    }
    return status == 2 || status == 3 ? 0 : status;
}

static int one_case(int shared)
{
    memset(tally, 0, sizeof *tally);
    stride = stride_of_all * (the_case->stride ? the_case->stride : 1);
    int status = in_process(shared, 0);
    unsigned long steps = step_shared->steps, stores = step_shared->stores;
    if (status == 0 && the_case->peer)
        status = peer_first(shared);
    printf("%-34s %6lu instructions %5lu stores %5lu states %6lu second deaths %6lu third %6lu "
           "pairs %6lu peer first at %3lu",
           the_case->name, steps, stores, (unsigned long)tally->states,
           (unsigned long)tally->second, (unsigned long)tally->third, (unsigned long)tally->pairs,
           (unsigned long)tally->first, (unsigned long)tally->points);
    if (the_case->peer && long_form && stride > 1)
        printf(" (one in %u)", stride);
    if (the_case->sleeps)
        printf(" %5lu wakes", (unsigned long)tally->wakes);
    printf(" %3lu bad\n", (unsigned long)tally->bad);
    if (status != 0)
        fprintf(stderr, "%s: failed (%d); where: addr2line -fpe %s +OFFSET\n", the_case->name,
                status, victim_program);
    fflush(stdout);
    return status != 0;
}

/* [case]: only that one.  RAMET_LONG=1: the long form.  RAMET_STEP_STRIDE=n: in the long form each
 * peer stands at one in so many of the operations at which it would. */
int main(int argc, char **argv)
{
    const char *form = getenv("RAMET_LONG"), *of_all = getenv("RAMET_STEP_STRIDE");
    long_form = form && strcmp(form, "1") == 0;
    if (of_all)
        stride_of_all = (unsigned)strtoul(of_all, NULL, 10);
    CHECK(stride_of_all > 0 && stride_of_all < 10000);
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
