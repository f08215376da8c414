/* SPDX-License-Identifier: MIT
 *
 * test_queue.c: the queue's promises, one function each, in one or a few processes.
 */
#include "channel/queue.h"

#include <ramet/arena.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #x);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static const ramet_wait now = {.size = sizeof(ramet_wait), .deadline = 0};

static uint64_t blocks(void)
{
    ramet_usage usage = {.size = sizeof usage};
    CHECK(ramet_arena_usage(&usage) == 0);
    return usage.blocks;
}

static ramet_queue *make(uint64_t max_items)
{
    ramet_queue_options options = {.size = sizeof options, .max_items = max_items};
    ramet_queue *q;
    CHECK(ramet_queue_create(&options, &q) == 0);
    return q;
}

static void put_number(ramet_queue *q, uint64_t n)
{
    CHECK(ramet_queue_put(q, &n, sizeof n, NULL) == 0);
}

static uint64_t get_number(ramet_queue *q)
{
    ramet_item item;
    uint64_t n;
    CHECK(ramet_queue_get(q, NULL, &item) == 0);
    CHECK(item.size == sizeof n);
    memcpy(&n, item.data, sizeof n);
    ramet_item_release(&item);
    return n;
}

static pid_t child(void (*fn)(ramet_queue *q), ramet_queue *q)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(600);
        fn(q);
        _exit(0);
    }
    return pid;
}

static int reap(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    ramet_reap(pid);
    return status;
}

/* ---- one process */

static void sizes_and_order(void)
{
    const size_t sizes[] = {0, 1, 8, 55, 56, 57, 64, 1000, 40000, 2u << 20};
    const size_t n = sizeof sizes / sizeof *sizes;
    uint64_t before = blocks();
    ramet_queue *q = make(0);
    uint8_t *bytes = malloc(sizes[n - 1]);
    CHECK(bytes);
    for (size_t i = 0; i < n; i++) {
        memset(bytes, (int)i + 1, sizes[i]);
        CHECK(ramet_queue_put(q, bytes, sizes[i], NULL) == 0);
        CHECK(ramet_queue_size(q) == i + 1);
    }
    for (size_t i = 0; i < n; i++) {
        ramet_item item;
        CHECK(ramet_queue_get(q, &now, &item) == 0);
        CHECK(item.size == sizes[i]);
        memset(bytes, (int)i + 1, sizes[i]);
        CHECK(memcmp(item.data, bytes, sizes[i]) == 0);
        ramet_item_release(&item);
        ramet_item_release(&item); /* a second time is nothing */
    }
    CHECK(ramet_queue_empty(q) == 1);
    free(bytes);
    ramet_queue_close(q);
    CHECK(blocks() == before);
}

static void bounded(void)
{
    const uint64_t bounds[] = {1, 2, 3, 63, 64, 65, 1000};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        ramet_queue *q = make(bounds[i]);
        uint64_t in = 0, out = 0;
        ramet_item item;
        CHECK(ramet_queue_max_items(q) == bounds[i]);
        CHECK(ramet_queue_get(q, &now, &item) == -ETIMEDOUT);
        for (int round = 0; round < 5; round++) {
            while (ramet_queue_put(q, &in, sizeof in, &now) == 0)
                in++;
            CHECK(in - out == bounds[i]);
            CHECK(ramet_queue_full(q) == 1 && ramet_queue_size(q) == bounds[i]);
            uint64_t take = bounds[i] / 2 + 1;
            for (uint64_t k = 0; k < take; k++)
                CHECK(get_number(q) == out++);
            CHECK(ramet_queue_full(q) == 0);
        }
        int64_t start = ramet_now();
        while (ramet_queue_put(q, &in, sizeof in, &now) == 0)
            in++;
        ramet_wait wait = ramet_within(20 * 1000 * 1000);
        CHECK(ramet_queue_put(q, &in, sizeof in, &wait) == -ETIMEDOUT);
        CHECK(ramet_now() - start >= 20 * 1000 * 1000);
        ramet_queue_close(q);
    }
}

/* The queue grows through several rings, gives them back, and is in order while it does. */
static void growth(void)
{
    uint64_t before = blocks();
    ramet_queue *q = make(0);
    uint64_t in = 0, out = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 70000; i++)
            put_number(q, in++);
        CHECK(ramet_queue_size(q) == in - out);
        CHECK(ramet_arena_check(2) == 0);
        while (out < in - 100)
            CHECK(get_number(q) == out++);
    }
    CHECK(blocks() == before + 2); /* the queue, and the one ring that is left */
    ramet_queue_close(q);
    CHECK(blocks() == before);
}

static void dropped_with_contents(void)
{
    uint64_t before = blocks();
    ramet_queue *q = make(0);
    char text[200] = "x";
    for (int i = 0; i < 500; i++)
        CHECK(ramet_queue_put(q, text, i % 2 ? sizeof text : 8, NULL) == 0);
    CHECK(blocks() > before + 250);
    ramet_queue_close(q);
    CHECK(blocks() == before);
}

static void many(void)
{
    ramet_queue *q = make(0);
    enum { N = 1000 };
    static uint64_t numbers[N][16];
    static ramet_bytes in[N];
    static ramet_item out[N];
    for (uint64_t i = 0; i < N; i++) {
        numbers[i][0] = i;
        in[i] = (ramet_bytes){numbers[i], i % 10 == 3 ? sizeof numbers[i] : 8};
    }
    CHECK(ramet_queue_put_many(q, in, N, NULL) == N);
    CHECK(ramet_queue_put_many(q, in, 0, NULL) == 0);
    CHECK(ramet_queue_size(q) == N);
    uint64_t next = 0;
    while (next < N) {
        ptrdiff_t n = ramet_queue_get_many(q, &now, out, 15);
        CHECK(n >= 1 && n <= 15);
        for (ptrdiff_t i = 0; i < n; i++) {
            uint64_t value;
            memcpy(&value, out[i].data, sizeof value);
            CHECK(value == next && out[i].size == in[next].size);
            next++;
        }
        for (ptrdiff_t i = 0; i < n; i++)
            ramet_item_release(&out[i]);
    }
    CHECK(ramet_queue_get_many(q, &now, out, 5) == -ETIMEDOUT);
    ramet_queue_close(q);

    q = make(10);
    CHECK(ramet_queue_put_many(q, in, N, &now) == 10);
    CHECK(ramet_queue_put_many(q, in, N, &now) == -ETIMEDOUT);
    CHECK(ramet_queue_size(q) == 10);
    ramet_queue_close(q);
}

static void shut_down(void)
{
    uint64_t before = blocks();
    ramet_item item;
    ramet_queue *q = make(0);
    put_number(q, 1);
    put_number(q, 2);
    CHECK(ramet_queue_shutdown(q, 0) == 0);
    CHECK(ramet_queue_put(q, "x", 1, NULL) == -ESHUTDOWN);
    CHECK(get_number(q) == 1);
    CHECK(get_number(q) == 2);
    CHECK(ramet_queue_get(q, NULL, &item) == -ESHUTDOWN);
    ramet_queue_close(q);

    q = make(0);
    char text[100] = "";
    for (int i = 0; i < 1000; i++)
        CHECK(ramet_queue_put(q, text, i % 100, NULL) == 0);
    CHECK(ramet_queue_shutdown(q, 1) == 0);
    CHECK(ramet_queue_shutdown(q, 0) == 0);
    CHECK(ramet_queue_size(q) == 0);
    CHECK(ramet_queue_get(q, NULL, &item) == -ESHUTDOWN);
    CHECK(ramet_queue_join(q, &now) == 0);
    CHECK(ramet_queue_lost(q) == 0);
    ramet_queue_close(q);
    CHECK(blocks() == before);
}

static void unfinished(void)
{
    ramet_queue *q = make(0);
    CHECK(ramet_queue_join(q, NULL) == 0);
    CHECK(ramet_queue_task_done(q) == -EINVAL);
    put_number(q, 1);
    put_number(q, 2);
    CHECK(ramet_queue_join(q, &now) == -ETIMEDOUT);
    get_number(q);
    CHECK(ramet_queue_task_done(q) == 0);
    CHECK(ramet_queue_join(q, &now) == -ETIMEDOUT);
    CHECK(ramet_queue_task_done(q) == 0);
    CHECK(ramet_queue_join(q, NULL) == 0);
    CHECK(ramet_queue_task_done(q) == -EINVAL);
    ramet_queue_close(q);
}

static void too_many_held(void)
{
    ramet_queue *q = make(0);
    ramet_item items[64];
    int n = 0, r = 0;
    for (uint64_t i = 0; i < 64; i++)
        put_number(q, i);
    while (n < 64 && (r = ramet_queue_get(q, &now, &items[n])) == 0)
        n++;
    CHECK(r == -ENOSPC && n >= 16);
    CHECK(ramet_queue_size(q) == 64u - (unsigned)n);
    while (n > 0)
        ramet_item_release(&items[--n]);
    while (ramet_queue_get(q, &now, &items[0]) == 0)
        ramet_item_release(&items[0]);
    ramet_queue_close(q);
}

static void references(void)
{
    uint64_t before = blocks();
    ramet_queue *outer = make(0), *inner = make(0), *again;
    ramet_ref ref = ramet_queue_ref(inner);
    put_number(inner, 77);
    CHECK(ramet_queue_put_refs(outer, &ref, sizeof ref, &ref, 1, NULL) == 0);
    ramet_queue_close(inner);

    ramet_item item;
    CHECK(ramet_queue_get(outer, NULL, &item) == 0);
    CHECK(item.size == sizeof ref && memcmp(item.data, &ref, sizeof ref) == 0);
    CHECK(ramet_queue_open(item.data, &again) == 0);
    ramet_item_release(&item);
    CHECK(get_number(again) == 77);
    ramet_queue_close(again);
    CHECK(ramet_queue_open(&ref, &again) == -ESTALE);
    CHECK(ramet_queue_put_refs(outer, &ref, sizeof ref, &ref, 1, NULL) == -ESTALE);
    ref.arena++;
    CHECK(ramet_queue_open(&ref, &again) == -ESTALE);
    ramet_queue_close(outer);
    CHECK(blocks() == before);
}

static void *release(void *item)
{
    ramet_item_release(item);
    return NULL;
}

/* Only who got an item can release it, and can so after another has tried. */
static void released_by_another(void)
{
    char text[1000] = "";
    ramet_item item, nothing = {0};
    pthread_t thread;
    ramet_queue *q = make(0);
    CHECK(pthread_create(&thread, NULL, release, &nothing) == 0);
    CHECK(pthread_join(thread, NULL) == 0); /* a thread's first call may take memory */
    uint64_t before = blocks();
    CHECK(ramet_queue_put(q, text, sizeof text, NULL) == 0);
    CHECK(ramet_queue_get(q, NULL, &item) == 0);
    CHECK(pthread_create(&thread, NULL, release, &item) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(blocks() == before + 1 && item.size == sizeof text);
    ramet_item_release(&item);
    CHECK(blocks() == before);
    ramet_queue_close(q);
}

static void bad_arguments(void)
{
    ramet_queue_options options = {.size = 3};
    ramet_queue *q;
    CHECK(ramet_queue_create(&options, &q) == -EINVAL);
    options = (ramet_queue_options){.size = sizeof options, .max_items = UINT64_MAX};
    CHECK(ramet_queue_create(&options, &q) == -EINVAL);
    q = make(1);
    ramet_wait odd = {.size = 1};
    ramet_item item;
    CHECK(ramet_queue_get(q, &odd, &item) == -EINVAL);
    ramet_queue_close(q);
    ramet_queue_close(NULL);
}

/* ---- threads and processes */

enum { THREADS = 4, EACH = 20000 };

static void *putter(void *arg)
{
    ramet_queue *q = arg;
    static rmt_a64 ids;
    uint64_t id = rmt_add64(&ids, 1) % THREADS;
    for (uint64_t i = 0; i < EACH; i++)
        put_number(q, id << 32 | i);
    return NULL;
}

/* Each thread's numbers arrive, in its order. */
static void threads(uint64_t max_items)
{
    ramet_queue *q = make(max_items);
    pthread_t thread[THREADS];
    uint64_t next[THREADS] = {0};
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&thread[i], NULL, putter, q) == 0);
    for (int i = 0; i < THREADS * EACH; i++) {
        CHECK(max_items == 0 || ramet_queue_size(q) <= max_items);
        uint64_t n = get_number(q);
        CHECK((n & UINT32_MAX) == next[n >> 32]++);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
    CHECK(ramet_queue_empty(q));
    ramet_queue_close(q);
}

static void echo(ramet_queue *q)
{
    uint64_t sum = 0, n;
    while ((n = get_number(q)) != 0)
        sum += n;
    put_number(q, sum);
    CHECK(ramet_queue_task_done(q) == 0);
}

static void to_a_child_and_back(void)
{
    ramet_queue *q = make(0);
    pid_t pid = child(echo, q);
    for (uint64_t i = 1; i <= 1000; i++)
        put_number(q, i);
    put_number(q, 0);
    while (waitpid(pid, NULL, 0) != pid)
        ;
    CHECK(get_number(q) == 1000 * 1001 / 2);
    ramet_reap(pid);
    ramet_queue_close(q);
}

static void take_and_die(ramet_queue *q)
{
    ramet_item items[8];
    CHECK(ramet_queue_get_many(q, NULL, items, 5) == 5); /* short ones: one hold */
    CHECK(ramet_queue_get(q, NULL, &items[5]) == 0);     /* a message */
    ramet_item_release(&items[0]);
    ramet_item_release(&items[4]);
    raise(SIGKILL);
}

static void lost_with_their_taker(void)
{
    uint64_t before = blocks();
    ramet_queue *q = make(0);
    char text[300] = "text";
    for (uint64_t i = 0; i < 5; i++)
        put_number(q, i);
    CHECK(ramet_queue_put(q, text, sizeof text, NULL) == 0);
    put_number(q, 5);
    CHECK(WTERMSIG(reap(child(take_and_die, q))) == SIGKILL);
    CHECK(ramet_queue_lost(q) == 4);
    CHECK(ramet_queue_size(q) == 1);
    CHECK(get_number(q) == 5);
    for (int i = 0; i < 3; i++) /* the two that were released, and the last */
        CHECK(ramet_queue_task_done(q) == 0);
    CHECK(ramet_queue_join(q, NULL) == 0);
    CHECK(ramet_queue_task_done(q) == -EINVAL);
    ramet_queue_close(q);
    CHECK(blocks() == before);
}

static void wait_for_item(ramet_queue *q)
{
    ramet_item item;
    int r;
    while ((r = ramet_queue_get(q, NULL, &item)) == 0)
        ramet_item_release(&item);
    _exit(r == -ESHUTDOWN ? 7 : 1);
}

static void shutdown_wakes(void)
{
    ramet_queue *q = make(0);
    pid_t pids[3];
    for (int i = 0; i < 3; i++)
        pids[i] = child(wait_for_item, q);
    usleep(20000);
    put_number(q, 1);
    CHECK(ramet_queue_shutdown(q, 0) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(WEXITSTATUS(reap(pids[i])) == 7);
    ramet_queue_close(q);
}

static void keep_open(ramet_queue *q)
{
    CHECK(get_number(q) == 1); /* after the parent has closed its handle */
}

/* A child has counts of its own: the queue outlives its parent's handle. */
static void child_keeps_it(void)
{
    uint64_t before = blocks();
    ramet_queue *q = make(0);
    ramet_ref ref = ramet_queue_ref(q);
    pid_t pid = child(keep_open, q);
    put_number(q, 1);
    ramet_queue_close(q);
    CHECK(WEXITSTATUS(reap(pid)) == 0);
    CHECK(ramet_queue_open(&ref, &q) == -ESTALE);
    CHECK(blocks() == before);
}

int main(void)
{
    alarm(600);
    CHECK(ramet_join() == 0);
    ramet_queue_close(make(0)); /* the table of handles is made with the first, and stays */
    sizes_and_order();
    bounded();
    growth();
    dropped_with_contents();
    many();
    shut_down();
    unfinished();
    too_many_held();
    references();
    released_by_another();
    bad_arguments();
    threads(0);
    threads(3);
    to_a_child_and_back();
    lost_with_their_taker();
    shutdown_wakes();
    child_keeps_it();
    CHECK(ramet_arena_check(2) == 0);
    return 0;
}
