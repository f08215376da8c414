/* SPDX-License-Identifier: MIT
 *
 * cancel.h (internal): the cancel object's shared word.  The public side is ramet/cancel.h, the
 * waiters' side arena/wait.h.
 *
 *   63..1  generation: grows with each reset of a fired object, so that who waited when it was
 * fired finds out although it was reset since 0      fired
 *
 * Both changes are one read-modify-write each: there is nothing to recover.  If who fires dies
 * before it has woken all, the others find out at their next look, a slice later.
 */
#ifndef RMT_CANCEL_H
#define RMT_CANCEL_H

#include "arena/wait.h"
#include "sync/object.h"
#include <ramet/cancel.h>

struct rmt_cancel {
    rmt_a64 word;
};

struct ramet_cancel {
    struct rmt_object object;
};

static inline struct rmt_cancel *rmt_cancel_of(const ramet_cancel *cancel)
{
    return cancel->object.shared;
}

#endif
