/* SPDX-License-Identifier: MIT
 *
 * ramet/arena.h: joining the shared-memory arena of a family of processes.
 *
 * A process belongs to at most one arena.  The first use of any object creates one; children made
 * by fork belong to it from their first instruction; a program started by exec joins with
 * ramet_attach(), given the descriptor that its parent passed.  Leaving is dying: when a process is
 * gone, whoever notices takes back what it held; when the last one is gone, the kernel frees
 * everything.
 */
#ifndef RAMET_ARENA_H
#define RAMET_ARENA_H

#include <ramet/base.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Joins this process's arena, and creates one if it has none.  Any thread, any number of times.
 * -ENOMEM, -EMFILE, -ENFILE, -EAGAIN (no key for thread-specific data is left), ... ; -EUSERS:
 * there are 16383 members; -ECHILD: this process was made by a raw clone, or its parent died while
 * it forked; -ENOTRECOVERABLE if the arena was found damaged. */
RAMET_API int ramet_join(void);

/* Joins the arena behind `fd` (which stays the caller's and may be closed afterwards).
 * 0 also if this process is a member of that very arena; -EALREADY if it has another one;
 * -EPROTO if the descriptor is no arena or one of another layout; -EXDEV: its members live in
 * another pid namespace; -EBADF, and the errors of ramet_join(). */
RAMET_API int ramet_attach(int fd);

/* The descriptor of the arena, close-on-exec, owned by the library; to hand it to a program that is
 * going to be started, duplicate it without that flag.  -ENODEV when not joined. */
RAMET_API int ramet_arena_fd(void);

/* The random identity of the arena; 0 when not joined. */
RAMET_API uint64_t ramet_arena_id(void);

/* The caller has waited for child `pid` and knows that it is gone: recovers what it held, and wakes
 * those who waited for it.  Harmless for a process that was no member.  Returns 1 if it was one. */
RAMET_API int ramet_reap(pid_t pid);

/* Looks for members that died and were not waited for, or left by exec (which costs some 100 us a
 * member to find out), and recovers what they held; returns how many it recovered.  Waiting calls
 * do this by themselves as far as they are concerned. */
RAMET_API int ramet_sweep(void);

typedef struct ramet_usage {
    size_t size;              /* sizeof(ramet_usage) */
    uint64_t bytes_in_use;    /* in blocks that are allocated, headers included */
    uint64_t bytes_committed; /* of memory that the arena holds of the machine's */
    uint64_t blocks;          /* allocated blocks */
    uint32_t members;         /* live processes */
} ramet_usage;

/* Set `size` before the call; -EINVAL for one that is unknown.  Exact when nothing else runs. */
RAMET_API int ramet_arena_usage(ramet_usage *ret_usage);

/* Verifies the invariants of the whole arena while nobody else uses it (tests): 0, or
 * -ENOTRECOVERABLE after describing the first violation on `fd` (a descriptor, -1: nowhere). */
RAMET_API int ramet_arena_check(int fd);

#ifdef __cplusplus
}
#endif
#endif
