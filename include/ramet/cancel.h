/* SPDX-License-Identifier: MIT
 *
 * ramet/cancel.h: ending waits from outside.
 *
 *     ramet_cancel_use(cancel, NULL);           from now on, what this thread waits for ...
 *     r = ramet_queue_get(queue, NULL, &item);  ... returns -ECANCELED once
 *                                               ramet_cancel_fire(cancel) was called somewhere
 *
 * A thread uses one cancel object at a time; any number of threads, of any processes of the family,
 * use the same one.  It concerns every call of the library that takes a ramet_wait.  A call that
 * was cancelled has done nothing: it took no item and no permit, and holds no lock that it did not
 * hold before.  A call that need not wait does its work, fired or not.
 */
#ifndef RAMET_CANCEL_H
#define RAMET_CANCEL_H

#include <ramet/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ramet_cancel ramet_cancel;

typedef struct ramet_cancel_options {
    size_t size; /* sizeof(ramet_cancel_options) */
} ramet_cancel_options;

/* Makes one that is not fired; options may be NULL.  -EINVAL, -ENOMEM, -ENOSPC, errors of
 * ramet_join(): as ramet_lock_create(). */
RAMET_API int ramet_cancel_create(const ramet_cancel_options *options, ramet_cancel **ret_cancel);

/* -ESTALE, -EINVAL (not a cancel object), -ENOMEM; -ENOTRECOVERABLE: the arena was found damaged.
 */
RAMET_API int ramet_cancel_open(const ramet_ref *ref, ramet_cancel **ret_cancel);
RAMET_API ramet_ref ramet_cancel_ref(const ramet_cancel *cancel);

/* NULL is allowed.  No thread of this process may be using it. */
RAMET_API void ramet_cancel_close(ramet_cancel *cancel);

/* From now on the calling thread uses `cancel`, or none (NULL).  *ret_previous is what it used
 * before; ret_previous may be NULL.  A thread starts with none, and so does a forked child. */
RAMET_API int ramet_cancel_use(ramet_cancel *cancel, ramet_cancel **ret_previous);

/* Ends the waits of all who use it, now and until ramet_cancel_reset(); they are woken at once. Any
 * thread of any process may call it, and a signal handler may.  -ECHILD: this process was made by a
 * raw clone. */
RAMET_API int ramet_cancel_fire(ramet_cancel *cancel);

/* Makes it as it was before it was fired.  Who was waiting when it was fired returns -ECANCELED all
 * the same.  A signal handler may call it.  -ECHILD. */
RAMET_API int ramet_cancel_reset(ramet_cancel *cancel);

/* 1 if it is fired, 0 if not.  A signal handler may call it. */
RAMET_API int ramet_cancel_fired(const ramet_cancel *cancel);

#ifdef __cplusplus
}
#endif
#endif
