/* SPDX-License-Identifier: MIT
 *
 * registry.h: the tables of kind.c, for recovery and fork.
 */
#ifndef RMT_REGISTRY_H
#define RMT_REGISTRY_H

#include "arena/kind.h"

#define RMT_REGISTRY_MAX 8

extern rmt_death_fn *rmt_death_fns[RMT_REGISTRY_MAX];
extern const struct rmt_fork_hook *rmt_fork_hooks[RMT_REGISTRY_MAX];
rmt_hold_fn *rmt_hold_get(uint32_t tag); /* NULL if unknown */

#endif
