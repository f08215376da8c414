/* SPDX-License-Identifier: MIT
 *
 * kill.c: the harness of kill.h.
 */
#include "kill.h"
#include "arena/self.h"
#include <ramet/arena.h>

#include <sys/mman.h>

#define TURNS_AFTER 20 /* that a peer makes after the victim's death */

struct kill_shared *kill_shared;

static uint64_t left; /* in the victim: operations until the fatal one */
static int at_that;   /* the signal that comes then */

static void count(enum rmt_hook_kind kind, const volatile void *word)
{
    (void)kind;
    (void)word;
    if (--left == 0)
        kill(getpid(), at_that);
}

static void arm(uint64_t nth, int sig)
{
    left = nth;
    at_that = sig;
    rmt_hook = count;
}

void kill_arm(uint64_t nth)
{
    arm(nth, SIGKILL);
}

void kill_arm_stop(uint64_t nth)
{
    arm(nth, SIGSTOP);
}

void kill_disarm(void)
{
    rmt_hook = NULL;
}

static void run_peer(const struct kill_case *c, int index)
{
    int after = 0;
    while (after < TURNS_AFTER) {
        if (atomic_load(&kill_shared->stop))
            after++;
        c->peer(index);
        atomic_fetch_add(&kill_shared->turns[index], 1);
    }
}

static pid_t start_peer(const struct kill_case *c, int index)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        watchdog();
        run_peer(c, index);
        _exit(0);
    }
    return pid;
}

/* True if the victim came through. */
static bool one(const struct kill_case *c, uint64_t nth)
{
    memset(kill_shared, 0, sizeof *kill_shared);
    c->setup();
    pid_t peers[2] = {0, 0};
    for (int i = 0; i < 2 && c->peer; i++)
        peers[i] = start_peer(c, i);
    pid_t victim = fork();
    CHECK(victim >= 0);
    if (victim == 0) {
        watchdog();
        struct rmt_self *self;
        OK(rmt_self(&self));
        kill_arm(nth);
        c->victim();
        kill_disarm();
        _exit(0);
    }
    int status = finish(victim);
    CHECK(status == 0 || status == -SIGKILL);
    atomic_store(&kill_shared->stop, 1);
    for (int i = 0; i < 2 && c->peer; i++)
        CHECK(finish(peers[i]) == 0);
    ramet_reap(victim);
    for (int i = 0; i < 2 && c->peer; i++)
        ramet_reap(peers[i]);
    OK(ramet_sweep());
    OK(ramet_arena_check(2));
    c->verify(status == 0);
    return status == 0;
}

void kill_make_shared(void)
{
    if (kill_shared)
        return;
    void *p =
        mmap(NULL, sizeof *kill_shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    kill_shared = p;
}

void kill_run(const struct kill_case *c)
{
    kill_make_shared();
    /* Once through: what a first use allocates for good makes the first time longer, and the points
     * after that would not be met. */
    alarm(600);
    CHECK(one(c, UINT64_MAX));
    uint64_t n = 1;
    for (;; n++) {
        alarm(600); /* a hang at one point; not a limit for all of them */
        if (one(c, n))
            break;
    }
    printf("%-24s killed at %lu points, nothing lost and nobody held up\n", c->name,
           (unsigned long)(n - 1));
    fflush(stdout);
}
