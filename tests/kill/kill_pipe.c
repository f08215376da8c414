/* SPDX-License-Identifier: MIT
 *
 * kill_pipe.c: a death at each atomic operation, and before each ring of the doorbell, of sending
 * into and receiving from a pipe, of making one and of closing it, while two peers use the same
 * ends. Each message that was sent is received exactly once, is still there, or was in the victim's
 * hands; and whenever the pipe is not empty its descriptor is readable, if it was ever asked for.
 */
#include "channel/message.h"
#include "channel/pipe.h"
#include "kill.h"
#include "pipe_look.h"

#include <ramet/arena.h>

#define FILL_FIRST                                                                                 \
    100 /* ids of the messages that the parent sends before; the victim's are below */
#define PROBE 99
#define PEER_FIRST 1000
#define PEER_MESSAGES 1500
#define VICTIM_MESSAGES 6
#define LARGE 5000 /* bytes: goes in a block */

static ramet_end *a, *b; /* b sends, a receives */
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static uint64_t blocks_before, prefill;
static size_t ring;
static bool polled;

static uint64_t blocks(void)
{
    ramet_usage u = {.size = sizeof u};
    OK(ramet_arena_usage(&u));
    return u.blocks;
}

static size_t size_of(uint64_t id)
{
    return id % 3 == 2 ? LARGE : 16;
}

static int send_one(uint64_t id)
{
    unsigned char bytes[LARGE];
    memset(bytes, (int)(id % 251), sizeof bytes);
    memcpy(bytes, &id, sizeof id);
    return ramet_end_send(b, bytes, size_of(id), &try);
}

/* 1: received one. */
static int recv_one(void)
{
    unsigned char bytes[LARGE];
    size_t size;
    uint64_t id;
    int r = ramet_end_recv(a, bytes, sizeof bytes, &size, &try);
    if (r == -ETIMEDOUT)
        return 0;
    CHECK(r == 0);
    memcpy(&id, bytes, sizeof id);
    CHECK(id < 4096 && size == size_of(id));
    for (size_t i = sizeof id; i < size; i++)
        CHECK(bytes[i] == id % 251);
    atomic_fetch_add(&kill_shared->seen[id], 1);
    return 1;
}

static bool at_end(void)
{
    char byte;
    size_t size;
    return ramet_end_recv(a, &byte, 1, &size, NULL) == -ENODATA;
}

static void setup(void)
{
    blocks_before = blocks();
    ramet_pipe_options options = {.size = sizeof options, .bytes = ring};
    OK(ramet_pipe_create(&options, &a, &b));
    if (polled)
        OK(ramet_end_fd(a));
    for (uint64_t i = 0; i < prefill; i++)
        OK(send_one(FILL_FIRST + i));
}

static void victim(void)
{
    for (uint64_t id = 0; id < VICTIM_MESSAGES; id++) {
        int r = send_one(id);
        CHECK(r == 0 || r == -ETIMEDOUT);
        if (r == 0)
            atomic_fetch_or(&kill_shared->victim[0], 1ull << id);
        atomic_fetch_or(&kill_shared->victim[1], 1ull << id); /* came back */
        if (id % 2)
            recv_one();
    }
    while (recv_one()) /* so that it empties the pipe, too */
        ;
    ramet_end_poll(a, &try);
}

static void peer(int index)
{
    uint64_t turn = atomic_load(&kill_shared->turns[index]);
    if (turn >= PEER_MESSAGES) {
        usleep(100);
        return;
    }
    int r = send_one(PEER_FIRST + PEER_MESSAGES * (uint64_t)index + turn);
    CHECK(r == 0 || r == -ETIMEDOUT);
    if (r == 0)
        atomic_fetch_add(&kill_shared->count[index][0], 1);
    recv_one();
    if (turn % 7 == 0)
        recv_one();
}

static void verify(bool finished)
{
    size_t size;
    /* Before anybody looks into the pipe and sets things right: who waits in poll(2) does not. */
    CHECK(!polled || !holds_messages(a) || readable(a));
    bool probed = send_one(PROBE) == 0;
    CHECK(readable(a));
    while (ramet_end_next(a, &size) == 0) {
        CHECK(readable(a));
        CHECK(recv_one() == 1);
    }
    CHECK(ramet_end_poll(a, &try) == 0);
    CHECK(!polled ||
          !readable(a)); /* nothing is left over of the dead one's bell, once we looked */
    uint64_t sent = prefill + probed, received = 0, maybe = 0;
    for (int i = 0; i < 2; i++)
        sent += atomic_load(&kill_shared->count[i][0]);
    uint64_t did = atomic_load(&kill_shared->victim[0]),
             back = atomic_load(&kill_shared->victim[1]);
    for (uint64_t id = 0; id < 4096; id++) {
        uint64_t seen = atomic_load(&kill_shared->seen[id]);
        CHECK(seen <= 1);
        received += seen;
        if (id < VICTIM_MESSAGES) {
            sent += did >> id & 1;
            maybe += !(back >> id & 1); /* under way, or never begun */
        }
    }
    CHECK(received <= sent + maybe);
    CHECK(received + !finished >= sent); /* one may have been in the victim's hands */
    ramet_end_close(b);
    CHECK(at_end());
    ramet_end_close(a);
    CHECK(blocks() == blocks_before);
}

/* ---- making, passing on and closing ends */

static void life_setup(void)
{
    blocks_before = blocks();
    OK(ramet_pipe_create(NULL, &a, &b));
}

static void life_victim(void)
{
    ramet_end *c, *d, *again;
    ramet_ref ref;
    struct rmt_self *self;
    char big[10000] = {0};
    OK(ramet_end_send(b, big, sizeof big, &try));
    OK(ramet_pipe_create(NULL, &c, &d));
    OK(ramet_end_send(c, "small", 5, &try));
    OK(ramet_end_send(d, big, sizeof big, &try));
    OK(ramet_end_ref(d, &ref));
    OK(ramet_end_open(&ref, -1, &again));
    /* The end travels in a message, and nobody else has it then. */
    OK(rmt_self(&self));
    struct rmt_pipe_message m = {.size = 0};
    OK(rmt_message_build(self, NULL, 0, &ref.offset, 1, &m.hold, &m.block));
    OK(rmt_pipe_put(self, b, &m));
    ramet_end_close(again);
    ramet_end_close(d);
    ramet_end_close(c);
    ramet_end_close(b);
    ramet_end_close(a);
}

static void life_verify(bool finished)
{
    (void)finished;
    ramet_end_close(b);
    size_t size;
    char data[10000];
    int r;
    while ((r = ramet_end_recv(a, data, sizeof data, &size, NULL)) == 0)
        ;
    CHECK(r == -ENODATA); /* no copy of b is left of the dead one */
    ramet_end_close(a);
    CHECK(blocks() == blocks_before);
}

int main(void)
{
    OK(ramet_join());
    /* Once before, so that what a first use allocates for good is there. */
    OK(ramet_pipe_create(NULL, &a, &b));
    char big[10000] = {0};
    OK(ramet_end_send(b, big, sizeof big, NULL));
    ramet_end_close(a);
    ramet_end_close(b);
    kill_run(&(struct kill_case){"pipe, alone", setup, victim, NULL, verify});
    kill_run(&(struct kill_case){"pipe", setup, victim, peer, verify});
    ring = 512;
    prefill = 2;
    kill_run(&(struct kill_case){"pipe, full", setup, victim, peer, verify});
    prefill = 0;
    polled = true;
    kill_run(&(struct kill_case){"pipe, polled, alone", setup, victim, NULL, verify});
    kill_run(&(struct kill_case){"pipe, polled", setup, victim, peer, verify});
    kill_run(&(struct kill_case){"ends of pipes", life_setup, life_victim, NULL, life_verify});
    return 0;
}
