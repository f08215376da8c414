/* SPDX-License-Identifier: MIT
 *
 * ramet/condition.h: a condition variable, with a lock or a recursive lock.
 *
 * notify(n) wakes exactly n of those who wait, or all if there are fewer; who comes after does not
 * count, and nobody passes who was not notified.
 *
 * Processes and threads: every call may be made by any thread at any time.  A thread waits in one
 * condition at a time.
 * Fork: a child gets its parent's handles, and waits for nothing.
 * If a participant dies: a dead waiter is not counted any more; a notification that was given to
 * it, and that it had not acted upon (it died before it had the lock again), goes to the next.  A
 * lock whose owner died is told by -EOWNERDEAD, as by its acquire.
 */
#ifndef RAMET_CONDITION_H
#define RAMET_CONDITION_H

#include <ramet/lock.h>
#include <ramet/rlock.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ramet_condition ramet_condition;

typedef struct ramet_condition_options {
    size_t size;        /* sizeof(ramet_condition_options) */
    ramet_lock *lock;   /* the lock to use; the condition keeps it alive.  Give this one ... */
    ramet_rlock *rlock; /* ... or that, the other NULL */
} ramet_condition_options;

/* `options` NULL: with a recursive lock of its own.  -EINVAL (both or no lock), -ENOMEM,
 * -ENOSPC, errors of ramet_join(): as ramet_lock_create(). */
RAMET_API int ramet_condition_create(const ramet_condition_options *options,
                                     ramet_condition **ret_condition);

/* -ESTALE, -EINVAL, -ENOMEM: as ramet_lock_open(). */
RAMET_API int ramet_condition_open(const ramet_ref *ref, ramet_condition **ret_condition);
RAMET_API ramet_ref ramet_condition_ref(const ramet_condition *condition);
RAMET_API void ramet_condition_close(ramet_condition *condition);

/* Its lock: as ramet_lock_acquire() and so on, or as those of ramet/rlock.h (-EOVERFLOW). */
RAMET_API int ramet_condition_acquire(ramet_condition *condition, const ramet_wait *wait);
RAMET_API int ramet_condition_release(ramet_condition *condition);

/* Gives the lock back (a recursive one entirely), waits to be notified, and takes it again, also
 * when the wait failed: the time-out does not hold for that. 0: notified; -ETIMEDOUT: not notified
 * until then; -EINTR: not notified, look at what you wait for and call again; -EOWNERDEAD: the lock
 * was taken from an owner who died with it, whether notified or not; -ECANCELED: not notified
 * (ramet/cancel.h).  In all these cases the caller holds the lock.  -EPERM: the caller does not
 * hold it; -EDEADLK: this thread waits in a condition already, and a signal handler called this;
 * -ENOSPC: this thread holds too much (these three give nothing back); -ENOTRECOVERABLE. */
RAMET_API int ramet_condition_wait(ramet_condition *condition, const ramet_wait *wait);

/* Wakes `count` of those who wait; UINT64_MAX: all.  -EPERM: the caller does not hold the lock. */
RAMET_API int ramet_condition_notify(ramet_condition *condition, uint64_t count);

/* How many wait, as of now. */
RAMET_API int ramet_condition_waiters(const ramet_condition *condition);

#ifdef __cplusplus
}
#endif
#endif
