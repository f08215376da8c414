/* SPDX-License-Identifier: MIT
 *
 * fault_channel.c: the nouns of the layers sync and channel: making, opening, and every operation
 * of a queue or a pipe that needs memory or a system call: while each call fails in turn.
 */
#include "fault_run.h"

#include <ramet/ramet.h>

static void joined(void)
{
    OK(ramet_join());
}

/* ---- what is made and opened: run makes one and opens it by its reference, undo closes both */

#define NOUN(noun, options)                                                                        \
    static ramet_##noun *noun##_made, *noun##_opened;                                              \
    static int make_##noun(void)                                                                   \
    {                                                                                              \
        int r = ramet_##noun##_create(options, &noun##_made);                                      \
        if (r < 0)                                                                                 \
            return r;                                                                              \
        ramet_ref ref = ramet_##noun##_ref(noun##_made);                                           \
        r = ramet_##noun##_open(&ref, &noun##_opened);                                             \
        if (r < 0)                                                                                 \
            ramet_##noun##_close(noun##_made);                                                     \
        return r;                                                                                  \
    }                                                                                              \
    static void close_##noun(void)                                                                 \
    {                                                                                              \
        ramet_##noun##_close(noun##_opened);                                                       \
        ramet_##noun##_close(noun##_made);                                                         \
    }

static const ramet_barrier_options two = {.size = sizeof two, .parties = 2};
static const ramet_queue_options bounded = {.size = sizeof bounded, .max_items = 4};

NOUN(lock, NULL)
NOUN(rlock, NULL)
NOUN(semaphore, NULL)
NOUN(event, NULL)
NOUN(condition, NULL)
NOUN(barrier, &two)
NOUN(queue, NULL)
#define MADE(noun) {"make and open: " #noun, joined, make_##noun, close_##noun, {0}, NULL}

/* ---- queues */

static ramet_queue *queue;
static char text[100000];

static void make_a_queue(void)
{
    OK(ramet_queue_create(NULL, &queue));
}

static void take(size_t expected)
{
    static const ramet_wait now = {.size = sizeof now, .deadline = 0};
    ramet_item item;
    OK(ramet_queue_get(queue, &now, &item));
    CHECK(item.size == expected);
    ramet_item_release(&item);
}

/* So full that one more needs another ring. */
static void make_a_full_queue(void)
{
    make_a_queue();
    for (int i = 0; i < 64; i++)
        OK(ramet_queue_put(queue, text, 8, NULL));
}

static int put_small(void)
{
    return ramet_queue_put(queue, text, 8, NULL);
}
static void take_small(void)
{
    take(8);
}

/* Many rings, the last ones of many pages, in a queue of its own: a queue keeps its last ring. */
static int put_until_rings(void)
{
    int n = 0, r = ramet_queue_create(NULL, &queue);
    if (r < 0)
        return r;
    while (n < 3000 && (r = ramet_queue_put(queue, text, 8, NULL)) == 0)
        n++;
    if (r < 0)
        ramet_queue_close(queue);
    return r;
}
static void take_and_close(void)
{
    for (int n = 0; n < 3000; n++)
        take(8);
    ramet_queue_close(queue);
}

static int put_large(void)
{
    return ramet_queue_put(queue, text, sizeof text, NULL);
}
static void take_large(void)
{
    take(sizeof text);
}

static ramet_lock *lock;
static ramet_event *event;

static void make_a_queue_and_others(void)
{
    make_a_queue();
    OK(ramet_lock_create(NULL, &lock));
    OK(ramet_event_create(NULL, &event));
}

static int put_refs(void)
{
    const ramet_ref refs[] = {ramet_lock_ref(lock), ramet_event_ref(event), ramet_queue_ref(queue)};
    return ramet_queue_put_refs(queue, text, 10, refs, 3, NULL);
}
static void take_refs(void)
{
    take(10);
}

/* Of a batch some may be put: those are taken, so that nothing has changed. */
#define BATCH 8
static int put_batch(void)
{
    ramet_bytes items[BATCH];
    for (int i = 0; i < BATCH; i++)
        items[i] = (ramet_bytes){text, i % 2 ? 8 : 40000};
    ptrdiff_t n = ramet_queue_put_many(queue, items, BATCH, NULL);
    if (n == BATCH)
        return 0;
    for (ptrdiff_t i = 0; i < n; i++)
        take(items[i].size);
    return n < 0 ? (int)n : -ENOMEM; /* which error it was is told by the next call */
}
static void take_batch(void)
{
    for (int i = 0; i < BATCH; i++)
        take(i % 2 ? 8 : 40000);
}

static ramet_queue *made_bounded;
static int make_bounded(void)
{
    return ramet_queue_create(&bounded, &made_bounded);
}
static void close_bounded(void)
{
    ramet_queue_close(made_bounded);
}

/* ---- pipes */

static ramet_end *a, *b, *a_again;

static int make_pipe(void)
{
    ramet_ref ref;
    int r = ramet_pipe_create(NULL, &a, &b);
    if (r < 0)
        return r;
    OK(ramet_end_ref(a, &ref));
    r = ramet_end_open(&ref, -1, &a_again);
    if (r < 0) {
        ramet_end_close(a);
        ramet_end_close(b);
    }
    return r;
}
static void close_pipe(void)
{
    ramet_end_close(a_again);
    ramet_end_close(a);
    ramet_end_close(b);
}

static void make_a_pipe(void)
{
    OK(ramet_pipe_create(NULL, &a, &b));
}

static void receive(size_t expected)
{
    static char to[sizeof text];
    size_t size;
    OK(ramet_end_recv(b, to, sizeof to, &size, NULL));
    CHECK(size == expected);
}

static int send_block(void)
{
    return ramet_end_send(a, text, sizeof text, NULL);
}
static void receive_block(void)
{
    receive(sizeof text);
}

/* The first message after the pipe is known to be empty rings. */
static int arm_and_send(void)
{
    int fd = ramet_end_fd(b);
    return fd < 0 ? fd : ramet_end_send(a, text, 100, NULL);
}
static void receive_short(void)
{
    receive(100);
    OK(ramet_end_fd(b));
}

static int look_into_pipe(void)
{
    static const ramet_wait now = {.size = sizeof now, .deadline = 0};
    return ramet_end_poll(b, &now);
}

static const struct operation operations[] = {
    MADE(lock),
    MADE(rlock),
    MADE(semaphore),
    MADE(event),
    MADE(condition),
    MADE(barrier),
    MADE(queue),
    {"make a queue with a bound", joined, make_bounded, close_bounded, {0}, NULL},
    {"put into a full ring", make_a_full_queue, put_small, take_small, {0}, NULL},
    {"put until there are several rings", joined, put_until_rings, take_and_close, {0}, NULL},
    {"put what needs a block", make_a_queue, put_large, take_large, {0}, NULL},
    {"put references", make_a_queue_and_others, put_refs, take_refs, {0}, NULL},
    {"put a batch", make_a_queue, put_batch, take_batch, {-ENOMEM}, NULL},
    {"make a pipe and open an end", joined, make_pipe, close_pipe, {0}, NULL},
    {"send what needs a block", make_a_pipe, send_block, receive_block, {0}, NULL},
    {"arm a pipe's descriptor and ring", make_a_pipe, arm_and_send, receive_short, {0}, NULL},
    {"poll a pipe", make_a_pipe, look_into_pipe, NULL, {0}, NULL},
};

int main(void)
{
    FAIL_EACH_CALL(operations);
    return 0;
}
