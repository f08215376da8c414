/* SPDX-License-Identifier: MIT
 *
 * ramet/data.h: plain shared memory: a run of bytes that every process of the family can open, for
 * values and arrays.
 *
 * The library never looks into it: use a lock (ramet/lock.h) or atomics for what several threads
 * write.
 *
 * Processes and threads: every call may be made by any thread at any time.
 * Fork: a child gets its parent's handles; the memory is shared, not copied.
 * If a participant dies: what it wrote stays written.
 */
#ifndef RAMET_DATA_H
#define RAMET_DATA_H

#include <ramet/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ramet_data ramet_data;

/* `size` bytes, zeroed, aligned to 64.  -ENOMEM, -ENOSPC, -ENOTRECOVERABLE, errors of ramet_join():
 * as ramet_lock_create(). */
RAMET_API int ramet_data_create(size_t size, ramet_data **ret_data);

/* -ESTALE, -EINVAL, -ENOMEM: as ramet_lock_open(). */
RAMET_API int ramet_data_open(const ramet_ref *ref, ramet_data **ret_data);
RAMET_API ramet_ref ramet_data_ref(const ramet_data *data);
RAMET_API void ramet_data_close(ramet_data *data);

/* Where it lies in this process, until the handle is closed, and how long it is. */
RAMET_API void *ramet_data_address(const ramet_data *data);
RAMET_API size_t ramet_data_size(const ramet_data *data);

#ifdef __cplusplus
}
#endif
#endif
