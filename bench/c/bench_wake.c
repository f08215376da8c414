/* SPDX-License-Identifier: MIT
 *
 * bench_wake.c: how long it takes until who waits goes on.  Asleep: the ns from the store that ends
 * the wait until the waiter has seen it, of a waiter that has had time to fall asleep.  Awake: a
 * message there and back between two processes that do nothing else.
 */
#include "bench.h"
#include <ramet/queue.h>
#include <ramet/semaphore.h>

#include <linux/futex.h>
#include <sys/syscall.h>

#define NAP_US 300 /* longer than any spinning before a sleep */

static struct shared {
    _Alignas(64) _Atomic uint32_t there;
    _Alignas(64) _Atomic uint32_t back;
    _Alignas(64) _Atomic int64_t posted;
    int64_t sum;
} *shared;
static uint64_t total;
static ramet_queue *there, *back;
static ramet_semaphore *there_sem, *back_sem;

/* ---- the ways to post and to wait, in either direction */

struct way {
    void (*post)(int to_back, uint32_t number);
    void (*wait)(int on_back, uint32_t number);
};

static const struct way *way;

static _Atomic uint32_t *word(int is_back)
{
    return is_back ? &shared->back : &shared->there;
}

static void futex_post(int to_back, uint32_t number)
{
    atomic_store(word(to_back), number);
    MUST(syscall(SYS_futex, word(to_back), FUTEX_WAKE, 1, NULL, NULL, 0));
}

static void futex_wait(int on_back, uint32_t number)
{
    uint32_t seen;
    while ((seen = atomic_load(word(on_back))) != number)
        syscall(SYS_futex, word(on_back), FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void spin_post(int to_back, uint32_t number)
{
    atomic_store_explicit(word(to_back), number, memory_order_release);
}

static void spin_wait(int on_back, uint32_t number)
{
    unsigned spins = 0;
    while (atomic_load_explicit(word(on_back), memory_order_acquire) != number)
        bench_relax(&spins);
}

static void queue_post(int to_back, uint32_t number)
{
    MUST(ramet_queue_put(to_back ? back : there, &number, sizeof number, NULL));
}

static void queue_wait(int on_back, uint32_t number)
{
    ramet_item item;
    (void)number;
    MUST(ramet_queue_get(on_back ? back : there, NULL, &item));
    ramet_item_release(&item);
}

static void semaphore_post(int to_back, uint32_t number)
{
    (void)number;
    MUST(ramet_semaphore_release(to_back ? back_sem : there_sem, 1));
}

static void semaphore_wait(int on_back, uint32_t number)
{
    (void)number;
    MUST(ramet_semaphore_acquire(on_back ? back_sem : there_sem, NULL));
}

static const struct way futex_way = {futex_post, futex_wait}, spin_way = {spin_post, spin_wait},
                        queue_way = {queue_post, queue_wait},
                        semaphore_way = {semaphore_post, semaphore_wait};

/* ---- asleep: child 0 posts, child 1 sleeps and takes the time */

static void wake_sleeper(unsigned index)
{
    for (uint32_t i = 1; i <= total; i++) {
        if (index == 0) {
            usleep(NAP_US);
            atomic_store(&shared->posted, bench_now());
            way->post(0, i);
            way->wait(1, i);
        } else {
            way->wait(0, i);
            shared->sum += bench_now() - atomic_load(&shared->posted);
            way->post(1, i);
        }
    }
}

static void ping_pong(unsigned index)
{
    for (uint32_t i = 1; i <= total; i++) {
        if (index == 0)
            way->post(0, i);
        way->wait(index == 0, i);
        if (index == 1)
            way->post(1, i);
    }
}

static int64_t run(uint64_t count, const struct way *of, int asleep)
{
    ramet_semaphore_options none = {.size = sizeof none, .value = 0, .max = RAMET_SEMAPHORE_MAX};
    shared = bench_shared(sizeof *shared);
    MUST(ramet_queue_create(NULL, &there));
    MUST(ramet_queue_create(NULL, &back));
    MUST(ramet_semaphore_create(&none, &there_sem));
    MUST(ramet_semaphore_create(&none, &back_sem));
    total = count;
    way = of;
    int64_t ns = bench_together(2, asleep ? wake_sleeper : ping_pong);
    if (asleep)
        ns = shared->sum;
    ramet_semaphore_close(there_sem);
    ramet_semaphore_close(back_sem);
    ramet_queue_close(there);
    ramet_queue_close(back);
    bench_unshare(shared, sizeof *shared);
    return ns;
}

static int64_t queue_asleep(uint64_t count)
{
    return run(count, &queue_way, 1);
}

static int64_t semaphore_asleep(uint64_t count)
{
    return run(count, &semaphore_way, 1);
}

static int64_t futex_asleep(uint64_t count)
{
    return run(count, &futex_way, 1);
}

static int64_t queue_awake(uint64_t count)
{
    return run(count, &queue_way, 0);
}

static int64_t semaphore_awake(uint64_t count)
{
    return run(count, &semaphore_way, 0);
}

static int64_t spin_awake(uint64_t count)
{
    return run(count, &spin_way, 0);
}

static const struct bench_case cases[] = {
    {.name = "wake of a sleeper: semaphore",
     .count = 200,
     .subject = {{.name = "ramet", .run = semaphore_asleep},
                 {.name = "bare futex", .most = 1.2, .run = futex_asleep}},
     .slices = 10},
    {.name = "wake of a sleeper: queue",
     .count = 200,
     .subject = {{.name = "ramet", .run = queue_asleep},
                 {.name = "bare futex", .most = 1.2, .run = futex_asleep}},
     .slices = 10},
    {.name = "there and back, awake: semaphore",
     .count = 20000,
     .subject = {{.name = "ramet", .run = semaphore_awake},
                 {.name = "bare spinning", .most = 3, .run = spin_awake}},
     .slices = 20},
    {.name = "there and back, awake: queue",
     .count = 20000,
     .subject = {{.name = "ramet", .run = queue_awake},
                 {.name = "bare spinning", .most = 3, .run = spin_awake}},
     .slices = 20},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
