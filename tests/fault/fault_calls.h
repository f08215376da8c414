/* SPDX-License-Identifier: MIT
 *
 * fault_calls.h: makes the Nth call of libramet that can fail, fail.  The tests are linked with
 * --wrap for every function of the C library that the layers call and that can fail (meson.build
 * has the list, check_calls.py holds it against the layers' symbols), so that no call is left out
 * because nobody thought of it; the layers are those of the product, without hooks.  (fault.h of
 * the base layer is the other way: it fails all calls of one site, where that is wanted.)
 *
 * Calls are counted in one process, from fault_arm to fault_disarm, by all threads.
 */
#ifndef RAMET_TEST_FAULT_CALLS_H
#define RAMET_TEST_FAULT_CALLS_H

#include <stdbool.h>

/* The `nth` call from now on fails, of those that this process makes.  0: none. */
void fault_arm(unsigned nth);

struct fault {
    const char *call; /* NULL: none failed */
    int error;        /* negative: what a caller of the library should see of it */
};
struct fault fault_disarm(void);

/* The same in processes that are started from now on and call fault_start with that name, be it
 * after exec: each such process counts for itself. */
void fault_arm_elsewhere(const char *where, unsigned nth);
struct fault fault_elsewhere_done(void); /* the first that failed in any of them */
void fault_start(const char *where);
void fault_no_more(void); /* children of this process do not start with it any more */

/* What the library has allocated and not freed. */
long fault_allocations(void);

#endif
