/* SPDX-License-Identifier: MIT
 *
 * stress_pipe.c: several senders and receivers at both ends of a pipe, with small messages and
 * large ones, by calls that wait and through the descriptors: each message is received once, whole,
 * and those of one sender in order.
 */
#include "stress.h"

#include <ramet/pipe.h>

#include <errno.h>
#include <poll.h>
#include <string.h>

enum { SENDERS = 2, RECEIVERS = 2, SIDE = SENDERS + RECEIVERS, WORKERS = 2 * SIDE, ROUNDS = 4000 };
enum { LARGEST = 30000, MOST = 10 * ROUNDS };

struct message {
    uint64_t side, sender, number;
};

/* Of each message a plain word: before() by its sender, then after() by who received it. */
static struct ledger {
    uint64_t word[2][SENDERS][MOST];
} *ledger;

static ramet_end *ends[2];
static unsigned rounds;
static bool polled;

static uint64_t before(uint64_t number)
{
    return 2 * number + 1;
}

static uint64_t after(uint64_t number)
{
    return 2 * number + 2;
}

static size_t size_of(const struct message *message)
{
    unsigned h = (unsigned)message->number * 2654435761u >> 8;
    return sizeof *message + (h % 64 == 0 ? LARGEST - sizeof *message : h % 100);
}

static void send(unsigned side, unsigned sender)
{
    static __thread uint8_t bytes[LARGEST];
    for (struct message m = {side, sender, 0}; m.number < rounds; m.number++) {
        size_t size = size_of(&m);
        memset(bytes, (int)(m.number & 255), size);
        memcpy(bytes, &m, sizeof m);
        ledger->word[side][sender][m.number] = before(m.number);
        OK(ramet_end_send(ends[side], bytes, size, NULL));
    }
}

static size_t receive_one(unsigned side, uint8_t *bytes)
{
    static const ramet_wait now = {.size = sizeof(ramet_wait), .deadline = 0};
    size_t size;
    for (;;) {
        int r = ramet_end_recv(ends[side], bytes, LARGEST, &size, polled ? &now : NULL);
        if (r == 0)
            return size;
        CHECK(polled && r == -ETIMEDOUT); /* another receiver was quicker */
        struct pollfd pollfd = {.fd = (int)OK(ramet_end_fd(ends[side])), .events = POLLIN};
        CHECK(poll(&pollfd, 1, -1) == 1);
    }
}

static void receive(unsigned side)
{
    static __thread uint8_t bytes[LARGEST];
    uint64_t next[SENDERS] = {0};
    struct message m;
    for (unsigned i = 0; i < SENDERS * rounds / RECEIVERS; i++) {
        size_t size = receive_one(side, bytes);
        CHECK(size >= sizeof m);
        memcpy(&m, bytes, sizeof m);
        CHECK(m.side == 1 - side && m.sender < SENDERS && m.number < rounds);
        CHECK(size == size_of(&m) && m.number >= next[m.sender]);
        next[m.sender] = m.number + 1;
        for (size_t k = sizeof m; k < size; k++)
            CHECK(bytes[k] == (uint8_t)m.number);
        uint64_t *word = &ledger->word[m.side][m.sender][m.number];
        CHECK(*word == before(m.number));
        *word = after(m.number);
    }
}

static void work(unsigned index)
{
    unsigned side = index / SIDE, role = index % SIDE;
    role < SENDERS ? send(side, role) : receive(side);
}

static void run(size_t room, bool by_descriptor)
{
    ramet_pipe_options options = {.size = sizeof options, .bytes = room, .duplex = 1};
    size_t size;
    polled = by_descriptor;
    memset(ledger, 0, sizeof *ledger);
    OK(ramet_pipe_create(&options, &ends[0], &ends[1]));
    stress_run(WORKERS, work);
    for (int side = 0; side < 2; side++)
        for (int sender = 0; sender < SENDERS; sender++)
            for (uint64_t i = 0; i < rounds; i++)
                CHECK(ledger->word[side][sender][i] == after(i));
    CHECK(ramet_end_next(ends[0], &size) == -EAGAIN);
    ramet_end_close(ends[1]);
    CHECK(ramet_end_next(ends[0], &size) == -ENODATA);
    ramet_end_close(ends[0]);
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    rounds = stress_rounds(ROUNDS);
    ledger = stress_memory(sizeof *ledger);
    ramet_end *a, *b;
    OK(ramet_pipe_create(NULL, &a, &b)); /* the table of handles is made with the first */
    ramet_end_close(a);
    ramet_end_close(b);
    uint64_t blocks = stress_blocks();
    run(0, false);
    run(1000, false);
    run(0, true);
    stress_end(blocks);
    return 0;
}
