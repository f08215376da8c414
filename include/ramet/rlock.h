/* SPDX-License-Identifier: MIT
 *
 * ramet/rlock.h: a recursive lock: the thread that holds it may take it again, and gives it back as
 * often.
 *
 * Processes and threads: every call may be made by any thread at any time.  The owner is a thread.
 * Fork: a child gets its parent's handles, and holds none of the locks that its parent holds.
 * If a participant dies: as with a lock (ramet/lock.h): the next to take it is told by -EOWNERDEAD.
 */
#ifndef RAMET_RLOCK_H
#define RAMET_RLOCK_H

#include <ramet/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ramet_rlock ramet_rlock;

typedef struct ramet_rlock_options {
    size_t size; /* sizeof(ramet_rlock_options) */
} ramet_rlock_options;

/* Makes a lock that is free.  `options` may be NULL.  -EINVAL, -ENOMEM, -ENOSPC, errors of
 * ramet_join(): as ramet_lock_create(). */
RAMET_API int ramet_rlock_create(const ramet_rlock_options *options, ramet_rlock **ret_rlock);

/* -ESTALE, -EINVAL, -ENOMEM: as ramet_lock_open(). */
RAMET_API int ramet_rlock_open(const ramet_ref *ref, ramet_rlock **ret_rlock);
RAMET_API ramet_ref ramet_rlock_ref(const ramet_rlock *rlock);
RAMET_API void ramet_rlock_close(ramet_rlock *rlock);

/* Takes it, or takes it once more.  0; -EOWNERDEAD: taken, from an owner who died with it;
 * -ETIMEDOUT; -EINTR; -ECANCELED (ramet/cancel.h); -EOVERFLOW: taken INT32_MAX times already;
 * -ENOTRECOVERABLE. */
RAMET_API int ramet_rlock_acquire(ramet_rlock *rlock, const ramet_wait *wait);

/* Gives it back once.  -EPERM: the calling thread does not hold it. */
RAMET_API int ramet_rlock_release(ramet_rlock *rlock);

/* As ramet_lock_mark_dead(); gives back all that the calling thread has of it. */
RAMET_API int ramet_rlock_mark_dead(ramet_rlock *rlock);

/* Who holds it, as of now (enum ramet_lock_state of ramet/lock.h). */
RAMET_API int ramet_rlock_state(const ramet_rlock *rlock);

/* How often the calling thread has it: 0 if it has not. */
RAMET_API int ramet_rlock_count(const ramet_rlock *rlock);

#ifdef __cplusplus
}
#endif
#endif
