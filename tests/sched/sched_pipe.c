/* SPDX-License-Identifier: MIT
 *
 * sched_pipe.c: two senders and a receiver of a pipe whose descriptor was asked for.  Each message
 * is received once and in its sender's order, but for one at most with a dead receiver; and
 * whenever one is in the pipe, the descriptor is readable.
 *
 * The pipe is made in each schedule, since its sockets are not copied with the arena.
 */
#include "../kill/pipe_look.h"
#include "channel/pipe.h"
#include "schedule.h"

enum { FIRST, SECOND, RECEIVER };
enum { FIRST_OF_SECOND = 10, LAST = 20, IDS, MESSAGES = 3, SMALL = 16, LARGE = 5000 };

static ramet_end *a, *b; /* b sends, a receives */
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static unsigned seen[IDS];
static uint64_t last[2], surely[2], tried[2];

static int send_one(uint64_t id, const ramet_wait *wait)
{
    unsigned char bytes[LARGE];
    memset(bytes, (int)id, sizeof bytes);
    memcpy(bytes, &id, sizeof id);
    return ramet_end_send(b, bytes, id % 2 ? SMALL : LARGE, wait);
}

/* Its id, or a negative errno. */
static int recv_one(const ramet_wait *wait)
{
    unsigned char bytes[LARGE];
    size_t size;
    uint64_t id;
    int r = ramet_end_recv(a, bytes, sizeof bytes, &size, wait);
    if (r < 0)
        return r;
    memcpy(&id, bytes, sizeof id);
    CHECK(id < IDS && size == (id % 2 ? SMALL : LARGE) && seen[id]++ == 0);
    for (size_t i = sizeof id; i < size; i++)
        CHECK(bytes[i] == id);
    if (id != LAST) {
        CHECK(id > last[id >= FIRST_OF_SECOND]);
        last[id >= FIRST_OF_SECOND] = id;
    }
    return (int)id;
}

static void make(void)
{
    OK(ramet_pipe_create(NULL, &a, &b));
}

static void end(void)
{
    ramet_end_close(a);
    ramet_end_close(b);
}

/* What a first use allocates for good. */
static void setup(void)
{
    make();
    OK(send_one(LAST, &try));
    CHECK(recv_one(&try) == LAST);
    seen[LAST] = 0;
    end();
}

static void begin(void)
{
    make();
    OK(ramet_end_fd(a));
}

/* ---- actors */

static void send_some(int who, uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        tried[who]++;
        OK(send_one(first + i, NULL));
        surely[who]++;
    }
}
static void first(void)
{
    send_some(FIRST, 1, 2);
}
static void second(void)
{
    send_some(SECOND, FIRST_OF_SECOND, 1);
}

/* Looks as one who sleeps in poll(2) would, then waits. */
static void receive(void)
{
    for (int i = 0; i < MESSAGES; i++) {
        CHECK(!holds_messages(a) || readable(a));
        int id = OK(recv_one(NULL));
        if (id == LAST)
            return;
    }
}

static bool may_sleep(int i, uint64_t word)
{
    (void)word;
    return i == RECEIVER && !holds_messages(a);
}

/* Fewer came than were to, from one who is dead. */
static void enable(void)
{
    CHECK(sched_is_dead(FIRST) || sched_is_dead(SECOND));
    OK(send_one(LAST, &try));
}

static void verify(void)
{
    CHECK(!holds_messages(a) || readable(a));
    while (recv_one(&try) >= 0)
        ;
    uint64_t missing = 0;
    for (int who = FIRST; who <= SECOND; who++)
        for (uint64_t i = 0; i < tried[who]; i++)
            missing += i < surely[who] && seen[(who == FIRST ? 1 : FIRST_OF_SECOND) + i] == 0;
    CHECK(missing <= (uint64_t)sched_is_dead(RECEIVER));
    CHECK(ramet_end_poll(a, &try) == 0 && !readable(a));
    end();
}

const struct sched_case sched_cases[] = {
    {.name = "pipe, polled",
     .setup = setup,
     .begin = begin,
     .actor = {{"the first sender", first},
               {"the second sender", second},
               {"the receiver", receive}},
     .may_sleep = may_sleep,
     .enable = enable,
     .verify = verify,
     .brief = {1, 0, -1},
     .full = {2, 1, -1}},
};
const int sched_case_count = sizeof sched_cases / sizeof sched_cases[0];
