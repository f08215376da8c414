/* SPDX-License-Identifier: MIT
 *
 * seeded.h: bugs that are put in on purpose, to show that the tests find such.  A build with the
 * meson option `seeded` has one of them, in the layers with test hooks and nowhere else: libramet
 * is compiled without RAMET_SEEDS, and then each `#if RMT_SEEDED(...)` is the protocol as it should
 * be (tests/seeded/check_none.py).  tests/seeded/run.py says which tests have to find which.
 */
#ifndef RMT_SEEDED_H
#define RMT_SEEDED_H

#ifdef RAMET_SEEDS
#include "base/seeded_config.h" /* RAMET_SEEDED: the number of the one that is in, 0 none */
#else
#define RAMET_SEEDED 0
#endif
#define RMT_SEEDED(name) (RAMET_SEEDED == RMT_SEED_##name)

/* The numbers are those of the option's choices in base/meson.build. */
#define RMT_SEED_COMMIT_EARLY 1       /* queue_put.c: tail is stored before the cells are written */
#define RMT_SEED_HOLD_LATE 2          /* queue_get.c: head is stored before the taker's hold */
#define RMT_SEED_WAKE_LOST 3          /* queue_put.c: a put rings no bell */
#define RMT_SEED_FREED_TWICE 4        /* block.c: the hold is emptied after the block is free */
#define RMT_SEED_PERMIT_KEPT 5        /* semaphore.c: recovery forgets the permits of the dead */
#define RMT_SEED_EPOCH_IGNORED 6      /* death.c: who has the slot now is taken for the owner */
#define RMT_SEED_BELL_LATE 7          /* pipe_io.c: the doorbell is rung after publishing */
#define RMT_SEED_THREAD_FOR_PROCESS 8 /* os.c: the main thread's end is taken for an exec */

#endif
