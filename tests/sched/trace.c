/* SPDX-License-Identifier: MIT
 *
 * trace.c: when two schedules have come to the same state.  See schedule.h.
 *
 * An actor's code is deterministic, so that what it has done and will do follows from what it has
 * read. Its hash is made of its own operations in order, each with the hash of the last write to
 * its word, and for a write also with the reads since.  So two schedules with the same hashes
 * differ in the order of operations that do not touch the same word, or only read it, and in
 * nothing else (happens-before as a state: Musuvathi & Qadeer, "Partial-order reduction for
 * context-bounded state exploration", 2007).  Accesses that are not atomic are ordered by those
 * that are.
 */
#include "schedule.h"

#include <sys/mman.h>

#define WORDS 4096               /* that are used in one schedule; a power of two */
#define SEEN (UINT64_C(1) << 25) /* a power of two; sparse */

static struct { /* of the process that runs a schedule */
    const volatile void *word;
    uint64_t writes, reads;
} words[WORDS];
static uint64_t hash[SCHED_ACTORS];

static struct seen {
    uint64_t count;
    uint64_t state[SEEN];
} *seen;

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b + UINT64_C(0x9e3779b97f4a7c15) + (a << 6) + (a >> 2)));
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void trace_start(void)
{
    for (int a = 0; a < SCHED_ACTORS; a++)
        hash[a] = (uint64_t)a + 1;
}

void trace_access(int a, const volatile void *word, bool writes)
{
    uint64_t key = (uint64_t)(uintptr_t)word, i = mix(key, 1) % WORDS;
    for (unsigned n = 0; words[i].word != NULL && words[i].word != word; i = (i + 1) % WORDS)
        CHECK(++n < WORDS);
    words[i].word = word;
    hash[a] = mix(hash[a], mix(key * 2 + writes, words[i].writes));
    if (writes) {
        hash[a] = mix(hash[a], words[i].reads);
        words[i].writes = hash[a];
        words[i].reads = 0;
    } else {
        words[i].reads += hash[a]; /* in whatever order they came */
    }
}

void trace_all(void)
{
    for (int a = 0; a < SCHED_ACTORS; a++)
        hash[a] = mix(hash[a], 0);
}

uint64_t trace_state(void)
{
    uint64_t all = 0;
    for (int a = 0; a < SCHED_ACTORS; a++)
        all = mix(all, hash[a]);
    return all != 0 ? all : 1;
}

void seen_make(void)
{
    if (seen)
        CHECK(munmap(seen, sizeof *seen) == 0);
    /* Shared, since then a fork does not copy its page tables. */
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(seen != MAP_FAILED);
}

bool seen_add(uint64_t state)
{
    uint64_t i = state % SEEN;
    for (; seen->state[i] != 0; i = (i + 1) % SEEN)
        if (seen->state[i] == state)
            return false;
    if (seen->count >= SEEN / 4 * 3)
        return true; /* what comes of it is tried again, and nothing is missed */
    seen->state[i] = state;
    seen->count++;
    return true;
}

uint64_t seen_count(void)
{
    return seen->count;
}
