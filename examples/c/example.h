/* SPDX-License-Identifier: MIT
 *
 * example.h: what the examples share, so that each shows only its own subject: errors end the
 * program, the start method is the first argument, and a task is started with a few references.
 */
#ifndef RAMET_EXAMPLE_H
#define RAMET_EXAMPLE_H

#include <ramet/ramet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The value of a call that must succeed. */
static inline long must_at(const char *where, const char *what, long result)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s: %s\n", where, what, strerror((int)-result));
        exit(1);
    }
    return result;
}
#define MUST(call) must_at(__FILE__, #call, (long)(call))

/* fork, spawn or forkserver; fork if there is no argument. */
static inline enum ramet_start_method method_of(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "fork") == 0)
        return RAMET_FORK;
    if (strcmp(argv[1], "spawn") == 0)
        return RAMET_SPAWN;
    if (strcmp(argv[1], "forkserver") == 0)
        return RAMET_FORKSERVER;
    fprintf(stderr, "usage: %s [fork|spawn|forkserver]\n", argv[0]);
    exit(2);
}

/* Starts `task` with the references as its argument; they stay alive until the child has ended. */
static inline ramet_process *start(enum ramet_start_method method, const char *task,
                                   const ramet_ref *refs, size_t count)
{
    ramet_process_options options = {.size = sizeof options,
                                     .method = method,
                                     .task = task,
                                     .arg = refs,
                                     .arg_size = count * sizeof *refs,
                                     .refs = refs,
                                     .ref_count = count};
    ramet_process *process;
    MUST(ramet_process_start(&options, &process));
    return process;
}

/* Waits for its end; its exit code. */
static inline int join(ramet_process *process)
{
    int code;
    MUST(ramet_process_join(process, NULL, &code));
    MUST(ramet_process_close(process));
    return code;
}

#endif
