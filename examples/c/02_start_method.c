/* SPDX-License-Identifier: MIT
 *
 * 02_start_method.c: one program, all three ways to start a child; and what a wrong one is answered
 * with.
 */
#include "example.h"

#include <errno.h>
#include <unistd.h>

static int say(const void *arg, size_t size)
{
    printf("started by %.*s\n", (int)size, (const char *)arg);
    return 0;
}

static const ramet_task tasks[] = {{"say", say}};

int main(int argc, char **argv)
{
    static const char *const names[] = {"", "fork", "spawn", "forkserver"};
    MUST(ramet_enter(argc, argv, tasks, 1));
    ramet_process_options options = {.size = sizeof options, .task = "say"};
    ramet_process *process;
    for (int method = RAMET_FORK; method <= RAMET_FORKSERVER; method++) {
        options.method = (enum ramet_start_method)method;
        options.arg = names[method];
        options.arg_size = strlen(names[method]);
        MUST(ramet_process_start(&options, &process));
        if (join(process) != 0)
            return 1;
    }
    options.method = (enum ramet_start_method)4;
    int r = ramet_process_start(&options, &process);
    printf("an unknown start method: %s\n", strerror(-r));
    return r == -EINVAL ? 0 : 1;
}
