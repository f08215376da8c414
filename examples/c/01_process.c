/* SPDX-License-Identifier: MIT
 *
 * 01_process.c: a child process that prints three lines, started and joined.
 *
 *     01_process [fork|spawn|forkserver]
 */
#include "example.h"

static int greet(const void *arg, size_t size)
{
    for (int i = 1; i <= 3; i++)
        printf("line %d from %.*s\n", i, (int)size, (const char *)arg);
    return 0;
}

static const ramet_task tasks[] = {{"greet", greet}};

int main(int argc, char **argv)
{
    MUST(ramet_enter(argc, argv, tasks, 1));
    ramet_process_options options = {.size = sizeof options,
                                     .method = method_of(argc, argv),
                                     .task = "greet",
                                     .arg = "the child",
                                     .arg_size = 9};
    ramet_process *process;
    MUST(ramet_process_start(&options, &process));
    int code = join(process);
    printf("the child ended with %d\n", code);
    return code;
}
