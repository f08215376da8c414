/* SPDX-License-Identifier: MIT
 *
 * step_barrier.c: a death at each store of the operations of a barrier.  A death inside breaks it;
 * a death outside leaves no trace; and it can always be reset and used again.
 */
#include "step.h"
#include "sync/barrier.h"

static ramet_barrier *barrier;
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static bool slept;
static int outcome; /* of the sleeper's wait */

static void make(uint32_t parties)
{
    ramet_barrier_options options = {.size = sizeof options, .parties = parties};
    OK(ramet_barrier_create(&options, &barrier));
    step_shared->ref[0] = ramet_barrier_ref(barrier);
}
static void of_one(void)
{
    make(1);
}
static void of_two(void)
{
    make(2);
}
static void broken(void)
{
    make(2);
    OK(ramet_barrier_abort(barrier));
}

static void open_it(void)
{
    OK(ramet_barrier_open(&step_shared->ref[0], &barrier));
}

static int act(void *unused)
{
    (void)unused;
    step_shared->did[1] = 1;
    return 0;
}

static void pass(void)
{
    OK(ramet_barrier_wait(barrier, &try, act, NULL, NULL));
    step_shared->did[0] = 1;
}
static void wait_late(void)
{
    int r = ramet_barrier_wait(barrier, &try, act, NULL, NULL);
    /* A peer that was there before is the other party, or has broken it. */
    CHECK(r == -ETIMEDOUT || ((r == 0 || r == -ECANCELED) && step_shared->peer_first));
    step_shared->did[0] = r == -ETIMEDOUT;
}
static void abort_it(void)
{
    OK(ramet_barrier_abort(barrier));
    step_shared->did[0] = 1;
}
static void reset(void)
{
    OK(ramet_barrier_reset(barrier));
    step_shared->did[0] = 1;
}

static void use(void)
{
    OK(ramet_barrier_reset(barrier));
    CHECK(ramet_barrier_waiting(barrier) == 0 && !ramet_barrier_broken(barrier));
    CHECK(rmt_load64(&rmt_barrier_of(barrier)->count) == 0);
    if (ramet_barrier_parties(barrier) == 1) {
        OK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL));
        OK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL));
        return;
    }
    CHECK(ramet_barrier_wait(barrier, &try, NULL, NULL, NULL) == -ETIMEDOUT);
    CHECK(ramet_barrier_broken(barrier));
    OK(ramet_barrier_reset(barrier));
}

static void after(void)
{
    CHECK(rmt_load64(&rmt_barrier_of(barrier)->count) == 0);
    use();
}

static void after_late(void)
{
    CHECK(ramet_barrier_broken(barrier) || !step_shared->did[0]);
    after();
}

static void peer(void)
{
    int r = ramet_barrier_wait(barrier, &try, NULL, NULL, NULL);
    CHECK(r == 0 || r == -ETIMEDOUT || r == -ECANCELED);
}

static void peer_resets(void)
{
    OK(ramet_barrier_reset(barrier));
}

static void sleeps(void)
{
    outcome = ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL);
    slept = true;
}

static bool enabled(void)
{
    enum rmt_barrier_state state = rmt_barrier_state(rmt_barrier_of(barrier));
    return state != RMT_BARRIER_FILLING && state != RMT_BARRIER_ACTING;
}

static void enable(void)
{
    OK(ramet_barrier_abort(barrier));
}

/* It passes if the action has run, or else hears that the barrier is broken. */
static void after_sleep(void)
{
    CHECK(slept && (outcome == 0 || outcome == -ECANCELED));
    CHECK(outcome != 0 || step_shared->did[1]);
    CHECK(outcome == 0 || !step_shared->did[0]);
    after();
}

/* It is told of the break, or of the reset. */
static void after_break(void)
{
    CHECK(slept && outcome == -ECANCELED);
    after();
}

#define CASE(title, made, act, check)                                                              \
    .name = "barrier " title, .setup = made, .prepare = open_it, .operate = act, .verify = check
#define SLEEPER .sleeps = sleeps, .enabled = enabled, .enable = enable

const struct step_case step_cases[] = {
    {CASE("wait, alone", of_one, pass, after), .peer = peer},
    {CASE("wait, too late", of_two, wait_late, after_late), .peer = peer},
    {CASE("abort", of_two, abort_it, after_late), .peer = peer},
    {CASE("reset", broken, reset, after), .peer = peer_resets},
    {CASE("wait, to a sleeper", of_two, pass, after_sleep), SLEEPER},
    {CASE("abort, to a sleeper", of_two, abort_it, after_break), SLEEPER},
    {CASE("reset, to a sleeper", of_two, reset, after_break), SLEEPER},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
