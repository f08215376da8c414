/* SPDX-License-Identifier: MIT
 *
 * 14_bad_input.c: a decoder that crashes on bad input, in a pool that goes on.
 *
 *     14_bad_input [fork|spawn|forkserver]
 *
 * The worker that decodes a bad item dies by SIGSEGV.  That item fails, and the job tells which it
 * was, who died of it and how; everything else is decoded, by the other workers and by the one that
 * takes the dead one's place.
 */
#include "example.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ITEMS 200
#define PIXELS 64
#define RUNS 8

struct scan { /* run-length encoded: pairs of {length, value} */
    unsigned char run[RUNS][2];
};

/* A buffer of PIXELS bytes that ends where the memory does, as in the decoder of somebody else. */
static unsigned char *edge(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *p =
        mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + page, page, PROT_NONE) < 0)
        return NULL;
    return p + page - PIXELS;
}

/* It believes what the lengths say. */
static int decode(const void *in, void *out, const void *arg, size_t arg_size)
{
    (void)arg;
    (void)arg_size;
    static unsigned char *pixels;
    const struct scan *scan = in;
    if (!pixels) {
        pixels = edge();
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would report it and exit */
    }
    if (!pixels)
        return 1;
    volatile unsigned char *to = pixels;
    for (int i = 0; i < RUNS; i++)
        for (int n = 0; n < scan->run[i][0]; n++)
            *to++ = scan->run[i][1];
    memcpy(out, pixels, PIXELS);
    return 0;
}

static const ramet_pool_task pool_tasks[] = {{"decode", decode}};
static const ramet_task tasks[] = {RAMET_POOL_WORKER};

static int is_bad(size_t item)
{
    return item == 17 || item == 120;
}

/* Every pixel of picture i is i, but for the first, which is not. */
static void make(struct scan *scans)
{
    memset(scans, 0, ITEMS * sizeof *scans);
    for (size_t i = 0; i < ITEMS; i++) {
        scans[i].run[0][0] = 1;
        scans[i].run[1][0] = is_bad(i) ? 255 : PIXELS - 1;
        scans[i].run[1][1] = (unsigned char)i;
    }
}

static int is_right(size_t item, const unsigned char *picture)
{
    for (int k = 1; k < PIXELS; k++)
        if (picture[k] != (unsigned char)item)
            return 0;
    return picture[0] == 0;
}

int main(int argc, char **argv)
{
    ramet_pool_tasks(pool_tasks, 1);
    MUST(ramet_enter(argc, argv, tasks, 1));
    ramet_pool_options options = {
        .size = sizeof options, .workers = 2, .method = method_of(argc, argv)};
    ramet_pool *pool;
    ramet_job *job;
    static struct scan scans[ITEMS];
    static unsigned char pictures[ITEMS][PIXELS];
    make(scans);
    MUST(ramet_pool_create(&options, &pool));
    MUST(ramet_pool_map(pool, "decode", scans, sizeof *scans, ITEMS, pictures, PIXELS, NULL, &job));
    long failed = MUST(ramet_job_wait(job, NULL));

    ramet_failure failures[4];
    long told = MUST(ramet_job_failures(job, failures, 4));
    int good = failed == 2 && told == 2;
    for (long i = 0; i < told && i < 4; i++) {
        printf("item %zu: its worker died by signal %d\n", failures[i].item, -failures[i].code);
        good &= is_bad(failures[i].item) && failures[i].code == -SIGSEGV && failures[i].pid > 0;
    }
    size_t right = 0;
    for (size_t i = 0; i < ITEMS; i++)
        right += !is_bad(i) && is_right(i, pictures[i]);
    printf("%zu of %d items were decoded\n", right, ITEMS);

    ramet_job_free(job);
    MUST(ramet_pool_close(pool));
    MUST(ramet_pool_join(pool, NULL));
    MUST(ramet_pool_free(pool));
    return good && right == ITEMS - 2 ? 0 : 1;
}
