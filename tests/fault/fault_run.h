/* SPDX-License-Identifier: MIT
 *
 * fault_run.h: runs an operation while its Nth call that can fail does so, for N = 1, 2, ... until
 * none is left to fail.  Each time in a process of its own, which
 *
 *   - gets what `before` makes;
 *   - runs the operation with the failure: it succeeds all the same, or gives the error of the call
 * that failed (or one that the operation names);
 *   - if it failed runs it again, without: it succeeds; and undoes it;
 *   - does the operation and undoes it once more;
 *   - must then have no more than a process that did it twice without any failure: descriptors,
 * blocks, bytes in use, member slots, allocations, children, things in its hands.
 */
#ifndef RAMET_TEST_FAULT_RUN_H
#define RAMET_TEST_FAULT_RUN_H

#include "../unit/unit.h"

struct operation {
    const char *name;
    void (*before)(void); /* NULL: nothing */
    int (*run)(void);     /* 0, or a negative errno and nothing has changed */
    void (*undo)(void);   /* NULL: nothing */
    int other_error[2];   /* that `run` may give, too, whatever failed; 0 none */
    const char *where;    /* NULL: in the process that runs it; else see fault_start */
};

/* Fails the test if anything of that is not so, or if the operation makes no call that can fail. */
void fail_each_call(const struct operation *operation);

#define FAIL_EACH_CALL(operations)                                                                 \
    do {                                                                                           \
        watchdog();                                                                                \
        for (size_t i_ = 0; i_ < sizeof(operations) / sizeof *(operations); i_++)                  \
            fail_each_call(&(operations)[i_]);                                                     \
    } while (0)

#endif
