/* SPDX-License-Identifier: MIT
 *
 * ramet/lock.h: a lock for threads of any processes of the family.
 *
 * Taking a free lock and giving it back are one atomic operation each.  It is not recursive: a
 * thread that takes it twice waits for itself.  As with the standard library of Python, any thread
 * may release it. There is no fairness: who comes first may be served later.
 *
 * Processes and threads: every call may be made by any thread at any time, on one handle or on
 * several. Fork: a child gets its parent's handles, and holds none of the locks that its parent
 * holds. If a participant dies: a lock whose owner's process is gone is in the state OWNER_DEAD.
 * The next acquire gets it with -EOWNERDEAD, once: what the lock protects may be half changed.  A
 * process that is stopped is not dead; it keeps its locks.
 */
#ifndef RAMET_LOCK_H
#define RAMET_LOCK_H

#include <ramet/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ramet_lock ramet_lock;

typedef struct ramet_lock_options {
    size_t size; /* sizeof(ramet_lock_options) */
} ramet_lock_options;

enum ramet_lock_state {
    RAMET_LOCK_FREE = 0,
    RAMET_LOCK_MINE = 1,       /* the calling thread holds it */
    RAMET_LOCK_MY_PROCESS = 2, /* another thread of the calling process does */
    RAMET_LOCK_OTHER = 3,      /* another process does, dead or alive */
};

/* Makes a lock that is free.  `options` may be NULL.  -EINVAL, -ENOMEM, -ENOSPC: this thread holds
 * too much (about 20 things, such as items that it has not released), errors of ramet_join(). */
RAMET_API int ramet_lock_create(const ramet_lock_options *options, ramet_lock **ret_lock);

/* Another handle of the lock that `ref` names.  -ESTALE: it is gone, or belongs to another arena;
 * -EINVAL: not a lock; -ENOMEM. */
RAMET_API int ramet_lock_open(const ramet_ref *ref, ramet_lock **ret_lock);

/* Its reference, for others to open. */
RAMET_API ramet_ref ramet_lock_ref(const ramet_lock *lock);

/* Closes the handle; the lock goes with its last handle.  NULL is fine.  Does not release it. */
RAMET_API void ramet_lock_close(ramet_lock *lock);

/* Takes the lock.  0; -EOWNERDEAD: taken too, from an owner who died with it; -ETIMEDOUT; -EINTR;
 * -ECANCELED (ramet/cancel.h); -EINVAL (the wait); -ENOTRECOVERABLE: the arena was found damaged.
 */
RAMET_API int ramet_lock_acquire(ramet_lock *lock, const ramet_wait *wait);

/* Gives it back, and wakes one of those who wait.  -EPERM: nobody holds it. */
RAMET_API int ramet_lock_release(ramet_lock *lock);

/* Gives it back in the state OWNER_DEAD, for a caller who got -EOWNERDEAD and cannot mend what the
 * lock protects: the next to take it is told as well.  -EPERM: the calling thread does not hold it.
 */
RAMET_API int ramet_lock_mark_dead(ramet_lock *lock);

/* Who holds it, as of now (enum ramet_lock_state). */
RAMET_API int ramet_lock_state(const ramet_lock *lock);

#ifdef __cplusplus
}
#endif
#endif
