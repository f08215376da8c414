/* SPDX-License-Identifier: MIT
 *
 * stress_race.c: that ThreadSanitizer sees what it is there to see.  One thread writes plain data
 * into an object of the arena and then a flag; another one reads them when it has seen the flag.
 * `ordered`: by a release store and an acquire load; `unordered`: by relaxed ones, which is a race
 * on the data, and has to be reported though the values come out right.
 */
#include "base/atomic.h"
#include "stress.h"

#include <ramet/data.h>

#include <sched.h>
#include <string.h>

enum { WORDS = 64 };

static struct shared {
    uint64_t words[WORDS];
    rmt_a32 flag;
} *shared;

static bool ordered;

static void writer(void)
{
    for (uint64_t i = 0; i < WORDS; i++)
        shared->words[i] = i;
    if (ordered)
        rmt_store32(&shared->flag, 1);
    else
        rmt_store32_relaxed(&shared->flag, 1);
}

static void reader(void)
{
    while ((ordered ? rmt_load32(&shared->flag) : rmt_load32_relaxed(&shared->flag)) == 0)
        sched_yield();
    uint64_t sum = 0;
    for (uint64_t i = 0; i < WORDS; i++)
        sum += shared->words[i];
    CHECK(sum == WORDS * (WORDS - 1) / 2 || !ordered);
}

static void work(unsigned index)
{
    index == 0 ? reader() : writer();
}

int main(int argc, char **argv)
{
    char mode[] = "threads", *threads[] = {argv[0], mode, NULL};
    ordered = argc != 2 || strcmp(argv[1], "unordered") != 0;
    stress_begin(2, threads);
    ramet_data *data;
    OK(ramet_data_create(sizeof *shared, &data));
    shared = ramet_data_address(data);
    stress_run(2, work);
    ramet_data_close(data);
    return 0;
}
