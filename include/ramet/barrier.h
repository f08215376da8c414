/* SPDX-License-Identifier: MIT
 *
 * ramet/barrier.h: a point that a given number of threads, of any processes, pass together.
 *
 * A round fills until all parties are there, then drains; who comes while it drains waits for the
 * next round.  A time-out, an abort and a death break the barrier: everybody in it gets -ECANCELED,
 * and so does who comes, until it is reset.
 *
 * Processes and threads: every call may be made by any thread at any time.
 * Fork: a child gets its parent's handles, and is in no barrier.
 * If a participant dies while it is in the barrier, the barrier breaks.  Of one who dies before it
 * comes nothing is known: wait with a time-out.  A process that is stopped while its round drains
 * delays the next.
 */
#ifndef RAMET_BARRIER_H
#define RAMET_BARRIER_H

#include <ramet/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ramet_barrier ramet_barrier;

typedef struct ramet_barrier_options {
    size_t size;      /* sizeof(ramet_barrier_options) */
    uint32_t parties; /* how many pass together, at least 1 */
} ramet_barrier_options;

/* -EINVAL (no parties), -ENOMEM, -ENOSPC, errors of ramet_join(): as ramet_lock_create(). */
RAMET_API int ramet_barrier_create(const ramet_barrier_options *options,
                                   ramet_barrier **ret_barrier);

/* -ESTALE, -EINVAL, -ENOMEM: as ramet_lock_open(). */
RAMET_API int ramet_barrier_open(const ramet_ref *ref, ramet_barrier **ret_barrier);
RAMET_API ramet_ref ramet_barrier_ref(const ramet_barrier *barrier);
RAMET_API void ramet_barrier_close(ramet_barrier *barrier);

/* Runs in exactly one thread of each round, the last to come, before all are let go.  A negative
 * result breaks the barrier and is returned to that thread. */
typedef int ramet_barrier_action(void *arg);

/* Waits for the others.  0: all came; ret_index (may be NULL) is then the number of this thread in
 * the round, parties - 1 for the last to come.  `action` may be NULL. -ECANCELED: the barrier is,
 * or was while waiting, broken or reset; -ETIMEDOUT: this call broke it (its time-out counts while
 * the round fills); -EINTR: this thread is not in it any more: call again; -ENOTRECOVERABLE;
 * -ENOSPC: this thread holds too much. */
RAMET_API int ramet_barrier_wait(ramet_barrier *barrier, const ramet_wait *wait,
                                 ramet_barrier_action *action, void *arg, uint32_t *ret_index);

/* Breaks it. */
RAMET_API int ramet_barrier_abort(ramet_barrier *barrier);

/* Makes a new one of it: whoever is in it gets -ECANCELED; when the last of them is out, it fills
 * again. */
RAMET_API int ramet_barrier_reset(ramet_barrier *barrier);

/* 1: broken, 0: not, as of now. */
RAMET_API int ramet_barrier_broken(const ramet_barrier *barrier);

/* How many are in the round that is filling, as of now. */
RAMET_API uint32_t ramet_barrier_waiting(const ramet_barrier *barrier);

RAMET_API uint32_t ramet_barrier_parties(const ramet_barrier *barrier);

#ifdef __cplusplus
}
#endif
#endif
