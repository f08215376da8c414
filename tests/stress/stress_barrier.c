/* SPDX-License-Identifier: MIT
 *
 * stress_barrier.c: rounds of a barrier: what each wrote before it is seen by all after it, the
 * action runs once in each round, and the numbers given out are those of the round.
 */
#include "stress.h"

#include <ramet/barrier.h>

#include <errno.h>

enum { PARTIES = 4, ROUNDS = 2000, BREAKS = 300 };

static struct hall {
    uint64_t round[PARTIES]; /* each written by its party before, read by all after */
    uint64_t actions;        /* by the action alone */
    uint32_t index[PARTIES];
    uint64_t broken[PARTIES], passed[PARTIES];
} *hall;

static ramet_barrier *barrier;
static unsigned rounds, breaks;

static int action(void *arg)
{
    uint64_t round = *(uint64_t *)arg;
    CHECK(++hall->actions == round);
    for (int i = 0; i < PARTIES; i++)
        CHECK(hall->round[i] == round);
    return 0;
}

static void pass(unsigned me)
{
    for (uint64_t round = 1; round <= rounds; round++) {
        hall->round[me] = round;
        OK(ramet_barrier_wait(barrier, NULL, action, &round, &hall->index[me]));
        CHECK(hall->actions == round);
        OK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL)); /* all have looked */
        uint64_t indexes = 0;
        for (int i = 0; i < PARTIES; i++) {
            CHECK(hall->round[i] == round);
            indexes |= 1ull << hall->index[i];
        }
        CHECK(indexes == (1ull << PARTIES) - 1);
        OK(ramet_barrier_wait(barrier, NULL, NULL, NULL, NULL));
    }
}

/* Time-outs break it, whoever comes first mends it: nobody stays in it for ever. */
static void break_it(unsigned me)
{
    unsigned random = me;
    for (unsigned i = 0; i < breaks; i++) {
        ramet_wait wait = ramet_within((int64_t)(stress_random(&random) % 200000));
        int r = ramet_barrier_wait(barrier, &wait, NULL, NULL, NULL);
        CHECK(r == 0 || r == -ETIMEDOUT || r == -ECANCELED);
        if (r == 0)
            hall->passed[me]++;
        else
            hall->broken[me]++;
        if (r == -ETIMEDOUT)
            OK(ramet_barrier_reset(barrier));
    }
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    breaks = stress_rounds(BREAKS);
    hall = stress_memory(sizeof *hall);
    ramet_barrier_options options = {.size = sizeof options, .parties = PARTIES};
    OK(ramet_barrier_create(&options, &barrier));
    uint64_t blocks = stress_blocks() - 1;
    stress_run(PARTIES, pass);
    CHECK(hall->actions == rounds && !ramet_barrier_broken(barrier));
    stress_run(PARTIES, break_it);
    OK(ramet_barrier_reset(barrier));
    CHECK(ramet_barrier_waiting(barrier) == 0);
    hall->actions = 0;
    stress_run(PARTIES, pass); /* it is as good as new */
    ramet_barrier_close(barrier);
    stress_end(blocks);
    return 0;
}
