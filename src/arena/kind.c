/* SPDX-License-Identifier: MIT
 *
 * kind.c: the tables that layers above fill before main (kinds, holds, deaths, fork hooks). Written
 * by constructors only, so that reads need no lock.
 */
#include "arena/kind.h"
#include "arena/registry.h"

#include <stdio.h>
#include <stdlib.h>

static const struct rmt_kind *kinds[RMT_KINDS];
static rmt_hold_fn *holds[RMT_HOLD_TAGS];
rmt_death_fn *rmt_death_fns[RMT_REGISTRY_MAX];
const struct rmt_fork_hook *rmt_fork_hooks[RMT_REGISTRY_MAX];

static void refuse(const char *what)
{
    fprintf(stderr, "ramet: %s registered twice, or too many\n", what);
    abort(); /* a mistake in the library itself, found by the first test that runs */
}

void rmt_kind_register(const struct rmt_kind *kind)
{
    if (kind->id >= RMT_KINDS || kinds[kind->id])
        refuse(kind->name);
    kinds[kind->id] = kind;
}

const struct rmt_kind *rmt_kind_get(uint32_t id)
{
    return id < RMT_KINDS ? kinds[id] : NULL;
}

void rmt_hold_register(enum rmt_hold_tag tag, rmt_hold_fn *fn)
{
    if (tag >= RMT_HOLD_TAGS || holds[tag])
        refuse("a hold");
    holds[tag] = fn;
}

rmt_hold_fn *rmt_hold_get(uint32_t tag)
{
    return tag < RMT_HOLD_TAGS ? holds[tag] : NULL;
}

void rmt_death_register(rmt_death_fn *fn)
{
    for (int i = 0; i < RMT_REGISTRY_MAX; i++) {
        if (!rmt_death_fns[i]) {
            rmt_death_fns[i] = fn;
            return;
        }
    }
    refuse("a death function");
}

void rmt_fork_register(const struct rmt_fork_hook *hook)
{
    for (int i = 0; i < RMT_REGISTRY_MAX; i++) {
        if (!rmt_fork_hooks[i]) {
            rmt_fork_hooks[i] = hook;
            return;
        }
    }
    refuse("a fork hook");
}
