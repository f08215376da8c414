/* SPDX-License-Identifier: MIT
 *
 * ramet/semaphore.h: a number of permits, bounded or not.
 *
 * There are two ways to use one, and they may be mixed.  *Signalling*: acquire and release, by
 * whomever; nobody owns a permit, and one that was taken by a process that died is gone.  *Owned*:
 * acquire_owned and release_owned, by the same thread; permits of a process that dies come back.
 *
 * Processes and threads: every call may be made by any thread at any time.
 * Fork: a child gets its parent's handles, and owns no permits.
 * If a participant dies: owned permits come back; a process that is stopped keeps them.  A dead
 * waiter takes no permit with it.
 */
#ifndef RAMET_SEMAPHORE_H
#define RAMET_SEMAPHORE_H

#include <ramet/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RAMET_SEMAPHORE_MAX 2147483647u

typedef struct ramet_semaphore ramet_semaphore;

typedef struct ramet_semaphore_options {
    size_t size;    /* sizeof(ramet_semaphore_options) */
    uint32_t value; /* permits at first */
    uint32_t max;   /* never more than this; RAMET_SEMAPHORE_MAX: not bounded */
} ramet_semaphore_options;

/* `options` NULL: one permit, not bounded.  -EINVAL (value > max, max out of range), -ENOMEM,
 * -ENOSPC, errors of ramet_join(): as ramet_lock_create().
 */
RAMET_API int ramet_semaphore_create(const ramet_semaphore_options *options,
                                     ramet_semaphore **ret_semaphore);

/* -ESTALE, -EINVAL, -ENOMEM: as ramet_lock_open(). */
RAMET_API int ramet_semaphore_open(const ramet_ref *ref, ramet_semaphore **ret_semaphore);
RAMET_API ramet_ref ramet_semaphore_ref(const ramet_semaphore *semaphore);
RAMET_API void ramet_semaphore_close(ramet_semaphore *semaphore);

/* Takes one permit.  -ETIMEDOUT; -EINTR; -ECANCELED (ramet/cancel.h); -ENOTRECOVERABLE; -ENOSPC:
 * this thread holds too much. */
RAMET_API int ramet_semaphore_acquire(ramet_semaphore *semaphore, const ramet_wait *wait);

/* Adds `count` permits.  -EOVERFLOW: that would be more than the maximum; none was added. */
RAMET_API int ramet_semaphore_release(ramet_semaphore *semaphore, uint32_t count);

/* Takes one permit that the calling thread owns.  -ENOSPC: it owns permits of too many semaphores
 * at once (about 20). */
RAMET_API int ramet_semaphore_acquire_owned(ramet_semaphore *semaphore, const ramet_wait *wait);

/* Gives one back that the calling thread owns.  -EPERM: it owns none; -EOVERFLOW: others released
 * so many meanwhile that it would be more than the maximum; it is not owned any more then. */
RAMET_API int ramet_semaphore_release_owned(ramet_semaphore *semaphore);

/* The number of permits to be had, as of now. */
RAMET_API int ramet_semaphore_value(const ramet_semaphore *semaphore);

/* The maximum it was made with. */
RAMET_API uint32_t ramet_semaphore_max(const ramet_semaphore *semaphore);

#ifdef __cplusplus
}
#endif
#endif
