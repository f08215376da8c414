/* SPDX-License-Identifier: MIT
 *
 * The C pool under each start method: results, failures, deaths, and the end.
 */
#include "unit.h"

#include <stdbool.h>

#include <ramet/arena.h>
#include <ramet/pool.h>

#include <pthread.h>
#include <sys/syscall.h>

static int square(const void *in, void *out, const void *arg, size_t arg_size)
{
    double number;
    (void)arg;
    CHECK(arg_size == 0);
    memcpy(&number, in, sizeof(number));
    number *= number;
    memcpy(out, &number, sizeof(number));
    return 0;
}

/* Adds arg; fails with the number for multiples of 1000, and dies at `deadly`. */
struct bound {
    int add, deadly;
};
static int add(const void *in, void *out, const void *arg, size_t arg_size)
{
    struct bound bound;
    int number;
    CHECK(arg_size == sizeof(bound));
    memcpy(&bound, arg, sizeof(bound));
    memcpy(&number, in, sizeof(number));
    if (number == bound.deadly)
        kill(getpid(), SIGKILL);
    if (number % 1000 == 0)
        return number + 1;
    number += bound.add;
    memcpy(out, &number, sizeof(number));
    return 0;
}

static int nap(const void *in, void *out, const void *arg, size_t arg_size)
{
    (void)in;
    (void)out;
    (void)arg;
    (void)arg_size;
    sleep(60);
    return 0;
}

static const ramet_pool_task pool_tasks[] = {{"square", square}, {"add", add}, {"nap", nap}};

static int never_starts(const void *arg, size_t size)
{
    (void)arg;
    (void)size;
    return 3;
}
static const ramet_task tasks[] = {RAMET_POOL_WORKER};
static const ramet_task bad_tasks[] = {{RAMET_POOL_WORKER_NAME, never_starts}};

static enum ramet_start_method method;

static ramet_pool *make_pool(unsigned workers)
{
    ramet_pool_options options = {.size = sizeof(options), .workers = workers, .method = method};
    ramet_pool *pool;
    OK(ramet_pool_create(&options, &pool));
    return pool;
}

static int wait_for(ramet_job *job)
{
    int r;
    do
        r = ramet_job_wait(job, NULL);
    while (r == -EINTR);
    return r;
}

static void test_map(void)
{
    enum { N = 30000 };
    static double in[N], out[N];
    ramet_pool *pool = make_pool(3);
    for (int i = 0; i < N; i++)
        in[i] = i;
    for (size_t chunk = 0; chunk <= 700; chunk += 350) {
        ramet_map_options options = {.size = sizeof(options), .chunk = chunk};
        ramet_job *job;
        memset(out, 0, sizeof(out));
        OK(ramet_pool_map(pool, "square", in, sizeof(double), N, out, sizeof(double), &options,
                          &job));
        CHECK(wait_for(job) == 0);
        CHECK(wait_for(job) == 0);
        for (int i = 0; i < N; i++)
            CHECK(out[i] == (double)i * i);
        ramet_job_free(job);
    }
    ramet_job *empty;
    OK(ramet_pool_map(pool, "square", NULL, 0, 0, NULL, 0, NULL, &empty));
    CHECK(wait_for(empty) == 0);
    CHECK(ramet_pool_free(pool) == -EBUSY);
    ramet_job_free(empty);
    CHECK(ramet_pool_join(pool, NULL) == -EBUSY);
    OK(ramet_pool_close(pool));
    OK(ramet_pool_join(pool, NULL));
    OK(ramet_pool_free(pool));
}

static void test_failures(void)
{
    enum { N = 5000 };
    static int in[N], out[N];
    ramet_pool *pool = make_pool(2);
    struct bound bound = {.add = 7, .deadly = 2345};
    ramet_map_options options = {.size = sizeof(options), .arg = &bound, .arg_size = sizeof(bound)};
    ramet_failure failures[16];
    ramet_job *job, *other;
    for (int i = 0; i < N; i++) {
        in[i] = i;
        out[i] = -1;
    }
    OK(ramet_pool_map(pool, "add", in, sizeof(int), N, out, sizeof(int), &options, &job));
    CHECK(wait_for(job) == 6);
    CHECK(ramet_job_failures(job, failures, 16) == 6);
    for (int i = 0, item = 0; i < 6; i++) {
        const ramet_failure *f = &failures[i];
        if (i == 3) {
            CHECK(f->item == 2345 && f->result == 0 && f->pid > 0 && f->code == -SIGKILL);
            continue;
        }
        CHECK(f->item == (size_t)item && f->result == item + 1 && f->pid == 0);
        item += 1000;
    }
    for (int i = 0; i < N; i++)
        CHECK(out[i] == (i % 1000 == 0 || i == 2345 ? -1 : i + 7));
    bound.deadly = -1;
    OK(ramet_pool_map(pool, "add", in, sizeof(int), N, out, sizeof(int), &options, &other));
    CHECK(wait_for(other) == 5);
    ramet_job_free(job);
    ramet_job_free(other);
    OK(ramet_pool_free(pool));
}

static void *terminate(void *pool)
{
    usleep(50000);
    OK(ramet_pool_terminate(pool));
    return NULL;
}

static void test_end(void)
{
    ramet_pool *pool = make_pool(2);
    ramet_job *job, *cancelled;
    pthread_t thread;
    CHECK(ramet_pool_map(pool, "unknown", NULL, 0, 3, NULL, 0, NULL, &job) == -EINVAL);
    CHECK(ramet_pool_map(pool, NULL, NULL, 0, 3, NULL, 0, NULL, &job) == -EINVAL);
    OK(ramet_pool_map(pool, "nap", NULL, 0, 100, NULL, 0, NULL, &job));
    OK(ramet_pool_map(pool, "nap", NULL, 0, 100, NULL, 0, NULL, &cancelled));
    ramet_wait soon = ramet_within(1000000);
    CHECK(ramet_job_wait(job, &soon) == -ETIMEDOUT);
    OK(ramet_job_cancel(cancelled));
    CHECK(ramet_job_wait(cancelled, NULL) == -ECANCELED);
    CHECK(pthread_create(&thread, NULL, terminate, pool) == 0);
    CHECK(wait_for(job) == -ECANCELED);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(ramet_pool_map(pool, "nap", NULL, 0, 1, NULL, 0, NULL, &job) == -ESHUTDOWN);
    ramet_job_free(job);
    ramet_job_free(cancelled);
    OK(ramet_pool_join(pool, NULL));
    OK(ramet_pool_free(pool));
}

/* What was submitted before the close is finished by the workers, though nobody waits for it. */
static void test_close(void)
{
    double in[100] = {0}, out[100];
    ramet_pool *pool = make_pool(2);
    ramet_job *job;
    for (int i = 0; i < 100; i++)
        in[i] = i;
    OK(ramet_pool_map(pool, "square", in, sizeof(double), 100, out, sizeof(double), NULL, &job));
    OK(ramet_pool_close(pool));
    int r;
    while ((r = ramet_pool_join(pool, NULL)) == -EINTR)
        ;
    OK(r);
    CHECK(wait_for(job) == 0);
    CHECK(out[99] == 99.0 * 99.0);
    ramet_job_free(job);
    OK(ramet_pool_free(pool));
}

/* A pool has no part in a forked child, and its death is no matter to the pool. */
static void use_as_stranger(void *pool)
{
    ramet_job *job;
    CHECK(ramet_pool_map(pool, "nap", NULL, 0, 1, NULL, 0, NULL, &job) == -ECHILD);
    CHECK(ramet_pool_close(pool) == -ECHILD);
    CHECK(ramet_pool_terminate(pool) == -ECHILD);
}

static void test_fork(void)
{
    double in = 3, out = 0;
    ramet_pool *pool = make_pool(1);
    ramet_job *job;
    pid_t pid = child(use_as_stranger, pool);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    OK(ramet_pool_map(pool, "square", &in, sizeof(in), 1, &out, sizeof(out), NULL, &job));
    CHECK(wait_for(job) == 0 && out == 9);
    ramet_job_free(job);
    OK(ramet_pool_free(pool));
}

static void test_bad_arguments(void)
{
    ramet_pool_options options = {.size = sizeof(options), .workers = 1, .method = 9};
    ramet_pool *pool;
    CHECK(ramet_pool_create(&options, &pool) == -EINVAL);
    options.method = method;
    options.size = 1;
    CHECK(ramet_pool_create(&options, &pool) == -EINVAL);
}

static void run_all(void)
{
    RUN(test_bad_arguments);
    RUN(test_map);
    RUN(test_failures);
    RUN(test_end);
    RUN(test_close);
    RUN(test_fork);
}

/* In a program of its own: every worker ends before it took work. */
static int run_broken(void)
{
    ramet_pool *pool;
    ramet_pool_options options = {.size = sizeof(options), .workers = 2, .method = RAMET_FORK};
    ramet_job *job;
    OK(ramet_pool_create(&options, &pool));
    int r = ramet_pool_map(pool, "nap", NULL, 0, 3, NULL, 0, NULL, &job);
    if (r == 0) {
        r = wait_for(job);
        ramet_job_free(job);
    }
    CHECK(r == -EPIPE);
    OK(ramet_pool_free(pool));
    return 0;
}

int main(int argc, char **argv)
{
    bool broken = argc > 1 && strcmp(argv[1], "broken") == 0;
    watchdog();
    if (syscall(SYS_pidfd_open, getpid(), 0) < 0 && errno == ENOSYS) {
        fprintf(stderr, "no pidfds here (an old valgrind?): processes cannot be started\n");
        return 77;
    }
    ramet_pool_tasks(pool_tasks, 3);
    OK(ramet_enter(argc, argv, broken ? bad_tasks : tasks, 1));
    if (broken)
        return run_broken();
    for (method = RAMET_FORK; method <= RAMET_FORKSERVER; method++) {
        fprintf(stderr, "method %d\n", (int)method);
        run_all();
    }
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        char word[] = "broken", *args[] = {argv[0], word, NULL};
        execve("/proc/self/exe", args, environ); /* which tests/valgrind can follow */
        _exit(127);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    return 0;
}
