/* SPDX-License-Identifier: MIT
 *
 * bench.c: the command line and the rounds of the benchmarks in C; see bench.h.
 */
#include "bench.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ROUNDS_MAX 1000

void bench_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: failed: %s (%s)\n", file, line, what, strerror(errno));
    exit(1);
}

void *bench_shared(size_t size)
{
    void *p =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED)
        bench_fail(__FILE__, __LINE__, "mmap");
    return p;
}

void bench_unshare(void *memory, size_t size)
{
    MUST(munmap(memory, size));
}

void bench_bind(unsigned index)
{
    cpu_set_t given, one;
    static cpu_set_t all;
    static int known;
    if (!known) {
        MUST(sched_getaffinity(0, sizeof all, &all));
        known = 1;
    }
    given = all;
    int wanted = (int)(index % (unsigned)CPU_COUNT(&given));
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &given) || wanted-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        MUST(sched_setaffinity(0, sizeof one, &one));
        return;
    }
}

struct together { /* shared with the children */
    _Atomic unsigned ready, go;
    _Atomic int64_t end;
};

static void child(struct together *t, unsigned index, void (*work)(unsigned))
{
    unsigned spins = 0;
    bench_bind(index);
    atomic_fetch_add(&t->ready, 1);
    while (!atomic_load(&t->go))
        bench_relax(&spins);
    work(index);
    int64_t now = bench_now(), seen = atomic_load(&t->end);
    while (now > seen && !atomic_compare_exchange_weak(&t->end, &seen, now))
        ;
    exit(0);
}

int64_t bench_together(unsigned count, void (*work)(unsigned))
{
    struct together *t = bench_shared(sizeof *t);
    unsigned spins = 0;
    fflush(NULL);
    for (unsigned i = 0; i < count; i++) {
        pid_t pid = fork();
        MUST(pid);
        if (pid == 0)
            child(t, i, work);
    }
    while (atomic_load(&t->ready) < count)
        bench_relax(&spins);
    int64_t start = bench_now();
    atomic_store(&t->go, 1);
    for (unsigned i = 0; i < count; i++) {
        int status;
        MUST(wait(&status));
        if (status != 0)
            bench_fail(__FILE__, __LINE__, "a child");
    }
    int64_t ns = atomic_load(&t->end) - start;
    bench_unshare(t, sizeof *t);
    return ns;
}

/* ---- the command line */

static double measure(const struct bench_subject *s, uint64_t count)
{
    if (!s->run)
        return s->ns;
    if (s->slower > 1)
        count = count / s->slower;
    if (count == 0)
        count = 1;
    return (double)s->run(count) / (double)count;
}

static void run(const struct bench_case *c, unsigned rounds, uint64_t count)
{
    static double ns[BENCH_SUBJECTS][ROUNDS_MAX];
    size_t n = 0;
    while (n < BENCH_SUBJECTS && c->subject[n].name)
        n++;
    for (size_t i = 0; i < n; i++) /* once, to have everything warm, and see whether it goes */
        ns[i][0] = measure(&c->subject[i], count / 10 + 1);
    for (unsigned round = 0; round < rounds; round++)
        for (size_t i = 0; i < n; i++)
            if (ns[i][0] >= 0)
                ns[i][round] = measure(&c->subject[i], count);
    for (size_t i = 0; i < n; i++) {
        printf("%s\t%g", c->subject[i].name, c->subject[i].most);
        for (unsigned round = 0; round < rounds && ns[i][0] >= 0; round++)
            printf("\t%.6g", ns[i][round]);
        puts(ns[i][0] < 0 ? "\tskipped" : "");
    }
}

int bench_main(int argc, char **argv, const struct bench_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (argc < 4) {
            puts(cases[i].name);
        } else if (strcmp(cases[i].name, argv[1]) == 0) {
            int rounds = atoi(argv[2]), percent = atoi(argv[3]);
            if (rounds < 1 || rounds > ROUNDS_MAX || percent < 1 || percent > 10000)
                bench_fail(__FILE__, __LINE__, "rounds or percent");
            unsigned slices = cases[i].slices > 1 ? cases[i].slices : 1;
            rounds = rounds * (int)slices < ROUNDS_MAX ? rounds * (int)slices : ROUNDS_MAX;
            run(&cases[i], (unsigned)rounds, cases[i].count * (uint64_t)percent / 100 / slices + 1);
            return 0;
        }
    }
    if (argc < 4)
        return 0;
    fprintf(stderr, "no such case: %s\n", argv[1]);
    return 1;
}
