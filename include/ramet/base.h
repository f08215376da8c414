/* SPDX-License-Identifier: MIT
 *
 * ramet/base.h: what every other public header needs: visibility, version, references, waits.
 *
 * Errors.  Every function that can fail returns 0 (or another non-negative value where its comment
 * says so) on success and a negative errno on failure.  Results come in parameters whose name
 * starts with ret_; they are untouched on failure.
 *
 * Times are absolute: nanoseconds of CLOCK_MONOTONIC.
 *
 * Handles (`ramet_lock *`, `ramet_queue *`, ...) are process-local.  A handle may be used by all
 * threads of its process at once, and by a child made with fork, which gets a count of its own on
 * every object that its parent had open.  What travels between processes is a ramet_ref.
 */
#ifndef RAMET_BASE_H
#define RAMET_BASE_H

#include <stddef.h>
#include <stdint.h>

#define RAMET_VERSION_MAJOR 0
#define RAMET_VERSION_MINOR 1
#define RAMET_VERSION_PATCH 0
#define RAMET_VERSION "0.1.0"

#define RAMET_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* A reference: a plain value that names an object of an arena, in any process of the family.  A
 * reference whose object is gone is -ESTALE when it is opened, never a crash.  A reference keeps
 * nothing alive. */
typedef struct ramet_ref {
    uint64_t arena;      /* the arena's random id */
    uint64_t offset;     /* of the object's block from the start of the arena; 0: no object */
    uint32_t kind;       /* enum ramet_kind */
    uint32_t generation; /* differs for each object that ever lived at this offset */
} ramet_ref;

enum ramet_kind {
    RAMET_KIND_NONE = 0,
    RAMET_KIND_DATA = 1,    /* plain bytes: values, arrays, shared buffers */
    RAMET_KIND_MESSAGE = 2, /* what travels through queues, pipes and jobs */
    RAMET_KIND_LOCK = 3,
    RAMET_KIND_RLOCK = 4,
    RAMET_KIND_SEMAPHORE = 5,
    RAMET_KIND_CONDITION = 6,
    RAMET_KIND_EVENT = 7,
    RAMET_KIND_BARRIER = 8,
    RAMET_KIND_QUEUE = 9,
    RAMET_KIND_PIPE = 10,
    RAMET_KIND_POOL = 11,
    RAMET_KIND_JOB = 12,
    RAMET_KIND_CANCEL = 13,
    RAMET_KIND_INTERNAL = 16 /* first of the kinds that no reference names */
};

#define RAMET_FOREVER INT64_MAX

/* How long, and how, a call may block.  NULL in its place: for ever.
 * A call returns -ETIMEDOUT when `deadline` has passed (a deadline of 0 means: try, never sleep)
 * (-EINVAL if `size` is not that of the structure) and -EINTR when a signal handler ran during the
 * sleep; the caller handles its signals and calls again with the same deadline.  It returns
 * -ECANCELED when the cancel object that its thread uses is fired (ramet/cancel.h). */
typedef struct ramet_wait {
    size_t size;      /* sizeof(ramet_wait) */
    int64_t deadline; /* CLOCK_MONOTONIC, ns; RAMET_FOREVER; 0: do not wait */
} ramet_wait;

/* The present time on the clock of deadlines, in ns. */
RAMET_API int64_t ramet_now(void);

/* A wait that ends `ns` nanoseconds from now. */
RAMET_API ramet_wait ramet_within(int64_t ns);

/* The version of the library that is running, as RAMET_VERSION. */
RAMET_API const char *ramet_version(void);

#ifdef __cplusplus
}
#endif
#endif
