/* SPDX-License-Identifier: MIT
 *
 * stress.h: what the programs of this folder share.
 *
 * A program runs in one of two modes, `processes` (each worker is a forked process) or `threads`
 * (of one process, which is what ThreadSanitizer can watch); its argument says which.  A worker is
 * the same function in both.  What it shares beside the objects of the library is plain memory of
 * stress_memory(), without atomics: either the object under test orders all accesses to it, or
 * the test fails, by its sums or by a report of ThreadSanitizer.
 *
 * The amount of work is fixed, ten times as much under RAMET_LONG=1.  A watchdog ends what hangs.
 */
#ifndef RAMET_TEST_STRESS_H
#define RAMET_TEST_STRESS_H

#include <ramet/arena.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void stress_failed(const char *file, int line, const char *what, long value);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            stress_failed(__FILE__, __LINE__, #condition, 0);                                      \
    } while (0)

/* The value of a call that must succeed. */
#define OK(call)                                                                                   \
    __extension__({                                                                                \
        long ok_ = (long)(call);                                                                   \
        if (ok_ < 0)                                                                               \
            stress_failed(__FILE__, __LINE__, #call, ok_);                                         \
        ok_;                                                                                       \
    })

extern bool stress_threads; /* the mode */

/* Reads the mode, sets the watchdog and joins the arena. */
void stress_begin(int argc, char **argv);

/* `rounds`, or ten times as many. */
unsigned stress_rounds(unsigned rounds);

/* Zeroed memory that all workers have at the same address. */
void *stress_memory(size_t size);

/* Runs work(0) ... work(workers - 1) at once and waits for their ends. */
typedef void stress_work(unsigned index);
void stress_run(unsigned workers, stress_work *work);

/* The same in two parts, for a caller with something to do in between. */
struct stress_crew {
    unsigned workers;
    uintptr_t ids[16]; /* pid_t or pthread_t */
};
void stress_start(struct stress_crew *ret_crew, unsigned workers, stress_work *work);
void stress_join(struct stress_crew *crew);

/* A pseudo-random number; each worker has a state of its own, seeded with its index. */
unsigned stress_random(unsigned *state);

/* How many blocks the arena has.  Then, at the end: that many again, and nothing is wrong. */
uint64_t stress_blocks(void);
void stress_end(uint64_t blocks_before);

#endif
