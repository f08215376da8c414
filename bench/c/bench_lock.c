/* SPDX-License-Identifier: MIT
 *
 * bench_lock.c: a lock that nobody else wants, against what knows less of its owner.
 */
#include "bench.h"
#include <ramet/lock.h>

#include <pthread.h>

static int64_t lock_unlock(uint64_t count)
{
    ramet_lock *lock;
    MUST(ramet_lock_create(NULL, &lock));
    int64_t start = bench_cpu();
    for (uint64_t i = 0; i < count; i++) {
        if (ramet_lock_acquire(lock, NULL) < 0 || ramet_lock_release(lock) < 0)
            bench_fail(__FILE__, __LINE__, "lock");
    }
    int64_t ns = bench_cpu() - start;
    ramet_lock_close(lock);
    return ns;
}

static int64_t mutex(uint64_t count, int robust)
{
    pthread_mutex_t *m = bench_shared(sizeof *m);
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    if (robust)
        pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(m, &a);
    int64_t start = bench_cpu();
    for (uint64_t i = 0; i < count; i++) {
        if (pthread_mutex_lock(m) != 0 || pthread_mutex_unlock(m) != 0)
            bench_fail(__FILE__, __LINE__, "mutex");
    }
    int64_t ns = bench_cpu() - start;
    pthread_mutex_destroy(m);
    bench_unshare(m, sizeof *m);
    return ns;
}

static int64_t plain(uint64_t count)
{
    return mutex(count, 0);
}

static int64_t robust(uint64_t count)
{
    return mutex(count, 1);
}

static const struct bench_case cases[] = {
    {.name = "lock+unlock, uncontended",
     .count = 1000000,
     .subject = {{.name = "ramet", .run = lock_unlock},
                 {.name = "pthread mutex, process-shared", .most = 1 / 0.9, .run = plain},
                 {.name = "pthread mutex, robust", .run = robust}}},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
