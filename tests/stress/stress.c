/* SPDX-License-Identifier: MIT
 *
 * stress.c: workers as processes or as threads; see stress.h.
 */
#include "stress.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    WATCHDOG_SECONDS = 1000,
    MOST_THREADS = sizeof((struct stress_crew *)0)->ids / sizeof(uintptr_t),
};

bool stress_threads;
static pid_t main_process;

void stress_failed(const char *file, int line, const char *what, long value)
{
    if (value < 0)
        fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, strerror((int)-value));
    else
        fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
    if (getppid() == main_process) /* a worker: the others may wait for it for ever */
        kill(main_process, SIGTERM);
    _exit(1); /* also in a child of another sort: its parent checks the status */
}

/* A process's places for threads are made when they are needed, and stay: with them there at first,
 * the count of blocks at the end is that of the beginning. */
static pthread_barrier_t all_joined;

static void *join_at_once(void *arg)
{
    OK(ramet_join());
    pthread_barrier_wait(&all_joined);
    return arg;
}

static void make_places(void)
{
    pthread_t thread[MOST_THREADS];
    CHECK(pthread_barrier_init(&all_joined, NULL, MOST_THREADS) == 0);
    for (int i = 0; i < MOST_THREADS; i++)
        CHECK(pthread_create(&thread[i], NULL, join_at_once, NULL) == 0);
    for (int i = 0; i < MOST_THREADS; i++)
        CHECK(pthread_join(thread[i], NULL) == 0);
}

void stress_begin(int argc, char **argv)
{
    if (argc != 2 || (strcmp(argv[1], "threads") != 0 && strcmp(argv[1], "processes") != 0)) {
        fprintf(stderr, "usage: %s threads|processes\n", argv[0]);
        exit(2);
    }
    stress_threads = strcmp(argv[1], "threads") == 0;
    alarm(WATCHDOG_SECONDS);
    main_process = getpid();
    OK(ramet_join());
    if (stress_threads)
        make_places();
}

unsigned stress_rounds(unsigned rounds)
{
    const char *form = getenv("RAMET_LONG");
    return form && strcmp(form, "1") == 0 ? rounds * 10 : rounds;
}

void *stress_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

struct start { /* of a thread, which frees it */
    stress_work *work;
    unsigned index;
};

static void *thread_main(void *arg)
{
    struct start start = *(struct start *)arg;
    free(arg);
    start.work(start.index);
    return NULL;
}

static uintptr_t start_thread(stress_work *work, unsigned index)
{
    struct start *start = malloc(sizeof *start);
    CHECK(start);
    *start = (struct start){work, index};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, thread_main, start) == 0);
    return (uintptr_t)thread;
}

static uintptr_t start_process(stress_work *work, unsigned index)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(WATCHDOG_SECONDS);
        work(index);
        _exit(0);
    }
    return (uintptr_t)pid;
}

void stress_start(struct stress_crew *ret_crew, unsigned workers, stress_work *work)
{
    CHECK(workers <= MOST_THREADS);
    ret_crew->workers = workers;
    for (unsigned i = 0; i < workers; i++)
        ret_crew->ids[i] = stress_threads ? start_thread(work, i) : start_process(work, i);
}

void stress_join(struct stress_crew *crew)
{
    for (unsigned i = 0; i < crew->workers; i++) {
        if (stress_threads) {
            CHECK(pthread_join((pthread_t)crew->ids[i], NULL) == 0);
            continue;
        }
        pid_t pid = (pid_t)crew->ids[i];
        int status;
        while (waitpid(pid, &status, 0) < 0)
            CHECK(errno == EINTR);
        ramet_reap(pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

void stress_run(unsigned workers, stress_work *work)
{
    struct stress_crew crew;
    stress_start(&crew, workers, work);
    stress_join(&crew);
}

unsigned stress_random(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 8;
}

uint64_t stress_blocks(void)
{
    ramet_usage usage = {.size = sizeof usage};
    OK(ramet_arena_usage(&usage));
    return usage.blocks;
}

void stress_end(uint64_t blocks_before)
{
    OK(ramet_arena_check(2));
    CHECK(stress_blocks() == blocks_before);
}
