/* SPDX-License-Identifier: MIT
 *
 * ramet/inspect.h: the invariants and the state of one's own objects.  For those of another
 * process, see ramet/view.h.
 *
 * Threads: both may be called by any thread at any time; ramet_check() says something only if
 * nobody else works on what it checks.
 */
#ifndef RAMET_INSPECT_H
#define RAMET_INSPECT_H

#include <ramet/base.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Verifies the invariants of the object that `ref` names, or with NULL those of the whole arena and
 * of every object in it (as ramet_arena_check()), while nobody else works on it: 0, or
 * -ENOTRECOVERABLE after describing what is wrong on the descriptor `fd` (-1: nowhere).
 * -ESTALE: the object is gone or belongs to another arena; -EINVAL: it is of another kind. */
RAMET_API int ramet_check(const ramet_ref *ref, int fd);

/* Writes a line of text about the object that `ref` names: its reference, who holds it, who waits,
 * how full it is or how far it has come.  With NULL a line for the arena, and for each member,
 * thread and object of it.  Nobody is held up; what others change meanwhile is told as "moving".
 * -ESTALE, -EINVAL, -ENOMEM; -EIO: `to` is in a state of error. */
RAMET_API int ramet_dump(const ramet_ref *ref, FILE *to);

#ifdef __cplusplus
}
#endif
#endif
