/* SPDX-License-Identifier: MIT
 *
 * step_pipe.c: a death at each store of sending into and receiving from a pipe: small messages,
 * messages in blocks, and with the receiver at his descriptor, who must find it readable whenever a
 * message is there.  A message is afterwards in the pipe whole, or was received, or was never sent.
 *
 * Both ends are open in those who live, too, so that the victim's death is no end of file.  The
 * sockets are not copied with the arena: where the descriptor is relied upon, nothing is received
 * in the copies, which would empty it for all.
 */
#include "channel/pipe.h"
#include "step.h"

#include <poll.h>

enum { BYTES = 4096 }; /* of a ring: messages of more than a quarter go in blocks */
enum { SMALL = 40, LARGE = 1600, VICTIM = 100, PEER = 200, LAST = 300, MESSAGES = 400 };

static ramet_end *a, *b; /* b sends to a */
static const ramet_wait try = {.size = sizeof try, .deadline = 0};
static uint64_t prefilled, put_by_peer, seen[MESSAGES];
static bool slept;

static int send_one(uint64_t id, size_t size, const ramet_wait *wait)
{
    uint64_t words[LARGE / 8];
    for (size_t i = 0; i < size / 8; i++)
        words[i] = id + i * 1000;
    return ramet_end_send(b, words, size, wait);
}

static int receive(uint64_t *ret_id, const ramet_wait *wait)
{
    uint64_t words[LARGE / 8];
    size_t size;
    int r = ramet_end_recv(a, words, sizeof words, &size, wait);
    if (r < 0)
        return r;
    CHECK(size == SMALL || size == LARGE);
    for (size_t i = 0; i < size / 8; i++)
        CHECK(words[i] == words[0] + i * 1000);
    CHECK(words[0] > 0 && words[0] < MESSAGES);
    *ret_id = words[0];
    return 0;
}

static void name(void)
{
    OK(ramet_end_ref(a, &step_shared->ref[0]));
    OK(ramet_end_ref(b, &step_shared->ref[1]));
    step_shared->fd[0] = OK(ramet_end_socket(a));
    step_shared->fd[1] = OK(ramet_end_socket(b));
}

static void make(uint64_t messages, size_t size, size_t bytes)
{
    ramet_pipe_options options = {.size = sizeof options, .bytes = bytes, .duplex = 1};
    OK(ramet_pipe_create(&options, &a, &b));
    for (uint64_t i = 1; i <= messages; i++)
        OK(send_one(i, size, &try));
    prefilled = messages;
    step_blocks_less = size == LARGE ? messages : 0;
    name();
}
static void some_small(void)
{
    make(2, SMALL, BYTES);
}
static void some_large(void)
{
    make(2, LARGE, BYTES);
}
static void none(void)
{
    make(0, SMALL, BYTES);
}

/* 512 bytes hold 10 messages and their headers, and no eleventh. */
static void full(void)
{
    make(10, SMALL, 512);
    CHECK(send_one(LAST, SMALL, &try) == -ETIMEDOUT);
}
static void polled(void)
{
    none();
    OK(ramet_end_fd(a));
}
static void polled_with_one(void)
{
    make(1, SMALL, BYTES);
    OK(ramet_end_fd(a));
}

/* ---- the victim */

static void open_ends(void)
{
    OK(ramet_end_open(&step_shared->ref[0], step_shared->fd[0], &a));
    OK(ramet_end_open(&step_shared->ref[1], step_shared->fd[1], &b));
}
static void own_pipe(void)
{
    OK(ramet_pipe_create(NULL, &a, &b));
    OK(send_one(1, LARGE, &try));
    OK(send_one(2, SMALL, &try));
}

static void send_small(void)
{
    OK(send_one(VICTIM, SMALL, &try));
    step_shared->did[0] = 1;
}
static void send_large(void)
{
    OK(send_one(VICTIM, LARGE, &try));
    step_shared->did[0] = 1;
}
static void receive_one(void)
{
    uint64_t id;
    int r = receive(&id, &try);
    /* A peer that was there before may have taken some, or all. */
    CHECK((r == 0 && id == 1) || ((r == 0 || r == -ETIMEDOUT) && step_shared->peer_first));
    step_shared->did[1] = r == 0;
}
static void close_sender(void)
{
    ramet_end_close(b);
}
static void close_receiver(void)
{
    ramet_end_close(a);
}
static void create(void)
{
    OK(ramet_pipe_create(NULL, &a, &b));
}

/* ---- the driver's side */

static void peer_receives(void)
{
    uint64_t id;
    for (int i = 0; i < 2; i++)
        if (receive(&id, &try) == 0)
            seen[id]++;
}

static void peer_sends(void)
{
    for (uint64_t i = 0; i < 2; i++) {
        int r = send_one(PEER + i, i ? LARGE : SMALL, &try);
        CHECK(r == 0 || r == -ETIMEDOUT);
        put_by_peer += r == 0;
    }
}

/* A further handle of each end, for a while. */
static void peer_opens(void)
{
    ramet_end *further;
    for (int i = 0; i < 2; i++) {
        int fd = dup(step_shared->fd[i]);
        CHECK(fd >= 0);
        OK(ramet_end_open(&step_shared->ref[i], fd, &further));
        ramet_end_close(further);
    }
}

/* A pipe of its own, as the victim's is: what they meet in is the arena's. */
static void peer_creates(void)
{
    ramet_end *one, *other;
    OK(ramet_pipe_create(NULL, &one, &other));
    ramet_end_close(one);
    ramet_end_close(other);
}

static void after(void)
{
    uint64_t id, last = 0, missing = 0;
    int r;
    while ((r = receive(&id, &try)) == 0) {
        CHECK(id >= PEER || id > last); /* first in, first out */
        last = id < PEER ? id : last;
        seen[id]++;
    }
    CHECK(r == -ETIMEDOUT);
    for (id = 1; id < MESSAGES; id++)
        CHECK(seen[id] <= 1);
    for (id = 1; id <= prefilled; id++)
        missing += seen[id] == 0;
    CHECK(missing <= 1 && missing >= step_shared->did[1]);
    CHECK(seen[VICTIM] >= step_shared->did[0]);
    CHECK(seen[PEER] + seen[PEER + 1] == put_by_peer);
    for (unsigned i = 0; i < 24; i++) {
        OK(send_one(LAST + i, i % 3 ? SMALL : LARGE, &try));
        CHECK(receive(&id, &try) == 0 && id == LAST + i);
    }
}

/* A received message is gone only when it was taken; then only the victim can have had it. */
static void after_no_receive(void)
{
    CHECK(step_shared->did[1] == 0);
    after();
    for (uint64_t id = 1; id <= prefilled; id++)
        CHECK(seen[id] == 1);
}

static void after_polled(void)
{
    size_t size;
    struct pollfd p = {.fd = step_shared->fd[0], .events = POLLIN};
    int r = ramet_end_next(a, &size);
    CHECK(r == 0 || r == -EAGAIN);
    CHECK(r == 0 || !step_shared->did[0]);
    CHECK(r < 0 || !step_shared->did[1]);
    if (r == 0)
        CHECK(poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0);
}

static void after_nothing(void) {}

static void sleeps_to_receive(void)
{
    uint64_t id;
    OK(receive(&id, NULL));
    seen[id]++;
    slept = true;
}
static void sleeps_to_send(void)
{
    OK(send_one(PEER, SMALL, NULL));
    put_by_peer++;
    slept = true;
}

static bool not_empty(void)
{
    size_t used = (size_t)((rmt_load64(&a->in.way->tail) - rmt_load64(&a->in.way->head)));
    return used > 0;
}
static bool has_room(void)
{
    uint64_t used = rmt_load64(&a->in.way->tail) - rmt_load64(&a->in.way->head);
    return used + SMALL + 8 <= a->bytes;
}
static void enable_receive(void)
{
    OK(send_one(LAST + 50, SMALL, &try));
}
static void enable_send(void)
{
    uint64_t id;
    OK(receive(&id, &try));
    seen[id]++;
}

static void after_sleep(void)
{
    CHECK(slept);
    if (prefilled == 10) { /* there is no room for large ones */
        uint64_t id;
        while (receive(&id, &try) == 0)
            seen[id]++;
        for (id = 1; id < MESSAGES; id++)
            CHECK(seen[id] <= 1);
        CHECK(seen[PEER] == 1);
        OK(send_one(LAST, SMALL, &try));
        CHECK(receive(&id, &try) == 0 && id == LAST);
        return;
    }
    after_no_receive();
}

#define CASE(title, made, have, act, check)                                                        \
    .name = "pipe " title, .setup = made, .prepare = have, .operate = act, .verify = check

const struct step_case step_cases[] = {
    {CASE("send", some_small, open_ends, send_small, after_no_receive), .peer = peer_receives},
    {CASE("send, a block", some_small, open_ends, send_large, after_no_receive),
     .peer = peer_receives},
    {CASE("send, beside a sender", some_large, open_ends, send_large, after_no_receive),
     .peer = peer_sends},
    {CASE("recv", some_small, open_ends, receive_one, after), .peer = peer_sends},
    {CASE("recv, a block", some_large, open_ends, receive_one, after), .peer = peer_sends},
    {CASE("recv, beside a receiver", some_large, open_ends, receive_one, after),
     .peer = peer_receives},
    {CASE("send, beside who opens", some_small, open_ends, send_small, after_no_receive),
     .peer = peer_opens},
    {CASE("open", some_small, after_nothing, open_ends, after_no_receive), .peer = peer_opens},
    {CASE("close, beside who opens", some_small, open_ends, close_sender, after_no_receive),
     .peer = peer_opens},
    {CASE("send, to who polls", polled, open_ends, send_small, after_polled)},
    {CASE("recv, by who polls", polled_with_one, open_ends, receive_one, after_polled)},
    {CASE("send, to a sleeper", none, open_ends, send_small, after_sleep),
     .sleeps = sleeps_to_receive, .enabled = not_empty, .enable = enable_receive},
    {CASE("recv, to a sleeper", full, open_ends, receive_one, after_sleep),
     .sleeps = sleeps_to_send, .enabled = has_room, .enable = enable_send},
    {CASE("create", none, after_nothing, create, after_nothing), .peer = peer_creates,
     .large = true, .stride = 7},
    {CASE("close, the sender", none, own_pipe, close_sender, after_nothing), .peer = peer_creates,
     .large = true, .stride = 7},
    {CASE("close, the receiver", none, own_pipe, close_receiver, after_nothing),
     .peer = peer_creates, .large = true, .stride = 7},
};
const int step_case_count = sizeof step_cases / sizeof step_cases[0];
