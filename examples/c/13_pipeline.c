/* SPDX-License-Identifier: MIT
 *
 * 13_pipeline.c: numbers go through three processes, each of which does one thing, over queues of
 * at most eight messages.
 *
 *     13_pipeline [fork|spawn|forkserver]
 *
 * A bounded queue is the back-pressure: who is faster than the next stage waits in his put, so that
 * no more than a few messages are ever on their way, however long the stream is.  A stage that has
 * no more to put shuts its queue down; the next one empties it, gets -ESHUTDOWN, and does the same.
 */
#include "example.h"

#include <errno.h>

#define BOUND 8
#define NUMBERS 5000

static ramet_queue *opened(const ramet_ref *ref)
{
    ramet_queue *queue;
    MUST(ramet_queue_open(ref, &queue));
    return queue;
}

/* The next number; 0 at the end of the stream. */
static int next(ramet_queue *queue, long *ret_number)
{
    ramet_item item;
    int r = ramet_queue_get(queue, NULL, &item);
    if (r == -ESHUTDOWN)
        return 0;
    MUST(r);
    memcpy(ret_number, item.data, sizeof *ret_number);
    ramet_item_release(&item);
    return 1;
}

static void put(ramet_queue *queue, long number)
{
    MUST(ramet_queue_put(queue, &number, sizeof number, NULL)); /* waits while it is full */
}

/* A stage's argument: the references of its two queues. */
static int stage(const void *arg, long (*apply)(long))
{
    const ramet_ref *refs = arg;
    ramet_queue *from = opened(&refs[0]), *to = opened(&refs[1]);
    long number;
    while (next(from, &number)) {
        number = apply(number);
        if (number != 0)
            put(to, number);
    }
    MUST(ramet_queue_shutdown(to, 0));
    ramet_queue_close(from);
    ramet_queue_close(to);
    return 0;
}

static long odd_only(long n)
{
    return n % 2 != 0 ? n : 0;
}
static long squared(long n)
{
    return n * n;
}
static long plus_one(long n)
{
    return n + 1;
}

static int filter(const void *arg, size_t size)
{
    (void)size;
    return stage(arg, odd_only);
}
static int square(const void *arg, size_t size)
{
    (void)size;
    return stage(arg, squared);
}
static int increase(const void *arg, size_t size)
{
    (void)size;
    return stage(arg, plus_one);
}

enum { STAGES = 3 };
static const ramet_task tasks[STAGES] = {
    {"filter", filter}, {"square", square}, {"increase", increase}};

int main(int argc, char **argv)
{
    MUST(ramet_enter(argc, argv, tasks, STAGES));
    ramet_queue_options options = {.size = sizeof options, .max_items = BOUND};
    ramet_queue *queue[STAGES + 1];
    ramet_ref ref[STAGES + 1];
    for (int i = 0; i <= STAGES; i++) {
        MUST(ramet_queue_create(&options, &queue[i]));
        ref[i] = ramet_queue_ref(queue[i]);
    }

    /* Before anybody works, eight numbers have room, and the ninth has not. */
    const ramet_wait at_once = {.size = sizeof at_once, .deadline = 0};
    long number = 1, got = 0, sum = 0, expected = 0;
    while (ramet_queue_put(queue[0], &number, sizeof number, &at_once) == 0)
        number++;
    printf("%ld numbers had room\n", number - 1);
    int bad = number - 1 != BOUND;

    ramet_process *process[STAGES];
    for (int i = 0; i < STAGES; i++)
        process[i] = start(method_of(argc, argv), tasks[i].name, &ref[i], 2);

    /* Puts as long as there is room, and takes what has come, so that it never waits for itself. */
    for (; number <= NUMBERS; number++) {
        while (ramet_queue_put(queue[0], &number, sizeof number, &at_once) == -ETIMEDOUT) {
            long result = 0;
            next(queue[STAGES], &result); /* all queues are full, or soon there will be room */
            sum += result;
            got++;
        }
    }
    MUST(ramet_queue_shutdown(queue[0], 0));
    for (long result; next(queue[STAGES], &result); got++) {
        sum += result;
        bad |= ramet_queue_size(queue[STAGES]) > BOUND;
    }

    for (int i = 0; i < STAGES; i++)
        bad |= join(process[i]) != 0;
    for (int i = 0; i <= STAGES; i++)
        ramet_queue_close(queue[i]);
    for (long n = 1; n <= NUMBERS; n += 2)
        expected += n * n + 1;
    printf("%ld results, their sum is %ld\n", got, sum);
    return bad || got != NUMBERS / 2 || sum != expected;
}
