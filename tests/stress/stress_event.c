/* SPDX-License-Identifier: MIT
 *
 * stress_event.c: what was written before an event is set is seen by who waited for it.
 *
 * Rounds with two events and a count: the leader writes plain data and sets `go`; each follower
 * reads them, and the last one (a semaphore counts them) sets `back`.  Beside it an event is set
 * and cleared as fast as can be, while others wait for it with deadlines.
 */
#include "stress.h"

#include <ramet/event.h>
#include <ramet/semaphore.h>

#include <errno.h>

enum { FOLLOWERS = 3, ROUNDS = 3000, PULSES = 20000 };

static struct board {
    uint64_t round;
    uint64_t echo[FOLLOWERS];
} *board;

static ramet_event *go[2], *pulse; /* go: one for even rounds, one for odd ones */
static ramet_semaphore *back;
static unsigned rounds, pulses;

static void lead(void)
{
    for (unsigned r = 1; r <= rounds; r++) {
        board->round = r;
        OK(ramet_event_clear(go[(r + 1) % 2]));
        OK(ramet_event_set(go[r % 2]));
        for (int i = 0; i < FOLLOWERS; i++)
            OK(ramet_semaphore_acquire(back, NULL));
        for (int i = 0; i < FOLLOWERS; i++)
            CHECK(board->echo[i] == r);
    }
}

static void follow(unsigned index)
{
    if (index == FOLLOWERS) {
        lead();
        return;
    }
    for (unsigned r = 1; r <= rounds; r++) {
        OK(ramet_event_wait(go[r % 2], NULL));
        CHECK(board->round == r);
        board->echo[index] = r;
        OK(ramet_semaphore_release(back, 1));
    }
}

static void pulses_of(unsigned index)
{
    for (unsigned i = 0; i < pulses; i++) {
        if (index == 0) {
            OK(ramet_event_set(pulse));
            OK(ramet_event_clear(pulse));
            continue;
        }
        ramet_wait wait = ramet_within(3000);
        int r = ramet_event_wait(pulse, &wait);
        CHECK(r == 0 || r == -ETIMEDOUT);
    }
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    pulses = stress_rounds(PULSES);
    board = stress_memory(sizeof *board);
    ramet_semaphore_options none = {.size = sizeof none, .value = 0, .max = RAMET_SEMAPHORE_MAX};
    OK(ramet_semaphore_create(&none, &back));
    uint64_t blocks = stress_blocks() - 1;
    OK(ramet_event_create(NULL, &go[0]));
    OK(ramet_event_create(NULL, &go[1]));
    OK(ramet_event_create(NULL, &pulse));
    stress_run(FOLLOWERS + 1, follow);
    CHECK(board->round == rounds && ramet_semaphore_value(back) == 0);
    stress_run(3, pulses_of);
    CHECK(ramet_event_is_set(pulse) == 0);
    ramet_event_close(go[0]);
    ramet_event_close(go[1]);
    ramet_event_close(pulse);
    ramet_semaphore_close(back);
    stress_end(blocks);
    return 0;
}
