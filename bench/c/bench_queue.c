/* SPDX-License-Identifier: MIT
 *
 * bench_queue.c: 8-byte messages from producers to consumers, each a process on a processor of its
 * own where there are as many, singly and in batches.  Beside it a bare ring of one producer and
 * one consumer, which is safe against nothing, what the system has (message queues and sockets),
 * and Boost's message queue.
 */
#include "bench.h"
#include "bench_boost.h"
#include <ramet/queue.h>

#include <fcntl.h>
#include <mqueue.h>
#include <sys/socket.h>

#define BATCH 16
#define BOUND 4096 /* messages under way, as many as the bare ring holds */

#define CHUNK 256u
#define CHUNKS_MAX 65536u

static uint64_t total; /* messages of this measurement; set before the fork */

/* ---- 1:1: the time of a chunk of messages, as the median over the chunks of the slower side: how
 * quickly they pass while both processes run.  Otherwise a loaded machine would have us measure how
 * long its processors were given to somebody else. */

static double *slower_side; /* shared: of each child, ns for one message */
static double chunk[CHUNKS_MAX];
static unsigned chunks;
static uint64_t chunk_start;
static int64_t chunk_began;

/* `done` messages have been put or got by this process. */
static inline void mark(uint64_t done)
{
    if (done - chunk_start < CHUNK || chunks == CHUNKS_MAX)
        return;
    int64_t now = bench_now();
    if (chunk_began != 0)
        chunk[chunks++] = (double)(now - chunk_began) / (double)(done - chunk_start);
    chunk_began = now;
    chunk_start = done;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void finish(unsigned index)
{
    qsort(chunk, chunks, sizeof *chunk, ascending);
    slower_side[index] = chunks > 0 ? chunk[chunks / 2] : 0;
}

/* ns for `total` messages. */
static int64_t one_to_one(void (*work)(unsigned))
{
    slower_side = bench_shared(4096);
    int64_t ns = bench_together(2, work);
    double slower = slower_side[0] > slower_side[1] ? slower_side[0] : slower_side[1];
    bench_unshare(slower_side, 4096);
    return slower > 0 ? (int64_t)(slower * (double)total) : ns;
}

/* ---- ramet */

static ramet_queue *queue;

static void put_singly(uint64_t count)
{
    for (uint64_t i = 0; i < count; mark(++i))
        MUST(ramet_queue_put(queue, &i, sizeof i, NULL));
}

static void get_singly(uint64_t count)
{
    ramet_item item;
    for (uint64_t i = 0; i < count; mark(++i)) {
        MUST(ramet_queue_get(queue, NULL, &item));
        ramet_item_release(&item);
    }
}

static void put_batches(uint64_t count)
{
    uint64_t value[BATCH];
    ramet_bytes items[BATCH];
    for (unsigned k = 0; k < BATCH; k++)
        items[k] = (ramet_bytes){&value[k], sizeof value[k]};
    for (uint64_t done = 0; done < count;) {
        size_t n = count - done < BATCH ? (size_t)(count - done) : BATCH;
        for (size_t k = 0; k < n; k++)
            value[k] = done + k;
        ptrdiff_t put = ramet_queue_put_many(queue, items, n, NULL);
        MUST(put);
        done += (uint64_t)put;
        mark(done);
    }
}

static void get_batches(uint64_t count)
{
    ramet_item items[BATCH];
    for (uint64_t done = 0; done < count;) {
        size_t n = count - done < BATCH ? (size_t)(count - done) : BATCH;
        ptrdiff_t got = ramet_queue_get_many(queue, NULL, items, n);
        MUST(got);
        for (ptrdiff_t k = 0; k < got; k++)
            ramet_item_release(&items[k]);
        done += (uint64_t)got;
        mark(done);
    }
}

static void single_1_1(unsigned index)
{
    index == 0 ? put_singly(total) : get_singly(total);
    finish(index);
}

static void batch_1_1(unsigned index)
{
    index == 0 ? put_batches(total) : get_batches(total);
    finish(index);
}

static void single_2_2(unsigned index) /* two of a sort are not on one processor */
{
    index == 0 || index == 3 ? put_singly(total / 2) : get_singly(total / 2);
}

/* children 0: two, by chunks; else so many, from the start of all to the end of all. */
static int64_t run_queue(uint64_t count, uint64_t bound, unsigned children, void (*work)(unsigned))
{
    ramet_queue_options options = {.size = sizeof options, .max_items = bound};
    MUST(ramet_queue_create(&options, &queue));
    total = count / 2 * 2;
    int64_t ns = children == 0 ? one_to_one(work) : bench_together(children, work);
    ramet_queue_close(queue);
    return ns;
}

static int64_t ramet_single(uint64_t count)
{
    return run_queue(count, BOUND, 0, single_1_1);
}

static int64_t ramet_unbounded(uint64_t count)
{
    return run_queue(count, 0, 0, single_1_1);
}

static int64_t ramet_batch(uint64_t count)
{
    return run_queue(count, BOUND, 0, batch_1_1);
}

static void untimed_1_1(unsigned index)
{
    index == 0 ? put_singly(total) : get_singly(total);
}

static int64_t ramet_1_1_whole(uint64_t count)
{
    return run_queue(count, BOUND, 2, untimed_1_1);
}

static void untimed_batch_1_1(unsigned index)
{
    index == 0 ? put_batches(total) : get_batches(total);
}

static int64_t ramet_batch_whole(uint64_t count)
{
    return run_queue(count, BOUND, 2, untimed_batch_1_1);
}

static int64_t ramet_2_2(uint64_t count)
{
    return run_queue(count, BOUND, 4, single_2_2);
}

/* ---- the bare ring: each side keeps the last position of the other that it saw */

static struct ring {
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) uint64_t cell[BOUND];
} *ring;

static void ring_put(uint64_t count, uint64_t batch)
{
    uint64_t tail = 0, head = 0;
    unsigned spins = 0;
    while (tail < count) {
        while (tail + batch - head > BOUND) {
            head = atomic_load_explicit(&ring->head, memory_order_acquire);
            if (tail + batch - head > BOUND)
                bench_relax(&spins);
        }
        for (uint64_t k = 0; k < batch; k++)
            ring->cell[(tail + k) % BOUND] = tail + k;
        tail += batch;
        atomic_store_explicit(&ring->tail, tail, memory_order_release);
        mark(tail);
    }
}

static void ring_get(uint64_t count, uint64_t batch)
{
    uint64_t tail = 0, head = 0, sum = 0;
    unsigned spins = 0;
    while (head < count) {
        while (tail - head < batch) {
            tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
            if (tail - head < batch)
                bench_relax(&spins);
        }
        for (uint64_t k = 0; k < batch; k++)
            sum += ring->cell[(head + k) % BOUND];
        head += batch;
        atomic_store_explicit(&ring->head, head, memory_order_release);
        mark(head);
    }
    if (sum != count * (count - 1) / 2)
        bench_fail(__FILE__, __LINE__, "the sum");
}

static void ring_1_1(unsigned index)
{
    index == 0 ? ring_put(total, 1) : ring_get(total, 1);
    finish(index);
}

static void ring_batch_1_1(unsigned index)
{
    index == 0 ? ring_put(total, BATCH) : ring_get(total, BATCH);
    finish(index);
}

static int64_t run_ring(uint64_t count, void (*work)(unsigned))
{
    ring = bench_shared(sizeof *ring);
    total = (count + BATCH - 1) / BATCH * BATCH;
    int64_t ns = one_to_one(work);
    bench_unshare(ring, sizeof *ring);
    return ns;
}

static int64_t bare_single(uint64_t count)
{
    return run_ring(count, ring_1_1);
}

static int64_t bare_batch(uint64_t count)
{
    return run_ring(count, ring_batch_1_1);
}

/* ---- the system's own */

static mqd_t mq;

static void mq_1_1(unsigned index)
{
    for (uint64_t i = 0, value; i < total; mark(++i))
        MUST(index == 0 ? mq_send(mq, (const char *)&i, sizeof i, 0)
                        : mq_receive(mq, (char *)&value, sizeof value, NULL));
    finish(index);
}

static int64_t posix_mq(uint64_t count)
{
    char name[64];
    struct mq_attr attr = {.mq_maxmsg = 10, .mq_msgsize = 8}; /* what anybody may have */
    snprintf(name, sizeof name, "/ramet-bench-%d", (int)getpid());
    mq = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attr);
    if (mq < 0)
        return -1;
    mq_unlink(name);
    total = count;
    int64_t ns = one_to_one(mq_1_1);
    mq_close(mq);
    return ns;
}

static int pair[2];

static void socket_1_1(unsigned index)
{
    for (uint64_t i = 0, value; i < total; mark(++i))
        MUST(index == 0 ? write(pair[0], &i, sizeof i) : read(pair[1], &value, sizeof value));
    finish(index);
}

static int64_t socketpairs(uint64_t count)
{
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    total = count;
    int64_t ns = one_to_one(socket_1_1);
    close(pair[0]);
    close(pair[1]);
    return ns;
}

/* ---- Boost.Interprocess, where it was found.  Its sides sleep in turn, each while the other fills
 * or empties the whole queue: chunks would show the filling and not the sleep.  So it is held
 * against ramet from the start of both sides to the end of both. */

#ifdef BENCH_BOOST
static struct bench_boost *boost;

static void boost_1_1(unsigned index)
{
    for (uint64_t i = 0, value; i < total; i++)
        MUST(index == 0 ? bench_boost_send(boost, i) : bench_boost_receive(boost, &value));
}

static int64_t boost_queue(uint64_t count)
{
    char name[64];
    snprintf(name, sizeof name, "ramet-bench-%d", (int)getpid());
    boost = bench_boost_create(name, BOUND);
    if (!boost)
        return -1;
    total = count;
    int64_t ns = bench_together(2, boost_1_1);
    bench_boost_free(boost);
    return ns;
}
#else
static int64_t boost_queue(uint64_t count)
{
    (void)count;
    return -1;
}
#endif

static const struct bench_case cases[] = {
    {.name = "queue 1:1, 8 bytes, singly",
     .count = 1000000,
     .subject = {{.name = "ramet", .run = ramet_single},
                 {.name = "20 M/s", .most = 1, .ns = 50},
                 {.name = "bare ring", .run = bare_single},
                 {.name = "POSIX mq", .most = 0.2, .run = posix_mq, .slower = 10},
                 {.name = "socketpair", .most = 0.2, .run = socketpairs, .slower = 10},
                 {.name = "ramet, unbounded", .run = ramet_unbounded}},
     .slices = 5},
    {.name = "queue 1:1, 8 bytes, start to end",
     .count = 1000000,
     .subject = {{.name = "ramet", .run = ramet_1_1_whole},
                 {.name = "Boost message_queue", .most = 0.2, .run = boost_queue, .slower = 4}},
     .slices = 5},
    {.name = "the same, ramet's by 16",
     .count = 1000000,
     .subject = {{.name = "ramet", .run = ramet_batch_whole},
                 {.name = "Boost message_queue", .most = 0.2, .run = boost_queue, .slower = 4}},
     .slices = 5},
    {.name = "queue 1:1, 8 bytes, by 16",
     .count = 3000000,
     .subject = {{.name = "ramet", .run = ramet_batch},
                 {.name = "60 M/s", .most = 1, .ns = 1000 / 60.},
                 {.name = "bare ring, by 16", .run = bare_batch}},
     .slices = 5},
    {.name = "queue 2:2, 8 bytes, singly",
     .count = 1000000,
     .subject = {{.name = "ramet", .run = ramet_2_2},
                 {.name = "ramet, 1:1", .most = 1 / 0.7, .run = ramet_1_1_whole}},
     .slices = 5},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
