/* SPDX-License-Identifier: MIT
 *
 * work.h: what the two sides of a C pool, pool.c and work.c, say to each other.
 */
#ifndef RMT_WORK_H
#define RMT_WORK_H

#include <ramet/pool.h>

/* The function of a job, as the data of its message. */
struct rmt_call {
    char name[64];
    uint8_t arg[]; /* aligned to 64, like all data of messages */
};

/* The argument of a worker process. */
struct rmt_worker_arg {
    ramet_ref pool;
    uint64_t number;
};

ramet_pool_fn *rmt_pool_function(const char *name); /* NULL: unknown */

#endif
