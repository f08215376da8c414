/* SPDX-License-Identifier: MIT
 *
 * ramet/event.h: a flag to wait for.
 *
 * Who waits while the flag is set, and who was waiting when it was set, passes, even if it is
 * cleared again at once.
 *
 * Processes and threads: every call may be made by any thread at any time.
 * Fork: a child gets its parent's handles.
 * If a participant dies: nothing changes; who set the flag and died before waking the others has
 * set it.
 */
#ifndef RAMET_EVENT_H
#define RAMET_EVENT_H

#include <ramet/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ramet_event ramet_event;

typedef struct ramet_event_options {
    size_t size; /* sizeof(ramet_event_options) */
} ramet_event_options;

/* Makes an event that is not set.  `options` may be NULL.  -EINVAL, -ENOMEM, -ENOSPC,
 * errors of ramet_join(): as ramet_lock_create(). */
RAMET_API int ramet_event_create(const ramet_event_options *options, ramet_event **ret_event);

/* -ESTALE, -EINVAL, -ENOMEM: as ramet_lock_open(). */
RAMET_API int ramet_event_open(const ramet_ref *ref, ramet_event **ret_event);
RAMET_API ramet_ref ramet_event_ref(const ramet_event *event);
RAMET_API void ramet_event_close(ramet_event *event);

/* Sets the flag and wakes all who wait.  -ENOTRECOVERABLE, ... */
RAMET_API int ramet_event_set(ramet_event *event);

/* Takes the flag back. */
RAMET_API int ramet_event_clear(ramet_event *event);

/* 1: set; 0: not. */
RAMET_API int ramet_event_is_set(const ramet_event *event);

/* Waits until it is set.  0; -ETIMEDOUT; -ECANCELED (ramet/cancel.h); -EINTR (what was set during
 * an interrupted wait is not remembered for the next); -ENOTRECOVERABLE. */
RAMET_API int ramet_event_wait(ramet_event *event, const ramet_wait *wait);

#ifdef __cplusplus
}
#endif
#endif
