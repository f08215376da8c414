/* SPDX-License-Identifier: MIT
 *
 * pairs.c: a live peer inside the object in which the victim dies, in both orders: the victim came
 * first, and the peer goes up to each of its operations; or the peer came first and stands at one
 * of its operations while the victim goes from state to state.  Then the victim is dead, somebody
 * recovers it while the peer stands where it is, the peer goes on, and all is checked.
 */
#include "arena/local.h"
#include "driver.h"

#define STRIDE_SHORT 37 /* the short form makes one in so many pairs ... */
#define STRIDE_FIRST 11 /* ... and of those with the peer first */

static uint64_t peer_left; /* operations of the peer until the victim dies */
bool peer_sleeps;          /* the peer fell asleep before: there is no later point */
static void (*serve_victim)(void);

static void let_recover(void)
{
    /* What is left is in the hands of the peer, who may be recovering somebody himself. */
    while (rmt_sweep(step_self()) > 0)
        actor_yield();
}

/* The victim dies, and is recovered as far as the peer, who stands here, lets it be. */
static void victim_dies(void)
{
    victim_is_dead = true;
    actor_start(&recoverer, let_recover);
}

void pair_hook(enum rmt_hook_kind kind)
{
    bool sleeps = kind == RMT_HOOK_FUTEX_WAIT;
    if (!victim_is_dead && (--peer_left == 0 || sleeps)) {
        peer_sleeps = sleeps;
        if (hook_does == HOOK_PAIR) {
            victim_dies();
        } else {
            hook_does = HOOK_NOTHING;
            serve_victim(); /* comes back in a try, the victim being dead: see try_first */
        }
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

/* The peer is through, the victim dead. */
static void end_pair(void)
{
    while (!recoverer.done)
        actor_resume(&recoverer);
    hook_does = HOOK_RECOVER;
    recover();
    check_all();
}

/* 2: the peer was through before its nth operation, or slept: there is no later one. */
static void try_pair(uint64_t nth)
{
    take_copy();
    hook_does = HOOK_PAIR;
    peer_left = nth;
    step_peer_ran = true;
    the_case->peer();
    bool through = !victim_is_dead;
    if (through)
        victim_dies();
    end_pair();
    _exit(through || peer_sleeps ? 2 : 0);
}

void try_pairs(void)
{
    /* With a stride: a few of the peer's operations at each state, others at the next. */
    unsigned each = long_form ? stride : STRIDE_SHORT;
    for (uint64_t nth = 1 + tally->states * 5 % each;; nth += each) {
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

/* ---- the peer first */

static bool trying; /* in the process of a try */

/* In the parent false is returned where the peer is through before its nth operation, and `serve`
 * does not return otherwise. */
bool stand(uint64_t nth, void (*serve)(void))
{
    hook_does = HOOK_STAND;
    peer_left = nth;
    serve_victim = serve;
    the_case->peer();
    if (!trying) {
        tally->peer = nth - peer_left;
        return false;
    }
    end_pair();
    _exit(0);
}

/* Returns in the parent, when the try is judged, and in the try itself, where the caller returns to
 * the peer: true there. */
bool try_first(uint64_t nth)
{
    static uint64_t states;
    if (tally->bad >= BAD_ENOUGH || (!long_form && (states++ + tally->points) % STRIDE_FIRST != 0))
        return false;
    tally->first++;
    pid_t pid = _Fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        trying = true;
        take_copy();
        step_peer_ran = true;
        hook_does = HOOK_PAIR;
        victim_dies();
        return true;
    }
    char what[80];
    snprintf(what, sizeof what, "the peer stands before its operation %lu since before",
             (unsigned long)nth);
    judge(pid, what);
    return false;
}
